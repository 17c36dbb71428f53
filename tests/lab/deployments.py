"""The deployments: an operator's ruleset around the helper, and who talks to whom.

Every ruleset drops by default in forward, input and output, and lets control connections in. It has
the two lines that an operator writes for data connections: `established,related` and the ct mark.
No rule mentions a data connection or a passive port range. NAT rules name control ports only where
the rule could do the helper's work otherwise.
"""

import dataclasses
import pathlib
import re

import topology
from shell import LabError, run_tool
from topology import GATEWAY, INSIDE1, INSIDE2, OUTSIDE1, GATEWAY_WAN4, GATEWAY_WAN6, POOL4

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]

CONTROL_PORTS = (21, 2121)
# The port of FTP within TLS. The operator's rules let it in, and it is a control port only where a
# case says so.
IMPLICIT_TLS_PORT = 990
# The port of HylaFAX, which is a control port where a case says so, too.
HYLAFAX_PORT = 4559
FORWARDED_PORTS = (*CONTROL_PORTS, IMPLICIT_TLS_PORT, HYLAFAX_PORT)
PORTS = "{ " + ", ".join(map(str, FORWARDED_PORTS)) + " }"
# The passive ports of the lab's servers, unless a case tells them others.
PASSIVE_PORTS = (30000, 30999)
DATA_MARK = 0x10000000


@dataclasses.dataclass(frozen=True)
class Deployment:
    """The hosts that talk, the address that the client dials, and the rules that make it work."""

    name: str
    client: str
    server: str
    target: str
    prerouting: str = ""
    postrouting: str = ""
    forward: str = ""
    input: str = ""
    output: str = ""
    without_nat: bool = False
    # A control port whose outside number differs from the server's: (outside, server).
    forwarded_port: tuple = ()
    # The family of nf_tables whose hooks the packets pass.
    family: str = "inet"

    @property
    def version(self):
        return 6 if ":" in self.target else 4

    def outside_port(self, server_port):
        """The port that a client dials to reach `server_port`."""
        if self.forwarded_port and self.forwarded_port[1] == server_port:
            return self.forwarded_port[0]
        return server_port

    def settings(self, server_port=21):
        """The keys that the operator has to set here, because the shipped control port is 21."""
        port = self.outside_port(server_port)
        return {} if port == 21 else {"control_ports": [port]}

    def ruleset(self, refusal="drop", accepts_mark=True):
        """The operator's rules as text.

        `refusal` is the end of a chain; "reject" answers at once, so that a test of failure need
        not wait. `accepts_mark` tells whether the operator has the line for the helper's ct mark.
        """
        # Only new connections are answered, because the answer to a forged segment would end the
        # connection that it pretends to belong to.
        last = "ct state new meta l4proto tcp reject with tcp reset" if refusal == "reject" else ""
        common = f"""
            ct state established,related accept
            {f"ct mark & {DATA_MARK:#x} != 0 accept" if accepts_mark else ""}
            meta l4proto ipv6-icmp accept"""
        return f"""
        table inet operator
        delete table inet operator
        table inet operator {{
          chain prerouting {{
            type nat hook prerouting priority dstnat
            {self.prerouting}
          }}
          chain postrouting {{
            type nat hook postrouting priority srcnat
            {self.postrouting}
          }}
          chain forward {{
            type filter hook forward priority filter; policy drop
            {common}
            {self.forward}
            {last}
          }}
          chain input {{
            type filter hook input priority filter; policy drop
            iifname lo accept
            {common}
            {self.input}
            {last}
          }}
          chain output {{
            type filter hook output priority filter; policy drop
            oifname lo accept
            # What ftp-alg sends in an end's name; conntrack does not know it.
            ct state untracked accept
            {common}
            {self.output}
            {last}
          }}
        }}
        """

    def apply(self, lab_topology, refusal="drop", accepts_mark=True):
        """Loads the rules, sets the inside hosts' source addresses, forgets earlier connections."""
        for host in (INSIDE1, INSIDE2):
            lab_topology.route(host, use_public=self.without_nat)
        run_tool(
            ["nft", "-f", "-"],
            stdin=self.ruleset(refusal, accepts_mark),
            namespace=lab_topology.gateway,
        )
        run_tool(["conntrack", "-F"], namespace=lab_topology.gateway)

    def apply_after_start(self, lab_topology, accepts_mark):
        """Loads what needs a running helper: here nothing."""


