"""Which cases stand for the whole matrix when there is no time for all of it.

Each applicable case has features: what is tried in it, alone and in pairs that matter together.
`covering` keeps every feature of the matrix in at least one case. A greedy choice keeps the number
of cases and set-ups small. `brief` keeps what depends on the kernel alone.
"""

import dataclasses
import re

from shell import LabError

# Cases with real programs are called group/deployment/port/server/client/mode.
REAL = ("transfer", "ten-ports", "announces-public", "without-helper", "abort", "tls", "tls-ccc")
# One case stands for all others of these groups, as far as their names tell.
ONE_OF_A_GROUP = ("policy", "tls-default", "tls-without-helper", "dialogue")
# The costs of cases on an emulated machine, as multiples of the cheapest. Most of it is the start
# of the client.
COSTS = {"curl": 4, "ftplib": 5, "ncftp": 3, "lftp": 2.5, "wget": 1.5, "tnftp": 1}
SETUP_COST = 4
# The defence against these attacks is an expectation that does not exist, or does not exist any
# more.
KEPT_BY_THE_BACKEND = ("bounce", "data-syn", "ended", "privileged", "wrong-side", "flood")

# In these networks no kernel makes a difference.
ANY_KERNEL = ("bridge", "synproxy", "mtu")


# What depends on the kernel and not on what is said: the queue, NAT, expectations and their time,
# marks, replaced tables. One case of each, with a client that starts fast.
BRIEF = (
    "auto/inside-client/PORT",
    "transfer/inside-(client|server)/21/vsftpd/tnftp/(PORT|EPSV)",
    "transfer/(gateway-client|gateway-server|hairpin|routed6-client)/21/vsftpd/tnftp/EPRT",
    "shipped/intranet-clients/21/vsftpd/tnftp/(EPRT|PASV)",
    "tls/inside-server/21/vsftpd/curl/EPSV",
    "guarantee/(one-shot|stranger-gets-nothing|gone-with-the-session)/inside-client/(PORT|EPSV)",
    "guarantee/(newer-replaces-older|refusal-closes)/inside-client/PORT",
    "guarantee/late-gets-nothing/inside-server/(PORT|PASV)",
    "guarantee/nothing-without-the-rules/routed-client/PORT",
    "attack/data-syn/(by-stranger-active|forged-by-neighbour)/ipv6",
    "attack/ended/RST-leaves-hole",
    "attack-in/vrf/.+",
    "reload/(table|daemon)/inside-client/PORT",
    "netem/loss-5/inside-client/PORT",
    "network/(vrf|zone|uplinks-howto)/inside-client/21/vsftpd/tnftp/(PORT|EPSV)",
    "network/conntrack-bridge/routed-client/(21/vsftpd/tnftp/(PORT|EPSV)|policy/PWD)",
    "forgotten/(client|refused)-first/(inside-client|(vrf|conntrack-bridge)/routed-client)",
    "expectations/[^/]+/(inside-client/PORT|inside-server/PASV)",
)


def brief(batches):
    """The batches with only the cases of BRIEF."""
    kept = []
    for batch in batches:
        cases = [case for case in batch.cases if any(re.fullmatch(p, case.name) for p in BRIEF)]
        if cases:
            kept.append(dataclasses.replace(batch, cases=tuple(cases)))
    return kept


def require_brief(chosen):
    """No pattern of BRIEF has lost its cases."""
    names = [case.name for batch in chosen for case in batch.cases]
    if lost := [p for p in BRIEF if not any(re.fullmatch(p, name) for name in names)]:
        raise LabError(f"the brief selection finds no case for {lost}")


