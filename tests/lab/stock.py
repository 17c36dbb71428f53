"""Cases that need a distribution's kernel: the files of rules/, lossy links, expectations, `auto`.

A cut-down kernel has no `queue` statement, no helpers of userspace, and no netem.
scripts/test-vm.sh boots a kernel that has them.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import pathlib
import re
import time

import deployments
import transfers
from captures import Capture, inconsistent_bytes
from clients import ACTIVE_MODES, CLIENTS
from guarantees import one_shot, require, stranger_gets_nothing
from lab import Batch, Case, CaseFailure, NotApplicable
from scripted import scripted
from servers import Listen
from shell import PATIENCE, Background, run_tool
from stress import TRANSLATED, try_lossy
from topology import GATEWAY, HOSTS

# --- the files of rules/ ---

# tnftp can be told each mode in each IP version.
SHIPPED_CLIENT, SHIPPED_SERVER = "tnftp", "vsftpd"


def shipped_batches():
    """Each file, loaded by hand beside a daemon that installs nothing.

    Real clients transfer in each mode, and strangers are kept out.
    """
    for deployment in deployments.SHIPPED.values():
        port = next(
            port
            for port in deployment.control_ports
            if len(deployment.control_ports) == 1 or deployment.name.endswith(str(port))
        )
        yield transfers.batch(
            "shipped",
            deployment.name,
            SHIPPED_SERVER,
            Listen(port),
            stock=True,
            clients=[CLIENTS[SHIPPED_CLIENT]],
        )
        mode = "PORT" if deployment.name == "intranet-clients" else "EPSV"
        name = f"shipped/{deployment.name}/{port}"
        cases = tuple(
            Case(f"{name}/{kind}/{mode}", functools.partial(check, mode))
            for kind, check in (
                ("one-shot", one_shot),
                ("stranger-gets-nothing", stranger_gets_nothing),
            )
        )
        yield Batch(
            name,
            deployment.name,
            cases,
            functools.partial(scripted, server_port=port),
            settings=deployment.settings(),
            stock=True,
        )


# --- netem ---


@dataclasses.dataclass(frozen=True)
class Link:
    """The treatment of packets by each of the four links, at both ends."""

    netem: str
    percent: int = 0
    seconds: float = 0


LINKS = {
    "loss-1": Link("loss 1%", percent=1),
    "loss-5": Link("loss 5%", percent=5),
    # The jitter puts packets out of order.
    "delay": Link("delay 40ms 15ms", seconds=0.025),
    "delay-and-loss": Link("delay 20ms 10ms loss 3% duplicate 1%", percent=3, seconds=0.010),
}
NETEM_TRANSFERS = 32
NETEM_AT_ONCE = 16
NETEM_SECONDS = 60 * PATIENCE


@contextlib.contextmanager
def netem(lab, link):
    """Sets both ends of each link, so that packets are lost before the gateway and after it."""
    ends = [(lab.namespace(host.name), "eth0") for host in HOSTS]
    ends += [(lab.topology.gateway, host.name) for host in HOSTS]
    for namespace, device in ends:
        run_tool(
            [
                "tc",
                "qdisc",
                "add",
                "dev",
                device,
                "root",
                "netem",
                "limit",
                "10000",
                *link.netem.split(),
            ],
            namespace=namespace,
        )
    try:
        yield ends
    finally:
        for namespace, device in ends:
            run_tool(["tc", "qdisc", "del", "dev", device, "root"], namespace=namespace)


def dropped(ends):
    """The number of packets that the links lost."""
    said = [
        run_tool(["tc", "-s", "qdisc", "show", "dev", device], namespace=namespace).stdout
        for namespace, device in ends
    ]
    return sum(int(number) for text in said for number in re.findall(r"dropped (\d+)", text))


def netem_case(link, mode, stage):
    """All transfers come through, and retransmitted bytes are the same as at first."""
    lab = stage.lab
    with Capture(lab, "netem") as capture, netem(lab, link) as ends:
        began = time.monotonic()
        stage.session(timeout=NETEM_SECONDS).close()
        # Connecting, greeting and login take at least three times four links in both directions.
        require(
            time.monotonic() - began >= 3 * 4 * link.seconds, "the links did not delay anything"
        )
        with concurrent.futures.ThreadPoolExecutor(NETEM_AT_ONCE) as pool:
            attempts = list(
                pool.map(functools.partial(try_lossy, stage, mode), range(NETEM_TRANSFERS))
            )
        require(dropped(ends) > 0 or not link.percent, "the links lost nothing")
    if lost := [attempt.reason for attempt in attempts if attempt.reason]:
        raise CaseFailure(f"{len(lost)} of {NETEM_TRANSFERS} transfers failed", "\n".join(lost))
    for side, path in capture.files.items():
        if changed := inconsistent_bytes(path):
            raise CaseFailure(
                f"{side}: {len(changed)} retransmissions differ from the first time",
                "\n".join(changed),
            )


def netem_real_case(link, client, mode, stage):
    """A real client's transfers over such links are complete."""
    with netem(stage.lab, link) as ends:
        transfers.must_transfer(client, mode, stage)
        require(dropped(ends) > 0 or not link.percent, "the links lost nothing")


