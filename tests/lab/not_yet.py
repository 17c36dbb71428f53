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
