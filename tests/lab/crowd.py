"""Many sessions at once, of every mode and in every state, each of whose bytes is checked.

A `Crowd` opens its sessions, half of them with a sequence offset, and keeps them busy while
something happens to the gateway. Afterwards it shows that nothing that was open is lost, and that
each end heard exactly what the other one said.
"""

import concurrent.futures
import contextlib
import random
import re
import threading
import time

from lab import CaseFailure
from labels import count_established
from scripted import Offer, Peer, Session, Stage, decode, encode
from shell import PATIENCE, LabError, write_sysctls
from topology import GATEWAY_WAN4, INSIDE1, INSIDE2

# What a session does while something happens to the gateway.
# "transfer": bytes flow in its data connection, both ways, and none may be lost.
# "open": it has announced, and the data connection comes only afterwards.
# "again": the same, of a port that it has announced and used before, as servers with few ports do.
# "used": its announcement is used up, and must stay so.
# "busy": commands and replies pass.
# "idle": it says nothing, and announces afterwards.
ROLES = ("transfer", "open", "again", "used", "busy", "idle")
# The mode in which a deployment's announcements are translated, and so can get an offset.
OFFSET_MODE = {"inside-client": "PORT", "inside-server": "PASV"}
# The modes that give no session an offset: with ports of equal length, see SAME_LENGTH_PORT.
NEUTRAL_MODES = {
    "inside-client": ("PORT", "PASV", "EPSV"),
    "inside-server": ("PASV", "EPSV", "PORT", "EPRT"),
}
ALL_MODES = ("PORT", "PASV", "EPRT", "EPSV")
# With these outside ports the shortest announcement cannot keep its length, because "4,1" has
# three characters and "156,0" has five.
LONG_PORTS = "40000-65535"
LOWEST_LONG_PORT = 40000
SHORT_PORTS = [high * 256 + low for high in range(4, 10) for low in range(1, 10)]
SAME_LENGTH_PORT = 156 * 256 + 100
OWN_PORTS = "50000 60999"
ADJUST_LABEL = 126

SESSION_SECONDS = 15 * PATIENCE
CHUNK, PAUSE_SECONDS = 700, 0.03


class Recorder(Peer):
    """An end of a control connection that remembers what it said and heard."""

    def __init__(self, sock):
        super().__init__(sock)
        self.said, self.heard = bytearray(), bytearray()

    def send(self, data):
        self.said += data
        super().send(data)

    def receive(self):
        received = super().receive()
        self.heard += received
        return received

    def drain(self):
        """Reads to the end of the connection, whatever still comes."""
        self.sock.settimeout(SESSION_SECONDS)
        while self.receive():
            pass


class CrowdStage(Stage):
    """A stage whose sessions remember all bytes."""

    peer = Recorder


@contextlib.contextmanager
def crowded(lab, deployment):
    """A batch's set-up. The hosts take no port on their own that a case may want to announce."""
    for host in (deployment.client, deployment.server):
        write_sysctls(lab.namespace(host), [f"net.ipv4.ip_local_port_range={OWN_PORTS}"])
    stage = CrowdStage(lab, deployment)
    try:
        yield stage
    finally:
        stage.close()


class Transfer(threading.Thread):
    """A data connection in which bytes flow slowly both ways, until `finish`."""

    def __init__(self, offer, seed):
        super().__init__(daemon=True)
        self.offer, self.random = offer, random.Random(seed)
        self.ending, self.rounds, self.failure = threading.Event(), 0, ""
        self.one = offer.connector_socket(None, SESSION_SECONDS)
        self.one.connect((offer.address, offer.port))
        offer.listener.settimeout(SESSION_SECONDS)
        self.other, _ = offer.listener.accept()
        self.other.settimeout(SESSION_SECONDS)

    def run(self):
        try:
            while not self.ending.wait(PAUSE_SECONDS):
                self.exchange(self.one, self.other)
                self.exchange(self.other, self.one)
                self.rounds += 1
        except (OSError, CaseFailure) as failure:
            self.failure = f"a transfer broke after {self.rounds} rounds: {failure}"

    def exchange(self, one, other):
        sent, received = self.random.randbytes(CHUNK), b""
        one.sendall(sent)
        while len(received) < CHUNK:
            part = other.recv(CHUNK - len(received))
            if not part:
                raise CaseFailure("the data connection closed")
            received += part
        if received != sent:
            raise CaseFailure("other bytes arrived than were sent")

    def close(self):
        """Breaks it off in the middle."""
        self.ending.set()
        for sock in (self.one, self.other):
            sock.close()

    def finish(self):
        """Ends it, once it has moved; returns what went wrong."""
        deadline = time.monotonic() + SESSION_SECONDS
        while self.rounds == 0 and self.is_alive() and time.monotonic() < deadline:
            time.sleep(PAUSE_SECONDS)
        self.ending.set()
        self.join(2 * SESSION_SECONDS)
        if not self.failure and self.rounds == 0:
            self.failure = "a transfer never moved"
        self.close()
        return self.failure


