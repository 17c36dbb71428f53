"""Transfers in other people's networks: real programs in each mode, odd lines, and the policy.

In every network the announcements are also sent in pieces, in one packet with the next command, and
with other lengths than the rewritten ones. A capture of each link shows that a control connection
stays on its own. A rule of the command policy is tried too, because a network in which the daemon
reads nothing must not switch the policy off silently.
"""

import functools
import socket
import threading
import time

import deployments
import transfers
from bridges import BRIDGES, CONNTRACK_BRIDGE
from captures import Capture, packets, segment_of
from clients import ACTIVE_MODES, CLIENTS
from guarantees import require
from lab import Batch, Case, CaseFailure, NotApplicable
from networks import SMALL_PACKETS, SYNPROXY, VLAN, VRF, ZONES
from offload import FLOWTABLE, IPVS, OFFLOADED
from policies import entry
from scripted import Offer, decode, encode, listen, scripted
from servers import Listen
from shell import PATIENCE, run_tool
from stress import send_nodelay, send_pieces
from uplinks import UPLINKS

NETWORKS = (
    VRF,
    *ZONES,
    *UPLINKS,
    *BRIDGES,
    VLAN,
    SYNPROXY,
    *SMALL_PACKETS,
    FLOWTABLE,
    OFFLOADED,
    IPVS,
)

POLICY = (entry("no-pwd", commands=["PWD"]),)
MODES = {4: ("PORT", "EPRT", "PASV", "EPSV"), 6: ("EPRT", "EPSV")}
# tnftp can be told each mode in each IP version.
CLIENT, SERVER = "tnftp", "vsftpd"


# --- the command policy ---


def policy_holds(stage):
    """A refused command does not reach the server, and the session goes on."""
    if not stage.lab.engine.is_ours:
        raise NotApplicable("it has no command policy")
    session = stage.session()
    session.client.send(b"PWD\r\n")
    heard = session.server.line()
    require(heard.startswith("NOO"), f"the server heard {heard!r} for a refused PWD")
    session.server.send(b"200 the scripted server does nothing\r\n")
    heard = session.client.line()
    require(heard.startswith("550 "), f"the client heard {heard!r} for a refused PWD")
    session.exchange("NOOP", "200 well")
    session.close()


# --- lines that are hard to read ---


def in_parts(send, mode, stage):
    """An announcement in several segments: the daemon acknowledges the first ones itself."""
    session = stage.session()
    use(session, session.announce(mode, send=send))


def in_many_segments(mode, stage):
    """An announcement in a segment for each byte: more than a sender sends without an answer."""
    if not stage.lab.engine.is_ours:
        raise NotApplicable("it reads whole segments only")
    in_parts(functools.partial(send_pieces, 1), mode, stage)


def in_a_pipeline(glued, mode, stage):
    """An announcement, and the next line of the same end in the next segment or in the same."""
    session = stage.session()
    active = mode in ACTIVE_MODES
    following = "LIST" if active else "200 well"

    def send(peer, line):
        if not active:
            session.command("NOOP")
        peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        said = (line, f"{following}\r\n".encode())
        for part in [b"".join(said)] if glued else said:
            peer.send(part)

    offer = session.announce(mode, send=send, reply=None)
    if active:
        session.reply("200 noted")
    heard = (session.server if active else session.client).line()
    require(heard == following, f"after the announcement the other end heard {heard!r}")
    use(session, offer)


def with_offset(mode, stage):
    """Announcements whose lines may change their length, twice, and what is said after them."""
    session = stage.session()
    for _ in range(2):
        offer = session.announce(mode)
        require(offer.connects(), no_data(offer))
        offer.close()
        session.exchange("STAT " + "x" * 300, "211 " + "y" * 300)
    use(session, session.announce(mode))


def use(session, offer):
    require(offer.connects(), no_data(offer))
    session.exchange("NOOP", "200 well")
    offer.close()
    session.close()


