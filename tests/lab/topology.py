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
import sys

from shell import LabError, run, write_sysctls

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
# The user that packaging/sysusers.conf makes, and a number that the machine gives nobody.
DAEMON_ACCOUNT, DAEMON_USER = "ftp-alg", 64999

# Conntrack must not guess: the gateway forwards, and answers nobody's redirects.
GATEWAY_SYSCTLS = (
    "net.ipv4.ip_forward=1",
    "net.ipv6.conf.all.forwarding=1",
    "net.ipv4.conf.all.send_redirects=0",
    "net.ipv4.conf.lan.send_redirects=0",
)
MODULES = ("bridge", "veth", "nft_ct", "nft_nat", "nft_masq", "nft_reject_inet", "sch_netem")
# The links are bridges. Where bridges call netfilter, packets pass prerouting below the bridge: before a capture on
# the bridge sees them, which no router does.
BRIDGE_SYSCTLS = ("net.bridge.bridge-nf-call-iptables=0", "net.bridge.bridge-nf-call-ip6tables=0")


class Built:
    """What `build` makes, `remove` takes away. Use as a context manager: it is gone afterwards, whatever happened."""

    def __enter__(self):
        try:
            self.build()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *exception):
        self.remove()


class Topology(Built):
    """The namespaces of one lab."""

    def __init__(self, prefix):
        self.prefix = prefix

    def namespace(self, name):
        return f"{self.prefix}-{name}"

    @property
    def gateway(self):
        return self.namespace(GATEWAY)

    def build(self):
        add_namespaces([self.namespace(name) for name in (GATEWAY, *(host.name for host in HOSTS))])
        self.build_gateway()
        for host in HOSTS:
            self.attach(host)

    def build_gateway(self):
        lines = ["link set lo up"]
        for link, addresses in GATEWAY_ADDRESSES.items():
            lines.append(f"link add {link} mtu {MTU} type bridge forward_delay 0 mcast_snooping 0")
            lines += [address_line(a, link) for a in addresses]
            lines.append(f"link set {link} up")
        ip_batch(self.gateway, lines)
        write_sysctls(self.gateway, GATEWAY_SYSCTLS)
        # Missing where the kernel's bridges cannot call netfilter.
        write_sysctls(self.gateway, BRIDGE_SYSCTLS, check=False)

    def attach(self, host):
        namespace = self.namespace(host.name)
        ip_batch(
            self.gateway,
            [
                f"link add {host.name} mtu {MTU} type veth peer name eth0 mtu {MTU} netns {namespace}",
                f"link set {host.name} master {host.link} up",
            ],
        )
        ip_batch(
            namespace,
            [
                "link set lo up",
                *(address_line(a, "eth0") for a in host.addresses()),
                "link set eth0 up",
                *route_lines(host),
            ],
        )

    def route(self, host, use_public=False):
        """`use_public` makes an inside host speak from its public address, as in a network without NAT."""
        ip_batch(self.namespace(host.name), route_lines(host, use_public))

    def remove(self):
        remove_namespaces(
            [self.namespace(name) for name in (GATEWAY, *(host.name for host in HOSTS))]
        )


def add_namespaces(names):
    for name in names:
        write_etc(name)
    run(["ip", "-batch", "-"], stdin="".join(f"netns add {name}\n" for name in names))
    for name in names:
        # Link-local addresses too must be usable at once: neighbour discovery speaks from them. And a packet in another host's
        # name, which the gateway sends back by the link it came from, must not redirect that host's connections.
        write_sysctls(
            name,
            ["net.ipv6.conf.default.dad_transmits=0", "net.ipv6.conf.default.accept_redirects=0"],
        )


def remove_namespaces(names):
    # Normally none; but a program that outlived its test must not outlive the lab.
    for pid in processes_inside(names):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    run(
        ["ip", "-force", "-batch", "-"],
        stdin="".join(f"netns del {name}\n" for name in names),
        check=False,
    )
    for name in names:
        shutil.rmtree(f"/etc/netns/{name}", ignore_errors=True)


def write_etc(namespace):
    """A namespace's own files in /etc, which `ip netns exec` puts in place.

    A resolver that refuses at once, because a program that looks names up must not wait for it.
    An account whose home exists, which vsftpd wants for anonymous sessions. The daemon's account,
    which a package would have made (packaging/sysusers.conf).
    """
    os.makedirs(f"/etc/netns/{namespace}", exist_ok=True)
    with open(f"/etc/netns/{namespace}/resolv.conf", "w") as resolver:
        resolver.write("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    with open("/etc/passwd") as machine, open(f"/etc/netns/{namespace}/passwd", "w") as accounts:
        accounts.write(machine.read() + f"{FTP_ACCOUNT}:x:65534:65534::/:/usr/sbin/nologin\n")
        accounts.write(f"{DAEMON_ACCOUNT}:x:{DAEMON_USER}:{DAEMON_USER}::/:/usr/sbin/nologin\n")


def route_lines(host, use_public=False):
    """Inside hosts leave through the gateway; outside ones know only public prefixes behind it."""
    if host.link == "wan":
        return [
            f"route replace {net} via {GATEWAY_WAN6 if ':' in net else GATEWAY_WAN4}"
            for net in PUBLIC_LAN
        ]
    source4, source6 = (
        (host.public4, host.public6) if use_public else (host.private4, host.private6)
    )
    return [
        f"route replace default via {GATEWAY_LAN[0]} src {source4}",
        f"route replace default via {GATEWAY_LAN[1]} src {source6}",
    ]


def processes_inside(namespaces):
    """The pids of all processes in any of these network namespaces."""
    wanted = set()
    for name in namespaces:
        with contextlib.suppress(OSError):
            there = os.stat(f"/run/netns/{name}")
            wanted.add((there.st_dev, there.st_ino))
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            status = os.stat(f"/proc/{pid}/ns/net")
            if (status.st_dev, status.st_ino) in wanted:
                found.append(int(pid))
    return found


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
    # Loaded on demand by several labs at once, the same module is not there yet for the second. Many kernels have them builtin.
    with contextlib.suppress(LabError):
        run(["modprobe", "-qa", *MODULES], check=False)


def finish(main, name):
    """What every program of the lab does last: exit with what `main` gives, or with what went wrong."""
    try:
        sys.exit(main())
    except LabError as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"{name}: interrupted; everything it had built is removed")


def interrupt(*_):
    """Once: timeout(1) and an impatient user send the signal again, and that must not interrupt the removal."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
