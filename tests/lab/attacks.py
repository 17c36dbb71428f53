"""Attacks with real hosts: does the attacker's connection come through, do honest sessions finish?

An attack is tried in a deployment, through a gateway that drops by default. It succeeds when a
connection is answered that the gateway forbids and that nobody asked for by FTP's rules. An attack
that is meant to break something succeeds when an honest session dies. Beside each attack a real
client transfers with a real server, from before the attack until after it. A session that was open
all along transfers at its end.
"""

import contextlib
import dataclasses
import functools
import itertools
import socket
import threading
import time
import typing

import scripted
import transfers
from clients import CLIENTS
from lab import SMALL, Batch, Case, CaseFailure
from scripted import Session
from servers import SERVERS, Listen
from shell import PATIENCE, inside

# A result that begins with one of these is about the helper, and not about the lab.
# attacks_table.py reads them.
OPENED, BROKE, UNFINISHED = "opened", "broke it", "honest sessions did not finish"
PASSED = "passed"

HONEST_PORT = 2121
# No honest session of the table deletes a file.
REFUSED = "DELE"
POLICY = {"name": "no-deletes", "commands": [REFUSED], "action": "refuse"}
# The gateway refuses with a reset, so that a refusal takes no time. A gateway that lets in what it
# should not does so each time.
TRIES, BETWEEN_TRIES = 3, 0.1
ANSWER_SECONDS = 1.0 * PATIENCE


@dataclasses.dataclass(frozen=True)
class Attack:
    """What is tried, and where. `attempt` gets a Field and tells whether the attacker succeeded."""

    name: str
    deployment: str
    attempt: typing.Callable
    # Why the attack succeeds neither without a helper nor with the kernel's. Without a reason such
    # an attack proves nothing.
    nowhere: str = ""
    # What success means.
    success: str = OPENED
    # Whether the gateway has a command policy.
    has_policy: bool = False


class Field(scripted.Stage):
    """A deployment with a scripted server, which the attacker may own, and an honest real one."""

    def __init__(self, lab, deployment, honest_server):
        super().__init__(lab, deployment)
        self.server, self.counter = honest_server, itertools.count()
        self.listeners = []

    @property
    def is_ipv6(self):
        return self.deployment.version == 6

    def public(self, host):
        """A host's public address in the address family of this deployment."""
        return host.public6 if self.is_ipv6 else host.public4

    def mode(self, mode):
        """PORT and PASV, or the commands that IPv6 has in their place."""
        return {"PORT": "EPRT", "PASV": "EPSV"}.get(mode, mode) if self.is_ipv6 else mode

    def announcement(self, mode, address, port):
        return scripted.encode(self.mode(mode), address, port)

    def listen(self, host, port, address=""):
        """A service on a host that only its neighbours should reach."""
        address = address or scripted.wildcard(self.deployment.version)
        listener = scripted.listen(self.lab.namespace(host), address, port)
        self.listeners.append(listener)
        return listener

    def reaches(self, host, address, port, tries=TRIES):
        """Whether a host's connection is answered; a firewall's reset is no answer."""
        return any(self.is_answered(host, address, port, attempt) for attempt in range(tries))

    def is_answered(self, host, address, port, attempt=0):
        time.sleep(BETWEEN_TRIES * bool(attempt))
        with inside(self.lab.namespace(host)):
            connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        with connection:
            connection.settimeout(scripted.REFUSED_SECONDS)
            try:
                connection.connect((address, port))
            except OSError:
                return False
        return True

    def forget(self):
        """Closes what one attack has left, so that the next one finds the same ports free."""
        for session in self.opened:
            session.close()
        for listener in self.listeners:
            listener.close()
        self.opened, self.listeners = [], []

    def close(self):
        self.forget()
        super().close()


@contextlib.contextmanager
def field(lab, deployment):
    """A batch's set-up."""
    with transfers.with_server(SERVERS["vsftpd"], Listen(HONEST_PORT), lab, deployment) as honest:
        stage = Field(lab, deployment, honest.server)
        try:
            yield stage
        finally:
            stage.close()


def say(peer, *lines):
    """Lines in one segment."""
    peer.send("".join(f"{line}\r\n" for line in lines).encode())