def no_data(offer):
    return f"no data connection to {offer.address} port {offer.port}"


KINDS = {
    "in pieces": functools.partial(in_parts, functools.partial(send_pieces, 6)),
    "with a pause": functools.partial(in_parts, functools.partial(send_nodelay, 3)),
    "in a pipeline": functools.partial(in_a_pipeline, False),
    "in one segment with the next line": functools.partial(in_a_pipeline, True),
    "with an offset": with_offset,
}


# Kinds that the kernel's helper does not read.
IN_PARTS = ("in pieces", "with a pause")


def lines(mode, stage):
    """Announcements of each kind, while each link is captured."""
    network, engine = stage.deployment.network, stage.lab.engine
    links = {link: link for link in (*network.inner_links, *network.outer_links)}
    begin = len(engine.log())
    with Capture(stage.lab, f"lines-{mode}", "tcp port 21", links=links) as capture:
        for kind, said in KINDS.items():
            if kind in IN_PARTS and not engine.is_ours:
                continue
            try:
                said(mode, stage)
            except CaseFailure as failure:
                raise CaseFailure(f"{kind}: {failure}", failure.detail) from failure
    require_one_way(network, capture)
    require_quiet(engine, begin)


def require_one_way(network, capture):
    """Each control connection was seen on one outer link alone."""
    ways = {}
    for link in network.outer_links:
        for frame in packets(capture.files[link]):
            (_, source), (_, destination) = segment_of(frame).flow
            # Its client's port is the same on each link.
            ways.setdefault(source if destination == 21 else destination, set()).add(link)
    require(ways, "the captures of the outer links saw no control connection")
    if strays := {port: found for port, found in ways.items() if len(found) > 1}:
        raise CaseFailure(f"control connections on two outer links: {strays}")


# --- long replies around an announcement ---

REPLY_LINES = 2_200
REPLY_SECONDS = 30 * PATIENCE


def long_replies(mode, stage):
    """A 227 or 229 between two replies of 220 KB is rewritten, and they arrive byte for byte."""
    session = stage.session()
    session.client.send(f"STAT\r\n{mode}\r\nSTAT\r\n".encode())
    for wanted in ("STAT", mode, "STAT"):
        require(session.server.line() == wanted, f"the server did not hear {wanted}")
    server = session.server.address
    listener = listen(stage.lab.namespace(stage.deployment.server), server, 0)
    status = [f"211-{number:06} {'x' * 87}" for number in range(REPLY_LINES)] + ["211 end"]
    said = [*status, encode(mode, server, listener.getsockname()[1]), *status]
    # No socket buffers it all, so the server sends while the client reads.
    sender = threading.Thread(
        target=session.server.send, args=("".join(f"{line}\r\n" for line in said).encode(),)
    )
    sender.start()
    try:
        heard = [session.client.line(REPLY_SECONDS) for _ in said]
    except CaseFailure:
        # The server would wait for a reader.
        session.client.reset()
        raise
    finally:
        sender.join()
    place = len(status)
    require(heard[:place] + heard[place + 1 :] == [*status, *status], "a reply was changed")
    endpoint = decode(heard[place], session.client.peer_address)
    offer = Offer(session, listener, stage.deployment.client, session.client.address, *endpoint)
    use(session, offer)


# --- the table for bridges ---

FOLLOWED_SECONDS = 3 * PATIENCE


def table_follows(stage):
    """The table for bridges goes and comes with the firewall that tracks connections there."""
    if not stage.lab.engine.is_ours:
        raise NotApplicable("it has no table")
    gateway = stage.lab.topology.gateway
    firewall = run_tool(["nft", "list", "table", "bridge", "operator"], namespace=gateway).stdout
    # At last the firewall is loaded anew as a boot script does it, and everything else is gone.
    for text, is_there in (
        ("delete table bridge operator", False),
        (firewall, True),
        (f"flush ruleset\n{firewall}", True),
    ):
        run_tool(["nft", "-f", "-"], namespace=gateway, stdin=text)
        require_table(gateway, is_there)
        if is_there:
            session = stage.session()
            use(session, session.announce("EPRT"))


