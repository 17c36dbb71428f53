"""Two gateways that stand in for each other, and a host on either side.

    inside --.     .-- [ gateway-a ] --.     .-- outside
             lan0 -+        | sync0    +- wan0
                   '-- [ gateway-b ] --'

Each gateway is a machine with its own namespaces for the network, mounts, host name and processes.
keepalived, conntrackd, nftables and ftp-alg run in it, set up from the very files in packaging/ha.
Cutting a machine's power kills its first process. The kernel kills all others with it, and none of
them can say good-bye.
"""

import contextlib
import errno
import fcntl
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import time

import engines
from engines import REPOSITORY, ftp_alg_binary
from servers import cache_root, library_path
from shell import Background, LabError, inside, run
from topology import BRIDGE_SYSCTLS, Built, add_namespaces, ip_batch, remove_namespaces

CONFIGURATION = REPOSITORY / "packaging/ha"
# Where each file goes on a gateway, as the files' first lines say.
INSTALLED = {
    "keepalived.conf": "keepalived/keepalived.conf",
    "conntrack-notify": "keepalived/conntrack-notify",
    "conntrackd.conf": "conntrackd/conntrackd.conf",
    "nftables.conf": "nftables.conf",
    "sysctl.conf": "sysctl.d/60-ftp-alg-ha.conf",
    "ftp-alg.toml": "ftp-alg.toml",
}
LINKS = ("lan", "wan")
INSIDE, OUTSIDE = "inside", "outside"
HOST_ADDRESSES = {INSIDE: "10.0.0.10", OUTSIDE: "203.0.113.10"}
VIRTUAL = {"lan": "10.0.0.1", "wan": "203.0.113.1"}
# The last number of each gateway's addresses. gateway-a has the higher priority in keepalived.conf.
GATEWAYS = {"gateway-a": 2, "gateway-b": 3}
SYNC = {"gateway-a": "192.168.100.1", "gateway-b": "192.168.100.2"}
START_SECONDS = 30
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


class NoSuchDevice(Exception):
    """There is no such interface."""


class Machine:
    """A gateway whose programs see their configuration in /etc, and a /run of their own."""

    def __init__(self, name, directory):
        self.name, self.directory = name, pathlib.Path(directory)
        self.programs = {}

    def boot(self, without):
        for directory in ("etc", "work", "log"):
            (self.directory / directory).mkdir(parents=True)
        self.install(without)
        writable = f"upperdir={self.directory}/etc,workdir={self.directory}/work"
        script = f"""
            hostname {self.name}
            mount -t overlay etc -o lowerdir=/etc,{writable} /etc
            mount -t tmpfs run /run
            mkdir /run/lock /run/bin
            ln -s {ftp_alg_binary()} /run/bin/ftp-alg
            mount -t sysfs sys /sys
            ip link set lo up
            echo booted
            exec sleep infinity"""
        flags = ["--net", "--mount", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child"]
        self.outer = Background(
            ["unshare", *flags, "bash", "-ec", script], self.directory / "log/boot"
        )
        self.outer.wait_for(lambda: "booted" in self.outer.output(), START_SECONDS, "booting")
        children = pathlib.Path(
            f"/proc/{self.outer.pid}/task/{self.outer.pid}/children"
        ).read_text()
        self.first = int(children.split()[0])

    def command(self, *argv):
        """The command line that runs a program in this machine."""
        return ["nsenter", "-t", str(self.first), "--net", "--mount", "--uts", "--pid", *argv]

    def run(self, *argv, **options):
        return run(self.command(*argv), env=environment(), **options)

    def start(self, name, *argv):
        log = self.directory / f"log/{name}"
        program = Background(self.command(*argv), log, env=environment())
        self.programs[name] = program
        return program

    def install(self, without):
        """Puts the files of packaging/ha where they say they belong."""
        for file, place in INSTALLED.items():
            text = (CONFIGURATION / file).read_text()
            text = of_gateway(text, self.name, without)
            target = self.directory / "etc" / place
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
            target.chmod((CONFIGURATION / file).stat().st_mode & 0o755)

    def cut_power(self):
        """Ends everything that runs in it at once, and so its network."""
        if self.outer.is_running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.first, signal.SIGKILL)
            self.outer.process.wait(10)

    def stop(self):
        self.cut_power()
        for program in self.programs.values():
            program.kill_session()