ALLOW_OUT = f"iifname lan oifname wan tcp dport {PORTS} ct state new accept"
ALLOW_IN = f"iifname wan oifname lan tcp dport {PORTS} ct state new accept"
ALLOW_DNAT = f"oifname lan ct status dnat tcp dport {PORTS} ct state new accept"


def dnat4(outside_port, server_port):
    return (
        f"ip daddr {GATEWAY_WAN4} tcp dport {outside_port} "
        f"dnat ip to {INSIDE2.private4}:{server_port}"
    )


DNAT_SAME_PORTS4 = "\n            ".join(dnat4(port, port) for port in FORWARDED_PORTS)
FORWARD_PASSIVE_RANGE = (
    f"ip daddr {GATEWAY_WAN4} tcp dport {PASSIVE_PORTS[0]}-{PASSIVE_PORTS[1]} "
    f"dnat ip to {INSIDE2.private4}"
)
DNAT6 = f"ip6 daddr {GATEWAY_WAN6} tcp dport {PORTS} dnat ip6 to {INSIDE2.private6}"
SNAT_POOL4 = f"oifname wan ip saddr {topology.PRIVATE_LAN4} snat ip to {POOL4[0]}-{POOL4[-1]}"
MASQUERADE4 = f"oifname wan ip saddr {topology.PRIVATE_LAN4} masquerade"
# Only the control connection, because the data connection's source must follow its master.
MASQUERADE_TO_SERVER4 = f"oifname lan ip daddr {INSIDE2.private4} tcp dport {PORTS} masquerade"

DEPLOYMENTS = {
    d.name: d
    for d in (
        Deployment(
            "inside-client",
            INSIDE1.name,
            OUTSIDE1.name,
            OUTSIDE1.public4,
            postrouting=MASQUERADE4,
            forward=ALLOW_OUT,
        ),
        Deployment(
            "inside-server",
            OUTSIDE1.name,
            INSIDE2.name,
            GATEWAY_WAN4,
            prerouting=DNAT_SAME_PORTS4,
            forward=ALLOW_DNAT,
        ),
        Deployment(
            "routed-client",
            INSIDE1.name,
            OUTSIDE1.name,
            OUTSIDE1.public4,
            forward=ALLOW_OUT,
            without_nat=True,
        ),
        Deployment(
            "routed-server",
            OUTSIDE1.name,
            INSIDE2.name,
            INSIDE2.public4,
            forward=ALLOW_IN,
            without_nat=True,
        ),
        Deployment(
            "routed6-client",
            INSIDE1.name,
            OUTSIDE1.name,
            OUTSIDE1.public6,
            forward=ALLOW_OUT,
            without_nat=True,
        ),
        Deployment(
            "routed6-server",
            OUTSIDE1.name,
            INSIDE2.name,
            INSIDE2.public6,
            forward=ALLOW_IN,
            without_nat=True,
        ),
        Deployment(
            "double-nat",
            OUTSIDE1.name,
            INSIDE2.name,
            GATEWAY_WAN4,
            prerouting=DNAT_SAME_PORTS4,
            postrouting=MASQUERADE_TO_SERVER4,
            forward=ALLOW_DNAT,
        ),
        Deployment(
            "hairpin",
            INSIDE1.name,
            INSIDE2.name,
            GATEWAY_WAN4,
            prerouting=DNAT_SAME_PORTS4,
            postrouting=MASQUERADE_TO_SERVER4,
            forward=ALLOW_DNAT,
        ),
        Deployment(
            "port-forward",
            OUTSIDE1.name,
            INSIDE2.name,
            GATEWAY_WAN4,
            prerouting=dnat4(2121, 21),
            forward=ALLOW_DNAT,
            forwarded_port=(2121, 21),
        ),
        Deployment(
            "snat-pool",
            INSIDE1.name,
            OUTSIDE1.name,
            OUTSIDE1.public4,
            postrouting=SNAT_POOL4,
            forward=ALLOW_OUT,
        ),
        Deployment(
            "gateway-client",
            GATEWAY,
            OUTSIDE1.name,
            OUTSIDE1.public4,
            output=f"oifname wan tcp dport {PORTS} ct state new accept",
        ),
        Deployment(
            "gateway-server",
            OUTSIDE1.name,
            GATEWAY,
            GATEWAY_WAN4,
            input=f"iifname wan tcp dport {PORTS} ct state new accept",
        ),
        Deployment(
            "nat66-client",
            INSIDE1.name,
            OUTSIDE1.name,
            OUTSIDE1.public6,
            postrouting=f"oifname wan ip6 saddr {INSIDE1.private6} masquerade",
            forward=ALLOW_OUT,
        ),
        Deployment(
            "nat66-server",
            OUTSIDE1.name,
            INSIDE2.name,
            GATEWAY_WAN6,
            prerouting=DNAT6,
            forward=ALLOW_DNAT,
        ),
    )
}


