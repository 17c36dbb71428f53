"""Floods: how much memory the daemon takes, and how long honest sessions take beside them.

attacks_table.py runs the measurements. A flood comes from a program of its own and goes to a server
of its own (flooder.py). On a real network both would be other machines than the gateway. Here they
share its processors, so they run at nice 19: the cost of the flood's packets to the gateway is
measured in full, and the flood is made and answered only when a processor is idle.

The honest ends would be other machines too, so they take precedence, and rest between two rounds.
The rows of engines without a queue show how much the machine's own business disturbs. The table
also has the share of one processor that the daemon takes during the flood, because busy neighbours
do not change it.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import statistics
import sys
import time
import typing

import attacks
import deployments
from attacks import Honest
from lab import Batch, CaseFailure, Lab
from shell import PATIENCE, Background, LabError, run, run_tool, write_sysctls
from topology import HOSTS, INSIDE1, OUTSIDE1

DEPLOYMENT = "routed-server"
# The honest sessions come from the flooder's host too, but go to another server.
VICTIM, FLOODER = INSIDE1, OUTSIDE1
PORT = 21
# Sessions are divided among the workers by their ports. A flood may busy one worker more than
# another, so the slowest session counts.
SESSIONS, ROUNDS_IDLE, ROUNDS_LEAST = 6, 400, 5
REST_SECONDS = 0.005
PRECEDENCE = -10
LATENCY_RATIO_MAX = 3.0
# The bound for all connections (the lowest `limits.memory`). Beside them stand the program, its
# threads, its buffers, and what the allocator keeps: 6 MiB when idle.
LIMIT_MIB, BESIDE_MIB = 8, 16
MEMORY_BOUND_MIB = LIMIT_MIB + BESIDE_MIB
GIBIBYTE = 1 << 30
HALF_OPEN = 100_000
FLOOD_SECONDS = 6


@dataclasses.dataclass(frozen=True)
class Measured:
    """One flood through one engine."""

    idle: float
    beside: float
    memory: float
    # The daemon's share of one processor while the flood goes on.
    share: float
    honest: str
    said: str

    @property
    def ratio(self):
        return self.beside / self.idle


@dataclasses.dataclass(frozen=True)
class Flood:
    name: str
    # Gets a lab and returns the flooder's arguments.
    arguments: typing.Callable
    # The time that it may take.
    seconds: int
    # Gets what is known when it is over, and returns a description.
    account: typing.Callable


def commands(lab):
    return ["commands", VICTIM.public4, str(PORT), "8", str(FLOOD_SECONDS)]


def line(lab):
    return ["line", VICTIM.public4, str(PORT), str(GIBIBYTE)]


def half_open(lab):
    """The flooder's host drops the answers, because its resets would end the half-open sessions."""
    run_tool(
        ["nft", "-f", "-"],
        namespace=lab.namespace(FLOODER.name),
        stdin=f"""
        table inet deaf {{
          chain hear {{
            type filter hook prerouting priority raw
            ip saddr {VICTIM.public4} tcp flags & (syn | ack) == (syn | ack) drop
          }}
        }}
        """,
    )
    [found] = json.loads(
        run(["ip", "-n", lab.topology.gateway, "-j", "link", "show", "dev", FLOODER.link]).stdout
    )
    return [
        "half-open",
        FLOODER.public4,
        VICTIM.public4,
        found["address"].replace(":", ""),
        str(HALF_OPEN),
        *map(str, deployments.CONTROL_PORTS),
    ]


def account_of_commands(lab, flooder, server):
    said = sum(map(int, re.findall(r"said (\d+)", flooder.output())))
    return f"{said:,} commands in {FLOOD_SECONDS} s"


def account_of_line(lab, flooder, server):
    read = max(map(int, re.findall(r"read (\d+)", server.output())), default=0)
    return f"{read / GIBIBYTE:.2f} GiB came through"


def account_of_half_open(lab, flooder, server):
    tracked = run_tool(["conntrack", "-C"], namespace=lab.topology.gateway).stdout.strip()
    return f"{int(tracked):,} connections tracked"


FLOODS = (
    Flood("commands", commands, FLOOD_SECONDS + 20, account_of_commands),
    Flood("a line of 1 GiB", line, 300, account_of_line),
    Flood(f"{HALF_OPEN:,} half-open sessions", half_open, 120, account_of_half_open),
)


def program(*arguments):
    return [sys.executable, "-u", str(pathlib.Path(__file__).with_name("flooder.py")), *arguments]


def slowest(rounds):
    """The median of the slowest session; a round has one transaction of each session."""
    return max(statistics.median(of_session) for of_session in zip(*rounds, strict=True))


def transactions(sessions):
    """One transaction of each session, and a rest."""
    taken = [transaction(session) for session in sessions]
    time.sleep(REST_SECONDS)
    return taken