class Member:
    """One session of the crowd."""

    def __init__(self, session: Session, role, mode, has_offset, number):
        self.session, self.role, self.mode = session, role, mode
        self.has_offset, self.number = has_offset, number
        self.offer: Offer | None = None
        self.transfer = None
        self.counter = 0
        self.ended = ""

    def __str__(self):
        kind = "with" if self.has_offset else "without"
        return f"{self.role} session {self.number} in {self.mode} {kind} an offset"

    @property
    def port(self):
        """The port to announce: a session without an offset must not get one by its length."""
        return 0 if self.has_offset else SAME_LENGTH_PORT + self.number

    def announce(self, port=None):
        self.offer = self.session.announce(
            self.mode,
            send=Recorder.send,
            port=self.port if port is None else port,
            timeout=SESSION_SECONDS,
        )

    def talk(self):
        """A command and a reply that no other ones are equal to."""
        self.counter += 1
        words = f"{self.number}-{self.counter}"
        self.session.exchange(f"NOOP {words}", f"200 well {words}", SESSION_SECONDS)

    def prepare(self):
        """Brings the session where it is when something happens to the gateway."""
        if self.role in ("transfer", "open", "again", "used"):
            self.announce()
        if self.role == "transfer":
            self.transfer = Transfer(self.offer, self.number)
            self.transfer.start()
        if self.role in ("again", "used") and not self.offer.connects(timeout=SESSION_SECONDS):
            raise CaseFailure("no data connection")
        if self.role == "again":
            port = self.offer.listener.getsockname()[1]
            self.offer.close()
            self.announce(port)

    def live(self, ending):
        """What it does meanwhile."""
        while self.role == "busy" and not ending.wait(PAUSE_SECONDS):
            self.talk()

    def conclude(self):
        """Shows that nothing is lost, and that nothing is open that should not be."""
        if self.role == "transfer":
            if not self.offer.stays_shut():
                raise CaseFailure("a second connection came beside the transfer")
            if self.transfer.failure:
                raise CaseFailure(self.transfer.failure)
        elif self.role in ("open", "again"):
            self.use("that was announced before")
            if not self.offer.stays_shut():
                raise CaseFailure("a second data connection came, to one that was announced before")
        elif self.role == "used" and not self.offer.stays_shut():
            raise CaseFailure("a used announcement was good for a second connection")
        self.talk()
        if self.role == "transfer" and (failure := self.transfer.finish()):
            raise CaseFailure(failure)
        if self.offer:
            self.offer.close()
        self.announce()
        self.use("that was announced afterwards")
        self.offer.close()

    def use(self, which):
        offer = self.offer
        where = f"{which}, to {offer.address} port {offer.port}"
        if not offer.connects():
            raise CaseFailure(f"no data connection {where}")

    def part(self):
        """Ends the session: each end reads until the other one's end."""
        for end in (self.session.client, self.session.server):
            end.sock.shutdown(1)
        for end in (self.session.client, self.session.server):
            end.drain()
        self.require_transcripts()

    def reset(self):
        """The client's program dies: its host resets the connection, and the server gives up."""
        self.session.client.reset()
        self.session.server.close()

    def require_transcripts(self, is_whole=True):
        """Each end heard what the other one said, but for translated announcements."""
        client, server = self.session.client, self.session.server
        for speaker, listener, name in ((client, server, "server"), (server, client, "client")):
            expected = as_translated(bytes(speaker.said), bytes(listener.heard))
            heard = bytes(listener.heard)
            if heard != expected and (is_whole or not expected.startswith(heard)):
                raise CaseFailure(f"the {name} {first_difference(heard, expected)}")


def send_tersely(peer, line):
    """A reply without its text, which the daemon would shorten to keep the line's length."""
    peer.send(re.sub(rb"^(22[79] )[A-Z].*\((.*)\)\.?", rb"\1(\2)", line))


def as_translated(said, heard):
    """What must be heard of `said`: announcements may name the gateway instead, in the same form.

    A translated announcement names the gateway's address, and one of its ports. The text of a
    reply may be shorter or padded.
    """
    lines, told = said.split(b"\r\n"), heard.split(b"\r\n")
    for number, (line, other) in enumerate(zip(lines, told)):
        if line != other and is_translation(line.decode("latin-1"), other.decode("latin-1")):
            lines[number] = other
    return b"\r\n".join(lines)


def is_translation(line, other):
    """Whether `other` is a canonical announcement of the gateway in the place of `line`."""
    if line[:4] != other[:4] or line[:4] not in ("PORT", "EPRT", "227 ", "229 "):
        return False
    try:
        address, port = decode(other, GATEWAY_WAN4)
    except CaseFailure:
        return False
    mode = {"227 ": "PASV", "229 ": "EPSV"}.get(line[:4], line[:4])
    canonical = encode(mode, GATEWAY_WAN4, port)
    if mode in ("PASV", "EPSV"):
        canonical, other = (re.sub(r"[A-Za-z .]", "", text) for text in (canonical, other))
    return canonical == other and address == GATEWAY_WAN4 and port >= LOWEST_LONG_PORT


