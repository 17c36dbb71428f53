"""Random acts of operators, link flaps, kills and traffic, for as long as is asked for.

    sudo python3 tests/lab/soak.py [--minutes N] [--seed S] [--round NAME] [--only REGEX]

A round has one deployment and one value of `table_owner`. Its schedule is random, and comes from
the seed alone. Each event is printed with its time. At the end no session is stuck, and nothing is
left: no expectation, element, saved flow, leased port, process or namespace. The memory of the
daemon is flat. The exit status is 1 when something of this is not so.
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import functools
import os
import pathlib
import random
import re
import signal
import socket
import threading
import time

import acts
import deployments
import life
from crowd import (
    ALL_MODES,
    OFFSET_MODE,
    SHORT_PORTS,
    Member,
    Recorder,
    Transfer,
    crowded,
    send_tersely,
)
from lab import Batch, Case, CaseFailure, Lab, NotApplicable
from shell import PATIENCE, LabError, run, run_tool
from stress import LOSE
from topology import begin, finish

# A hundred outside ports, so that a lease that is never given back is missed at the end.
PORTS = (40000, 40099)
EXPECTATION_SECONDS = 20
SETTINGS = {
    "nat.ports": f"{PORTS[0]}-{PORTS[1]}",
    "expectation.timeout": f"{EXPECTATION_SECONDS}s",
}
SHORT_SECONDS = 45
AT_ONCE = 48
# How long an end may wait for anything, with links that are down or lose packets for a while.
VISIT_SECONDS = 30 * PATIENCE
# All sessions have ended so long after the last event, and the last flow is forgotten later.
ENDING_SECONDS = 2 * VISIT_SECONDS
FLOW_SECONDS = 130 * PATIENCE
# A connection whose end passed unseen is looked up after a minute of silence.
LOOK_UP_SECONDS = 70 * PATIENCE
SAMPLE_SECONDS = 1
# After a quarter of the time in which the daemon is left alive, its memory may grow by so much.
# In a short round flows of two minutes are still there.
GROWTH_FACTOR, GROWTH_KIB = 1.15, 4096
# A socket in this state leaves without a word to its peer (linux/tcp.h).
TCP_REPAIR = 19


class World:
    """What a round knows: its sessions, what happened when, and what was wrong."""

    def __init__(self, stage, seed, seconds, say):
        self.stage, self.say, self.seconds = stage, say, seconds
        self.random, self.began = random.Random(seed), time.monotonic()
        self.pool = concurrent.futures.ThreadPoolExecutor(AT_ONCE)
        self.lock, self.numbers = threading.Lock(), 0
        self.short_ports = collections.deque(SHORT_PORTS)
        self.ends, self.problems, self.visits = collections.Counter(), [], []
        self.forgot, self.away, self.taken, self.samples = -1.0, -1.0, -1.0, []

    @property
    def age(self):
        return time.monotonic() - self.began

    @property
    def gateway(self):
        return self.stage.lab.topology.gateway

    def problem(self, text):
        with self.lock:
            self.problems.append(f"{self.age:.1f} s: {text}")
        self.say(f"{self.age:8.1f} WRONG {text}")

    def next_number(self):
        with self.lock:
            self.numbers += 1
            return self.numbers

    def sample(self):
        """Notes the memory of the daemon."""
        process = self.stage.lab.engine.process
        try:
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            return
        for line in status.splitlines():
            if line.startswith("VmRSS:"):
                self.samples.append((self.age, process.pid, int(line.split()[1])))


# --- sessions ---


class Visit:
    """One session with a random course and ending."""

    def __init__(self, world, seed):
        self.world, self.random = world, random.Random(seed)
        self.number, self.began = world.next_number(), time.monotonic()
        self.member = self.transfer = self.offer = None

    def run(self):
        try:
            end = self.live()
        except (CaseFailure, OSError) as failure:
            end = self.explain(failure)
        finally:
            self.close()
        with self.world.lock:
            self.world.ends[end] += 1

    def explain(self, failure):
        """Why it failed: only conntrack's forgetting may end a session or cut a transfer.

        While no daemon runs, announcements pass unread (`when_absent = "bypass"`). Until a table
        that another program has taken is back, all packets do (docs/limitations.md).
        """
        was_forgotten = self.world.forgot > self.began - VISIT_SECONDS
        is_data = "data connection" in str(failure) or "transfer" in str(failure)
        if self.world.away > self.began and "no data connection" in str(failure):
            return "announced while no daemon ran"
        if self.world.taken > self.began and not acts.is_owned(self.world.stage):
            return "broken, because another program took the table"
        if was_forgotten and is_data:
            return "transfer cut, because conntrack forgot it"
        if was_forgotten and "heard '550 No" in str(failure):
            return "announcement refused, because conntrack forgot its connection"
        if was_forgotten and (not self.member or life.is_over(self.member.session)):
            return "ended, because conntrack forgot it"
        self.world.problem(f"session {self.number}: {failure}")
        return "stuck" if "timed out" in str(failure) else "failed"

    def live(self):
        self.connect()
        for _ in range(self.random.randint(1, 6)):
            step = self.random.choice((self.talk, self.announce_in_vain, self.transfer_some))
            step()
            time.sleep(self.random.uniform(0, 0.8))
        return self.random.choice((self.quit, self.quit, self.abort, self.vanish, self.break_off))()

    def connect(self):
        stage = self.world.stage
        session = stage.connect(timeout=VISIT_SECONDS)
        self.member = Member(session, "busy", "PASV", False, self.number)
        # The accepted connection is this one's, and not one that an earlier client gave up.
        session.reply(f"220 scripted {self.number}", VISIT_SECONDS)
        session.exchange("USER anonymous", "230 logged in", VISIT_SECONDS)
        if self.random.random() < 0.5:
            self.give_offset()

    def give_offset(self):
        with self.world.lock:
            port = self.world.short_ports.popleft()
        try:
            offer = self.announce(OFFSET_MODE[self.world.stage.deployment.name], port, send_tersely)
            offer.close()
        finally:
            with self.world.lock:
                self.world.short_ports.append(port)

    def announce(self, mode, port=0, send=Recorder.send):
        self.offer = self.member.session.announce(
            mode, send=send, port=port, timeout=VISIT_SECONDS
        )
        return self.offer

    def talk(self):
        self.member.talk()

    def announce_in_vain(self):
        self.announce(self.random.choice(ALL_MODES)).close()

    def transfer_some(self):
        offer = self.announce(self.random.choice(ALL_MODES))
        try:
            self.begin_transfer(offer)
            time.sleep(self.random.uniform(0.1, 1))
            if failure := self.transfer.finish():
                raise CaseFailure(failure)
        finally:
            offer.close()
        self.member.talk()

    def begin_transfer(self, offer):
        try:
            self.transfer = Transfer(offer, self.number)
        except OSError as error:
            raise CaseFailure(f"no data connection: {error}") from error
        self.transfer.start()

    # Endings.

    def quit(self):
        self.member.session.exchange("QUIT", "221 bye", VISIT_SECONDS)
        self.member.part()
        return "quit"

    def abort(self):
        """ABOR in the middle of a transfer, which is broken off."""
        self.begin_transfer(self.announce(self.random.choice(ALL_MODES)))
        time.sleep(0.2)
        self.member.session.command("ABOR", VISIT_SECONDS)
        self.transfer.close()
        self.member.session.reply("426 aborted", VISIT_SECONDS)
        self.member.session.reply("226 done", VISIT_SECONDS)
        self.member.part()
        return "aborted a transfer"

    def vanish(self):
        """The client loses its power in the middle of a transfer; the server gives up."""
        self.begin_transfer(self.announce(self.random.choice(ALL_MODES)))
        time.sleep(0.2)
        client = self.member.session.client.sock
        client.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        client.close()
        self.member.require_transcripts(is_whole=False)
        return "client vanished"

    def break_off(self):
        """The client's program is killed with an announcement open: its host sends a reset."""
        self.announce(self.random.choice(ALL_MODES))
        self.member.session.client.reset()
        self.member.require_transcripts(is_whole=False)
        return "client broke off"

    def close(self):
        for thing in (self.transfer, self.offer, self.member and self.member.session):
            if thing:
                thing.close()


