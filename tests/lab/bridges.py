"""Bridging firewalls: hosts of one segment, and a gateway between them that may have no address."""

from deployments import DATA_MARK, PORTS
from networks import WAN_NETWORKS, Network, nft
from shell import write_sysctls
from topology import INSIDE1, OUTSIDE1, OUTSIDE2, PUBLIC_LAN, ip_batch

MANAGEMENT4 = ("192.0.2.65", "192.0.2.66")
BRIDGE_ADDRESS4 = "198.51.100.1"


def build_bridge(topology):
    """The gateway joins inside1 and outside1 to one segment, and has no address there."""
    ip_batch(
        topology.gateway,
        [
            "link del lan",
            "link del wan",
            "link add br0 type bridge forward_delay 0 mcast_snooping 0",
            f"link set {INSIDE1.name} master br0",
            f"link set {OUTSIDE1.name} master br0",
            "link set br0 addrgenmode none",
            "link set br0 up",
        ],
    )
    for host, networks in ((INSIDE1, WAN_NETWORKS), (OUTSIDE1, PUBLIC_LAN)):
        ip_batch(
            topology.namespace(host.name),
            [
                f"route replace {net} dev eth0 src"
                f" {host.public6 if ':' in net else host.public4}"
                for net in networks
            ],
        )


def build_netfilter_bridge(topology):
    build_bridge(topology)
    write_sysctls(
        topology.gateway,
        (
            "net.bridge.bridge-nf-call-iptables=1",
            "net.bridge.bridge-nf-call-ip6tables=1",
        ),
    )


def build_addressed_bridge(topology):
    build_netfilter_bridge(topology)
    ip_batch(
        topology.gateway,
        [
            f"address add {BRIDGE_ADDRESS4}/24 dev br0",
            "address add 2001:db8:a::1/64 dev br0 nodad",
            *(f"route add {net} dev br0" for net in WAN_NETWORKS),
        ],
    )


def build_managed_bridge(topology):
    """No address on the bridge, but a management link with the default route."""
    build_netfilter_bridge(topology)
    manager = topology.namespace(OUTSIDE2.name)
    own, manager_address = MANAGEMENT4
    ip_batch(
        topology.gateway,
        [
            f"link add mgmt type veth peer name mgmt netns {manager}",
            f"address add {own}/26 dev mgmt",
            "address add 2001:db8:e::1/64 dev mgmt nodad",
            "link set mgmt up",
        ],
    )
    ip_batch(
        manager,
        [
            f"address add {manager_address}/26 dev mgmt",
            "address add 2001:db8:e::2/64 dev mgmt nodad",
            "link set mgmt up",
        ],
    )
    ip_batch(
        topology.gateway,
        [f"route add default via {manager_address}", "route add default via 2001:db8:e::2"],
    )


BRIDGED, BRIDGED6 = ("routed-client",), ("routed6-client",)
# Both links of the lab are ports of the bridge.
ON_BRIDGE = {
    "link_names": (("lan", "br0"), ("wan", "br0")),
    "inner_links": (INSIDE1.name,),
    "outer_links": (OUTSIDE1.name,),
}
# nf_conntrack_bridge: no packet passes a hook of another family.
CONNTRACK_BRIDGE = Network(
    "conntrack-bridge",
    (*BRIDGED, *BRIDGED6),
    (),
    build_bridge,
    nft(f"""
        table bridge operator {{
          chain forward {{
            type filter hook forward priority 0; policy drop
            ether type arp accept
            icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
            ct state established,related accept
            ct mark & {DATA_MARK:#x} != 0 accept
            tcp dport {PORTS} accept
          }}
        }}
        """),
    **ON_BRIDGE,
    family="bridge",
    stock=True,
)
BRIDGES = (
    Network("bridge", BRIDGED, BRIDGED6, build_addressed_bridge, **ON_BRIDGE),
    Network("bridge-bare", BRIDGED6, BRIDGED, build_netfilter_bridge, **ON_BRIDGE),
    Network(
        "bridge-managed",
        BRIDGED,
        BRIDGED6,
        build_managed_bridge,
        **{**ON_BRIDGE, "outer_links": (OUTSIDE1.name, "mgmt")},
    ),
    CONNTRACK_BRIDGE,
)