def first_difference(heard, expected):
    place = next(
        (at for at, (one, other) in enumerate(zip(heard, expected)) if one != other),
        min(len(heard), len(expected)),
    )
    begin = max(0, place - 40)
    return (
        f"heard {heard[begin : place + 60]!r} instead of {expected[begin : place + 60]!r}, "
        f"from byte {place} on"
    )


class Crowd:
    """`count` sessions of a deployment, every second one with an offset.

    After a use of it as a context manager nothing of it runs on.
    """

    def __init__(self, stage, count, roles=ROLES):
        self.stage, self.members = stage, []
        name = stage.deployment.name
        self.plan = []
        for number in range(count):
            half, has_offset = number // 2, number % 2 == 0
            modes = ALL_MODES if has_offset else NEUTRAL_MODES[name]
            role = roles[half % len(roles)]
            mode = modes[half // len(roles) % len(modes)]
            self.plan.append((role, mode, has_offset, number))
        self.ending, self.living = threading.Event(), []
        self.pool = concurrent.futures.ThreadPoolExecutor(2 * count)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.ending.set()
        for member in self.members:
            if member.transfer:
                member.transfer.close()
            if member.offer:
                member.offer.close()
            member.session.close()
        self.pool.shutdown(wait=True, cancel_futures=True)

    def open(self):
        for role, mode, has_offset, number in self.plan:
            session = self.stage.session(timeout=SESSION_SECONDS)
            self.members.append(Member(session, role, mode, has_offset, number))
        self.each(self.give_offset, "before anything happened")
        self.require_offsets()
        self.each(Member.prepare, "before anything happened")

    def give_offset(self, member):
        """A translated announcement of a short port makes the control connection longer."""
        if not member.has_offset:
            return
        mode = OFFSET_MODE[self.stage.deployment.name]
        port = SHORT_PORTS[member.number // 2 % len(SHORT_PORTS)]
        offer = member.session.announce(
            mode, send=send_tersely, port=port, timeout=SESSION_SECONDS
        )
        if not offer.connects(timeout=SESSION_SECONDS):
            raise CaseFailure("the first transfer did not come through")
        offer.close()

    def require_offsets(self):
        wanted = sum(member.has_offset for member in self.members)
        found = count_established(ADJUST_LABEL, self.stage.lab.topology.gateway)
        if found != wanted:
            raise LabError(f"{found} sessions have an offset instead of {wanted}")

    def each(self, work, when, members=None):
        """Does the same with each member at once; one CaseFailure tells all that failed."""

        def attempt(member):
            try:
                work(member)
            except (CaseFailure, OSError) as failure:
                return f"{member}: {failure}"
            return ""

        chosen = self.members if members is None else members
        lost = [reason for reason in self.pool.map(attempt, chosen) if reason]
        if lost:
            reason = f"{len(lost)} of {len(chosen)} sessions failed {when}"
            raise CaseFailure(reason, "\n".join(lost))

    def live(self, members=None):
        """Begins what the members do meanwhile."""
        members = self.members if members is None else members
        self.living = [(member, self.pool.submit(member.live, self.ending)) for member in members]

    def settle(self, when):
        """Ends what the members do meanwhile."""
        if lost := [f"{member}: {failure}" for member, failure in self.failures()]:
            raise CaseFailure(f"{len(lost)} sessions failed {when}", "\n".join(lost))

    def failures(self):
        """Ends what the members do meanwhile; (member, failure) for each that failed."""
        self.ending.set()
        found = []
        for member, work in self.living:
            try:
                work.result()
            except (CaseFailure, OSError) as failure:
                found.append((member, failure))
        return found

    def pending(self):
        """The members whose announcement is still to be used."""
        return [member for member in self.members if member.role in ("open", "again")]

    def require_leases_kept(self):
        """Nobody else is given an outside port that an open announcement has.

        A newcomer announces that very port as its own, because a free one is given as it is.
        """
        if self.stage.deployment.name == "inside-client":
            mode, client = "EPRT", INSIDE2.name
        else:
            mode, client = "EPSV", None
        taken = {member.offer.port for member in self.pending() if is_given(member.offer)}
        tried = 0
        for port in sorted(taken):
            session = self.stage.session(client=client, timeout=SESSION_SECONDS)
            with contextlib.suppress(OSError):
                offer = session.announce(mode, port=port, timeout=SESSION_SECONDS)
                tried += 1
                if offer.port in taken:
                    raise CaseFailure(f"outside port {offer.port} was given a second time")
                if not offer.connects():
                    raise CaseFailure("a newcomer got no data connection")
                offer.close()
            session.close()
        if taken and not tried:
            raise LabError("no port of an open announcement could be asked for")


def is_given(offer):
    """Whether a host behind NAT was given another port than its own."""
    address, port = offer.listener.getsockname()
    return address in (INSIDE1.private4, INSIDE2.private4) and offer.port != port
