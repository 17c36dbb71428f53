"""Attacks on the command policy: the server must not hear a command that the operator refuses."""

import functools
import time

from attacks import PASSED, REFUSED, Attack, hear
from attacks_commands import BETWEEN_SEGMENTS, SEGMENTS, whole
from attacks_packets import syn_ack_ahead

LINE = f"{REFUSED} x\r\n".encode()


def refused(segments, stage):
    """The client says a refused command, in these segments."""
    return is_heard(stage.session(), segments)


def refused_behind_syn_ack(stage):
    """The client first sends SYN/ACK in its server's name, so that a helper may not read on."""
    session = stage.session()
    syn_ack_ahead(session, stage)
    return is_heard(session, whole)


def is_heard(session, segments):
    """Whether the server hears the refused command when the client says it in these segments."""
    for segment in segments(LINE):
        session.client.send(segment)
        # A pause, so that they leave in separate segments.
        time.sleep(BETWEEN_SEGMENTS)
    return hears_refused(session.server)


def hears_refused(server):
    while (heard := hear(server)) is not None:
        if heard.upper().startswith(REFUSED):
            return True
    return False


ATTACKS = tuple(
    Attack(f"policy/{name}{family}", deployment, attempt, success=PASSED, has_policy=True)
    for family, deployment in (("", "routed-server"), ("/ipv6", "routed6-server"))
    for name, attempt in (
        *((f"DELE{how}", functools.partial(refused, parts)) for how, parts in SEGMENTS.items()),
        ("DELE-behind-SYN-ACK", refused_behind_syn_ack),
    )
)
