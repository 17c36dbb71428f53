"""The twins of the table of dialogues: what its leniencies must not let in.

An outside client makes an honest server echo a 227 at the start of a segment, and pipelines
commands around it. Or a program that knows no FTP is made to speak to a control port, and the
attacker's server answers as if it understood.
"""

import functools
import time

from attacks import ANSWER_SECONDS, PASSED, Attack
from attacks_commands import CLIENT, SERVICE
from attacks_replies import ECHOED, ECHOED_EPSV, wait_for
from dialogue_checks import PROXY_HEADERS
from dialogues import LOGIN, SYMBOLS, endpoint_in, spelled
from scripted import encode
from topology import GATEWAY_WAN4, INSIDE1, INSIDE2, OUTSIDE1

# The echoed line, as the scripts below name it.
NAMES = {"E": ECHOED, "E229": ECHOED_EPSV, "E_other": encode("PASV", INSIDE1.public4, SERVICE)}
BETWEEN_SEGMENTS = 0.03


def echo(script, stage, login=LOGIN):
    """The script is performed, each of its lines a segment of its own; then the attacker tries.

    The steps are those of dialogues.py, but nobody insists on hearing what was said, because a
    helper may stop it.
    """
    session = stage.connect()
    for host in (INSIDE1, INSIDE2):
        stage.listen(host.name, SERVICE)
    for line in (login + script).splitlines():
        if step := line.strip(" "):
            said = spelled(step[2:].format(**NAMES))
            speaker, listener = session.client, session.server
            if step[0] in "Ss":
                speaker, listener = listener, speaker
            speaker.send(said)
            wait_for(listener, said)
    return any(
        stage.reaches(OUTSIDE1.name, stage.public(host), SERVICE) for host in (INSIDE2, INSIDE1)
    )


def listing(end, command="STAT /", code=213, echoed="{E}"):
    """A listing with the echoed line in it, which ends in some way or other."""
    return f"""
        C {command}
        S {code}-Status follows:
        {end}
        S {echoed}
        S {code} End
        """


PIPELINED = """
    C {first}␍␊{second}␍␊
    S 211-Status:
    S {{E}}
    S 211 End
    S 502 no
    """