def of_gateway(text, name, without):
    """A file as it is on this gateway, without the parts that are taken out."""
    if "expectations" in without:
        text = re.sub(r"ExpectationSync {.*?}", "", text, flags=re.DOTALL)
    if "adoption" in without:
        text = re.sub(r".*ftp-alg adopt.*\n", "", text)
    if "backend" in without:
        text = text.replace('backend = "conntrack"', 'backend = "nftables"')
        text = text.replace(
            "ct state established,related accept",
            "ct state established,related accept\n        ct mark and 0x10000000 != 0 accept",
        )
    if name == "gateway-b":
        text = text.replace('share = "1/2"', 'share = "2/2"')
    return text.replace(f"IPv4_interface {SYNC['gateway-a']}", f"IPv4_interface {SYNC[name]}")


def take_down(any_socket, interface):
    """Takes an interface down at once, because starting a program takes too long (netdevice(7))."""
    request = struct.pack("16sH14x", interface.encode(), 0)
    try:
        flags = struct.unpack("16sH14x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(
            any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", interface.encode(), flags & ~IFF_UP)
        )
    except OSError as error:
        if error.errno == errno.ENODEV:
            raise NoSuchDevice(interface) from error
        raise


def environment():
    """The variables for keepalived and conntrackd, which are unpacked in the lab's cache."""
    return {
        **os.environ,
        "PATH": f"/run/bin:{cache_root()}/usr/sbin:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": library_path(),
        "RUST_LOG": "info,ftp_alg=debug",
    }


