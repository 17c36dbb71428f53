"""Cases that fail with ftp-alg today. Who mends the cause deletes the line.

A run prints them and does not try them, unless it is told `--not-yet`.
"""

import dataclasses
import re

from shell import LabError


@dataclasses.dataclass(frozen=True)
class NotYet:
    """Why cases fail, and with which engines: with none named, with each of ours."""

    reason: str
    engines: tuple = ()


# A pattern for whole names of cases.
NOT_YET = {
    "attack/echoed-227/behind-LF-in-(directory|missing)-name.*": NotYet(
        "a LF that a server repeats within a reply is taken for the end of that reply, although"
        " this server ends its lines with CR LF; the 227 behind it then answers the next PASV"
    ),
    "attack/slipstream/(SMTP|IRC)": NotYet(
        "a verb of another protocol (EHLO, MAIL, NICK) passes for one of FTP, and the text of a"
        " message then logs in"
    ),
    "network/zone-original/.*/(PORT|EPRT)": NotYet(
        "the kernel does not find its expectation in the other zone", ("ours-conntrack",)
    ),
    "network/synproxy/.*/(lines|many-segments)/.*": NotYet(
        "the server does not believe an injected acknowledgement, as SYNPROXY counts differently"
    ),
    "network/synproxy/.*": NotYet(
        "with the backend conntrack SYNPROXY's offset is applied twice; on Linux 6.1 a SYN-ACK that"
        " was queued passes SYNPROXY",
        ("ours-nftables", "ours-conntrack"),
    ),
    "network/offload-all/.*": NotYet(
        "the control connection is offloaded, and its packets pass unseen", ("ours-nftables",)
    ),
    "dialogue/(EPSV-answered-227|PASV-answered-229|CPSV)/.*": NotYet(
        "a reply opens something only if it has the code of its own command"
    ),
    "dialogue/(NOOPs|STAT)-swallowed-in-transfer/.*": NotYet(
        "each command is taken to have one answer, in order"
    ),
    "dialogue/(CWD-answered-twice/late|226-twice/second-after-PASV|150-without-226/.*"
    "|1yz-as-the-only-answer/.*|empty-lines?-unanswered.*|file-name-with-LF/.*)/.*": NotYet(
        "each command is taken to have one answer, in order"
    ),
    "dialogue/reply-ended-by-another-code/.*": NotYet(
        "a multi-line reply ends with the code that it began with, or never"
    ),
    "dialogue/((PASS|USER|ACCT)-answered-2(00|02|20|50)|greeting-2..)/.*": NotYet(
        "a login is 220, 331, 230 and nothing else"
    ),
    "dialogue/(client-before-late-greeting|(FEAT|AUTH|OPTS|HOST|all)-before-greeting.*)/.*": NotYet(
        "a client that speaks before the greeting is taken for one that speaks no FTP"
    ),
    "dialogue/login-and-PORT-in-one-segment.*": NotYet(
        "an announcement does not wait for the login before it to be answered"
    ),
    "dialogue/PROXY-.*": NotYet("a PROXY protocol header is read as commands"),
    "dialogue/AUTH-answered-200/.*": NotYet("AUTH counts as accepted only with 234"),
}


def hold_back(batches, engine):
    """The batches without the cases that fail with an engine; and these, with the reasons."""
    kept, held = [], []
    for batch in batches:
        cases = []
        for case in batch.cases:
            if reason := reason_of(case.name, engine):
                held.append((case.name, reason))
            else:
                cases.append(case)
        if cases:
            kept.append(dataclasses.replace(batch, cases=tuple(cases)))
    return kept, held


def reason_of(name, engine):
    """Why a case fails with an engine; nothing where it must pass."""
    found = (
        entry.reason
        for pattern, entry in NOT_YET.items()
        if re.fullmatch(pattern, name) and engine in (entry.engines or (engine,))
    )
    return next(found, "")


def require_names(batches):
    """Each pattern has a case."""
    names = [case.name for batch in batches for case in batch.cases]
    if lost := [p for p in NOT_YET if not any(re.fullmatch(p, name) for name in names)]:
        raise LabError(f"NOT_YET finds no case for {lost}")
