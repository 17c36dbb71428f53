"""Announcements under segmentation, loss, and a killed daemon; each case works with any engine."""

import concurrent.futures
import contextlib
import dataclasses
import functools
import socket
import time

import copies
from captures import Capture, inconsistent_bytes, packets
from lab import Batch, Case, CaseFailure, NotApplicable
from scripted import scripted
from shell import PATIENCE, LabError, run_tool
from topology import GATEWAY_WAN4

AT_ONCE = 16
# The announcements that a translating gateway has to change.
TRANSLATED = (
    ("inside-client", "PORT"),
    ("inside-client", "EPRT"),
    ("inside-server", "PASV"),
    ("inside-server", "EPSV"),
)

# Ports with the same number of digits, so that every announcement of a mode is equally long.
SPLIT_FIRST_PORT = 156 * 256 + 100
SPLIT_PAUSE_SECONDS = 0.03
SPLIT_SECONDS = 4 * PATIENCE


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One announcement that was sent in a special way, its result, and its time."""

    position: int
    seconds: float
    reason: str = ""


def send_nodelay(position, peer, line):
    """Two segments with a pause between."""
    peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer.send(line[:position])
    time.sleep(SPLIT_PAUSE_SECONDS)
    peer.send(line[position:])


def send_nagle(position, peer, line):
    """Two writes at once: the second leaves when the first is acknowledged."""
    peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
    peer.send(line[:position])
    peer.send(line[position:])


def send_pieces(size, peer, line):
    """A segment for each `size` bytes."""
    peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for begin in range(0, len(line), size):
        peer.send(line[begin : begin + size])
        time.sleep(0.001)


# "pieces" counts by size, the others by the place of the cut.
STYLES = {"nodelay": send_nodelay, "nagle": send_nagle, "pieces": send_pieces}


def try_split(stage, mode, style, position):
    """One session whose announcement is cut at `position`."""
    session = stage.session()
    begin = time.monotonic()
    try:
        offer = session.announce(
            mode,
            send=functools.partial(STYLES[style], position),
            port=SPLIT_FIRST_PORT + position,
            timeout=SPLIT_SECONDS,
        )
        seconds = time.monotonic() - begin
        if not offer.connects():
            return Attempt(
                position, seconds, f"no data connection to {offer.address} port {offer.port}"
            )
        session.exchange("NOOP", "200 well")
        return Attempt(position, seconds)
    except CaseFailure as failure:
        return Attempt(position, time.monotonic() - begin, str(failure))
    finally:
        session.close()


def announcement_length(stage, mode):
    """The length of the line with its end, as the announcer writes it."""
    lengths = []

    def measure(peer, line):
        lengths.append(len(line))
        peer.send(line)

    stage.session().announce(mode, send=measure, port=SPLIT_FIRST_PORT)
    return lengths[0]


def try_splits(stage, mode, style, step=1):
    """Cuts at every `step`th byte position, several sessions at a time."""
    positions = range(1, announcement_length(stage, mode), step)
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(functools.partial(try_split, stage, mode, style), positions))


def split_case(mode, style, step, stage):
    attempts = try_splits(stage, mode, style, step)
    lost = [attempt for attempt in attempts if attempt.reason]
    if lost:
        detail = "\n".join(f"{attempt.position}: {attempt.reason}" for attempt in lost)
        raise CaseFailure(f"{len(lost)} of {len(attempts)} positions failed", detail)


LOSE = """
    table inet lossy {{
      chain lose {{
        type filter hook {hook} priority {priority}
        meta l4proto tcp numgen random mod 100 < {percent} drop
      }}
    }}
    """
# The gateway before anything has seen the packet, and the hosts behind it. The gateway's
# postrouting hook is no such place: conntrack has not confirmed yet what a rule drops there, so a
# first packet takes its expectation along, with the kernel's helper as with ours. No link loses
# packets at that place.
LOSS_PLACES = {"before": ("prerouting", -350), "beyond": ("input", -350)}
LOSS_SECONDS = 60 * PATIENCE


@contextlib.contextmanager
def losing(lab, deployment, place, percent):
    """Drops packets at random, in a table of its own."""
    hook, priority = LOSS_PLACES[place]
    namespaces = [lab.topology.gateway]
    if place == "beyond":
        namespaces = [lab.namespace(deployment.client), lab.namespace(deployment.server)]
    for namespace in namespaces:
        run_tool(
            ["nft", "-f", "-"],
            namespace=namespace,
            stdin=LOSE.format(hook=hook, priority=priority, percent=percent),
        )
    try:
        yield
    finally:
        for namespace in namespaces:
            run_tool(["nft", "delete", "table", "inet", "lossy"], namespace=namespace)


def try_lossy(stage, mode, number):
    """One session with one transfer, with time for several losses in a row."""
    begin = time.monotonic()
    try:
        session = stage.session(timeout=LOSS_SECONDS)
        offer = session.announce(mode, timeout=LOSS_SECONDS)
        reason = "" if offer.connects(timeout=LOSS_SECONDS) else "no data connection"
        session.close()
    except (CaseFailure, OSError) as failure:
        reason = str(failure)
    return Attempt(number, time.monotonic() - begin, reason)


def transfer_lossily(mode, places, transfers, percent, stage):
    """All transfers succeed; returns the capture of both sides of the gateway."""
    lab = stage.lab
    with contextlib.ExitStack() as stack:
        capture = stack.enter_context(Capture(lab, "loss"))
        for place in places:
            stack.enter_context(losing(lab, stage.deployment, place, percent))
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            attempts = list(pool.map(functools.partial(try_lossy, stage, mode), range(transfers)))
    lost = [attempt.reason for attempt in attempts if attempt.reason]
    if lost:
        raise CaseFailure(
            f"{len(lost)} of {transfers} transfers failed at {percent} % loss", "\n".join(lost)
        )
    return capture


def loss_case(mode, place, transfers, percent, stage):
    """All transfers succeed, and retransmitted bytes are the same as at first.

    Both sides of the gateway are compared.
    """
    capture = transfer_lossily(mode, [place], transfers, percent, stage)
    for side, path in capture.files.items():
        if changed := inconsistent_bytes(path):
            raise CaseFailure(
                f"{side}: {len(changed)} retransmissions differ from the first time",
                "\n".join(changed),
            )


def rewriting_case(mode, transfers, percent, stage):
    """Each announcement leaves the gateway rewritten, and the same in every retransmission.

    It does not matter where the retransmissions are cut.
    """
    capture = transfer_lossily(mode, LOSS_PLACES, transfers, percent, stage)
    inside, outside = (list(packets(capture.files[side])) for side in ("inside", "outside"))
    came, left = copies.announcements(inside), copies.announcements(outside)
    if not len(came) == len(left) == transfers:
        raise CaseFailure(
            f"{len(came)} announcements came and {len(left)} left in {transfers} transfers"
        )
    copies.require_identical(left)
    require_translated(left, copies.endpoints_tried(outside))
    require_notices(outside)
    repeated = [announcement for announcement in left if announcement.repeated()]
    packets_repeated = sum(len(announcement.repeated()) for announcement in left)
    again = sum(bool(announcement.repeated()) for announcement in came)
    return (
        f"{len(left)} announcements, {again} sent more than once; "
        f"{len(repeated)} left the gateway more than once, "
        f"in {packets_repeated} more packets, all alike; one changed byte is noticed"
    )


def require_translated(announcements, tried):
    """Each announcement names the gateway's address, and a port to which its reader connected."""
    for announcement in announcements:
        endpoint = announcement.endpoint()
        if endpoint[0] != GATEWAY_WAN4 or endpoint not in tried:
            raise CaseFailure(f"{announcement.line!r} names {endpoint}, where nobody connected")


