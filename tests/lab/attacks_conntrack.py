"""Attacks by what conntrack knows: connections that it has forgotten, and zones.

The attacker's packet belongs to a control connection, and conntrack calls it new, or finds it in
another zone than a helper thinks.
"""

import contextlib
import dataclasses
import functools
import threading
import time

from attacks import PASSED, Attack, hear, say
from attacks_commands import BETWEEN_SEGMENTS, SERVICE, answer_until_announcement, is_announcement
from attacks_commands import whole
from attacks_packets import line
from attacks_policy import LINE, hears_refused, is_heard
from deployments import PORTS
from forge import RST, Forger, next_of
from lab import CaseFailure
from networks import Network, zone
from scripted import encode
from shell import run_tool, write_sysctls
from topology import HOSTS, INSIDE1, INSIDE2, OUTSIDE1, OUTSIDE2, ip_batch

# --- forgotten connections ---

CLOSE_SECONDS = 1
# The kernel ends entries with a delay of up to a second.
FORGOTTEN_SECONDS = CLOSE_SECONDS + 1.5


def forget(stage, session):
    """The client ends the connection for the gateway alone, and waits until that forgets it.

    Its RST has too few hops to reach the server. The lab's gateway forgets in a second, and a real
    one in ten.
    """
    gateway = stage.lab.topology.gateway
    write_sysctls(gateway, [f"net.netfilter.nf_conntrack_tcp_timeout_close={CLOSE_SECONDS}"])
    client = next(host for host in HOSTS if host.name == session.client_host)
    reset = dataclasses.replace(next_of(session.client, session.server), flags=RST, hops=1)
    with Forger(stage.lab, client.name, client.link) as forger:
        forger.send(reset)
    time.sleep(FORGOTTEN_SECONDS)
    port = str(session.client.sock.getsockname()[1])
    family = "ipv6" if stage.is_ipv6 else "ipv4"
    listed = run_tool(
        ["conntrack", "-L", "-f", family, "-p", "tcp", "--sport", port], namespace=gateway
    )
    if listed.stdout.strip():
        raise CaseFailure("the lab: conntrack still knows the connection", listed.stdout)


def refused_when_forgotten(stage):
    """The client says a refused command on a connection that conntrack has forgotten."""
    session = stage.session()
    forget(stage, session)
    return is_heard(session, whole)


def bounce_when_forgotten(stage):
    """The client names the server's own host on a connection that conntrack has forgotten."""
    session = stage.session()
    forget(stage, session)
    return hears_bounce(session)


def hears_bounce(session):
    """Whether the server hears that it shall connect to itself; it would obey."""
    session.client.send(encode("PORT", "127.0.0.1", SERVICE).encode() + b"\r\n")
    heard = answer_until_announcement(session.server)
    return is_announcement(heard) and "127,0,0,1" in heard


# --- two zones on one link ---

# The second outside host is a customer of its own.
ZONES_OF_HOSTS = Network(
    "zones-of-hosts",
    (),
    load=zone(
        f"iifname wan ip saddr {OUTSIDE2.public4} ct zone set 8",
        f"iifname lan ip daddr {OUTSIDE2.public4} ct zone set 8",
        "iifname { lan, wan } ct zone set 7",
    ),
)
NEIGHBOURS, TRIES = 4, 4


@contextlib.contextmanager
def busy_neighbour(stage):
    """A host of the same link and another zone talks to the same server all the time."""
    sessions = [stage.session(OUTSIDE2.name) for _ in range(NEIGHBOURS)]
    stopping = threading.Event()

    def talk():
        while not stopping.is_set():
            for session in sessions:
                with contextlib.suppress(CaseFailure, OSError):
                    session.exchange("NOOP", "200 well", timeout=1)

    talker = threading.Thread(target=talk)
    talker.start()
    try:
        yield
    finally:
        stopping.set()
        talker.join()


def bounce_beside_neighbour(stage):
    """The client names the server's own host while a neighbour in another zone is busy."""
    with busy_neighbour(stage):
        return any(hears_bounce(stage.session()) for _ in range(TRIES))


def refused_beside_neighbour(stage):
    """The client says a refused command while a neighbour in another zone is busy."""
    with busy_neighbour(stage):
        return any(is_heard(stage.session(), whole) for _ in range(TRIES))


# --- a link in another zone ---


def build_guest(topology):
    """The second inside host is also on a link of guests, who may use FTP."""
    host = topology.namespace(INSIDE2.name)
    ip_batch(
        topology.gateway,
        [f"link add guest type veth peer name {GUEST_DEVICE} netns {host}", "link set guest up"],
    )
    ip_batch(host, [f"link set {GUEST_DEVICE} up"])


GUEST_DEVICE = "eth1"
ZONE_OF_GUESTS = Network(
    "zone-of-guests",
    (),
    build=build_guest,
    load=zone("iifname guest ct zone set 8", "iifname { lan, wan } ct zone set 7"),
    lines=(("forward", f"iifname guest oifname wan tcp dport {PORTS} ct state new accept"),),
)


def say_as_guest(stage, session, *payloads):
    """A guest sends what the client could send next."""
    forged = next_of(session.client, session.server)
    with Forger(stage.lab, INSIDE2.name, "guest", GUEST_DEVICE) as forger:
        for payload in payloads:
            forger.send(dataclasses.replace(forged, payload=payload))
            forged = dataclasses.replace(forged, sequence=forged.sequence + len(payload))
            time.sleep(BETWEEN_SEGMENTS)


def port_by_guest(stage):
    """A guest says PORT in the client's name, and its server says yes."""
    session = stage.session()
    stage.listen(INSIDE1.name, SERVICE)
    say_as_guest(stage, session, b"NOOP\r\n", line(stage, SERVICE))
    for _ in range(2):
        hear(session.server)
        say(session.server, "200 noted")
    return stage.reaches(OUTSIDE1.name, stage.public(INSIDE1), SERVICE)


def refused_by_guest(stage):
    """A guest says a refused command in the client's name."""
    session = stage.session()
    say_as_guest(stage, session, LINE)
    return hears_refused(session.server)


# --- the rows ---

policy = functools.partial(Attack, success=PASSED, has_policy=True)

ATTACKS = (
    Attack("bounce/PORT-when-forgotten", "routed-server", bounce_when_forgotten),
    Attack("bounce/PORT-when-forgotten/ipv6", "routed6-server", bounce_when_forgotten),
    policy("policy/DELE-when-forgotten", "routed-server", refused_when_forgotten),
    policy("policy/DELE-when-forgotten/ipv6", "routed6-server", refused_when_forgotten),
)

# What only such a network makes possible.
IN_NETWORKS = {
    ZONES_OF_HOSTS: (
        Attack("bounce/PORT-beside-neighbour", "routed-server", bounce_beside_neighbour),
        policy("policy/DELE-beside-neighbour", "routed-server", refused_beside_neighbour),
    ),
    ZONE_OF_GUESTS: (
        Attack("forged/PORT-by-guest", "routed-client", port_by_guest),
        Attack("forged/EPRT-by-guest/ipv6", "routed6-client", port_by_guest),
        policy("policy/DELE-by-guest", "routed-client", refused_by_guest),
        policy("policy/DELE-by-guest/ipv6", "routed6-client", refused_by_guest),
    ),
}
