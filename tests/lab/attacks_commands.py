"""Attacks by what a client says: endpoints of third hosts, forbidden ports, ambiguous lines, no
FTP.
"""

import functools
import threading
import time

from attacks import ANSWER_SECONDS, Attack, ask, hear, hear_until, say
from lab import CaseFailure
from scripted import decode, encode, stranger_to
from shell import run
from topology import INSIDE1, INSIDE2, OUTSIDE1, OUTSIDE2

PRIVILEGED, SERVICE = 22, 3306
CLIENT, SERVER = INSIDE1, OUTSIDE1


def announced(stage, session, mode, port):
    """Whether the server reaches the client's own `port` after the client has announced it.

    The server also tries the endpoint that the rewritten line names.
    """
    heard = ask(session, encode(mode, session.client.address, port))
    # If the gateway refuses the line, the attacker's server still knows the port.
    address, told = (
        decode(heard, "") if is_announcement(heard) else (session.server.peer_address, port)
    )
    return stage.reaches(stage.deployment.server, address, told)


def is_announcement(heard):
    """Whether the server heard a command that makes it connect."""
    return heard is not None and heard.upper().startswith(("PORT ", "EPRT "))


def bounce(mode, victim, stage):
    """The client names a third host, and an obedient server connects there."""
    stage.listen(victim.name, SERVICE)
    ask(stage.session(), encode(mode, stage.public(victim), SERVICE))
    return stage.reaches(stage.deployment.server, stage.public(victim), SERVICE)


def bounce_by_server(stage):
    """The server names a third host behind the firewall, and the client connects there."""
    session = stage.session()
    stage.listen(INSIDE1.name, SERVICE)
    session.command("PASV")
    say(session.server, encode("PASV", INSIDE1.public4, SERVICE))
    hear(session.client)
    return stage.reaches(stage.deployment.client, INSIDE1.public4, SERVICE)


def stranger_behind_foreign_227(stage):
    """The server names a third host, so its own port opens for its client; a stranger tries it."""
    session = stage.session()
    stage.listen(stage.deployment.server, SERVICE)
    session.command("PASV")
    say(session.server, encode("PASV", INSIDE1.public4, SERVICE))
    hear(session.client)
    stranger = stranger_to(stage.deployment.client)
    return stage.reaches(stranger, session.client.peer_address, SERVICE)


def whole(line):
    return [line]


# The segments in which the client's line leaves.
SEGMENTS = {
    "": whole,
    "-behind-another": lambda line: [b"NOOP\r\n" + line],
    "-in-two-segments": lambda line: [line[:2], line[2:]],
    "-in-lower-case": lambda line: [line.lower()],
}


def bounce_at_home(address, segments, stage):
    """The client names a host of the server's own network, or the server itself.

    No packet of this bounce passes the gateway, so the server must not hear the command. The client
    reads a refusal.
    """
    session = stage.session()
    victim = INSIDE1.name if address == INSIDE1.public4 else stage.deployment.server
    stage.listen(victim, SERVICE, address)
    for segment in segments(stage.announcement("PORT", address, SERVICE).encode() + b"\r\n"):
        session.client.send(segment)
        # A pause, so that they leave in separate segments.
        time.sleep(BETWEEN_SEGMENTS)
    if heard := answer_until_announcement(session.server):
        return stage.reaches(stage.deployment.server, *decode(heard, ""))
    # The kernel's helper stops a line in two segments, and says nothing.
    if stage.lab.engine.is_ours and not hear_until(session.client, "550"):
        raise CaseFailure("the server did not hear it, and the client did not read 550")
    return False


BETWEEN_SEGMENTS = 0.05


def answer_until_announcement(peer):
    """The first line that announces, or None when nothing more comes.

    Lines before it are answered like NOOP.
    """
    while (heard := hear(peer)) is not None:
        if is_announcement(heard):
            return heard
        say(peer, "200 NOOP command successful")
    return None


def privileged(mode, stage):
    """A tricked client announces a service of its host below 1024."""
    session = stage.session()
    stage.listen(CLIENT.name, PRIVILEGED)
    return announced(stage, session, mode, PRIVILEGED)


def privileged_of_server(stage):
    """A server announces its own port 25, so that the inside client may pass the firewall to it."""
    session = stage.session()
    stage.listen(SERVER.name, 25)
    session.command(stage.mode("PASV"))
    say(session.server, stage.announcement("PASV", session.server.address, 25))
    hear(session.client)
    return stage.reaches(CLIENT.name, session.server.address, 25)


def two_readings(line, stage):
    """One reader finds a harmless port in the line, and another one finds 22."""
    session = stage.session()
    stage.listen(CLIENT.name, PRIVILEGED)
    ask(session, line)
    return stage.reaches(SERVER.name, session.client.address, PRIVILEGED)