@dataclasses.dataclass(frozen=True)
class ShippedRules(Deployment):
    """A file of rules/, loaded by hand, with the lab's names and addresses in it."""

    file: str = ""
    # The operator's changes to the file: (its text, the lab's).
    changes: tuple = ()
    control_ports: tuple = (21,)

    def settings(self, server_port=21):
        """The operator loads the rules by hand, and other-ports.nft names other control ports."""
        ports = {} if self.control_ports == (21,) else {"control_ports": self.control_ports}
        return {"install_rules": False, **ports}

    def ruleset(self, refusal="drop", accepts_mark=True):
        """The file for the backend; with kernel expectations it has no line for the mark."""
        directory = REPOSITORY / "rules"
        text = (
            (directory if accepts_mark else directory / "related").joinpath(self.file).read_text()
        )
        for theirs, ours in self.changes:
            text, count = re.subn(rf"(?<![\w.:]){re.escape(theirs)}(?![\w.:])", ours, text)
            if not count:
                raise LabError(f"rules/{self.file} does not have {theirs} any more")
        return text

    def apply(self, lab_topology, refusal="drop", accepts_mark=True):
        """Sets the routes alone, because the file attaches a helper that a running daemon
        registers.
        """
        for host in (INSIDE1, INSIDE2):
            lab_topology.route(host, use_public=self.without_nat)

    def apply_after_start(self, lab_topology, accepts_mark):
        run_tool(
            ["nft", "-f", "-"],
            stdin=self.ruleset(accepts_mark=accepts_mark),
            namespace=lab_topology.gateway,
        )


OTHER_PORTS = (("wan0", "wan"), ("10.0.0.2", INSIDE2.private4), ("10.0.0.3", INSIDE1.private4))
ROUTING = (("192.0.2.21", INSIDE2.public4), ("2001:db8::21", INSIDE2.public6))
SHIPPED = {
    d.name: d
    for d in (
        ShippedRules(
            "intranet-clients",
            INSIDE1.name,
            OUTSIDE1.name,
            OUTSIDE1.public4,
            file="intranet-clients.nft",
            changes=(("lan0", "lan"), ("wan0", "wan")),
        ),
        ShippedRules(
            "intranet-server",
            OUTSIDE1.name,
            INSIDE2.name,
            GATEWAY_WAN4,
            file="intranet-server.nft",
            changes=(("wan0", "wan"), ("10.0.0.2", INSIDE2.private4)),
        ),
        ShippedRules(
            "routing-firewall",
            OUTSIDE1.name,
            INSIDE2.name,
            INSIDE2.public4,
            without_nat=True,
            file="routing-firewall.nft",
            changes=ROUTING,
        ),
        ShippedRules(
            "routing-firewall6",
            OUTSIDE1.name,
            INSIDE2.name,
            INSIDE2.public6,
            without_nat=True,
            file="routing-firewall.nft",
            changes=ROUTING,
        ),
        ShippedRules(
            "other-ports-5021",
            OUTSIDE1.name,
            INSIDE2.name,
            GATEWAY_WAN4,
            file="other-ports.nft",
            changes=OTHER_PORTS,
            control_ports=(5021, 8021),
        ),
        ShippedRules(
            "other-ports-8021",
            OUTSIDE1.name,
            INSIDE1.name,
            GATEWAY_WAN4,
            file="other-ports.nft",
            changes=OTHER_PORTS,
            control_ports=(5021, 8021),
        ),
    )
}


# Deployments within other people's networks: networks.py adds them.
IN_NETWORKS = {}


def named(name):
    """A deployment of the lab's own, of rules/, or within a network."""
    return {**DEPLOYMENTS, **SHIPPED, **IN_NETWORKS}[name]
