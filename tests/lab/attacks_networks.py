"""The table of attacks within other people's networks: conntrack zones, and a VRF.

The normal run tries some attacks of each kind there, and `--extra` tries all of them.
"""

import functools

import attacks
import attacks_conntrack
from deployments import IN_NETWORKS
from networks import VRF, ZONES
from shell import LabError

# The whole table is tried in these.
WHOLE = (ZONES[0], VRF)
NETWORKS = {network.name: network for network in (*WHOLE, *attacks_conntrack.IN_NETWORKS)}

# Attacks by each kind of defence.
SELECTION = (
    "bounce/PORT-to-outside-host",
    "bounce/227-to-inside-host",
    "bounce/PORT-to-localhost-behind-another",
    "bounce/PORT-to-localhost-in-two-segments",
    "data-syn/by-stranger-active",
    "data-syn/forged-by-neighbour",
    "echoed-227/in-STAT",
    "forged/bounce-behind-SYN-ACK",
    "forged/PORT-with-exact-number",
    "policy/DELE-in-two-segments",
    "policy/DELE-behind-SYN-ACK",
    "privileged/PORT-22/inside-client",
)


def group_of(network):
    """What the names of cases in a network begin with."""
    return f"attack-in/{network.name}"


def batches_in(network, rows, **more):
    """Batches of these attacks in a network."""
    return attacks.batches_of(
        rows,
        group_of(network),
        functools.partial(place, network),
        stock=network.stock,
        **more,
    )


def place(network, deployment):
    """The name of a deployment within a network."""
    found = network.place(deployment)
    IN_NETWORKS[found.name] = found
    return found.name


def rows_in(network):
    """The attacks of a network's table."""
    return attacks_conntrack.IN_NETWORKS.get(network) or attacks.suite()


def batches():
    rows = {attack.name: attack for attack in attacks.suite()}
    if lost := set(SELECTION) - set(rows):
        raise LabError(f"the selection of attacks names no attack: {sorted(lost)}")
    rest = [attack for name, attack in rows.items() if name not in SELECTION]
    for network, own in attacks_conntrack.IN_NETWORKS.items():
        yield from batches_in(network, own)
    for network in WHOLE:
        yield from batches_in(network, [rows[name] for name in SELECTION])
        yield from batches_in(network, rest, extra=True)
