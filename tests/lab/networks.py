"""Other people's networks: what each adds to a deployment.

A network adds links, addresses and routes to the lab, and rules of its own to the gateway. The
rules have the structure that the tools write that make them: the CONNMARK lines of the multi-path
HOWTO, Shorewall's and mwan3's masks, OpenWrt's flowtable. Who talks to whom, and the operator's
filter and NAT, come from the deployment.
"""

import dataclasses
import re
import typing

from deployments import DEPLOYMENTS, PORTS, Deployment
from shell import run_tool, write_sysctls
from topology import (
    GATEWAY_ADDRESSES,
    INSIDE1,
    INSIDE2,
    OUTSIDE1,
    OUTSIDE2,
    PRIVATE_LAN4,
    PUBLIC_LAN,
    address_line,
    ip_batch,
)

WAN_NETWORKS = ("203.0.113.0/24", "2001:db8:b::/64")


@dataclasses.dataclass(frozen=True)
class Network:
    """A network, and the deployments that are tried in it."""

    name: str
    # The names of the deployments, or deployments of its own.
    places: tuple
    # More of them for `--extra`.
    extra_places: tuple = ()
    # Makes its links, addresses and routes; gets the topology.
    build: typing.Callable = lambda topology: None
    # Loads its rules in the gateway; gets the gateway's namespace.
    load: typing.Callable = lambda gateway: None
    # The daemon runs when the rules are loaded. Otherwise they are there before it.
    loads_late: bool = False
    # How the operator's rules name a link of the lab: ((the lab's name, nft's expression), …).
    link_names: tuple = ()
    # Changes the text of the operator's rules.
    edit: typing.Callable = lambda rules: rules
    # More lines of the operator's chains: ((the chain, its line), …).
    lines: tuple = ()
    # The links of the gateway beyond the inside one. A control connection uses one of them.
    outer_links: tuple = ("wan",)
    inner_links: tuple = ("lan",)
    # The family of nf_tables whose hooks the packets pass.
    family: str = "inet"
    # It needs a distribution's kernel.
    stock: bool = False

    def deployments(self):
        """Each deployment in this network, and whether it is for `--extra` alone."""
        for base in self.places:
            yield self.place(base), False
        for base in self.extra_places:
            yield self.place(base), True

    def place(self, base):
        """A deployment of the lab within this network."""
        base = DEPLOYMENTS.get(base, base)
        fields = {f.name: getattr(base, f.name) for f in dataclasses.fields(Deployment)}
        for chain in ("prerouting", "postrouting", "forward", "input", "output"):
            more = [line for where, line in self.lines if where == chain]
            fields[chain] = "\n            ".join([self.renamed(fields[chain]), *more])
        fields.update(name=f"{self.name}/{base.name}", family=self.family)
        return InNetwork(**fields, network=self)

    def renamed(self, rules):
        """The rules with this network's names of the links."""
        for link, name in self.link_names:
            rules = re.sub(rf"\b([io]ifname) {link}\b", rf"\1 {name}", rules)
        return rules


@dataclasses.dataclass(frozen=True)
class InNetwork(Deployment):
    """A deployment with what its network adds."""

    network: Network = None

    def ruleset(self, refusal="drop", accepts_mark=True):
        return self.network.edit(super().ruleset(refusal, accepts_mark))

    def apply(self, lab_topology, refusal="drop", accepts_mark=True):
        self.network.build(lab_topology)
        super().apply(lab_topology, refusal, accepts_mark)
        if not self.network.loads_late:
            self.network.load(lab_topology.gateway)

    def apply_after_start(self, lab_topology, accepts_mark):
        if self.network.loads_late:
            self.network.load(lab_topology.gateway)


def nft(rules):
    """A Network.load that loads a text of nft."""
    return lambda gateway: run_tool(["nft", "-f", "-"], namespace=gateway, stdin=rules)


def iptables(*lines):
    """A Network.load that gives each line to iptables."""

    def load(gateway):
        for line in lines:
            run_tool(["iptables", *line.split()], namespace=gateway)

    return load


# --- VRF ---

VRF_TABLE = 10
PRIVATE_LAN6 = "fd00:a::/64"