OWN = CLIENT.public4.replace(".", ",")
READINGS = {
    "low-octet-overflow": f"PORT {OWN},0,65558",
    "high-octet-overflow": f"PORT {OWN},256,22",
    "eprt-overflow": f"EPRT |1|{CLIENT.public4}|65558|",
    "leading-zeros": f"PORT {OWN},00,0022",
}


def without_login(greets, stage):
    """PORT of a listening service before the login, to a server that the attacker owns."""
    session = stage.connect()
    stage.listen(CLIENT.name, SERVICE)
    if greets:
        session.reply("220 welcome")
    # The kernel's helper reads only a line that follows another.
    ask(session, "NOOP", "200 well")
    return announced(stage, session, stage.mode("PORT"), SERVICE)


def slipstream(stage):
    """A web page makes its visitor POST to port 21 (NAT slipstreaming); the body is a PORT."""
    stage.listen(CLIENT.name, SERVICE)
    own = CLIENT.public6 if stage.is_ipv6 else CLIENT.private4
    body = stage.announcement("PORT", own, SERVICE).encode() + b"\r\n"
    browser = threading.Thread(target=post, args=(stage, body))
    browser.start()
    try:
        return answer_post(stage)
    finally:
        browser.join()


def post(stage, body):
    """curl sends the body in a segment of its own once it is told to continue."""
    run(
        [
            "curl",
            "-s",
            "--max-time",
            "4",
            "-H",
            "Expect: 100-continue",
            "--data-binary",
            "@-",
            f"http://{host_in_url(stage.deployment.target)}:{stage.server_port}/",
        ],
        namespace=stage.lab.namespace(CLIENT.name),
        stdin=body.decode(),
        check=False,
    )


def answer_post(stage):
    """The attacker's server, which connects to the endpoint that it was told."""
    stage.listener.settimeout(4)
    accepted, (address, *_) = stage.listener.accept()
    with accepted:
        accepted.settimeout(ANSWER_SECONDS)
        read_to(accepted, b"\r\n\r\n")
        accepted.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        told = read_to(accepted, b"\r\n").decode("latin-1")
        accepted.sendall(b"200 noted\r\n")
        try:
            address, port = decode(told, address)
        except CaseFailure:
            port = SERVICE
        return stage.reaches(SERVER.name, address, port)


def host_in_url(address):
    return f"[{address}]" if ":" in address else address


def read_to(sock, end):
    read = b""
    try:
        while not read.endswith(end) and (part := sock.recv(4096)):
            read += part
    except OSError:
        pass
    return read


def refused(around, answers, stage):
    """The server connects although it has refused.

    PORT may stand among other commands in its segment, and the refusal among other answers.
    """
    before, behind = around
    session = stage.session()
    stage.listen(CLIENT.name, SERVICE)
    announcement = stage.announcement("PORT", session.client.address, SERVICE)
    say(session.client, *["NOOP"] * before, announcement, *["NOOP"] * behind)
    hear_until(session.server, stage.mode("PORT"))
    say(session.server, *answers)
    hear_until(session.client, "500 no")
    return stage.reaches(SERVER.name, session.client.address, SERVICE)


def after_epsv_all(stage):
    """PORT after the client has promised to use nothing but EPSV."""
    session = stage.session()
    stage.listen(CLIENT.name, SERVICE)
    session.exchange("EPSV ALL", "200 so be it")
    return announced(stage, session, "PORT", SERVICE)


def reply_by_client(stage):
    """The client says a 227, so that the outside client may reach the inside server's service."""
    session = stage.session()
    stage.listen(INSIDE2.name, SERVICE)
    ask(session, encode("PASV", INSIDE2.public4, SERVICE), "500 what?")
    return stage.reaches(OUTSIDE1.name, INSIDE2.public4, SERVICE)


def command_by_server(stage):
    """The server says a PORT."""
    session = stage.session()
    stage.listen(CLIENT.name, SERVICE)
    say(session.server, encode("PORT", session.client.address, SERVICE))
    hear(session.client)
    return stage.reaches(SERVER.name, session.client.address, SERVICE)


# Below the ports that hosts give to their own connections.
FLOOD = range(10_000, 10_200)


def expectation_flood(stage):
    """Two hundred announcements in one session, all accepted; succeeds if more than one is open."""
    session = stage.session()
    for port in FLOOD:
        stage.listen(CLIENT.name, port)
        ask(session, encode("PORT", session.client.address, port))
    reached = [
        port for port in FLOOD if stage.reaches(SERVER.name, session.client.address, port, tries=1)
    ]
    return len(reached) > 1


