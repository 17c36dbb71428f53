"""Dialogues that real clients and servers are known for, with both ends held by the test.

A dialogue is a short text. Each of its lines is a step, and begins with what it does:

    C LINE    the client says a line, and the server hears it
    c LINE    the client says a line; the server hears it before its next reply
    S LINE    the server says a line, and the client hears it
    s LINE    the server says a line, and the client has not read it yet
    =         a data connection to the endpoint that was announced last carries bytes both ways
    = peer    the same by a client that takes nothing but the port from a reply
    = first   the same to the endpoint that was announced before the last one
    ~ 1.5     a pause of so many seconds

A line ends with CR LF. `␍`, `␊`, `␉`, `␀` and `ÿ` stand for these bytes (the last one is Telnet's
IAC). A line that contains `␊` ends there, and one that ends with `…` is continued by the next step.
In curly brackets stands a part of an endpoint at which the speaker listens: see `parts`. The table is
in dialogue_rows.py.

A case passes when the data connections come up, and when the session goes on: afterwards each mode
transfers once more, without a delay.
"""

import contextlib
import dataclasses
import re
import time
import typing

from guarantees import require
from lab import CaseFailure
from scripted import CONNECT_SECONDS, Offer, Session, listen
from shell import PATIENCE

# How long the transfers after the dialogue may take together. Each takes some milliseconds, and a
# line that a helper holds back takes seconds.
PROMPT_SECONDS = 1.5 * PATIENCE
SYMBOLS = str.maketrans({"␍": "\r", "␊": "\n", "␉": "\t", "␀": "\0"})
LOGIN = """
    S 220 ready
    C USER anonymous
    S 331 password?
    C PASS guest@example.net
    S 230 logged in
    """


@dataclasses.dataclass(frozen=True)
class Dialogue:
    """One row of the table: what is said, and what is special about the row."""

    name: str
    script: str = ""
    # Where it is written down: a row of a report on real peers, or an RFC.
    source: str = ""
    login: str = LOGIN
    version: int = 4
    # Bytes of the client before everything else, which the server receives as they are.
    preamble: bytes = b""
    # How often the script is said; a race is lost seldom.
    rounds: int = 1
    settings: dict = dataclasses.field(default_factory=dict)
    port: int = 21
    # Whether the control connection is one of Multipath TCP at both ends.
    is_multipath: bool = False
    # The routes over which it is said; all of them, where none is named.
    routes: tuple = ()
    # Instead of a script: a function that gets the stage.
    check: typing.Callable = None


class Play:
    """A dialogue in a session: what was said and not yet heard, and what was announced."""

    def __init__(self, stage, session: Session):
        self.stage, self.session = stage, session
        self.ends = {"C": session.client, "S": session.server}
        # For each speaker: the bytes of a line that has not ended, and the lines to be heard.
        self.begun = {"C": b"", "S": b""}
        self.unheard = {"C": [], "S": []}
        self.listeners, self.offers = [], []

    def perform(self, script):
        for line in script.splitlines():
            if step := line.strip(" "):
                self.step(step[0], step[2:])

    def step(self, kind, text):
        if kind == "=":
            self.connect(text)
        elif kind == "~":
            time.sleep(float(text))
        elif kind.upper() in self.ends:
            # Nobody answers what he has not heard.
            self.hear(other(kind.upper()), 1)
            self.say(kind.upper(), text)
            if kind.isupper():
                self.hear(kind)
        else:
            raise ValueError(f"no such step: {kind} {text}")

    def say(self, speaker, text):
        """Sends a line in one segment, with a listener if the line has an endpoint in it."""
        peer = self.ends[speaker]
        if "{" in text:
            listener = listen(self.stage.lab.namespace(self.host(speaker)), peer.address, 0)
            self.listeners.append(listener)
            text = text.format(**parts(peer.address, listener.getsockname()[1]))
        said = spelled(text)
        self.begun[speaker] += said
        *lines, self.begun[speaker] = self.begun[speaker].split(b"\n")
        self.unheard[speaker] += lines
        peer.send(said)

    def hear(self, speaker, count=None):
        """The other end hears what a speaker has said: everything, or so many lines."""
        for _ in range(len(self.unheard[speaker]) if count is None else count):
            if not self.unheard[speaker]:
                return
            said = self.unheard[speaker].pop(0).decode("latin-1")
            heard = self.ends[other(speaker)].line()
            if endpoint := endpoint_in(said):
                self.offers.append(self.offer(speaker, endpoint, heard))
            elif " ".join(said.split()) != " ".join(heard.split()):
                raise CaseFailure(f"{speaker} said {said!r} and the other end heard {heard!r}")

    def offer(self, speaker, said, heard):
        """What the other end makes of an announcement."""
        connecting = self.ends[other(speaker)]
        address, port = endpoint_in(heard) or self.unreadable(speaker, heard)
        return Offer(
            self.session,
            self.listeners[-1],
            self.host(other(speaker)),
            connecting.address,
            # An EPSV reply has no address, and zeros mean the control connection's.
            address if address.strip("0.") else connecting.peer_address,
            port,
        )

    def unreadable(self, speaker, heard):
        raise CaseFailure(f"{speaker} announced an endpoint and the other end heard {heard!r}")

    def host(self, speaker):
        return self.session.client_host if speaker == "C" else self.stage.deployment.server

    def connect(self, how):
        # The end that connects has read the announcement.
        for speaker in self.ends:
            self.hear(speaker)
        offer = self.offers[-2 if how == "first" else -1]
        if how == "peer":
            offer.address = self.session.client.peer_address
        require(
            offer.connects(timeout=CONNECT_SECONDS),
            f"the data connection to {offer.address}:{offer.port} did not come through",
        )

    def close(self):
        self.session.close()
        for listener in self.listeners:
            listener.close()