def netem_batches():
    for deployment, mode in TRANSLATED:
        cases = tuple(
            Case(f"netem/{name}/{deployment}/{mode}", functools.partial(netem_case, link, mode))
            for name, link in LINKS.items()
        )
        yield Batch(f"netem/{deployment}/{mode}", deployment, cases, scripted, stock=True)
    for deployment, mode, client in (
        ("inside-client", "PORT", "tnftp"),
        ("inside-server", "PASV", "lftp"),
    ):
        case = Case(
            f"netem/real-delay-and-loss/{deployment}/{mode}/{client}",
            functools.partial(netem_real_case, LINKS["delay-and-loss"], CLIENTS[client], mode),
        )
        yield Batch(
            f"netem-real/{deployment}",
            deployment,
            (case,),
            functools.partial(transfers.with_server, transfers.SERVERS["vsftpd"], Listen()),
            stock=True,
        )


# --- the kernel's expectations ---

# Translated, routed, IPv6, on the gateway itself.
EXPECTED = (
    *TRANSLATED,
    ("routed-client", "PASV"),
    ("routed6-client", "EPRT"),
    ("gateway-client", "PORT"),
    ("gateway-server", "PASV"),
    ("nat66-server", "EPSV"),
)
GONE_SECONDS = 2 * PATIENCE
# As /proc/net/netlink writes it.
NETLINK_NETFILTER = "12"
# The bit of NFNLGRP_CONNTRACK_EXP_NEW (linux/netfilter/nfnetlink_compat.h) in a mask of groups.
NEW_EXPECTATIONS = 1 << 3


@dataclasses.dataclass(frozen=True)
class Listed:
    """One line of `conntrack -L expect` or `-E expect`."""

    source: str
    destination: str
    port: int
    helper: str
    # INACTIVE ones wait for the other side's consent and admit nothing.
    is_active: bool
    event: str = ""

    @classmethod
    def parse(cls, line):
        """Reads one line of conntrack(8).

        [NEW] 60 proto=6 src=A dst=B sport=0 dport=N mask-src=… master-src=… class=0 helper=NAME
        """
        fields = {}
        for key, value in re.findall(r"([a-z-]+)=(\S+)", line):
            # Of a repeated key the first belongs to the tuple; masks and the master come later.
            fields.setdefault(key, value)
        event = re.search(r"\[(\w+)\]", line)
        return cls(
            fields["src"],
            fields["dst"],
            int(fields["dport"]),
            fields.get("helper", ""),
            "INACTIVE" not in line,
            event[1] if event else "",
        )

    def is_for(self, offer):
        return (self.source, self.destination, self.port) == (
            offer.source,
            offer.address,
            offer.port,
        )


def listed(stage):
    """The gateway's expectations; conntrack(8) prints those of its own network namespace."""
    said = [
        run_tool(
            ["conntrack", "-L", "expect", "-f", family], namespace=stage.lab.topology.gateway
        ).stdout
        for family in ("ipv4", "ipv6")
    ]
    return [Listed.parse(line) for text in said for line in text.splitlines() if "proto=" in line]


def require_kernel_expectations(stage):
    if stage.lab.engine.name != "ours-conntrack":
        raise NotApplicable("expectations are the kernel's with our backend conntrack only")


def listed_until_used(mode, stage):
    """Between announcement and use the kernel lists our expectation alone; after it, none."""
    require_kernel_expectations(stage)
    require(not listed(stage), "an expectation is listed before anything was announced")
    session = stage.session()
    offer = session.announce(mode)
    found = listed(stage)
    require(
        len(found) == 1
        and found[0].is_for(offer)
        and found[0].is_active
        and found[0].helper == "ftp-alg",
        f"for {offer.source} to {offer.address} port {offer.port} the kernel lists {found}",
    )
    require(offer.connects(), "the announced data connection did not come through")
    require(not listed(stage), f"after its use the kernel lists {listed(stage)}")
    session.exchange("NOOP", "200 well")
    session.close()