class Pair(Built):
    """Both gateways, the links, the hosts."""

    def __init__(self, run_id, without=()):
        self.prefix, self.without = f"fo{run_id}", without
        # Not below /tmp, because that may be an overlay.
        self.directory = pathlib.Path(f"/run/{self.prefix}")
        self.machines = {name: Machine(name, self.directory / name) for name in GATEWAYS}

    def namespace(self, host):
        return f"{self.prefix}-{host}"

    def namespaces(self):
        return [self.namespace(host) for host in ("switch", *HOST_ADDRESSES)]

    def build(self):
        self.directory.mkdir()
        self.directory.chmod(0o755)
        add_namespaces(self.namespaces())
        for name in self.namespaces():
            ip_batch(name, ["link set lo up"])
        run(["sysctl", "-qw", *BRIDGE_SYSCTLS], namespace=self.namespace("switch"), check=False)
        ip_batch(
            self.namespace("switch"),
            [
                line
                for link in LINKS
                for line in (
                    f"link add {link} type bridge forward_delay 0 mcast_snooping 0",
                    f"link set {link} up",
                )
            ],
        )
        for host, address in HOST_ADDRESSES.items():
            self.plug(
                f"netns {self.namespace(host)}", "lan" if host == INSIDE else "wan", host, "eth0"
            )
            ip_batch(
                self.namespace(host), [f"address add {address}/24 dev eth0", "link set eth0 up"]
            )
        ip_batch(self.namespace(INSIDE), [f"route add default via {VIRTUAL['lan']}"])
        self.boot_gateways()

    def plug(self, where, link, name, interface):
        """A cable from a port `name` of the switch to `interface` there."""
        ip_batch(
            self.namespace("switch"),
            [
                f"link add {name} type veth peer name {interface} {where}",
                f"link set {name} master {link} up",
            ],
        )

    def boot_gateways(self):
        a, b = self.machines.values()
        for number, machine in zip("ab", (a, b)):
            machine.boot(self.without)
            for link in LINKS:
                self.plug(f"netns {machine.first}", link, f"{link}-{number}", f"{link}0")
        run(
            [
                "nsenter",
                "-t",
                str(a.first),
                "--net",
                "ip",
                "link",
                "add",
                "sync0",
                "type",
                "veth",
                "peer",
                "name",
                "sync0",
                "netns",
                str(b.first),
            ]
        )
        for machine in (a, b):
            last = GATEWAYS[machine.name]
            own = {
                "lan0": f"10.0.0.{last}",
                "wan0": f"203.0.113.{last}",
                "sync0": SYNC[machine.name],
            }
            machine.run(
                "ip",
                "-batch",
                "-",
                stdin="".join(
                    f"address add {address}/24 dev {interface}\nlink set {interface} up\n"
                    for interface, address in own.items()
                ),
            )
        for machine in (a, b):
            self.start_gateway(machine)
        self.wait_for(lambda: self.has_addresses(a), "gateway-a to be master")
        self.wait_for(lambda: self.is_open(a), "gateway-a to let packets in")
        if "states" not in self.without:
            # It answers only when it has been told everything.
            self.wait_for(
                lambda: "active" in b.run("conntrackd", "-s", "network", check=False).stdout,
                "the sync link",
            )

    def start_gateway(self, machine):
        machine.run("nft", "-f", "/etc/nftables.conf")
        machine.run("sysctl", "-q", "-p", "/etc/sysctl.d/60-ftp-alg-ha.conf")
        daemon = machine.start("ftp-alg", "ftp-alg", "run", "--config", "/etc/ftp-alg.toml")
        daemon.wait_for(
            lambda: "ready" in daemon.output(), engines.READY_SECONDS, "'ready' in its log"
        )
        if "states" not in self.without:
            tracker = machine.start("conntrackd", "conntrackd")
            tracker.wait_for(
                lambda: machine.run("conntrackd", "-s", check=False).returncode == 0,
                START_SECONDS,
                "an answer of conntrackd",
            )
        machine.start(
            "keepalived",
            "keepalived",
            "--dont-fork",
            "--log-console",
            "--log-detail",
            "--use-file",
            "/etc/keepalived/keepalived.conf",
        )

    def is_open(self, machine):
        return (
            "elements" not in machine.run("nft", "list", "set", "inet", "gateway", "standby").stdout
        )

    def has_addresses(self, machine):
        return all(
            VIRTUAL[link] in machine.run("ip", "-4", "address", "show", "dev", f"{link}0").stdout
            for link in LINKS
        )

    def wait_for(self, is_so, what):
        deadline = time.monotonic() + START_SECONDS
        while not is_so():
            if time.monotonic() > deadline:
                raise LabError(f"waited in vain for {what}")
            time.sleep(0.02)

    def cut_power(self):
        """Cuts the power of the working gateway: its programs are gone, and its cables are dead."""
        machine = self.machines["gateway-a"]
        with inside(self.namespace("switch")), socket.socket() as any_socket:
            os.kill(machine.first, signal.SIGKILL)
            for link in LINKS:
                # The dead machine's end may be gone already, and this end with it.
                with contextlib.suppress(NoSuchDevice):
                    take_down(any_socket, f"{link}-a")
        machine.cut_power()

    def wait_for_takeover(self):
        """Returns when gateway-b has the addresses.

        It starts no program, because that would take longer than the takeover.
        """
        routes = pathlib.Path(f"/proc/{self.machines['gateway-b'].first}/net/fib_trie")
        self.wait_for(
            lambda: all(f" {address}\n" in routes.read_text() for address in VIRTUAL.values()),
            "gateway-b to be master",
        )
        return time.monotonic()

    def logs(self):
        """The last words of every program of both gateways."""
        parts = []
        for machine in self.machines.values():
            for log in sorted((machine.directory / "log").iterdir()):
                lines = [
                    line
                    for line in log.read_text(errors="replace").splitlines()
                    if "gratuitous" not in line
                ][-200:]
                parts.append(f"-- {machine.name}: {log.name}\n" + "\n".join(lines))
        return "\n".join(parts)

    def remove(self):
        for machine in self.machines.values():
            if hasattr(machine, "outer"):
                machine.stop()
        remove_namespaces(self.namespaces())
        shutil.rmtree(self.directory, ignore_errors=True)
