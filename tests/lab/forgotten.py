"""Conntrack forgets honest control connections in their middle, and they go on, and are read.

Each case says something on a forgotten connection, then transfers, and then says a refused command.
"""

import contextlib
import functools
import socket
import time

import acts
import bridges
import networks
from deployments import IN_NETWORKS
from lab import Batch, Case, CaseFailure
from life import load_by_hand, require_ours
from scripted import Peer, scripted
from shell import PATIENCE, write_sysctls

POLICY = [{"name": "no-deletes", "commands": ["DELE"], "action": "refuse"}]
SETTINGS = {"command_policy": POLICY}
# Each end repeats what it said, twice at the most, and each time after twice the pause.
SECONDS = 10 * PATIENCE


def forgotten(stage):
    """A session that conntrack has forgotten."""
    require_ours(stage)
    session = stage.session()
    acts.conntrack(stage, "-F")
    return session


def require_read(session):
    """The session transfers, and its refused command is refused."""
    mode = "EPRT" if session.stage.deployment.version == 6 else "PORT"
    if not session.announce(mode, timeout=SECONDS).connects():
        raise CaseFailure("the announced data connection did not come through")
    require_refused(session)


def require_refused(session):
    """A refused command does not reach the server."""
    session.client.send(b"DELE x\r\n")
    heard = session.server.line(SECONDS)
    if not heard.startswith("NOOP"):
        raise CaseFailure(f"the server heard {heard!r}")


def client_first(stage):
    """The client speaks first."""
    session = forgotten(stage)
    session.exchange("NOOP", "200 well", SECONDS)
    require_read(session)


def server_first(stage):
    """The server speaks first."""
    session = forgotten(stage)
    session.reply("226 done", SECONDS)
    require_read(session)


def refused_first(stage):
    """A refused command is the first that is said."""
    require_refused(forgotten(stage))


def parting(stage):
    """The client's last line comes in one packet with its FIN."""
    session = forgotten(stage)
    client = session.client.sock
    client.send(b"QUIT\r\n", socket.MSG_MORE)
    client.shutdown(socket.SHUT_WR)
    heard = session.server.line(SECONDS)
    if heard != "QUIT":
        raise CaseFailure(f"the server heard {heard!r}")
    if not has_closed(session.server):
        raise CaseFailure("the server does not hear that its client has closed")


def has_closed(peer: Peer):
    peer.sock.settimeout(SECONDS)
    return peer.sock.recv(1) == b""


def not_picked_up(stage):
    """Conntrack picks nothing up: nothing passes unread, and the log tells the cause."""
    gateway = stage.lab.topology.gateway
    write_sysctls(gateway, ["net.netfilter.nf_conntrack_tcp_loose=0"])
    session = forgotten(stage)
    session.client.send(b"DELE x\r\n")
    deadline = time.monotonic() + SECONDS
    while "nf_conntrack_tcp_loose" not in stage.lab.engine.log():
        if time.monotonic() > deadline:
            raise CaseFailure("the log does not tell the cause")
        time.sleep(0.1)
    session.server.sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        raise CaseFailure(f"the server heard {session.server.sock.recv(99)}")


@contextlib.contextmanager
def scripted_by_hand(lab, deployment):
    """A batch's set-up: the operator loads what `ftp-alg rules` prints."""
    with scripted(lab, deployment) as stage:
        if stage.lab.engine.is_ours:
            load_by_hand(stage)
        yield stage


# Where NAT hides the client, what the server says does not find it before the client speaks.
WITH_NAT = ("inside-client", "inside-server", "port-forward", "nat66-client")
WITHOUT_NAT = ("routed-client", "routed6-server", "gateway-client", "gateway-server")
CASES = {
    "client-first": (client_first, (*WITH_NAT, *WITHOUT_NAT)),
    "server-first": (server_first, WITHOUT_NAT),
    "refused-first": (refused_first, (*WITH_NAT, *WITHOUT_NAT)),
    "parting": (parting, ("inside-client", *WITHOUT_NAT)),
    "not-picked-up": (not_picked_up, ("routed-server",)),
}
BY_HAND = ("routed-client", "inside-client", "port-forward")
# On a bridge nothing tells the way to a client that has not spoken.
ON_BRIDGE = ("client-first", "refused-first", "parting")


def batches():
    for name, (check, deployments) in CASES.items():
        for deployment in deployments:
            yield batch(f"{name}/{deployment}", deployment, check)
            if deployment in BY_HAND:
                yield batch(
                    f"{name}/{deployment}/by-hand",
                    deployment,
                    check,
                    setup=scripted_by_hand,
                    install_rules=False,
                )
        if name != "not-picked-up":
            yield batch_in(networks.VRF, name, check)
        if name in ON_BRIDGE:
            yield batch_in(bridges.CONNTRACK_BRIDGE, name, check)


def batch(name, deployment, check, setup=scripted, stock=False, **settings):
    name = f"forgotten/{name}"
    cases = (Case(name, functools.partial(check)),)
    return Batch(
        name, deployment, cases, setup, settings={**SETTINGS, **settings}, stock=stock
    )


def batch_in(network, name, check):
    found = network.place("routed-client")
    IN_NETWORKS[found.name] = found
    return batch(f"{name}/{found.name}", found.name, check, stock=network.stock)