def build_vrf(topology):
    """The inside link in a VRF, with routes that are leaked both ways."""
    ip_batch(
        topology.gateway,
        [
            f"link add red type vrf table {VRF_TABLE}",
            "link set red up",
            "link set lan master red",
            # A link loses its IPv6 addresses when it enters a VRF.
            *(
                address_line(a, "lan").replace(" add ", " replace ")
                for a in GATEWAY_ADDRESSES["lan"]
            ),
            *(f"route add table {VRF_TABLE} {net} dev wan" for net in WAN_NETWORKS),
            *(f"route add {net} dev red" for net in (PRIVATE_LAN4, PRIVATE_LAN6, *PUBLIC_LAN)),
        ],
    )


VRF = Network(
    "vrf",
    ("inside-client", "inside-server", "routed6-client"),
    ("routed6-server",),
    build_vrf,
    link_names=(("lan", "{ lan, red }"),),
    # What goes into a VRF passes the output hook once more.
    lines=(("output", f"oifname lan tcp dport {PORTS} accept"),),
    stock=True,
)

# --- conntrack zones ---

ZONE = """
    table inet zones {{
      chain prerouting {{
        type filter hook prerouting priority -300
        {rules}
      }}
    }}
    """


def zone(*rules):
    return nft(ZONE.format(rules="\n        ".join(rules)))


ZONES = (
    Network(
        "zone",
        ("inside-client", "routed6-client"),
        ("inside-server",),
        load=zone("iifname lan ct zone set 7", "iifname wan ct zone set 7"),
    ),
    # Only the packets of the original direction are in it, so that two customers with the same
    # addresses share a gateway.
    Network(
        "zone-original",
        ("inside-client",),
        load=zone("iifname lan ct original zone set 7"),
    ),
    Network(
        "zone-original-dnat",
        (),
        ("inside-server",),
        load=zone("iifname wan ct original zone set 7"),
    ),
)

# --- VLAN sub-interfaces ---

VLANS = {"lan": 5, "wan": 7}


def build_vlans(topology):
    """Each link becomes a trunk, with a sub-interface that has its name and addresses."""
    for link, number in VLANS.items():
        into_trunk(topology.gateway, link, number, GATEWAY_ADDRESSES[link])
    for host in (INSIDE1, INSIDE2, OUTSIDE1, OUTSIDE2):
        into_trunk(topology.namespace(host.name), "eth0", VLANS[host.link], host.addresses())
        topology.route(host)


def into_trunk(namespace, link, number, addresses):
    ip_batch(
        namespace,
        [
            f"link set {link} down",
            f"address flush dev {link}",
            f"link set {link} name trunk-{link}",
            f"link set trunk-{link} up",
            f"link add link trunk-{link} name {link} type vlan id {number}",
            *(address_line(a, link) for a in addresses),
            f"link set {link} up",
        ],
    )


VLAN = Network(
    "vlan",
    ("inside-client", "routed6-client"),
    ("inside-server",),
    build_vlans,
    stock=True,
)

# --- SYNPROXY ---

# It answers the client's SYN itself, and opens the connection to the server after the ACK.
SYNPROXY_STATEMENT = "synproxy mss 1460 wscale 7 timestamp sack-perm"
SYNPROXY = Network(
    "synproxy",
    ("routed-server",),
    (),
    lambda topology: write_sysctls(topology.gateway, ("net.netfilter.nf_conntrack_tcp_loose=0",)),
    nft(f"""
        table inet proxied {{
          chain prerouting {{
            type filter hook prerouting priority raw
            iifname wan tcp dport {PORTS} tcp flags syn notrack
          }}
          chain forward {{
            type filter hook forward priority filter - 1
            ct state invalid,untracked tcp dport {PORTS} {SYNPROXY_STATEMENT}
          }}
        }}
        """),
    # Both of its handshakes leave from the gateway.
    lines=(
        ("output", f"oifname lan tcp dport {PORTS} accept"),
        ("output", f"oifname wan tcp sport {PORTS} accept"),
    ),
)

# --- small packets ---

CLAMP = "-t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu"


def build_mtu(size):
    """The outside link loses larger packets and says nothing, as a tunnel of a provider does."""
    return lambda topology: ip_batch(
        topology.gateway, [f"link set {OUTSIDE1.name} mtu {size}", f"link set wan mtu {size}"]
    )


def load_clamp(gateway):
    for program in ("iptables", "ip6tables"):
        run_tool([program, *CLAMP.split()], namespace=gateway)


SMALL_PACKETS = tuple(
    Network(f"mtu-{size}", places, extra_places, build_mtu(size), load_clamp)
    for size, places, extra_places in (
        (1492, ("inside-client",), ("inside-server", "routed6-client")),
        (1280, ("inside-server",), ("inside-client", "routed6-client")),
    )
)
