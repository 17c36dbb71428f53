"""Networks with two uplinks that marks choose between, as the tools write their rules.

    inside --- lan [ gateway ] wan ---- eth0 outside1
                             ] wan2 --- eth1

Both providers drop what has the other one's source. FTP's control connections use the second
uplink and everything else the first, so that a data connection that is taken for a new one goes
wrong. The main table knows the first alone.
"""

import dataclasses

from deployments import DEPLOYMENTS, dnat4
from networks import Network, iptables
from shell import run_tool
from topology import GATEWAY_WAN4, OUTSIDE1, PRIVATE_LAN4, ip_batch

SECOND_WAN4, SECOND_PROVIDER4 = "192.0.2.1", "192.0.2.10"
TABLES = {"wan": 101, "wan2": 102}

PROVIDERS = """
    table inet providers {
      chain prerouting {
        type filter hook prerouting priority raw
        iifname eth0 ip saddr 192.0.2.0/24 counter drop
        iifname eth1 ip saddr != 192.0.2.0/24 counter drop
      }
    }
    """


def build(topology, marks):
    """The second link, the providers' check of sources, and a table for each uplink.

    `marks` gives each uplink's mark as `ip rule` writes it.
    """
    outside = topology.namespace(OUTSIDE1.name)
    ip_batch(
        topology.gateway,
        [
            f"link add wan2 type veth peer name eth1 netns {outside}",
            f"address add {SECOND_WAN4}/24 dev wan2",
            "link set wan2 up",
        ],
    )
    ip_batch(
        outside,
        [
            f"address add {SECOND_PROVIDER4}/24 dev eth1",
            "link set eth1 up",
            # Its one address for both uplinks, so that the main table's way is the first one.
            f"route replace {SECOND_WAN4}/32 dev eth1 src {OUTSIDE1.public4}",
        ],
    )
    run_tool(["nft", "-f", "-"], namespace=outside, stdin=PROVIDERS)
    ip_batch(
        topology.gateway,
        [
            f"route add default dev wan table {TABLES['wan']}",
            f"route add default via {SECOND_PROVIDER4} dev wan2 table {TABLES['wan2']}",
            *(f"route add {PRIVATE_LAN4} dev lan table {table}" for table in TABLES.values()),
            *(f"rule add fwmark {marks[link]} table {TABLES[link]}" for link in TABLES),
        ],
    )


PRE = "-t mangle -A PREROUTING"
CONTROL = "-p tcp --dport 21"


def howto():
    """The lines of the multi-path HOWTOs, which know no masks."""
    return iptables(
        f"{PRE} -j CONNMARK --restore-mark",
        f"{PRE} -m mark ! --mark 0 -j ACCEPT",
        f"{PRE} -i wan -j MARK --set-mark 1",
        f"{PRE} -i wan2 -j MARK --set-mark 2",
        f"{PRE} -i lan {CONTROL} -j MARK --set-mark 2",
        f"{PRE} -i lan -p tcp ! --dport 21 -j MARK --set-mark 1",
        f"{PRE} -j CONNMARK --save-mark",
    )


def shorewall(*chosen):
    """Shorewall's routemark and tcpre chains for providers with `track`, mask 0xff.

    `chosen` are the lines of its file `mangle`: which mark a new connection gets.
    """
    return iptables(
        "-t mangle -N routemark",
        "-t mangle -N tcpre",
        f"{PRE} -m connmark ! --mark 0/0xff -j CONNMARK --restore-mark --mask 0xff",
        f"{PRE} -i wan -m mark --mark 0/0xff -j routemark",
        f"{PRE} -i wan2 -m mark --mark 0/0xff -j routemark",
        f"{PRE} -m mark --mark 0/0xff -j tcpre",
        "-t mangle -A routemark -i wan -j MARK --set-xmark 0x1/0xff",
        "-t mangle -A routemark -i wan2 -j MARK --set-xmark 0x2/0xff",
        "-t mangle -A routemark -m mark ! --mark 0/0xff -j CONNMARK --save-mark --mask 0xff",
        *(f"-t mangle -A tcpre {line}" for line in chosen),
        "-t mangle -A tcpre -m mark ! --mark 0/0xff -j CONNMARK --save-mark --mask 0xff",
    )