# --- events ---


def burst(world):
    for _ in range(world.random.randint(4, 16)):
        visit = Visit(world, world.random.random())
        world.visits.append(world.pool.submit(visit.run))


def flap_link(world):
    deployment = world.stage.deployment
    host = world.random.choice((deployment.client, deployment.server))
    seconds = world.random.uniform(0.1, 1.5)
    run_tool(["ip", "link", "set", host, "down"], namespace=world.gateway)
    time.sleep(seconds)
    run_tool(["ip", "link", "set", host, "up"], namespace=world.gateway)


def lose_packets(world):
    deployment, seconds = world.stage.deployment, world.random.uniform(0.5, 3)
    spaces = [world.stage.lab.namespace(host) for host in (deployment.client, deployment.server)]
    text = LOSE.format(hook="input", priority=-350, percent=world.random.randint(2, 10))
    for space in spaces:
        run_tool(["nft", "-f", "-"], namespace=space, stdin=text)
    time.sleep(seconds)
    for space in spaces:
        run_tool(["nft", "delete", "table", "inet", "lossy"], namespace=space)


def forget_all(world):
    world.forgot = time.monotonic()
    acts.conntrack(world.stage, "-F")
    world.forgot = time.monotonic()


def forget_some(world):
    """Deletes the connections of a part of the clients' ports."""
    known = run_tool(["conntrack", "-L", "-p", "tcp", "--dport", "21"], namespace=world.gateway)
    lines = known.stdout.splitlines()
    world.forgot = time.monotonic()
    for line in world.random.sample(lines, min(3, len(lines))):
        fields = dict(word.split("=") for word in reversed(line.split()) if "=" in word)
        acts.conntrack(
            world.stage, "-D", "-p", "tcp", "-s", fields["src"], "--sport", fields["sport"]
        )
    world.forgot = time.monotonic()