def require_table(gateway, is_there):
    """Waits until the table for bridges is there, or is not."""
    deadline = time.monotonic() + FOLLOWED_SECONDS
    while ("table bridge ftp_alg" in tables(gateway)) != is_there:
        if time.monotonic() > deadline:
            reason = f"after {FOLLOWED_SECONDS} s the table is there: {not is_there}"
            raise CaseFailure(reason, tables(gateway))
        time.sleep(0.05)


def tables(gateway):
    return run_tool(["nft", "list", "tables"], namespace=gateway).stdout


# --- what is said in the log ---

TRANSFERS_OF_A_SESSION = 50
# Nobody reads a log in which each session leaves a line.
FEW_LINES = 10


def quiet_log(sessions, mode, stage):
    """Many transfers leave few lines in the log."""
    begin = len(stage.lab.engine.log())
    for _ in range(sessions):
        # A handshake by SYNPROXY takes a second.
        session = stage.session()
        for _ in range(TRANSFERS_OF_A_SESSION):
            offer = session.announce(mode)
            require(offer.connects(), no_data(offer))
            offer.close()
            session.exchange("NOOP", "200 well")
        session.close()
    require_quiet(stage.lab.engine, begin)


def require_quiet(engine, begin):
    said = engine.notices(begin)
    if len(said) >= FEW_LINES:
        raise CaseFailure(f"{len(said)} lines in the log at the default level", "\n".join(said))


# --- the batches ---


def real_batch(network, deployment, is_extra):
    """A real client and server, in each mode."""
    return transfers.batch(
        "network",
        deployment.name,
        SERVER,
        Listen(),
        clients=[CLIENTS[CLIENT]],
        stock=network.stock,
        extra=is_extra,
    )


def scripted_batch(network, deployment, is_extra):
    return Batch(
        f"network/{deployment.name}",
        deployment.name,
        tuple([*line_cases(deployment), *special_cases(network, deployment)]),
        scripted,
        settings={"command_policy": POLICY},
        stock=network.stock,
        extra=is_extra,
    )


def line_cases(deployment):
    name = f"network/{deployment.name}"
    yield Case(f"{name}/policy/PWD", policy_holds)
    for mode in MODES[deployment.version]:
        yield Case(f"{name}/lines/{mode}", functools.partial(lines, mode))
        yield Case(f"{name}/many-segments/{mode}", functools.partial(in_many_segments, mode))


def special_cases(network, deployment):
    """What a network is known to make hard."""
    name = f"network/{deployment.name}"
    if network in SMALL_PACKETS:
        for mode in MODES[deployment.version]:
            if mode not in ACTIVE_MODES:
                yield Case(f"{name}/long-replies/{mode}", functools.partial(long_replies, mode))
    if network is CONNTRACK_BRIDGE:
        yield Case(f"{name}/table-follows", table_follows)
    if network is SYNPROXY:
        yield Case(f"{name}/quiet-log/PASV", functools.partial(quiet_log, 2, "PASV"))


def many_transfers_batch():
    """The same as `quiet-log` with 1,000 transfers."""
    deployment, _ = next(SYNPROXY.deployments())
    name = f"network/{deployment.name}/quiet-log-1000/PASV"
    return Batch(
        name,
        deployment.name,
        (Case(name, functools.partial(quiet_log, 20, "PASV")),),
        scripted,
        extra=True,
    )


def batches():
    for network in NETWORKS:
        for deployment, is_extra in network.deployments():
            yield real_batch(network, deployment, is_extra)
            yield scripted_batch(network, deployment, is_extra)
    yield many_transfers_batch()


deployments.IN_NETWORKS.update(
    (deployment.name, deployment) for network in NETWORKS for deployment, _ in network.deployments()
)
