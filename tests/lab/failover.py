"""Kills the working gateway in the middle of FTP sessions, and tells which go on through the other.

    sudo scripts/failover.sh [--times N] [--controls]
                             [--without states|expectations|adoption|backend]

Each run builds both gateways anew (pair.py) and brings two dozen sessions into the middle of
something. Then gateway-a loses its power. Each session must finish what it was in the middle of,
transfer in both modes, and say good-bye. A session with a sequence offset must end with a reset,
while its data connection goes on.

`--without` takes one part away, and then exactly the sessions that need it must fail: `states` (no
conntrackd), `expectations` (conntrackd without ExpectationSync), `adoption` (no `ftp-alg adopt`),
`backend` (nftables instead of conntrack). `--controls` makes one run without each of them.
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import ftplib
import hashlib
import os
import random
import socket
import sys
import threading
import time

import pair
from pair import HOST_ADDRESSES, INSIDE, OUTSIDE, VIRTUAL, Pair
from servers import Listen, Vsftpd
from shell import PATIENCE, LabError, inside, run
from topology import begin, finish

SMALL, SLOW = "small.bin", "slow.bin"
SIZES = {SMALL: 3_001, SLOW: 320_017}
# Until the power goes, a client gives or takes this many octets at a time and then pauses, so that
# no transfer ends before.
CHUNK, PAUSE_SECONDS = 4_096, 0.25
# The least progress of each transfer when the power goes.
MIDWAY = 5 * CHUNK
# Longer than the failover and the senders' next retransmission after it, because senders double
# their pauses. On a busy host the notify script of an emulated machine took 16 s.
REPLY_SECONDS = 60 * PATIENCE
# So small that bytes that have left one end have nearly reached the other's program.
SOCKET_BUFFERS = ("net.ipv4.tcp_rmem=4096 16384 32768", "net.ipv4.tcp_wmem=4096 16384 32768")
PARTS = ("states", "expectations", "adoption", "backend")


class Patient(Vsftpd):
    """vsftpd that waits for data connections longer than a failover lasts."""

    def write_config(self, text):
        return super().write_config(f"{text}accept_timeout=60\nconnect_timeout=60\n")


@dataclasses.dataclass
class Deployment:
    """The hosts that talk through the gateways, and whose announcements are rewritten."""

    name: str
    client: str
    server: str
    target: str
    rewritten: tuple


DEPLOYMENTS = {
    "inside-client": Deployment(
        "inside-client", INSIDE, OUTSIDE, HOST_ADDRESSES[OUTSIDE], ("PORT", "EPRT")
    ),
    "inside-server": Deployment("inside-server", OUTSIDE, INSIDE, VIRTUAL["wan"], ("PASV", "EPSV")),
}


class Session:
    """One FTP session of a real client library.

    `prepare` brings it into the middle of something, and `go_on` continues after the failover.
    """

    kind = "logged in and idle"
    # The parts that it needs to go on.
    needs = ("states",)

    def __init__(self, stage, deployment, mode, number):
        self.stage, self.deployment, self.mode, self.number = stage, deployment, mode, number
        self.ftp = None
        self.resumed = None

    def __str__(self):
        return f"{self.deployment.name}, {self.mode}, {self.kind} (#{self.number})"

    def within(self):
        """The client's host."""
        return inside(self.stage.pair.namespace(self.deployment.client))

    def open(self):
        with self.within():
            self.ftp = ftplib.FTP(timeout=REPLY_SECONDS)
            # A client that ignored the address of a 227 would hide a missing rewrite.
            self.ftp.trust_server_pasv_ipv4_address = True
            self.ftp.connect(self.deployment.target, 21)
            self.ftp.login("anonymous", "lab@example.net")

    def get_ready(self):
        with self.within():
            self.prepare()

    def prepare(self):
        self.fetch(self.mode)

    def check_midway(self):
        """Checks before the power goes that the session is where it should be."""

    def go_on(self):
        with self.within():
            self.resume()
            self.work()

    def resume(self):
        self.ftp.voidcmd("NOOP")
        self.resumed = time.monotonic()

    def work(self):
        """Announces anew through the other gateway, in both modes."""
        for mode in ("PASV", "PORT"):
            self.fetch(mode)
        self.store("PORT" if self.mode in ("PASV", "EPSV") else "PASV")
        self.ftp.quit()

    def fetch(self, mode, name=SMALL):
        with self.transfer(mode, f"RETR pub/{name}") as connection:
            content = read_all(connection)
        self.ftp.voidresp()
        self.stage.check(content, name)

    def store(self, mode, name=SMALL):
        with self.transfer(mode, f"STOR upload/{self.number}.bin") as connection:
            connection.sendall(self.stage.content[name])
        self.ftp.voidresp()
        self.stage.check(self.uploaded().read_bytes(), name)

    def uploaded(self):
        return self.stage.servers[self.deployment.server].uploaded(f"{self.number}.bin")

    def transfer(self, mode, command):
        """Announces in a mode, begins the transfer, and returns its data connection."""
        return self.begin(self.announce(mode), command)

    def announce(self, mode):
        """A listening socket, or the endpoint that the client was told."""
        if mode == "PASV":
            return self.ftp.makepasv()
        if mode == "EPSV":
            return ftplib.parse229(self.ftp.sendcmd("EPSV"), self.ftp.sock.getpeername())
        listener = self.listen()
        send = {"PORT": self.ftp.sendport, "EPRT": self.ftp.sendeprt}[mode]
        send(self.ftp.sock.getsockname()[0], listener.getsockname()[1])
        return listener

    def listen(self):
        """A port on which no session of this host has listened before.

        The other gateway gives a port that comes again another outside port, and the server
        connects to both from its port 20. Conntrack cannot tell the answers of these two apart
        (docs/ha.md).
        """
        while True:
            listener = socket.create_server(("", 0))
            listener.settimeout(REPLY_SECONDS)
            port = listener.getsockname()[1]
            if port not in self.stage.listened_at:
                self.stage.listened_at.add(port)
                return listener
            listener.close()

    def begin(self, endpoint, command):
        self.ftp.voidcmd("TYPE I")
        if isinstance(endpoint, tuple):
            connection = socket.create_connection(endpoint, timeout=REPLY_SECONDS)
            self.ftp.sendcmd(command)
            return connection
        with endpoint:
            self.ftp.sendcmd(command)
            connection, _ = endpoint.accept()
        connection.settimeout(REPLY_SECONDS)
        return connection


