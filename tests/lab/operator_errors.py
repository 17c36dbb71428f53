"""The operator's errors: each is told in one line, which names the cause and the cure.

A gateway has one error, and a user tries transfers that cannot work. What the log says at the
default level must let an operator find the error within a minute.
"""

import contextlib
import dataclasses
import functools
import json
import pathlib
import re
import select
import socket
import threading
import time
import typing

import deployments
from deployments import DATA_MARK, DEPLOYMENTS, PORTS
from engines import ftp_alg_binary
from guarantees import require
from lab import Batch, Case, CaseFailure, NotApplicable
from networks import Network, nft
from offload import OFFLOADED
from scripted import Peer, scripted
from shell import PATIENCE, inside, run, write_sysctls
from stress import send_nodelay
from topology import GATEWAY_WAN4, INSIDE2

# How long the daemon may take to be sure. A client gives up a connection much later.
TOLD_SECONDS = 15 * PATIENCE
# Another line would come soon after the first one.
SETTLED_SECONDS = 1 * PATIENCE
SHORT_SECONDS = 2 * PATIENCE


@dataclasses.dataclass(frozen=True)
class OperatorError:
    """One error, and what its line must contain."""

    network: Network
    # Patterns of what the line must say, with either backend unless a name of one is a key.
    words: dict
    # What the log may say as well, because the error has a consequence of its own.
    consequence: str = ""
    # What the user does.
    mode: str = "PASV"
    settings: dict = dataclasses.field(default_factory=dict)
    # What runs during the case: a context manager that gets the lab.
    beside: typing.Callable = lambda lab: contextlib.nullcontext()
    # Why a backend does not know this error, by its name.
    no_error_with: dict = dataclasses.field(default_factory=dict)

    @property
    def deployment(self):
        return next(self.network.deployments())[0]


def changed_rules(old, new):
    """A Network.edit: the operator's rules with other words, which they must have had."""
    return lambda rules: rules.replace(old, new)


ACCEPT_LINE = f"ct mark & {DATA_MARK:#x} != 0 accept"
EITHER_ACCEPT_LINE = rf"{re.escape(ACCEPT_LINE)}|ct label \d+ accept"
WITHOUT_RELATED = changed_rules("ct state established,related", "ct state established")


def without_accept_line(rules):
    """Neither backend's line for data connections."""
    return WITHOUT_RELATED(rules).replace(ACCEPT_LINE, "")


def backend_of(engine):
    """The backend that the daemon says it took."""
    return "conntrack" if '"backend":"conntrack"' in engine.log() else "nftables"


# --- a proxy ---


@contextlib.contextmanager
def userland_proxy(lab):
    """Two TCP connections in place of one, as a container's engine makes them."""
    with inside(lab.topology.gateway):
        listener = socket.create_server((GATEWAY_WAN4, 21))
    ending = threading.Event()
    thread = threading.Thread(target=serve, args=(lab.topology.gateway, listener, ending))
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
        listener.close()


def serve(gateway, listener, ending):
    """Passes on what comes, in both directions, for any number of clients."""
    others = {}
    while not ending.is_set():
        for sock in select.select([listener, *others], [], [], 0.1)[0]:
            if sock is listener:
                accepted, _ = listener.accept()
                with inside(gateway):
                    server = socket.create_connection((INSIDE2.private4, 21))
                others.update({accepted: server, server: accepted})
            elif sock in others:
                pass_on(sock, others)
    for sock in others:
        sock.close()


def pass_on(sock, others):
    """What one socket says to the other one; if it ends, both do."""
    if data := received(sock):
        others[sock].sendall(data)
        return
    for one in (sock, others[sock]):
        del others[one]
        one.close()


def received(sock):
    """What a socket has to read; nothing at its end."""
    with contextlib.suppress(OSError):
        return sock.recv(4096)
    return b""


# --- the errors ---