FTP_BY_SECOND = (
    f"-i lan {CONTROL} -j MARK --set-xmark 0x2/0xff",
    "-i lan -m mark --mark 0/0xff -j MARK --set-xmark 0x1/0xff",
)
BY_TURNS = (
    "-i lan -m state --state NEW -m statistic --mode nth --every 2 --packet 0"
    " -j MARK --set-xmark 0x2/0xff",
    "-i lan -m state --state NEW -m mark --mark 0/0xff -j MARK --set-xmark 0x1/0xff",
)


def mwan3():
    """mwan3's chains, mask 0x3f00; it also marks what leaves the gateway itself."""
    mask, unmarked = "0x3f00", "-m mark --mark 0x0/0x3f00"
    lines = [f"-t mangle -N mwan3_{chain}" for chain in ("hook", "ifaces_in", "rules")]
    for number, link in enumerate(TABLES, 1):
        lines.append(
            f"-t mangle -A mwan3_ifaces_in -i {link} {unmarked}"
            f" -j MARK --set-xmark {number << 8:#x}/{mask}"
        )
    lines += [
        f"-t mangle -A mwan3_rules -i lan {CONTROL} {unmarked} -j MARK --set-xmark 0x200/{mask}",
        f"-t mangle -A mwan3_rules -i lan {unmarked} -j MARK --set-xmark 0x100/{mask}",
        f"-t mangle -A mwan3_hook -j CONNMARK --restore-mark --nfmask {mask} --ctmask {mask}",
        f"-t mangle -A mwan3_hook {unmarked} -j mwan3_ifaces_in",
        f"-t mangle -A mwan3_hook {unmarked} -j mwan3_rules",
        f"-t mangle -A mwan3_hook -j CONNMARK --save-mark --nfmask {mask} --ctmask {mask}",
        "-t mangle -A PREROUTING -j mwan3_hook",
        "-t mangle -A OUTPUT -j mwan3_hook",
    ]
    return iptables(*lines)


def unmasked_server():
    """A server inside: an answer goes back by the uplink of its connection."""
    return iptables(
        f"{PRE} -j CONNMARK --restore-mark",
        f"{PRE} -i wan -j MARK --set-mark 1",
        f"{PRE} -i wan2 -j MARK --set-mark 2",
        f"{PRE} -j CONNMARK --save-mark",
    )


def masquerade():
    return f"oifname {{ wan, wan2 }} ip saddr {PRIVATE_LAN4} masquerade"


CLIENT = dataclasses.replace(DEPLOYMENTS["inside-client"], postrouting=masquerade())
SERVER = dataclasses.replace(
    DEPLOYMENTS["inside-server"],
    target=SECOND_WAN4,
    prerouting=dnat4(21, 21).replace(GATEWAY_WAN4, f"{{ {GATEWAY_WAN4}, {SECOND_WAN4} }}"),
    postrouting=masquerade(),
)


def network(name, place, load, mask="", is_extra=False, **more):
    """Uplinks that are chosen by marks under a mask (`/MASK`, or nothing)."""
    shift = 8 if mask == "/0x3f00" else 0
    marks = {link: f"{number << shift:#x}{mask}" for number, link in enumerate(TABLES, 1)}
    return Network(
        f"uplinks-{name}",
        () if is_extra else (place,),
        (place,) if is_extra else (),
        lambda topology: build(topology, marks),
        load,
        link_names=(("wan", "{ wan, wan2 }"),),
        outer_links=tuple(TABLES),
        **more,
    )


UPLINKS = (
    network("howto", CLIENT, howto()),
    network("howto-late", CLIENT, howto(), loads_late=True, is_extra=True),
    network("shorewall", CLIENT, shorewall(*FTP_BY_SECOND), "/0xff"),
    network("mwan3", CLIENT, mwan3(), "/0x3f00", is_extra=True),
    network("by-turns", CLIENT, shorewall(*BY_TURNS), "/0xff", is_extra=True),
    network("server-unmasked", SERVER, unmasked_server()),
    network("server-shorewall", SERVER, shorewall(), "/0xff", is_extra=True),
)
