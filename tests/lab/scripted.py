"""A scripted FTP client and server in one program, for behaviour that no real one can be told.

A `Session` is a control connection through the gateway. The test holds both sockets, each made in
its own namespace. `announce` sends one announcement and returns an `Offer`: the listening socket,
and the endpoint as the other side heard it, to which a data connection goes.
"""

import contextlib
import dataclasses
import errno
import re
import socket
import struct
import threading
import time

from deployments import Deployment
from lab import CaseFailure
from shell import PATIENCE, inside
from topology import HOSTS

# How long a connection that should come may take.
CONNECT_SECONDS = 2.5 * PATIENCE
# Long enough for one repeated SYN (after 1 s), so that a refusal is not merely a lost packet. A
# slow machine needs no longer, because its SYN too comes again after a second.
REFUSED_SECONDS = 2.5
LINE_SECONDS = 5 * PATIENCE
GREETING = b"data both ways"


class Peer:
    """One end of a control connection."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = b""

    def send(self, data):
        self.sock.sendall(data)

    def receive(self):
        return self.sock.recv(4096)

    def line(self, timeout=LINE_SECONDS):
        """The next line without its end; CaseFailure if it does not come."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self.buffer:
            self.sock.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                received = self.receive()
            except OSError as error:
                raise CaseFailure(
                    f"no line within {timeout} s ({error}), only {self.buffer!r}"
                ) from error
            if not received:
                raise CaseFailure(f"the control connection closed after {self.buffer!r}")
            self.buffer += received
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.rstrip(b"\r").decode("latin-1")

    def close(self):
        self.sock.close()

    def reset(self):
        """Its program is killed: its host sends a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    @property
    def address(self):
        return self.sock.getsockname()[0]

    @property
    def peer_address(self):
        return self.sock.getpeername()[0]


@dataclasses.dataclass
class Offer:
    """An announced endpoint.

    `connector` is the host that connects, `source` its address, and `address` and `port` are the
    endpoint as it heard it.
    """

    session: "Session"
    listener: socket.socket
    connector: str
    source: str
    address: str
    port: int
    # How many SYNs the last successful connection had to repeat.
    repeated_syns: int = 0

    def connects(self, host=None, timeout=CONNECT_SECONDS):
        """Whether a data connection from `host` reaches the listener and carries data.

        The default host is the connector itself.
        """
        with self.connector_socket(host, timeout) as connection:
            try:
                connection.connect((self.address, self.port))
                self.repeated_syns = retransmissions(connection)
                self.listener.settimeout(timeout)
                accepted, _ = self.listener.accept()
                with accepted:
                    accepted.settimeout(timeout)
                    return echo(connection, accepted) and echo(accepted, connection)
            except OSError:
                return False

    def stays_shut(self, host=None):
        """Whether no connection from `host` is answered, although it tries twice.

        A connection that is answered is open, with or without data.
        """
        with self.connector_socket(host, REFUSED_SECONDS) as connection:
            try:
                connection.connect((self.address, self.port))
            except OSError:
                return True
        return False

    def connector_socket(self, host, timeout):
        source = self.session.stage.lab.namespace(host or self.connector)
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        with inside(source):
            connection = socket.socket(family, socket.SOCK_STREAM)
        connection.settimeout(timeout)
        if host is None:
            connection.bind((self.source, 0))
        return connection

    def close(self):
        self.listener.close()


def retransmissions(connection):
    """tcpi_total_retrans of struct tcp_info, at byte 100."""
    return struct.unpack_from(
        "=I", connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 100
    )[0]


def echo(one, other):
    one.sendall(GREETING)
    received = b""
    while len(received) < len(GREETING):
        part = other.recv(len(GREETING))
        if not part:
            return False
        received += part
    return True


class Stage:
    """A listening scripted server in a deployment, which opens sessions to itself."""

    # What holds each end of its sessions.
    peer = Peer
    # The protocol of its control connections.
    protocol = socket.IPPROTO_TCP

    def __init__(self, lab, deployment: Deployment, server_port=21):
        self.lab, self.deployment, self.server_port = lab, deployment, server_port
        self.lock, self.opened = threading.Lock(), []
        self.listener = listen(
            lab.namespace(deployment.server),
            wildcard(deployment.version),
            server_port,
            self.protocol,
        )

    def session(self, client=None, source=None, timeout=LINE_SECONDS):
        """A new control connection with a login, as far as a helper needs it."""
        session = self.connect(client, source, timeout)
        session.greet(timeout)
        return session

    def connect(self, client=None, source=None, timeout=LINE_SECONDS):
        """A new control connection on which nobody has spoken yet."""
        client = client or self.deployment.client
        with inside(self.lab.namespace(client)):
            family = socket.AF_INET6 if self.deployment.version == 6 else socket.AF_INET
            sock = socket.socket(family, socket.SOCK_STREAM, self.protocol)
        if source:
            sock.bind((source, 0))
        sock.settimeout(timeout)
        port = self.deployment.outside_port(self.server_port)
        # One at a time, so that the accepted connection is this one.
        with self.lock:
            sock.connect((self.deployment.target, port))
            self.listener.settimeout(timeout)
            accepted, _ = self.listener.accept()
        session = Session(self, client, self.peer(sock), self.peer(accepted))
        self.opened.append(session)
        return session

    def close(self):
        for session in self.opened:
            session.close()
        self.listener.close()


class MultipathStage(Stage):
    """A stage whose control connections speak Multipath TCP at both ends."""

    protocol = socket.IPPROTO_MPTCP


@contextlib.contextmanager
def scripted(lab, deployment, server_port=21, stage_class=Stage):
    """A batch's set-up: a Stage, closed afterwards."""
    stage = stage_class(lab, deployment, server_port)
    try:
        yield stage
    finally:
        stage.close()