def act_event(act, world):
    takes = act.unqueues or act.touches_table
    # A session may fail while the act still runs.
    world.taken = time.monotonic() + VISIT_SECONDS if takes else world.taken
    try:
        act.run(world.stage)
    except NotApplicable:
        pass
    except LabError as error:
        raise CaseFailure(str(error)) from error
    finally:
        world.taken = time.monotonic() if takes else world.taken


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of event, how often it comes in comparison, and whether the daemon ends by it."""

    name: str
    run: object
    weight: int = 1
    ends_daemon: bool = False


ENDING_ACTS = ("stop-start", "restart", "kill-start", "upgrade")
KINDS = (
    Kind("burst", burst, 12),
    Kind("flap-link", flap_link, 2),
    Kind("lose-packets", lose_packets, 2),
    Kind("forget-all", forget_all),
    Kind("forget-some", forget_some),
    *(
        Kind(act.name, functools.partial(act_event, act), 1, act.name in ENDING_ACTS)
        for act in acts.ACTS
    ),
)


def play(world, only):
    """The events, one after another. In the last quarter the daemon is left alive."""
    kinds = [kind for kind in KINDS if re.search(only, kind.name)]
    next_sample = 0
    while world.age < world.seconds:
        if world.age > world.seconds * 3 / 4:
            kinds = [kind for kind in kinds if not kind.ends_daemon]
        kind = world.random.choices(kinds, [kind.weight for kind in kinds])[0]
        world.say(f"{world.age:8.1f} {kind.name}")
        # A session may fail while the act still runs.
        world.away = time.monotonic() + VISIT_SECONDS if kind.ends_daemon else world.away
        try:
            kind.run(world)
        except CaseFailure as failure:
            world.problem(f"{kind.name}: {failure}")
        if kind.ends_daemon:
            world.away = time.monotonic()
        if not world.stage.lab.engine.process.is_running():
            raise CaseFailure(f"the daemon ended by itself after {kind.name}")
        pause = time.monotonic() + world.random.uniform(0.2, 1.5)
        while time.monotonic() < pause:
            if world.age >= next_sample:
                world.sample()
                next_sample = world.age + SAMPLE_SECONDS
            time.sleep(0.05)


# --- the end ---


def require_all_ended(world):
    _, stuck = concurrent.futures.wait(world.visits, timeout=ENDING_SECONDS)
    world.say(f"{world.age:8.1f} sessions: {dict(world.ends)}")
    if stuck:
        world.problem(f"{len(stuck)} sessions did not end within {ENDING_SECONDS} s")
    for visit in world.visits:
        if visit.done() and visit.exception():
            raise LabError(f"a session of the lab itself failed: {visit.exception()!r}")


def require_no_saved_flows(world):
    deadline = time.monotonic() + FLOW_SECONDS
    while (left := life.saved_flows(world.stage)) and time.monotonic() < deadline:
        time.sleep(1)
    if left:
        raise CaseFailure(f"{len(left)} saved flows are left", "\n".join(left))


def require_all_ports_free(world):
    """Every outside port can be given again, once each session that holds one was looked up."""
    deadline = time.monotonic() + LOOK_UP_SECONDS
    while True:
        try:
            return require_each_port_given(world)
        except CaseFailure:
            if time.monotonic() > deadline:
                raise
        time.sleep(5)


def require_each_port_given(world):
    """Every outside port is given, and no more than these."""
    stage, mode = world.stage, OFFSET_MODE[world.stage.deployment.name]
    count, sessions, offers, given = PORTS[1] - PORTS[0] + 1, [], [], set()
    try:
        for _ in range(count + 1):
            sessions.append(stage.session(timeout=VISIT_SECONDS))
        for session in sessions[:count]:
            offer = session.announce(mode, send=Recorder.send, timeout=VISIT_SECONDS)
            offers.append(offer)
            given.add(offer.port)
        if len(given) != count or not given <= set(range(PORTS[0], PORTS[1] + 1)):
            raise CaseFailure(f"{len(given)} of {count} outside ports were given")
        require_refused(sessions[count], mode, given)
    except CaseFailure as failure:
        raise CaseFailure(f"after {len(given)} ports of {count}: {failure}") from failure
    finally:
        for thing in (*offers, *sessions):
            thing.close()


def require_refused(session, mode, given):
    """One announcement more gets none of the given ports, so that giving all of them means all."""
    try:
        offer = session.announce(mode, send=Recorder.send, timeout=VISIT_SECONDS)
    except CaseFailure:
        return
    offer.close()
    if offer.port in given:
        raise CaseFailure(f"port {offer.port} was given twice")


def require_flat_memory(world):
    """In the last process, from a quarter of its samples on."""
    last = world.samples[-1][1]
    kib = [size for _, pid, size in world.samples if pid == last]
    curve = " ".join(
        f"{age:.0f}:{size / 1024:.1f}"
        for age, _, size in world.samples[:: max(1, len(world.samples) // 30)]
    )
    world.say(f"         memory, in seconds:MiB: {curve}")
    warm, late = kib[: len(kib) // 2 + 1][len(kib) // 4 :], kib[-max(1, len(kib) // 4) :]
    before, after = max(warm), sorted(late)[len(late) // 2]
    if after > before * GROWTH_FACTOR + GROWTH_KIB:
        raise CaseFailure(f"the daemon's memory grew from {before} to {after} KiB", curve)
    return f"memory {before / 1024:.1f} MiB, then {after / 1024:.1f} MiB"


def require_quiet_log(world):
    log = world.stage.lab.engine.log()
    bad = [line for line in log.splitlines() if '"level":"ERROR"' in line or "panic" in line]
    if bad:
        raise CaseFailure(f"the log has {len(bad)} errors", "\n".join(bad[:5]))


def soak(stage, seconds, seed, say=lambda text: None, only=""):
    """One round; raises a CaseFailure that tells the seed."""
    acts.run_a_copy(stage)
    world, findings = World(stage, seed, seconds, say), life.Findings()
    say(f"seed {seed}, {seconds:.0f} s in {stage.deployment.name}")
    memory = ""
    try:
        with findings.collecting():
            play(world, only)
            memory = require_flat_memory(world)
    finally:
        with findings.collecting():
            require_all_ended(world)
        world.pool.shutdown(wait=False, cancel_futures=True)
    with findings.collecting():
        life.require_nothing_left(
            stage, (EXPECTATION_SECONDS + 4) * PATIENCE, life.leftovers
        )
    with findings.collecting():
        require_all_ports_free(world)
    if seconds > FLOW_SECONDS:
        with findings.collecting():
            require_no_saved_flows(world)
    with findings.collecting():
        require_quiet_log(world)
    if world.problems or findings.reasons:
        reasons = findings.reasons + [f"{len(world.problems)} problems"] * bool(world.problems)
        detail = "\n".join(world.problems[:6] + findings.details)
        raise CaseFailure(f"seed {seed}: {'; '.join(reasons)}", detail)
    return f"seed {seed}: {world.numbers} sessions, {memory}"


def soak_case(stage):
    """The short form. FTP_ALG_SOAK_SEED repeats a run."""
    life.require_ours(stage)
    seed = os.environ.get("FTP_ALG_SOAK_SEED", str(random.randrange(10**6)))
    return soak(stage, SHORT_SECONDS, seed)


ROUNDS = {
    "inside-client/owned": {},
    "inside-server/shared": {"table_owner": False},
    "inside-client/shared": {"table_owner": False},
    "inside-server/owned": {},
}
# The rounds of a normal run of the lab.
SELECTED = ("inside-client/owned",)


def soak_batch(name):
    return Batch(
        f"soak/{name}",
        name.split("/")[0],
        (Case(f"soak/{name}", soak_case),),
        crowded,
        settings={**SETTINGS, **ROUNDS[name]},
        # An emulated machine does less in an hour than this one in a minute.
        extra=name not in SELECTED or PATIENCE != 1,
    )


def batches():
    return map(soak_batch, ROUNDS)


# --- the long form ---


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60, help="in all rounds (default: 60)")
    parser.add_argument("--seed", default="", help="repeats a run (default: a new one)")
    parser.add_argument("--round", choices=ROUNDS, help="only this one (default: all)")
    parser.add_argument(
        "--only", default="", metavar="REGEX", help="only events whose name matches (default: all)"
    )
    return parser.parse_args()


def run_round(name, seconds, seed, only):
    """Whether a round in a lab of its own went well, with nothing left of the lab."""
    batch, problems = soak_batch(name), []
    print(f"== {name}", flush=True)
    say = functools.partial(print, flush=True)
    with Lab(os.getpid(), "s", "ours") as lab:
        deployment = deployments.named(batch.deployment)
        try:
            with lab.gateway_with_engine(batch) as problems, batch.setup(lab, deployment) as stage:
                say(soak(stage, seconds, seed, say, only))
        except CaseFailure as failure:
            problems.append(f"{failure}\n{failure.detail}")
        kept = pathlib.Path(f"/tmp/ftp-alg-soak-{os.getpid()}.log")
        if problems:
            kept.write_text(lab.engine.log())
            problems.append(f"the daemon's log is kept in {kept}")
        prefix, workspace = lab.topology.prefix, lab.workspace
    left = [line for line in run(["ip", "netns", "list"]).stdout.splitlines() if prefix in line]
    if left or workspace.exists():
        problems.append(f"of the lab are left: {left} {workspace}")
    for problem in problems:
        say(f"WRONG {problem}")
    return not problems


def main():
    arguments = parse_arguments()
    begin()
    # The files that a shell's Ctrl-C leaves are removed like everything else.
    signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))
    seed = arguments.seed or str(random.randrange(10**6))
    names = [arguments.round] if arguments.round else list(ROUNDS)
    seconds = arguments.minutes * 60 / len(names)
    print(f"soak --minutes {arguments.minutes} --seed {seed}", flush=True)
    good = [run_round(name, seconds, f"{seed}/{name}", arguments.only) for name in names]
    print(f"{sum(good)} passed, {len(good) - sum(good)} failed; seed {seed}")
    return int(not all(good))


if __name__ == "__main__":
    finish(main, "soak")