def features(case):
    """The things that a case tries, as a set of tuples."""
    parts = case.name.split("/")
    if parts[0] == "without-helper":
        # This is no feature of the helper: it proves for each mode that the rules alone let nothing
        # through.
        return {("without-helper", parts[5])}
    if parts[0] in ("tls", "tls-ccc"):
        # Nothing within TLS is read, so neither mode nor client makes a difference to the helper.
        return {(parts[0], part) for part in (parts[1:5] if parts[0] == "tls" else parts[3:4])}
    if parts[0] in REAL:
        group, deployment, port, server, client, mode = parts
        return {
            (group, mode),
            (group, server),
            ("deployment", deployment, mode),
            ("port", port, mode),
            ("port", port, deployment),
            ("server", server, mode),
            ("client", client, mode),
            ("server", server, "client", client),
        }
    if parts[0] == "shipped":
        # shipped/deployment/port/what/[client/]mode
        return {("shipped", part) for part in (parts[1], parts[3], parts[-1])}
    if parts[0] in ("tls-default", "tls-without-helper"):
        return {(parts[0],)}
    if parts[0] in ("beside-kernel", "life", "soak"):
        return {tuple(parts[:2])}
    if parts[0] == "policy":
        # policy/entry/server: the command policy stands above both backends, so one case with each
        # server stands for all.
        return {(parts[0], "server", parts[2])}
    if parts[0] == "dialogue":
        # dialogue/row/route: what is said makes no difference to the kernel.
        return {(parts[0], parts[-1])}
    if parts[0] == "tls-guarantee":
        # tls-guarantee/what/deployment
        return {tuple(parts[:2]), (parts[0], "deployment", parts[2])}
    if parts[0] == "netem":
        # netem/link/deployment/mode
        return {("netem", parts[1]), ("netem", parts[3])}
    if parts[0] == "reload":
        # reload/what/deployment/mode
        return {tuple(parts[:2])}
    if parts[0] == "network":
        return network_features(parts)
    if parts[0] == "attack":
        return attack_features(parts)
    if parts[0] == "attack-in":
        # attack-in/network/kind/what[/where or family]
        return {tuple(parts[:3])}
    group, name, deployment, *mode = parts
    if mode:
        return {(group, name, *mode), (group, "deployment", deployment)}
    return {(case.name,)}


def kind_of_network(name):
    """What a network's name begins with; the rest tells the variant."""
    return name.split("-")[0]


def network_features(parts):
    """The features of `network/network/deployment/…/what/mode`.

    `what` is a client, or the kind of line that is said.
    """
    kind = kind_of_network(parts[1])
    details = set() if kind in ANY_KERNEL else {("network", kind, part) for part in parts[-2:]}
    return {("network", kind)} | details


def attack_features(parts):
    """The features of `attack/kind/what[/where or family]`.

    A defence that reads the text is the same on every kernel, so one attack of a kind shows that it
    can be tried there. A defence against data connections is the backend's, so all of these are
    tried.
    """
    family = parts[-1] if parts[-1] == "ipv6" else "ipv4"
    found = {("attack", parts[1]), ("attack", "family", family)}
    return found | {("attack", *parts[1:3])} if parts[1] in KEPT_BY_THE_BACKEND else found


def covering(batches):
    """The batches with only the chosen cases, without empty ones, always in the same order."""
    batches = list(batches)
    candidates = [
        (index, case, features(case))
        for index, batch in enumerate(batches)
        for case in batch.cases
        if not case.not_applicable
    ]
    missing = set().union(*(gains for _, _, gains in candidates)) if candidates else set()
    chosen, opened = set(), set()
    while missing:
        index, case, gains = max(candidates, key=lambda c: value(c, missing, opened))
        missing -= gains
        chosen.add(case.name)
        opened.add(index)
    kept = [(batch, [case for case in batch.cases if case.name in chosen]) for batch in batches]
    return [dataclasses.replace(batch, cases=tuple(cases)) for batch, cases in kept if cases]


def value(candidate, missing, opened):
    """New features for the time that they take; of equals, max keeps the first."""
    index, case, gains = candidate
    cost = max((COSTS.get(part, 1) for part in case.name.split("/")), default=1)
    return len(gains & missing) / (cost if index in opened else cost + SETUP_COST)


def group_of(name):
    """The part of a split name that must not be lost."""
    if name[0] == "network":
        return name[0], kind_of_network(name[1])
    return tuple(name[: 1 if name[0] in ONE_OF_A_GROUP else 2])


def require_covered(all_batches, chosen):
    """Checks this module's promise in a simple way: no part of a real case's name is lost."""

    def values(batches):
        names = [
            case.name.split("/")
            for batch in batches
            for case in batch.cases
            if not case.not_applicable
        ]
        real = {
            (number, part)
            for name in names
            if name[0] in REAL
            for number, part in enumerate(name)
            if name[0] != "without-helper"
        }
        return real | {group_of(name) for name in names if name[0] not in REAL}

    if lost := values(all_batches) - values(chosen):
        raise LabError(f"the selection leaves out {sorted(lost)}")