def by_stranger(mode, stage, reply="200 noted"):
    """A third host connects to an endpoint that was announced to another host."""
    offer = stage.session().announce(stage.mode(mode), reply=reply)
    return stage.reaches(stranger_to(offer.connector), offer.address, offer.port)


ATTACKS = (
    *(
        Attack(
            f"bounce/{mode}-to-outside-host",
            "routed-server",
            functools.partial(bounce, mode, OUTSIDE2),
        )
        for mode in ("PORT", "EPRT")
    ),
    *(
        Attack(
            f"bounce/{mode}-to-inside-host",
            "routed-client",
            functools.partial(bounce, mode, INSIDE2),
        )
        for mode in ("PORT", "EPRT")
    ),
    Attack(
        "bounce/EPRT-to-outside-host/ipv6",
        "routed6-server",
        functools.partial(bounce, "EPRT", OUTSIDE2),
    ),
    Attack(
        "bounce/EPRT-to-inside-host/ipv6",
        "routed6-client",
        functools.partial(bounce, "EPRT", INSIDE2),
    ),
    Attack("bounce/227-to-inside-host", "routed-server", bounce_by_server),
    Attack(
        "bounce/227-to-inside-host-by-stranger", "routed-server", stranger_behind_foreign_227
    ),
    Attack(
        "bounce/PORT-to-neighbour-of-server",
        "routed-server",
        functools.partial(bounce_at_home, INSIDE1.public4, whole),
    ),
    *(
        Attack(
            f"bounce/PORT-to-localhost{how}",
            "routed-server",
            functools.partial(bounce_at_home, "127.0.0.1", segments),
        )
        for how, segments in SEGMENTS.items()
    ),
    Attack(
        "bounce/EPRT-to-localhost/ipv6",
        "routed6-server",
        functools.partial(bounce_at_home, "::1", whole),
    ),
    *(
        Attack(
            f"privileged/{mode}-22/{deployment}", deployment, functools.partial(privileged, mode)
        )
        for deployment in ("routed-client", "inside-client")
        for mode in ("PORT", "EPRT")
    ),
    Attack("privileged/EPRT-22/ipv6", "routed6-client", functools.partial(privileged, "EPRT")),
    Attack("privileged/227-25", "routed-client", privileged_of_server),
    Attack("privileged/229-25/ipv6", "routed6-client", privileged_of_server),
    *(
        Attack(f"two-readings/{name}", "routed-client", functools.partial(two_readings, line))
        for name, line in READINGS.items()
    ),
    Attack(
        "two-readings/eprt-overflow/ipv6",
        "routed6-client",
        functools.partial(two_readings, f"EPRT |2|{CLIENT.public6}|65558|"),
    ),
    Attack("pinning/3306-before-login", "routed-client", functools.partial(without_login, True)),
    Attack(
        "pinning/3306-before-greeting", "routed-client", functools.partial(without_login, False)
    ),
    Attack(
        "pinning/3306-before-login/ipv6", "routed6-client", functools.partial(without_login, True)
    ),
    Attack("slipstream/http-post", "inside-client", slipstream),
    Attack("slipstream/http-post/ipv6", "routed6-client", slipstream),
    *(
        attack
        for family, deployment in (("", "routed-client"), ("/ipv6", "routed6-client"))
        for attack in (
            Attack(
                f"data-syn/by-stranger-before-answer{family}",
                deployment,
                functools.partial(by_stranger, "PORT", reply=None),
            ),
            Attack(
                f"data-syn/after-refusal{family}",
                deployment,
                functools.partial(refused, (0, 0), ("500 no",)),
            ),
            Attack(
                f"data-syn/by-stranger-active{family}",
                deployment,
                functools.partial(by_stranger, "PORT"),
            ),
        )
    ),
    Attack(
        "data-syn/after-multi-line-refusal",
        "routed-client",
        functools.partial(refused, (0, 0), ("500-no", "200 yes", "500 no")),
    ),
    Attack("data-syn/by-stranger-passive", "routed-server", functools.partial(by_stranger, "PASV")),
    Attack(
        "data-syn/by-stranger-passive/ipv6",
        "routed6-server",
        functools.partial(by_stranger, "PASV"),
    ),
    Attack("after-epsv-all", "routed-client", after_epsv_all),
    *(
        Attack(
            f"hidden/refusal-among-{before + 2}-answers",
            "routed-client",
            functools.partial(refused, (before, 1), (*["200 well"] * before, "500 no", "200 well")),
        )
        for before in (0, 40)
    ),
    Attack("wrong-side/227-by-client", "routed-server", reply_by_client),
    Attack("wrong-side/PORT-by-server", "routed-client", command_by_server),
    Attack("flood/200-announcements", "routed-client", expectation_flood),
)