@dataclasses.dataclass
class Session:
    """Both ends of one control connection."""

    stage: Stage
    client_host: str
    client: Peer
    server: Peer

    def greet(self, timeout=LINE_SECONDS):
        self.reply("220 scripted", timeout)
        self.exchange("USER anonymous", "230 logged in", timeout)

    def reply(self, text, timeout=LINE_SECONDS):
        self.server.send(f"{text}\r\n".encode())
        heard = self.client.line(timeout)
        if heard != text:
            raise CaseFailure(f"the server said {text!r} and the client heard {heard!r}")

    def exchange(self, command, reply, timeout=LINE_SECONDS):
        """A command and its reply that no helper may change; shows that the connection works."""
        self.command(command, timeout)
        self.reply(reply, timeout)

    def command(self, text, timeout=LINE_SECONDS):
        self.client.send(f"{text}\r\n".encode())
        heard = self.server.line(timeout)
        if heard != text:
            raise CaseFailure(f"the client said {text!r} and the server heard {heard!r}")

    def announce(
        self, mode, *, send=Peer.send, port=0, address=None, reply="200 noted", timeout=LINE_SECONDS
    ):
        """Announces a listening socket in a mode.

        `send` decides how the line's bytes leave. `address` is the address in the line. `reply` is
        the server's answer to a client's announcement; without one it does not answer.
        """
        active = mode in ("PORT", "EPRT")
        announcer, host = (
            (self.client, self.client_host)
            if active
            else (self.server, self.stage.deployment.server)
        )
        listener = listen(self.stage.lab.namespace(host), announcer.address, port)
        line = encode(mode, address or announcer.address, listener.getsockname()[1])
        if not active:
            self.command(mode, timeout)
        send(announcer, line.encode() + b"\r\n")
        heard = (self.server if active else self.client).line(timeout)
        connector = self.stage.deployment.server if active else self.client_host
        connecting = self.server if active else self.client
        if active and reply:
            self.reply(reply, timeout)
        return Offer(
            self, listener, connector, connecting.address, *decode(heard, connecting.peer_address)
        )

    def close(self):
        self.client.close()
        self.server.close()


def encode(mode, address, port):
    """The line that announces an endpoint in a mode."""
    host_port = ",".join([*address.split("."), str(port >> 8), str(port & 255)])
    return {
        "PORT": f"PORT {host_port}",
        "EPRT": f"EPRT |{2 if ':' in address else 1}|{address}|{port}|",
        "PASV": f"227 Entering Passive Mode ({host_port}).",
        "EPSV": f"229 Entering Extended Passive Mode (|||{port}|)",
    }[mode]


def decode(line, default_address):
    """The endpoint in an announcement; `default_address` counts where the line has none (229)."""
    if found := re.search(r"(\d+),(\d+),(\d+),(\d+),(\d+),(\d+)", line):
        numbers = found.groups()
        return ".".join(numbers[:4]), int(numbers[4]) * 256 + int(numbers[5])
    if found := re.search(r"\|[12]\|([^|]+)\|(\d+)\|", line):
        return found[1], int(found[2])
    if found := re.search(r"\|\|\|(\d+)\|", line):
        return default_address, int(found[1])
    raise CaseFailure(f"no endpoint in {line!r}")


def listen(namespace, address, port, protocol=socket.IPPROTO_TCP):
    """A listening socket.

    A socket that was just closed on the same port may live a moment longer in a child that is being
    started.
    """
    deadline = time.monotonic() + 1
    while True:
        try:
            return listening(namespace, address, port, protocol)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def listening(namespace, address, port, protocol):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with inside(namespace):
        sock = socket.socket(family, socket.SOCK_STREAM, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    sock.listen(256)
    return sock


def wildcard(version):
    return "::" if version == 6 else "0.0.0.0"


def stranger_to(host):
    """The other host on the same link, so that only its address is wrong."""
    link = next(h.link for h in HOSTS if h.name == host)
    return next(h.name for h in HOSTS if h.link == link and h.name != host)