class Announced(Session):
    """One side has announced a port, and the other has not used it yet."""

    kind = "announced, not used yet"

    @property
    def needs(self):
        translated = self.mode in self.deployment.rewritten
        return PARTS if translated else tuple(part for part in PARTS if part != "adoption")

    def prepare(self):
        self.endpoint = self.announce(self.mode)

    def resume(self):
        with self.begin(self.endpoint, f"RETR pub/{SMALL}") as connection:
            self.resumed = time.monotonic()
            content = read_all(connection)
        self.ftp.voidresp()
        self.stage.check(content, SMALL)


class Transferring(Session):
    """A thread carries the data while the power goes."""

    def prepare(self):
        self.connection = self.transfer(self.mode, self.command())
        self.moved, self.failure = 0, None
        self.thread = threading.Thread(target=self.carry, daemon=True)
        self.thread.start()
        deadline = time.monotonic() + REPLY_SECONDS
        while self.progress() < MIDWAY:
            if self.failure or time.monotonic() > deadline:
                raise LabError(f"{self}: the transfer does not get on: {self.failure}")
            time.sleep(0.05)

    def carry(self):
        try:
            with self.connection:
                self.move()
        except OSError as error:
            self.failure = error

    def check_midway(self):
        if not MIDWAY <= self.progress() < SIZES[SLOW]:
            raise LabError(f"{self}: {self.progress()} octets were through when the power went")

    def resume(self):
        before, deadline = self.progress(), time.monotonic() + REPLY_SECONDS
        while self.thread.is_alive() and self.progress() == before and time.monotonic() < deadline:
            time.sleep(0.02)
        self.resumed = time.monotonic()
        self.thread.join(max(0.0, deadline - time.monotonic()))
        if self.failure or self.thread.is_alive():
            raise OSError(
                f"the transfer ended after {self.progress()} octets: "
                f"{self.failure or 'nothing comes'}"
            )
        self.finish()

    def finish(self):
        self.ftp.voidresp()
        self.check_content()