ERRORS = (
    OperatorError(
        Network("no-accept-line", ("inside-client",), edit=without_accept_line),
        {"nftables": (EITHER_ACCEPT_LINE,), "conntrack": ("related",)},
    ),
    OperatorError(
        Network(
            "packet-mark-line",
            ("inside-client",),
            edit=changed_rules(ACCEPT_LINE, ACCEPT_LINE.replace("ct mark", "meta mark")),
        ),
        {"nftables": (EITHER_ACCEPT_LINE,)},
        no_error_with={"conntrack": "its data connections need no line for a mark"},
    ),
    OperatorError(
        Network(
            "output-drops",
            ("inside-client",),
            edit=changed_rules("ct state untracked accept", ""),
        ),
        {"": ("output", "ct state untracked accept")},
        mode="halved PORT",
    ),
    OperatorError(
        dataclasses.replace(OFFLOADED, name="offloaded", places=("inside-client",)),
        {"nftables": ("flow", "ct original proto-dst != 21")},
        mode="PORT",
        no_error_with={"conntrack": "the kernel keeps a connection with a helper out"},
    ),
    OperatorError(
        Network("other-control-port", ("inside-client",)),
        {"": ("control_ports", r"\b21\b")},
        settings={"control_ports": [2121]},
    ),
    OperatorError(
        Network(
            "not-forwarding",
            ("inside-client",),
            build=lambda topology: write_sysctls(topology.gateway, ("net.ipv4.ip_forward=0",)),
        ),
        {"": (r"net\.ipv4\.ip_forward",)},
        mode="connect",
    ),
    OperatorError(
        Network(
            "untracked",
            ("routed-client",),
            load=nft(f"""
                table inet untracked {{
                  chain prerouting {{
                    type filter hook prerouting priority raw
                    tcp dport {PORTS} notrack
                    tcp sport {PORTS} notrack
                  }}
                }}
                """),
            lines=(("forward", "ct state untracked accept"),),
        ),
        {"": ("notrack",)},
    ),
    OperatorError(
        Network(
            "userland-proxy",
            (dataclasses.replace(DEPLOYMENTS["inside-server"], prerouting="", forward=""),),
            lines=(
                ("input", f"iifname wan tcp dport {PORTS} ct state new accept"),
                ("output", f"oifname lan tcp dport {PORTS} ct state new accept"),
            ),
        ),
        {"": ("proxy",)},
        # Nobody on this machine listens to the announced port.
        consequence="the announced data connection was let in, and has not come about",
        beside=userland_proxy,
    ),
)


# --- the cases ---


def is_told(error, stage):
    """A user tries; one line of the log says why it does not work."""
    engine = stage.lab.engine
    if not engine.is_ours:
        raise NotApplicable("it has no log")
    backend = backend_of(engine)
    if reason := error.no_error_with.get(backend):
        raise NotApplicable(reason)
    with error.beside(stage.lab):
        for _ in range(2):
            attempt(error, stage)
    words = error.words.get(backend, error.words.get("", ()))
    require_one_line(engine, words, error.consequence)


def attempt(error, stage):
    """What the user does, whether it works or not."""
    *halved, mode = error.mode.split()
    if mode == "connect":
        with contextlib.suppress(OSError):
            stage.connect(timeout=SHORT_SECONDS)
        return
    session = stage.session()
    send = functools.partial(send_nodelay, 3) if halved else Peer.send
    try:
        session.announce(mode, send=send).connects()
    except CaseFailure:
        # An announcement may be refused.
        pass
    session.close()


def require_one_line(engine, words, consequence):
    """Waits for a line, and raises unless it is the only one and has the words.

    The same line may come again with another session, but not in each.
    """
    deadline = time.monotonic() + TOLD_SECONDS
    while not said(engine) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(SETTLED_SECONDS)
    lines = said(engine)
    require(lines, f"the log says nothing of {' and '.join(words)}")
    messages = {json.loads(line)["message"] for line in lines}
    if consequence:
        messages = {message for message in messages if not message.startswith(consequence)}
    if len(messages) > 1 or not all(re.search(word, lines[0]) for word in words):
        raise CaseFailure(
            f"{len(messages)} lines in place of one about {' and '.join(words)}", "\n".join(lines)
        )


def said(engine):
    """The lines of the log that a gateway without the error does not have."""
    lines = engine.notices()
    ready = next((number for number, line in enumerate(lines) if '"ready"' in line), -1)
    return [
        line for number, line in enumerate(lines) if number > ready or '"level":"INFO"' not in line
    ]


def second_daemon(stage):
    """A second daemon with queues of its own says that there is one, and the first goes on."""
    lab = stage.lab
    if not lab.engine.is_ours:
        raise NotApplicable("it has no daemon")
    workspace = pathlib.Path(lab.engine.workspace)
    text = (workspace / "ftp-alg.toml").read_text()
    (workspace / "second.toml").write_text(text.replace('queue = "0-1"', 'queue = "5-6"'))
    done = run(
        [ftp_alg_binary(), "run", "--config", str(workspace / "second.toml")],
        namespace=lab.topology.gateway,
        timeout=SHORT_SECONDS,
        check=False,
    )
    lines = [line for line in done.stderr.splitlines() if '"level":"INFO"' not in line]
    if done.returncode != 1 or len(lines) != 1 or "another ftp-alg" not in lines[0]:
        raise CaseFailure(f"the second daemon ended with {done.returncode}", done.stderr)
    require(stage.session().announce("PORT").connects(), "the first daemon does not work any more")


def batches():
    for error in ERRORS:
        name = f"operator-error/{error.network.name}"
        yield Batch(
            name,
            error.deployment.name,
            (Case(f"{name}/{error.mode.split()[-1]}", functools.partial(is_told, error)),),
            scripted,
            settings=error.settings,
            stock=error.network.stock,
        )
    name = "operator-error/second-daemon/PORT"
    yield Batch(name, "inside-client", (Case(name, second_daemon),), scripted)


deployments.IN_NETWORKS.update((error.deployment.name, error.deployment) for error in ERRORS)
