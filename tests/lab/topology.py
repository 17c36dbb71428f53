"""One gateway with two networks: the namespaces, links and addresses that all deployments share.

    inside1 --.                        .-- outside1
               lan [ gateway ] wan
    inside2 --'                        '-- outside2

Inside hosts have a private address, to which nobody outside has a route, and a public one for the
deployments without NAT. The second inside host makes hairpins possible. The second outside host is
the stranger who must get nothing. Deployments (deployments.py) differ only in the operator's
ruleset and in who talks to whom.
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
    """A host's link, and its address in each address realm."""

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

# The gateway forwards, and sends no redirects.
GATEWAY_SYSCTLS = (
    "net.ipv4.ip_forward=1",
    "net.ipv6.conf.all.forwarding=1",
    "net.ipv4.conf.all.send_redirects=0",
    "net.ipv4.conf.lan.send_redirects=0",
)
MODULES = (
    "bridge",
    # Loaded later, it would change the bridges of the labs that are there.
    "br_netfilter",
    "veth",
    "nft_ct",
    "nft_nat",
    "nft_masq",
    "nft_reject_inet",
    "sch_netem",
)
# The links are bridges. Where bridges call netfilter, packets pass prerouting before a capture on
# the bridge sees them. No router does that.
BRIDGE_SYSCTLS = ("net.bridge.bridge-nf-call-iptables=0", "net.bridge.bridge-nf-call-ip6tables=0")


class Built:
    """A context manager that makes things in `build` and always takes them away in `remove`."""

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
                f"link add {host.name} mtu {MTU} type veth"
                f" peer name eth0 mtu {MTU} netns {namespace}",
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
        """Sets an inside host's routes; with `use_public` it speaks from its public address."""
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
        # Neighbour discovery speaks from link-local addresses, so these must be usable at once too.
        # A packet in another host's name goes back by the link that it came from, and must not
        # redirect that host's connections.
        write_sysctls(
            name,
            ["net.ipv6.conf.default.dad_transmits=0", "net.ipv6.conf.default.accept_redirects=0"],
        )


def remove_namespaces(names):
    # Normally there is none, but a program that outlived its test must not outlive the lab.
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

    The resolver refuses at once, because a program that looks names up must not wait for it. One
    account has a home that exists, which vsftpd wants for anonymous sessions. The other account is
    the daemon's, which a package would make (packaging/sysusers.conf).
    """
    os.makedirs(f"/etc/netns/{namespace}", exist_ok=True)
    with open(f"/etc/netns/{namespace}/resolv.conf", "w") as resolver:
        resolver.write("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    with open("/etc/passwd") as machine, open(f"/etc/netns/{namespace}/passwd", "w") as accounts:
        accounts.write(machine.read() + f"{FTP_ACCOUNT}:x:65534:65534::/:/usr/sbin/nologin\n")
        accounts.write(f"{DAEMON_ACCOUNT}:x:{DAEMON_USER}:{DAEMON_USER}::/:/usr/sbin/nologin\n")


def route_lines(host, use_public=False):
    """Inside hosts leave through the gateway; outside ones know the public prefixes behind it."""
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
    """`nodad` makes an IPv6 address usable at once, and not two seconds after the link is up."""
    version = ipaddress.ip_address(address).version
    more = "/24 dev {0}" if version == 4 else "/64 dev {0} nodad"
    return f"address add {address}{more.format(link)}"


def ip_batch(namespace, lines):
    run(["ip", "-n", namespace, "-batch", "-"], stdin="\n".join(lines) + "\n")


def begin():
    """Checks for root, and turns SIGTERM into an exception, so that everything is removed.

    Every program of the lab calls it first.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, interrupt)
    if os.geteuid() != 0:
        raise LabError("the lab builds network namespaces and must be root: run it with sudo")
    # If several labs load the same module on demand, it is not there yet for the second. Many
    # kernels have these modules built in.
    with contextlib.suppress(LabError):
        run(["modprobe", "-qa", *MODULES], check=False)


def finish(main, name):
    """Exits with the result of `main`, or with its error.

    Every program of the lab calls it last.
    """
    try:
        sys.exit(main())
    except LabError as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"{name}: interrupted; everything it had built is removed")


def interrupt(*_):
    """Interrupts once, because timeout(1) and impatient users send the signal again.

    The second signal must not interrupt the removal.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