ECHOES = {
    # EPSV or PASV is unanswered while the listing is said (P1, P2).
    "in-STAT-before-EPSV": PIPELINED.format(first="STAT", second="EPSV"),
    "in-HELP-before-PASV": PIPELINED.format(first="HELP", second="PASV"),
    "in-STAT-behind-EPSV-swallowed": """
        C EPSV␍␊STAT␍␊
        S 211-Status:
        S {E}
        S 211 End
        """,
    "229-in-STAT-before-PASV": PIPELINED.format(first="STAT", second="PASV").replace(
        "{E}", "{E229}"
    ),
    # Answers that do not come (P3, P15).
    "in-STAT-behind-NOOP-swallowed": """
        C NOOP
        C STAT␍␊PASV␍␊
        S 211-Status:
        S {E}
        S 211 End
        S 502 no
        """,
    "in-STAT-behind-empty-lines-swallowed": """
        C ␍␊␍␊STAT␍␊PASV␍␊
        S 211-Status:
        S {E}
        S 211 End
        S 502 no
        """,
    "in-STAT-before-NOOP-and-PASV": """
        C STAT␍␊NOOP␍␊PASV␍␊NOOP␍␊
        S 211-Status:
        S {E}
        S 211 End
        S 200 well
        S 502 no
        S 200 well
        """,
    # One answer too many (P4): a listing behind the refusal of PASV.
    "in-STAT-behind-refused-PASV": """
        C PASV␍␊STAT␍␊
        S 425 no port is free
        S 211-Status:
        S {E}
        S 211 End
        """,
    "in-STAT-in-transfer": """
        C RETR a␍␊STAT␍␊PASV␍␊
        S 150 here it comes
        S 211-Status:
        S {E}
        S 211 End
        S 226 done
        S 502 no
        """,
    "in-226-before-PASV": """
        C RETR a␍␊PASV␍␊
        S 150 here it comes
        S 226-File of the day:
        S {E}
        S 226 done
        S 502 no
        """,
    # A multi-line reply that another code may have ended (P5).
    **{
        f"in-listing-behind-{code}{name}": listing(f"S {code} so it says{more}", command)
        for code in (150, 200, 226, 500)
        for name, command, more in (
            ("", "STAT /", ""),
            ("-before-PASV", "STAT /␍␊PASV␍␊", ""),
            ("-then-PASV", "STAT /", "\n        C PASV"),
            ("-then-NOOP-and-PASV", "STAT /", "\n        C NOOP\n        C PASV"),
        )
    },
    "in-endless-listing-before-PASV": """
        C STAT /␍␊PASV␍␊
        S 213-Status follows:
        S {E}
        """,
    "in-endless-listing-then-PASV": """
        C STAT /
        S 213-Status follows:
        C PASV
        S {E}
        """,
    "in-endless-listing-then-many-commands": """
        C STAT /
        S 213-Status follows:
        C NOOP␍␊NOOP␍␊NOOP␍␊PASV␍␊
        S a file
        S {E}
        """,
    "in-553-ended-by-150-then-listing": """
        C STOR x
        S 553- Directory excluded
        S 150 Opening BINARY mode
        C STAT␍␊PASV␍␊
        S 211-Status:
        S {E}
        S 211 End
        S 226 done
        S 502 no
        """,
    # A line feed in what the server repeats: the command, or the name of a directory (P23).
    "behind-LF-in-error-text": """
        C X␊{E}␍␊PASV␍␊
        S 500 X␊{E}: not understood␍␊
        S 502 no
        """,
    "behind-LF-in-error-text-in-two-segments": """
        C X␊{E}␍␊PASV␍␊
        S 500 X␊
        S {E}: not understood␍␊
        S 502 no
        """,
    "behind-LF-in-directory-name": """
        C PWD␍␊PASV␍␊
        S 257 "/x␊{E}" is the current directory␍␊
        S 502 no
        """,
    "behind-LF-in-directory-name-in-two-segments": """
        C PWD␍␊PASV␍␊
        S 257 "/x␊
        S {E}␊
        S " is the current directory
        S 502 no
        """,
    "behind-LF-in-missing-name": """
        C SIZE x␍␊PASV␍␊
        S 550 x␊
        S {E}␊
        S : no such file
        S 502 no
        """,
    "behind-CR-in-error-text": """
        C X␍{E}␍␊PASV␍␊
        S 500 X␍…
        S {E}: not understood␍␊
        S 502 no
        """,
    "in-middle-of-error-text-before-PASV": """
        C X {E}␍␊PASV␍␊
        S 500 'X …
        S {E}…
        S ' not understood
        S 502 no
        """,
    "in-middle-of-listing-before-PASV": """
        C STAT␍␊PASV␍␊
        S 211-Status:
        S -rw-r--r-- 1 0 0 0 Jan 01 00:00 …
        S {E}
        S 211 End
        S 502 no
        """,
    # The address of another host (P33).
    "of-another-host": """
        C EPSV␍␊STAT␍␊
        S 211-Status:
        S {E_other}
        S 211 End
        S 522 no
        """,
}

# The same before anybody has logged in: the scripts begin with the greeting.
ECHOES_BEFORE_LOGIN = {
    "in-greeting-before-PASV": """
        C PASV
        S 220-welcome
        S {E}
        S 220 ready
        S 530 log in first
        """,
    "in-greeting-200-before-PASV": """
        C PASV
        S 200-welcome
        S {E}
        S 200 ready
        S 530 log in first
        """,
    "behind-120-before-PASV": """
        C PASV
        S 120-soon
        S {E}
        S 120 soon
        S 220 ready
        S 530 log in first
        """,
    "in-331-before-PASV": """
        S 220 ready
        C USER a␍␊PASS b␍␊PASV␍␊
        S 331-password for
        S {E}
        S 331 ?
        S 530 no
        S 530 log in first
        """,
    "in-530-before-PASV": """
        S 220 ready
        C USER a␍␊PASS b␍␊PASV␍␊
        S 331 password?
        S 530-no
        S {E}
        S 530 no
        S 530 log in first
        """,
}