def listed_until_withdrawn(mode, stage):
    """An announcement that nobody uses is gone with the control connection."""
    require_kernel_expectations(stage)
    session = stage.session()
    older, newer = session.announce(mode), session.announce(mode)
    found = listed(stage)
    require(
        len(found) == 1 and found[0].is_for(newer), f"of two announcements the kernel lists {found}"
    )
    older.close()
    session.close()
    deadline = time.monotonic() + GONE_SECONDS
    while (found := listed(stage)) and time.monotonic() < deadline:
        time.sleep(0.1)
    require(not found, f"after the control connection's end the kernel lists {found}")


def listed_until_refused(mode, stage):
    """The kernel lists what a client announces before the server answers, until it refuses."""
    require_kernel_expectations(stage)
    session = stage.session()
    unanswered = session.announce(mode, reply=None)
    require_listed(unanswered, "before the server has answered")
    session.reply("500 no")
    require(not listed(stage), f"after the server has refused the kernel lists {listed(stage)}")
    require_listed(session.announce(mode), "after the server has accepted")


def require_listed(offer, when):
    """The kernel lists this offer's expectation alone, and it is active."""
    found = listed(offer.session.stage)
    require(
        [one.is_active and one.is_for(offer) for one in found] == [True],
        f"{when} the kernel lists {found}",
    )


def events_are_told(mode, stage):
    """`conntrack -E expect` tells of an expectation's coming and going.

    Programs that replicate connection tracking listen to it.
    """
    require_kernel_expectations(stage)
    watcher = Background(
        ["conntrack", "-E", "expect"],
        stage.lab.workspace / "events.log",
        namespace=stage.lab.namespace(GATEWAY),
    )
    try:
        watcher.wait_for(lambda: is_listening(watcher.pid), 5, "listening to the kernel")
        offer = stage.session().announce(mode)
        watcher.wait_for(
            lambda: events(watcher, offer)[-1:] == ["NEW"], 5, "an event of the announcement"
        )
        require(offer.connects(), "the announced data connection did not come through")
        watcher.wait_for(
            lambda: events(watcher, offer)[-1:] == ["DESTROY"], 5, "an event of its use"
        )
    finally:
        watcher.stop()


def is_listening(pid):
    """Whether a process's network namespace has a listener to new expectations.

    The daemon listens to nf_tables, which is another group.
    """
    rows = [
        line.split()
        for line in pathlib.Path(f"/proc/{pid}/net/netlink").read_text().splitlines()[1:]
    ]
    return any(row[1] == NETLINK_NETFILTER and int(row[3], 16) & NEW_EXPECTATIONS for row in rows)


def events(watcher, offer):
    """The events of this offer's expectation so far, in order."""
    lines = [Listed.parse(line) for line in watcher.output().splitlines() if "proto=" in line]
    return [line.event for line in lines if line.is_for(offer)]


def expectation_batches():
    checks = {
        "listed-until-used": listed_until_used,
        "listed-until-withdrawn": listed_until_withdrawn,
        "events-are-told": events_are_told,
    }
    for deployment, mode in EXPECTED:
        active = {"listed-until-refused": listed_until_refused} if mode in ACTIVE_MODES else {}
        cases = tuple(
            Case(f"expectations/{name}/{deployment}/{mode}", functools.partial(check, mode))
            for name, check in {**checks, **active}.items()
        )
        yield Batch(f"expectations/{deployment}/{mode}", deployment, cases, scripted, stock=True)


# --- which backend `auto` takes ---


def auto_expects(mode, stage):
    """`auto` takes the kernel's expectations here, and the kernel lists one for an announcement."""
    if not stage.lab.engine.is_ours:
        raise NotApplicable("it has no backend to choose")
    offer = stage.session().announce(mode)
    require_listed(offer, "with the backend that auto chose")
    require(offer.connects(), "the announced data connection did not come through")


def auto_batches():
    for deployment, mode in (("inside-client", "PORT"), ("inside-server", "EPSV")):
        case = Case(f"auto/{deployment}/{mode}", functools.partial(auto_expects, mode))
        yield Batch(
            f"auto/{deployment}/{mode}",
            deployment,
            (case,),
            scripted,
            settings={"backend": "auto"},
            stock=True,
        )


def batches():
    yield from auto_batches()
    yield from shipped_batches()
    yield from netem_batches()
    yield from expectation_batches()