def require_notices(frames):
    """The comparison itself works: it fails on the same capture with one byte changed."""
    try:
        copies.require_identical(copies.announcements(copies.doctored(frames)))
    except CaseFailure as failure:
        if "other bytes" in str(failure):
            return
        raise
    raise CaseFailure("a changed byte in a repeated announcement was not noticed")


# With these outside ports the shortest PORT cannot keep its length, because "4,1" has three
# characters and "156,0" has five.
LONG_PORTS = "40000-65535"
SHORT_PORTS = [high * 256 + low for high in range(4, 10) for low in range(1, 10)]
SAME_LENGTH_PORT = 156 * 256 + 100
BUSY_SECONDS, AWAY_SECONDS = 4, 1
SESSION_SECONDS = 30 * PATIENCE


def restart_case(sessions, adjusted, stage):
    """kill -9 and a restart amid busy sessions; none is lost.

    `adjusted` of the sessions have a sequence offset.
    """
    if not stage.lab.engine.is_ours:
        raise NotApplicable("it is no process that could be killed")
    if adjusted > len(SHORT_PORTS):
        raise LabError(f"only {len(SHORT_PORTS)} sessions can be given a sequence offset")
    ports = [
        *SHORT_PORTS[:adjusted],
        *range(SAME_LENGTH_PORT, SAME_LENGTH_PORT + sessions - adjusted),
    ]
    opened = [stage.session() for _ in ports]
    with concurrent.futures.ThreadPoolExecutor(sessions) as pool:
        require_all(pool.map(transfer_once, opened, ports), "before the daemon was killed")
        busy = [pool.submit(stay_busy, session) for session in opened]
        time.sleep(BUSY_SECONDS / 4)
        stage.lab.engine.kill()
        time.sleep(AWAY_SECONDS)
        stage.lab.engine.spawn()
        require_all(
            [future.result() for future in busy], "while the daemon was killed and restarted"
        )
        require_all(pool.map(transfer_once, opened, ports), "after the restart")