def third_party(stage):
    """The server names another inside host; that host gets nothing (P33)."""
    session = stage.session()
    stage.listen(INSIDE1.name, SERVICE)
    session.command("PASV")
    session.server.send(spelled(NAMES["E_other"]))
    wait_for(session.client, spelled(NAMES["E_other"]))
    return stage.reaches(OUTSIDE1.name, INSIDE1.public4, SERVICE)


# -- programs that know no FTP

# What stands in the part that the attacker writes, with a PORT at the start of a segment.
TEXT = "USER a\r\nPASS b\r\n"
BODY = TEXT.encode(), b"PORT {hp}\r\n"


def tls_hello():
    """A ClientHello whose session ticket is the attacker's text."""
    ticket = b"\r\n" + BODY[0]
    hello = b"\x03\x03" + bytes(32) + b"\0" + b"\0\x02\x13\x01" + b"\x01\0" + b"\x01\0\0\x23\x01\0"
    return [b"\x16\x03\x01\x02\0\x01\0\x01\xfc" + hello + ticket, BODY[1]]


def stun_request():
    """An allocation over TCP whose user name is the attacker's text."""
    return [
        b"\0\x03\x01\x08\x21\x12\xa4\x42" + bytes(12) + b"\0\x06\0\xf4" + b"\r\n" + BODY[0],
        BODY[1],
    ]


def http(first_line, headers="Host: example.net\r\nContent-Length: 70\r\n"):
    return [f"{first_line}\r\n{headers}\r\n".encode(), *BODY]


SPEAKERS = {
    "HTTP-POST": http("POST / HTTP/1.1"),
    "HTTP-method-USER": http("USER / HTTP/1.1"),
    "HTTP-method-OPTS": http("OPTS / HTTP/1.1"),
    "HTTP-method-NOOP": http("NOOP / HTTP/1.1"),
    "HTTP-OPTIONS": http("OPTIONS / HTTP/1.1"),
    "HTTP-in-one-segment": [b"".join(http("POST / HTTP/1.1"))],
    "HTTP-behind-PROXY": [PROXY_HEADERS["v1"], *http("POST / HTTP/1.1")],
    "HTTP-2": [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\0\0\x46\0\0\0\0\0\x01\r\n" + BODY[0],
        BODY[1],
    ],
    "WebSocket": [
        *http("GET / HTTP/1.1", "Upgrade: websocket\r\nConnection: Upgrade\r\n")[:1],
        b"\x81\x20\r\n" + BODY[0],
        BODY[1],
    ],
    "TLS": tls_hello(),
    "STUN": stun_request(),
    "SIP": http("REGISTER sip:example.net SIP/2.0", "Via: SIP/2.0/TCP example.net\r\n"),
    "RTSP": http("OPTIONS * RTSP/1.0", "CSeq: 1\r\n"),
    "SMTP": [
        b"EHLO example.net\r\n",
        b"MAIL FROM:<a@example.net>\r\n",
        b"RCPT TO:<b@example.net>\r\n",
        b"DATA\r\n",
        *BODY,
    ],
    "IRC": [b"NICK a\r\nUSER a 0 * :a\r\n", *BODY],
    "FTP-verb-then-HTTP": [b"NOOP\r\n", *http("POST / HTTP/1.1")],
}


def polite(line):
    """A server that plays FTP as far as it goes."""
    return {"USER": "331 password?", "PASS": "230 logged in"}.get(line[:4].upper(), "200 noted")


# How the attacker's server answers: each line alike, or as FTP would.
ANSWERS = {
    "2yz": lambda line: "230 welcome",
    "5yz": lambda line: "500 what?",
    "FTP": polite,
}


def misled(segments, stage):
    """A program is made to speak; the server answers in each way, and speaks first or second."""
    stage.listen(CLIENT.name, SERVICE)
    return any(
        misled_once(segments, answer, greets, stage)
        for answer in ANSWERS.values()
        for greets in (True, False)
    )