class Fetching(Transferring):
    kind = "in the middle of fetching"

    def command(self):
        return f"RETR pub/{SLOW}"

    def move(self):
        self.content = bytearray()
        while part := self.connection.recv(CHUNK):
            self.content += part
            self.stage.power_is_gone.wait(PAUSE_SECONDS)

    def progress(self):
        return len(self.content) if hasattr(self, "content") else 0

    def check_content(self):
        self.stage.check(self.content, SLOW)


class Storing(Transferring):
    kind = "in the middle of storing"

    def command(self):
        return f"STOR upload/{self.number}.bin"

    def move(self):
        content = self.stage.content[SLOW]
        for start in range(0, len(content), CHUNK):
            self.connection.sendall(content[start : start + CHUNK])
            self.stage.power_is_gone.wait(PAUSE_SECONDS)

    def progress(self):
        path = self.uploaded()
        return path.stat().st_size if path.exists() else 0

    def check_content(self):
        self.stage.check(self.uploaded().read_bytes(), SLOW)
        self.uploaded().unlink()


class WithOffset(Fetching):
    """The rewritten line was longer, and only the gateway that is gone knows by how much."""

    kind = "with a sequence offset, fetching"

    def finish(self):
        self.check_content()

    def work(self):
        """Expects a reset at once, because a client without one would wait until it gives up."""
        sent = time.monotonic()
        try:
            answer = self.ftp.sendcmd("NOOP")
        except ConnectionResetError:
            if time.monotonic() - sent > REPLY_SECONDS / 2:
                raise OSError("the reset came late") from None
            return
        raise OSError(f"the session was to be reset, and answers {answer!r}")


# How many sessions of each kind: (deployment, mode, kind).
PLAN = [
    ("inside-client", "PASV", Session, 1),
    ("inside-client", "PORT", Session, 1),
    ("inside-client", "PASV", Fetching, 2),
    ("inside-client", "PORT", Fetching, 2),
    ("inside-client", "PASV", Storing, 1),
    ("inside-client", "PORT", Storing, 1),
    ("inside-client", "PASV", Announced, 1),
    ("inside-client", "EPSV", Announced, 1),
    ("inside-client", "PORT", Announced, 2),
    ("inside-client", "EPRT", WithOffset, 1),
    ("inside-server", "PASV", Session, 1),
    ("inside-server", "PORT", Session, 1),
    ("inside-server", "PASV", Fetching, 2),
    ("inside-server", "PORT", Fetching, 1),
    ("inside-server", "PASV", Storing, 1),
    ("inside-server", "PORT", Storing, 1),
    ("inside-server", "PASV", Announced, 2),
    ("inside-server", "EPSV", Announced, 1),
    ("inside-server", "PORT", Announced, 1),
    ("inside-server", "EPRT", Announced, 1),
]


class Stage:
    """The sessions of one run and what they share."""

    def __init__(self, gateways):
        self.pair = gateways
        source = random.Random(21)
        self.content = {name: source.randbytes(size) for name, size in SIZES.items()}
        self.servers = {}
        self.power_is_gone = threading.Event()
        self.listened_at = set()
        plan = [
            (DEPLOYMENTS[name], mode, kind)
            for name, mode, kind, count in PLAN
            for _ in range(count)
        ]
        self.sessions = [
            kind(self, deployment, mode, number)
            for number, (deployment, mode, kind) in enumerate(plan)
        ]

    def start_servers(self):
        for name, content in self.content.items():
            (self.pair.directory / name).write_bytes(content)
        for host in HOST_ADDRESSES:
            run(["sysctl", "-qw", *SOCKET_BUFFERS], namespace=self.pair.namespace(host))
            directory = self.pair.directory / host
            directory.mkdir()
            server = Patient(
                self.pair.namespace(host),
                directory,
                [self.pair.directory / name for name in SIZES],
                Listen(),
            )
            server.start()
            self.servers[host] = server

    def stop(self):
        for session in self.sessions:
            if session.ftp:
                session.ftp.close()
        for server in self.servers.values():
            server.stop()

    def check(self, content, name):
        if hashlib.sha256(content).digest() != hashlib.sha256(self.content[name]).digest():
            raise OSError(f"{len(content)} octets arrived that are not {name}")

    def for_each(self, work):
        """Runs `work` on all sessions at once; returns the result or exception of each."""
        with concurrent.futures.ThreadPoolExecutor(len(self.sessions)) as pool:
            futures = [pool.submit(work, session) for session in self.sessions]
        return [future.exception() for future in futures]


