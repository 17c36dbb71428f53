"""One gateway with two networks: the namespaces, links and addresses every deployment shares.

    inside1 --.                        .-- outside1
               lan [ gateway ] wan
    inside2 --'                        '-- outside2

Inside hosts have a private address, which nobody outside has a route to, and a public one for the
deployments without NAT. Two inside hosts make hairpins possible, the second outside host is the stranger who must
get nothing. Deployments (deployments.py) differ only in the operator's ruleset and in who talks to whom.
"""

import contextlib
import dataclasses
import ipaddress
import os
import shutil
import signal

from shell import LabError, run

MTU = 1500


@dataclasses.dataclass(frozen=True)
class Host:
    """Where a host is linked and what it is called in each address realm."""

    name: str
    link: str
    private4: str = ""
    private6: str = ""
    public4: str = ""
    public6: str = ""

    def addresses(self):
        return [a for a in (self.private4, self.private6, self.public4, self.public6) if a]


INSIDE1 = Host("inside1", "lan", "10.0.0.10", "fd00:a::10", "198.51.100.10", "2001:db8:a::10")
INSIDE2 = Host("inside2", "lan", "10.0.0.20", "fd00:a::20", "198.51.100.20", "2001:db8:a::20")
OUTSIDE1 = Host("outside1", "wan", public4="203.0.113.10", public6="2001:db8:b::10")
OUTSIDE2 = Host("outside2", "wan", public4="203.0.113.30", public6="2001:db8:b::30")
HOSTS = (INSIDE1, INSIDE2, OUTSIDE1, OUTSIDE2)

GATEWAY = "gateway"
GATEWAY_LAN = ("10.0.0.1", "fd00:a::1", "198.51.100.1", "2001:db8:a::1")
GATEWAY_WAN4 = "203.0.113.1"
GATEWAY_WAN6 = "2001:db8:b::1"
POOL4 = ("203.0.113.2", "203.0.113.3", "203.0.113.4")
GATEWAY_ADDRESSES = {"lan": GATEWAY_LAN, "wan": (GATEWAY_WAN4, GATEWAY_WAN6, *POOL4)}
PRIVATE_LAN4 = "10.0.0.0/24"
PUBLIC_LAN = ("198.51.100.0/24", "2001:db8:a::/64")

FTP_ACCOUNT = "ftp-lab"

# Conntrack must not guess: the gateway forwards, and answers nobody's redirects.
GATEWAY_SYSCTLS = ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1",
                   "net.ipv4.conf.all.send_redirects=0", "net.ipv4.conf.lan.send_redirects=0")
# The links are bridges. Where bridges call netfilter, packets pass prerouting below the bridge: before a capture on
# the bridge sees them, which no router does.
BRIDGE_SYSCTLS = ("net.bridge.bridge-nf-call-iptables=0", "net.bridge.bridge-nf-call-ip6tables=0")


class Topology:
    """The namespaces of one lab. Use as a context manager: they are gone afterwards, whatever happened."""

    def __init__(self, prefix):
        self.prefix = prefix

    def namespace(self, name):
        return f"{self.prefix}-{name}"

    @property
    def gateway(self):
        return self.namespace(GATEWAY)

    def __enter__(self):
        try:
            self.build()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *exception):
        self.remove()

    def build(self):
        for name in (GATEWAY, *(host.name for host in HOSTS)):
            self.add_namespace(self.namespace(name))
        self.build_gateway()
        for host in HOSTS:
            self.attach(host)

    def add_namespace(self, namespace):
        """A namespace with files of its own in /etc, which `ip netns exec` puts in place.

        A resolver that refuses at once, since a program that looks names up must not wait for it; and an account whose
        home exists, which vsftpd wants for anonymous sessions and a fresh machine does not have.
        """
        os.makedirs(f"/etc/netns/{namespace}", exist_ok=True)
        with open(f"/etc/netns/{namespace}/resolv.conf", "w") as resolver:
            resolver.write("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        with open("/etc/passwd") as machine, open(f"/etc/netns/{namespace}/passwd", "w") as accounts:
            accounts.write(machine.read() + f"{FTP_ACCOUNT}:x:65534:65534::/:/usr/sbin/nologin\n")
        run(["ip", "netns", "add", namespace])
        # Link-local addresses too must be usable at once: neighbour discovery speaks from them.
        run(["sysctl", "-qw", "net.ipv6.conf.default.dad_transmits=0"], namespace=namespace)
        ip_batch(namespace, ["link set lo up"])

    def build_gateway(self):
        lines = []
        for link, addresses in GATEWAY_ADDRESSES.items():
            lines.append(f"link add {link} mtu {MTU} type bridge forward_delay 0 mcast_snooping 0")
            lines += [address_line(a, link) for a in addresses]
            lines.append(f"link set {link} up")
        ip_batch(self.gateway, lines)
        run(["sysctl", "-qw", *GATEWAY_SYSCTLS], namespace=self.gateway)
        # Missing where the kernel's bridges cannot call netfilter.
        run(["sysctl", "-qw", *BRIDGE_SYSCTLS], namespace=self.gateway, check=False)

    def attach(self, host):
        namespace = self.namespace(host.name)
        ip_batch(self.gateway, [
            f"link add {host.name} mtu {MTU} type veth peer name eth0 mtu {MTU} netns {namespace}",
            f"link set {host.name} master {host.link} up"])
        ip_batch(namespace, [*(address_line(a, "eth0") for a in host.addresses()), "link set eth0 up"])
        self.route(host)

    def route(self, host, use_public=False):
        """Inside hosts leave through the gateway; outside ones know only public prefixes behind it.

        `use_public` makes an inside host speak from its public address, as in a network without NAT.
        """
        if host.link == "wan":
            lines = [f"route replace {net} via {GATEWAY_WAN6 if ':' in net else GATEWAY_WAN4}" for net in PUBLIC_LAN]
        else:
            source4, source6 = (host.public4, host.public6) if use_public else (host.private4, host.private6)
            lines = [f"route replace default via {GATEWAY_LAN[0]} src {source4}",
                     f"route replace default via {GATEWAY_LAN[1]} src {source6}"]
        ip_batch(self.namespace(host.name), lines)

    def remove(self):
        for name in (GATEWAY, *(host.name for host in HOSTS)):
            self.remove_namespace(self.namespace(name))

    def remove_namespace(self, namespace):
        # Normally none; but a program that outlived its test must not outlive the lab.
        for pid in run(["ip", "netns", "pids", namespace], check=False).stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        run(["ip", "netns", "del", namespace], check=False)
        shutil.rmtree(f"/etc/netns/{namespace}", ignore_errors=True)


def address_line(address, link):
    """`nodad`: without it an IPv6 address can be used only two seconds after the link is up."""
    version = ipaddress.ip_address(address).version
    return f"address add {address}/{24 if version == 4 else 64} dev {link}{' nodad' if version == 6 else ''}"


def ip_batch(namespace, lines):
    run(["ip", "-n", namespace, "-batch", "-"], stdin="\n".join(lines) + "\n")


def begin():
    """What every program of the lab does first: be root, and turn SIGTERM into an exception so that all is removed."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, interrupt)
    if os.geteuid() != 0:
        raise LabError("the lab builds network namespaces and must be root: run it with sudo")


def interrupt(*_):
    """Once: timeout(1) and an impatient user send the signal again, and that must not interrupt the removal."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
