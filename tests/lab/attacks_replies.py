"""Attacks by what an attacker makes an honest server say (VU#328867).

The attacker's 227 stands in a reply to somebody else, at the start of a segment.
"""

import functools

from attacks import ANSWER_SECONDS, Attack, hear_until
from attacks_commands import SERVICE
from scripted import encode
from topology import INSIDE2, OUTSIDE1

END_OF_LINE = b"\r\n"
ECHOED = encode("PASV", INSIDE2.public4, SERVICE)
# A 229 names no address, so it is the same in both families.
ECHOED_EPSV = encode("EPSV", INSIDE2.public4, SERVICE)


def echo(command, parts, stage):
    """The server answers in parts, each in its own segment; then the attacker tries the port."""
    session = stage.session()
    stage.listen(INSIDE2.name, SERVICE)
    if command:
        session.client.send("".join(f"{line}\r\n" for line in command).encode())
        hear_until(session.server, command[-1].split()[0])
    return heard_in_parts(stage, session, parts)


def echo_in_banner(stage):
    """The 227 stands in the greeting, before the login."""
    session = stage.connect()
    stage.listen(INSIDE2.name, SERVICE)
    return heard_in_parts(stage, session, ["220-welcome\r\n", f"{ECHOED}\r\n", "220 ready\r\n"])


def heard_in_parts(stage, session, parts):
    for part in parts:
        session.server.send(part.encode())
        # Each part is a segment of its own, because the next one leaves only when this one has
        # come, or will not come.
        wait_for(session.client, part.encode())
    return stage.reaches(OUTSIDE1.name, stage.public(INSIDE2), SERVICE)


def wait_for(peer, part):
    """Whether these bytes have come; a helper may hold them back or stop them."""
    peer.buffer = b""
    peer.sock.settimeout(ANSWER_SECONDS)
    try:
        while part not in peer.buffer:
            received = peer.sock.recv(4096)
            if not received:
                return False
            peer.buffer += received
    except OSError:
        return False
    return True


def lines(*texts):
    return [f"{text}\r\n" for text in texts]


# What the client asks for, and the segments of the answer.
ECHOES = {
    "unsolicited": ((), lines(ECHOED)),
    "unsolicited-229": ((), lines(ECHOED_EPSV)),
    "in-STAT": (("STAT",), lines("211-Status:", ECHOED, "211 End")),
    "in-HELP": (("HELP",), lines("214-These:", ECHOED, "214 End")),
    "in-file-listing": (("STAT /",), lines("213-Status follows:", ECHOED, "213 End")),
    "in-directory-message": (("CWD /",), lines("250-Welcome", ECHOED, "250 Done")),
    "in-multi-line-reply": (("SITE HELP",), lines("200-One", f" {ECHOED}", ECHOED, "200 End")),
    "in-unknown-command": (("X",), ["500 'X", f"{ECHOED}", "': unknown\r\n"]),
    "in-missing-file": (("SIZE x",), ["550 \n", f"{ECHOED}\r\n"]),
    "229-in-STAT": (("STAT",), lines("211-Status:", ECHOED_EPSV, "211 End")),
    "in-STAT-before-PASV": (
        ("STAT", "PASV"),
        lines("211-Status:", ECHOED, "211 End", "502 no PASV"),
    ),
    "in-multi-line-227": (
        ("PASV",),
        lines("227-Wait", ECHOED.replace("227 ", "227-"), "227 no endpoint"),
    ),
    "to-refused-PASV": (("PASV",), lines("502-no", ECHOED, "502 no")),
}

ECHOES_IPV6 = {
    "unsolicited-229": ECHOES["unsolicited-229"],
    "229-in-STAT": ECHOES["229-in-STAT"],
    "229-in-file-listing": (("STAT /",), lines("213-Status follows:", ECHOED_EPSV, "213 End")),
    "229-to-refused-EPSV": (("EPSV",), lines("502-no", ECHOED_EPSV, "502 no")),
}

ATTACKS = (
    *(
        Attack(f"echoed-227/{name}", "routed-server", functools.partial(echo, *what))
        for name, what in ECHOES.items()
    ),
    *(
        Attack(f"echoed-227/{name}/ipv6", "routed6-server", functools.partial(echo, *what))
        for name, what in ECHOES_IPV6.items()
    ),
    Attack("echoed-227/in-banner", "routed-server", echo_in_banner),
)