def read_all(connection):
    content = bytearray()
    while part := connection.recv(8192):
        content += part
    return bytes(content)


@dataclasses.dataclass
class Result:
    """The outcome of a run's sessions, and how long the new master and the slowest session took."""

    without: tuple
    fates: list
    takeover: float
    silence: float

    def wrong(self):
        """The sessions that failed: (session, what it said)."""
        return [
            (session, failure)
            for session, failure in self.fates
            if (failure is not None) != self.should_fail(session)
        ]

    def should_fail(self, session):
        return any(part in session.needs for part in self.without)

    def line(self):
        went_on = sum(failure is None for _, failure in self.fates)
        text = f"{went_on} of {len(self.fates)} as docs/ha.md says"
        if self.without:
            wanted = sum(not self.should_fail(session) for session, _ in self.fates)
            text = (
                f"without {self.without[0]} {went_on} of {len(self.fates)} go on, {wanted} should"
            )
        return (
            f"{text}; new master after {self.takeover:.1f} s, "
            f"the last went on after {self.silence:.1f} s"
        )


def run_once(without):
    """Builds everything, cuts the power, and collects the outcome."""
    with Pair(os.getpid(), without) as gateways:
        stage = Stage(gateways)
        try:
            stage.start_servers()
            # All begin their transfers together, so that none ends before the last one is ready.
            problems = [
                error
                for step in (Session.open, Session.get_ready)
                for error in stage.for_each(step)
                if error
            ]
            if problems:
                raise LabError(f"a session did not get ready: {problems[0]!r}\n{gateways.logs()}")
            result = fail_over(gateways, stage, without)
            if result.wrong():
                print(gateways.logs(), file=sys.stderr)
            return result
        finally:
            stage.stop()


def fail_over(gateways, stage, without):
    for session in stage.sessions:
        session.check_midway()
    cut = time.monotonic()
    gateways.cut_power()
    stage.power_is_gone.set()
    taken = []
    watch = threading.Thread(target=lambda: taken.append(gateways.wait_for_takeover()), daemon=True)
    watch.start()
    failures = stage.for_each(Session.go_on)
    watch.join(pair.START_SECONDS)
    if not taken:
        raise LabError(f"gateway-b did not become master\n{gateways.logs()}")
    fates = list(zip(stage.sessions, failures))
    resumed = [session.resumed for session, failure in fates if failure is None]
    return Result(without, fates, taken[0] - cut, max(resumed, default=cut) - cut)


def report(number, result, seconds):
    print(
        f"run {number}: {'FAIL' if result.wrong() else 'ok'}: {result.line()} ({seconds:.0f} s)",
        flush=True,
    )
    for session, failure in result.wrong():
        print(
            f"    {session}: {failure!r}" if failure else f"    {session}: went on, and should not",
            flush=True,
        )


def summary(results):
    """How many sessions of each kind went on, over all runs."""
    counts = collections.defaultdict(lambda: [0, 0])
    for result in results:
        for session, failure in result.fates:
            entry = counts[f"{session.kind}, {session.mode}, {session.deployment.name}"]
            entry[0] += failure is None
            entry[1] += 1
    return "\n".join(
        f"  {good:4} of {all_:4}  {kind}" for kind, (good, all_) in sorted(counts.items())
    )


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=1, help="how many runs in a row (default: 1)")
    parser.add_argument(
        "--without", choices=PARTS, help="take this away, and see what fails for want of it"
    )
    parser.add_argument("--controls", action="store_true", help="first run once without each part")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    begin()
    wanted = [(part,) for part in PARTS if arguments.controls]
    wanted += [(arguments.without,) if arguments.without else ()] * arguments.times
    results = []
    for number, without in enumerate(wanted, 1):
        started = time.monotonic()
        results.append(run_once(without))
        report(number, results[-1], time.monotonic() - started)
    whole = [result for result in results if not result.without]
    if whole:
        print(f"of {len(whole)} runs with everything in place:\n{summary(whole)}")
    bad = sum(bool(result.wrong()) for result in results)
    print(f"{len(results) - bad} passed, {bad} failed")
    return int(bad > 0)


if __name__ == "__main__":
    finish(main, "lab")