def require_all(reasons, when):
    lost = [reason for reason in reasons if reason]
    if lost:
        raise CaseFailure(f"{len(lost)} sessions failed {when}", "\n".join(lost))


def transfer_once(session, port):
    """Announces and transfers in an open session; returns the reason if it failed."""
    try:
        offer = session.announce("PORT", port=port, timeout=SESSION_SECONDS)
        came = offer.connects()
        offer.close()
        return "" if came else f"no data connection to {offer.address} port {offer.port}"
    except (CaseFailure, OSError) as failure:
        return str(failure)


def stay_busy(session):
    """Commands and replies for a while, with up to SESSION_SECONDS of waiting for the daemon."""
    deadline = time.monotonic() + BUSY_SECONDS
    try:
        while time.monotonic() < deadline:
            session.exchange("NOOP", "200 well", SESSION_SECONDS)
            time.sleep(0.05)
    except (CaseFailure, OSError) as failure:
        return str(failure)
    return ""


def batches():
    for deployment, mode in TRANSLATED:
        name = f"split/{deployment}/{mode}"
        cases = tuple(
            Case(f"{name}/{style}", functools.partial(split_case, mode, style, 1))
            for style in STYLES
        )
        yield Batch(name, deployment, cases, scripted, extra=True)
        name = f"loss/{deployment}/{mode}"
        cases = [
            Case(f"{name}/{place}", functools.partial(loss_case, mode, place, 200, 5))
            for place in LOSS_PLACES
        ]
        cases.append(Case(f"{name}/rewriting", functools.partial(rewriting_case, mode, 200, 5)))
        yield Batch(name, deployment, tuple(cases), scripted, extra=True)
    yield Batch(
        "restart",
        "inside-client",
        (Case("restart/50/half-adjusted", functools.partial(restart_case, 50, 25)),),
        scripted,
        settings={"nat.ports": LONG_PORTS},
        extra=True,
    )