@contextlib.contextmanager
def precedence():
    """Lets this thread run before other programs."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, PRECEDENCE)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


def transaction(session):
    """The seconds that one announcement and its data connection take."""
    begin = time.monotonic()
    if not session.announce("PASV").connects():
        raise CaseFailure("an honest data connection did not come through")
    return time.monotonic() - begin


def measure(flood, engine):
    settings = {"limits.memory": f"{LIMIT_MIB}M", "control_ports": deployments.CONTROL_PORTS}
    batch = Batch(
        "attack/flood", DEPLOYMENT, (), attacks.field, settings=settings, refusal="reject"
    )
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(Lab(os.getpid(), "f", engine))
        stack.enter_context(lab.gateway_with_engine(batch))
        stage = stack.enter_context(attacks.field(lab, deployments.named(DEPLOYMENT)))
        forget_closed_connections(lab)
        servers = [start_server(stack, lab, port) for port in deployments.CONTROL_PORTS]
        sessions = [stage.session() for _ in range(SESSIONS)]
        with precedence():
            idle = slowest([transactions(sessions) for _ in range(ROUNDS_IDLE)])
        flooder = Background(
            program(*flood.arguments(lab)),
            lab.workspace / "flooder.log",
            namespace=lab.namespace(FLOODER.name),
        )
        stack.callback(flooder.stop)
        begin, spent = time.monotonic(), processor_seconds(lab.engine)
        beside, failures = measure_beside(flood, flooder, sessions, stage)
        share = (processor_seconds(lab.engine) - spent) / (time.monotonic() - begin)
        time.sleep(0.5 * PATIENCE)
        said = flood.account(lab, flooder, servers[0])
        return Measured(
            idle, beside, memory_of(lab.engine), share, "; ".join(failures) or "ok", said
        )


def forget_closed_connections(lab):
    """Lets hosts forget closed connections at once.

    With thousands of them in TIME-WAIT a host searches for a free port in steps of 0.8 ms, which no
    gateway causes.
    """
    for host in HOSTS:
        write_sysctls(lab.namespace(host.name), ["net.ipv4.tcp_max_tw_buckets=64"])


def start_server(stack, lab, port):
    server = Background(
        program("serve", VICTIM.public4, str(port)),
        lab.workspace / f"sink-{port}.log",
        namespace=lab.namespace(VICTIM.name),
    )
    stack.callback(server.stop)
    server.wait_for(lambda: "ready" in server.output(), 10, "'ready'")
    return server


def measure_beside(flood, flooder, sessions, stage):
    """(the slowest session's median during the flood, what honest sessions did not finish)."""
    rounds, deadline, failures = [], time.monotonic() + flood.seconds * PATIENCE, []
    try:
        with precedence():
            while flooder.is_running() or len(rounds) < ROUNDS_LEAST:
                rounds.append(transactions(sessions))
                if time.monotonic() > deadline:
                    raise LabError(
                        f"the flood took longer than {flood.seconds} s: {flooder.output()[-300:]}"
                    )
    except CaseFailure as failure:
        failures.append(f"{failure} after {len(rounds)} rounds that did")
    with Honest(stage) as honest:
        failures += honest.finish()
    return slowest(rounds) if rounds else float("inf"), failures


def processor_seconds(engine):
    """The time that the daemon's threads have run, in user and in kernel mode."""
    if not engine.is_ours:
        return 0.0
    fields = pathlib.Path(f"/proc/{engine.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def memory_of(engine):
    """The most memory that the daemon had resident, in MiB."""
    if not engine.is_ours:
        return 0.0
    status = pathlib.Path(f"/proc/{engine.process.pid}/status").read_text()
    [line_of] = [text for text in status.splitlines() if text.startswith("VmHWM:")]
    return int(line_of.split()[1]) / 1024


def measure_all(engines):
    """Measures each flood with each engine that transfers, prints a table, returns the problems."""
    problems = []
    print(
        f"\n{'flood':<30}{'helper':<14}{'idle':<10}{'beside it':<12}{'ratio':<8}"
        f"{'memory':<10}{'share':<7}{'honest':<8}"
    )
    for flood in FLOODS:
        for engine in engines:
            if engine == "none":
                continue
            found = measure(flood, engine)
            memory = f"{found.memory:.0f} MiB" if found.memory else "-"
            share = f"{found.share:.2f}" if found.memory else "-"
            print(
                f"{flood.name:<30}{engine:<14}{found.idle * 1e3:<4.1f} ms   "
                f"{found.beside * 1e3:<6.1f} ms   "
                f"{found.ratio:<8.1f}{memory:<10}{share:<7}{found.honest:<8}{found.said}",
                flush=True,
            )
            if engine.startswith("ours"):
                problems += problems_of(flood, found)
    print(f"bounds: {LATENCY_RATIO_MAX:.0f} times, {MEMORY_BOUND_MIB:.0f} MiB")
    return problems


def problems_of(flood, found):
    if found.honest != "ok":
        yield f"{flood.name}: honest sessions: {found.honest}"
    if found.ratio > LATENCY_RATIO_MAX:
        yield f"{flood.name}: honest sessions took {found.ratio:.1f} times as long as idle"
    if found.memory > MEMORY_BOUND_MIB:
        yield f"{flood.name}: {found.memory:.0f} MiB"