def other(speaker):
    return "S" if speaker == "C" else "C"


def spelled(text):
    """The bytes of a line as the table spells it."""
    if text.endswith("…"):
        return text[:-1].translate(SYMBOLS).encode("latin-1")
    raw = text.translate(SYMBOLS)
    return (raw if "\n" in raw else raw + "\r\n").encode("latin-1")


def parts(address, port):
    """What stands for an endpoint in a line of the table."""
    if ":" in address:
        return {"address": address, "port": port, "p": f"{port >> 8},{port & 255}"}
    numbers = [*map(int, address.split(".")), port >> 8, port & 255]
    return {
        "hp": ",".join(map(str, numbers)),
        "spaced": ", ".join(map(str, numbers)),
        "tabbed": ",\t".join(map(str, numbers)),
        "padded": ",".join(f"{number:03}" for number in numbers),
        "p": ",".join(map(str, numbers[4:])),
        "address": address,
        "port": port,
    }


# How clients read a reply, and servers a command: six numbers, or a number between delimiters.
NUMBERS = re.compile(r"(\d+)" + r"\s*,\s*(\d+)" * 5)
EXTENDED = re.compile(r"([|!])(?:[12]\1([^|!]+)\1|\1\1)(\d+)\1")


def endpoint_in(line):
    """(address, port) in a line, with an empty address where the line has none; else None."""
    if not re.match(r"\s*(PORT|EPRT|22[79])", line, re.IGNORECASE):
        return None
    if found := NUMBERS.search(line):
        numbers = [int(text) for text in found.groups()]
        return ".".join(map(str, numbers[:4])), numbers[4] * 256 + numbers[5]
    if found := EXTENDED.search(line):
        return (found[2] or "").removeprefix("::ffff:"), int(found[3])
    return None


def run_dialogue(dialogue, stage):
    """The case: the dialogue, and then a transfer in each mode."""
    if dialogue.check:
        return dialogue.check(stage)
    with play(stage) as performed:
        if dialogue.preamble:
            performed.session.client.send(dialogue.preamble)
            received_whole(performed.session.server, dialogue.preamble)
        performed.perform(dialogue.login)
        for _ in range(dialogue.rounds):
            performed.perform(dialogue.script)
        goes_on(performed)
    return ""


@contextlib.contextmanager
def play(stage):
    performed = Play(stage, stage.connect())
    try:
        yield performed
    finally:
        performed.close()


def received_whole(peer, wanted):
    """The peer receives exactly these bytes."""
    peer.sock.settimeout(CONNECT_SECONDS)
    received = b""
    while len(received) < len(wanted):
        part = peer.receive()
        require(part, f"the connection ended after {received!r}")
        received += part
    require(received == wanted, f"received {received!r} in place of {wanted!r}")


def goes_on(performed):
    """After the dialogue each mode transfers, and nobody waits."""
    for speaker in performed.ends:
        performed.hear(speaker)
    begin = time.monotonic()
    is_ipv6 = performed.stage.deployment.version == 6
    for mode in ("EPSV", "EPRT") if is_ipv6 else ("PASV", "PORT"):
        offer = performed.session.announce(mode)
        performed.listeners.append(offer.listener)
        require(offer.connects(), f"afterwards, the data connection of {mode} did not come through")
        performed.session.exchange("NOOP", "200 well")
    seconds = time.monotonic() - begin
    require(seconds < PROMPT_SECONDS, f"the transfers afterwards took {seconds:.1f} s")