def hear(peer, timeout=ANSWER_SECONDS):
    """The next line, or None, because a helper may stop an attacker's line."""
    try:
        return peer.line(timeout)
    except CaseFailure:
        return None


def hear_until(peer, wanted, timeout=ANSWER_SECONDS):
    """The first line that has `wanted` in it, or None."""
    while (line := hear(peer, timeout)) is not None:
        if wanted in line:
            return line
    return None


def ask(session: Session, line, answer="200 noted"):
    """The client says a line and the server answers; returns what the server heard.

    A helper may stop either line.
    """
    say(session.client, line)
    heard = hear(session.server)
    say(session.server, answer)
    hear(session.client)
    return heard


def expects_honest_sessions(engine):
    """Nobody transfers without a helper, unless a rule stands in for it."""
    return engine.name != "none"


def honest_modes(engine):
    """Passive transfers between two networks need no helper where a rule leaves the ports open."""
    return ("PASV", "PORT") if engine.name not in ("none", "ports-open") else ("PASV",)


class Honest:
    """Real transfers in a loop beside an attack, and a session that outlasts it.

    Use it as a context manager.
    """

    def __init__(self, stage):
        self.stage, self.failures, self.stopping = stage, [], threading.Event()
        self.begun = threading.Event()
        self.thread = threading.Thread(target=self.transfer)

    def __enter__(self):
        self.session = self.stage.session()
        self.thread.start()
        self.begun.wait(transfers.TIMEOUT)
        return self

    def __exit__(self, *exception):
        self.stopping.set()
        self.thread.join()
        self.session.close()

    def transfer(self):
        """Each mode at least once, and one transfer that begins when the attack is over."""
        for mode in itertools.cycle(honest_modes(self.stage.lab.engine)):
            is_last = self.stopping.is_set()
            self.begun.set()
            said, arrived = transfers.perform(
                self.stage, CLIENTS["curl"], self.stage.mode(mode), transfers.TIMEOUT
            )
            if SMALL not in arrived or len(arrived) != 3:
                self.failures.append(f"{mode}: {said[-600:]}")
            if is_last or self.failures:
                return

    def finish(self):
        """The sessions that did not finish; empty if all did."""
        self.stopping.set()
        self.thread.join()
        for mode in honest_modes(self.stage.lab.engine):
            with contextlib.suppress(CaseFailure):
                if self.session.announce(self.stage.mode(mode)).connects():
                    continue
            self.failures.append(f"{mode} in the session that was open all along")
        return self.failures


def try_attack(attack, stage):
    """The case: nothing opens, and honest sessions finish."""
    honest = Honest(stage) if expects_honest_sessions(stage.lab.engine) else None
    try:
        with honest or contextlib.nullcontext():
            is_success = attack.attempt(stage)
            unfinished = honest.finish() if honest else []
    finally:
        stage.forget()
    found = [attack.success] * is_success + [UNFINISHED] * bool(unfinished)
    if found:
        raise CaseFailure("; ".join(found), "\n".join(unfinished))


def suite():
    """Every attack but the heavy ones."""
    # These modules import this one.
    import attacks_commands
    import attacks_conntrack
    import attacks_dialogues
    import attacks_packets
    import attacks_policy
    import attacks_replies

    return (
        *attacks_commands.ATTACKS,
        *attacks_replies.ATTACKS,
        *attacks_dialogues.ATTACKS,
        *attacks_packets.ATTACKS,
        *attacks_policy.ATTACKS,
        *attacks_conntrack.ATTACKS,
    )


def batches():
    yield from batches_of(suite())


def batches_of(attacks, group="attack", in_network=lambda deployment: deployment, **more):
    """A gateway for each deployment, which refuses with a reset.

    `in_network` gives the name of a deployment within a network. `more` are fields of each batch.
    """
    together = {}
    for attack in attacks:
        case = Case(f"{group}/{attack.name}", functools.partial(try_attack, attack))
        together.setdefault((attack.deployment, attack.has_policy), []).append(case)
    for (deployment, has_policy), cases in together.items():
        policy = {"command_policy": [POLICY]} if has_policy else {}
        yield Batch(
            f"{group}/{deployment}" + "/policy" * has_policy,
            in_network(deployment),
            tuple(cases),
            field,
            settings={"control_ports": [21, HONEST_PORT], **policy},
            refusal="reject",
            **more,
        )