def misled_once(segments, answer, greets, stage):
    session = stage.connect()
    if greets:
        session.server.send(b"220 ready\r\n")
    own = encode("PORT", CLIENT.private4, SERVICE).removeprefix("PORT ")
    heard = b""
    for segment in segments:
        session.client.send(segment.replace(b"{hp}", own.encode()))
        time.sleep(BETWEEN_SEGMENTS)
        new = drained(session.server.sock)
        heard += new
        if not greets and not heard.removesuffix(new):
            session.server.send(b"220 ready\r\n")
        for line in new.decode("latin-1").splitlines():
            session.server.send(answer(line).encode() + b"\r\n")
            time.sleep(0.001)
    found = [endpoint_in(line) for line in heard.decode("latin-1").splitlines()]
    named = {endpoint for endpoint in found if endpoint} | {(GATEWAY_WAN4, SERVICE)}
    # The session stays open meanwhile.
    return any(stage.reaches(OUTSIDE1.name, *endpoint, tries=1) for endpoint in named)


def drained(sock):
    """What has come until nothing more does."""
    sock.settimeout(BETWEEN_SEGMENTS)
    received = b""
    try:
        while part := sock.recv(4096):
            received += part
    except OSError:
        pass
    return received


def refused_login(stage):
    """USER, PASS and PORT in one segment; the server lets nobody in, and connects all the same."""
    stage.listen(CLIENT.name, SERVICE)
    session = stage.connect()
    session.reply("220 ready")
    own = encode("PORT", session.client.address, SERVICE)
    session.client.send(f"{TEXT}{own}\r\n".encode())
    heard = session.server.line(ANSWER_SECONDS)
    for reply in ("331 password?", "530 no", "530 log in first"):
        session.server.send(f"{reply}\r\n".encode())
        time.sleep(BETWEEN_SEGMENTS)
    heard = drained(session.server.sock).decode("latin-1").splitlines() + [heard]
    found = {endpoint for line in heard if (endpoint := endpoint_in(line))}
    return any(
        stage.reaches(OUTSIDE1.name, *endpoint, tries=1)
        for endpoint in found | {(session.server.peer_address, SERVICE)}
    )


# A line of the client that ends for some servers where others read on (P22), and names a port of
# the third host that the server should connect to.
HIDDEN = {
    "CR": "SIZE x␍PORT {hp}␍␊",
    "LF": "SIZE x␊PORT {hp}␍␊",
    "CR-NUL": "SIZE x␍␀PORT {hp}␍␊",
    "CR-in-two-segments": "SIZE x␍…PORT {hp}␍␊",
    "LF-in-two-segments": "SIZE x␊…PORT {hp}␍␊",
}


def hidden_bounce(text, stage):
    """A server that takes the odd byte for the end of a line hears PORT with a third host."""
    session = stage.session()
    hp = encode("PORT", INSIDE2.public4, SERVICE).removeprefix("PORT ")
    for part in text.replace("{hp}", hp).split("…"):
        session.client.send(part.translate(SYMBOLS).encode())
        time.sleep(BETWEEN_SEGMENTS)
    heard = drained(session.server.sock).replace(b"\0", b"").replace(b"\r", b"\n")
    return any(endpoint_in(line) for line in heard.decode("latin-1").splitlines())


IN_ONE_SEGMENT = "the kernel's helper reads only what begins a segment"

ATTACKS = (
    *(
        Attack(f"echoed-227/{name}", "routed-server", functools.partial(echo, script))
        for name, script in ECHOES.items()
    ),
    *(
        Attack(f"echoed-227/{name}", "routed-server", functools.partial(echo, script, login=""))
        for name, script in ECHOES_BEFORE_LOGIN.items()
    ),
    Attack("bounce/227-of-another-host", "routed-server", third_party),
    *(
        Attack(
            f"slipstream/{name}",
            "inside-client",
            functools.partial(misled, segments),
            nowhere="" if len(segments) > 1 else IN_ONE_SEGMENT,
        )
        for name, segments in SPEAKERS.items()
    ),
    Attack("pinning/3306-with-refused-login", "routed-client", refused_login),
    *(
        Attack(
            f"hidden/PORT-behind-{name}",
            "routed-client",
            functools.partial(hidden_bounce, text),
            success=PASSED,
        )
        for name, text in HIDDEN.items()
    ),
)
