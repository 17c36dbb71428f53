"""The life of our table and of the daemon: sessions live through what operators do to the gateway.

Each case opens many sessions in every mode and state (crowd.py), half of them with a sequence
offset. Then one act (acts.py) happens. Nothing that was open may be lost, no end may hear a wrong
byte, no packet may leave untranslated, and the log has one line for the act.
"""

import contextlib
import functools
import json
import re
import time

import absent
import acts
import wire
from acts import ACTS, DONE
from captures import Capture
from crowd import LONG_PORTS, Crowd, Member, crowded
from engines import flows_directory
from lab import Batch, Case, CaseFailure, NotApplicable
from scripted import scripted
from shell import PATIENCE, run_tool

# An emulated machine has no time for more than each role with an offset and without.
SESSIONS = 50 if PATIENCE == 1 else 20
DEPLOYMENTS = ("inside-client", "inside-server")
BEFORE_SECONDS, AFTER_SECONDS = 0.5, 0.5 * PATIENCE
GONE_SECONDS = 4 * PATIENCE
# Of each thing that went wrong, so many lines are shown.
DETAIL_LINES = 4
SPOKEN = ("INFO", "WARN", "ERROR")
# In the default run: each act once, the table's owner as shipped or not, in either deployment.
SELECTED = (
    "stop-start/inside-client/owned",
    "restart/inside-server/shared",
    "kill-start/inside-server/owned",
    "upgrade/inside-client/owned",
    "hang-up/inside-server/owned",
    "flush-ruleset/inside-client/owned",
    "flush-ruleset/inside-server/shared",
    "delete-table/inside-client/shared",
    "delete-chain/inside-client/shared",
    "delete-rule/inside-server/shared",
    "delete-set/inside-server/shared",
    "flush-set/inside-client/shared",
    "flush-set/inside-server/owned",
    "replace-helper/inside-client/shared",
    "other-tables/inside-client/owned",
    "second-daemon/inside-client/owned",
    "by-hand/inside-client/flush",
    "by-hand/inside-server/pending",
    "absent/inside-client/stop",
    "absent/inside-server/kill",
    "absent/inside-server/delete-table",
    "forget-all/inside-client/owned",
    "forget-stopped/inside-client/owned",
    "forget-parting/inside-client/owned",
    "forget-parting/inside-server/owned",
    "forget-idle/inside-server/owned",
    "forget-busy/inside-client/owned",
)


def is_selected(name):
    """Whether the default run has a case.

    An emulated machine is too slow for the clocks of those that wait for repetitions of TCP. They
    run there with --full.
    """
    return name in SELECTED and (PATIENCE == 1 or not name.startswith(("absent/", "forget-all/", "forget-stopped/")))


class Findings:
    """Several things that went wrong in one case, so that one run tells them all."""

    def __init__(self):
        self.reasons, self.details = [], []

    @contextlib.contextmanager
    def collecting(self):
        try:
            yield
        except CaseFailure as failure:
            self.reasons.append(str(failure))
            shown = failure.detail.splitlines()[:DETAIL_LINES]
            self.details.append("\n".join([f"{failure}:", *shown]))

    def conclude(self):
        if self.reasons:
            raise CaseFailure("; ".join(self.reasons), "\n".join(self.details))


class LogWindow:
    """What the daemon logs at the default level from now on."""

    def __init__(self, engine):
        self.engine, self.begin = engine, len(engine.log())

    def lines(self):
        """(level, line) for each line."""
        found = []
        for line in self.engine.log()[self.begin :].splitlines():
            try:
                level = json.loads(line).get("level", "ERROR")
            except ValueError:
                level = "ERROR"
            if level in SPOKEN:
                found.append((level, line))
        return found


def require_lines(patterns, lines, expected=1):
    """Exactly so many lines of each pattern, and no warning of anything else."""
    wrong = [
        f"{count} lines of {pattern!r} instead of {expected}"
        for pattern in patterns
        if (count := sum(bool(re.search(pattern, line)) for _, line in lines)) != expected
    ]
    others = [
        line
        for level, line in lines
        if level != "INFO" and not any(re.search(pattern, line) for pattern in patterns)
    ]
    if others:
        wrong.append(f"{len(others)} other warnings")
    if wrong:
        raise CaseFailure(f"the log has {', '.join(wrong)}", "\n".join(line for _, line in lines))


def require_silence(lines):
    if lines:
        detail = "\n".join(line for _, line in lines)
        raise CaseFailure(f"the log has {len(lines)} lines about what is nothing", detail)


def leftovers(stage):
    """What the sessions left in the kernel."""
    gateway = stage.lab.topology.gateway
    expected = run_tool(["conntrack", "-L", "expect"], namespace=gateway, check=False).stdout
    return (
        [f"element of {element}" for element in acts.elements(stage)]
        + [f"expectation {line}" for line in expected.splitlines() if "proto=" in line]
    )


def stray_flows(stage):
    """The saved flows of connections that conntrack does not know any more.

    The flow of a closed connection stays for two minutes, for what its ends repeat.
    """
    gateway = stage.lab.topology.gateway
    known = run_tool(["conntrack", "-L", "-p", "tcp"], namespace=gateway).stdout
    clients = set(re.findall(r"src=(\S+) dst=\S+ sport=(\d+)", known))
    return [
        f"saved flow {name}"
        for name in saved_flows(stage)
        if tuple(name.split("-")[0].rsplit(":", 1)) not in clients
    ]


def saved_flows(stage):
    directory = flows_directory(stage.lab.engine.workspace)
    return [path.name for path in directory.glob("*/*") if path.is_file()]


def everything_left(stage):
    return leftovers(stage) + stray_flows(stage)


def require_nothing_left(stage, seconds=GONE_SECONDS, look=everything_left):
    deadline = time.monotonic() + seconds
    while (left := look(stage)) and time.monotonic() < deadline:
        time.sleep(0.1)
    if left:
        raise CaseFailure(f"{len(left)} things are left after all sessions", "\n".join(left))


def require_ours(stage):
    if not stage.lab.engine.is_ours:
        raise NotApplicable("it has neither a table nor a process of its own")


def require_clean(capture):
    if found := wire.faults(capture):
        raise CaseFailure(f"{len(found)} faults in the packets", "\n".join(found))


def act_case(act, stage):
    """One act amid sessions in every mode and state."""
    require_ours(stage)
    if act.prepare:
        act.prepare(stage)
    findings, outcome = Findings(), ""
    with Crowd(stage, SESSIONS) as crowd:
        with (
            findings.collecting(),
            Capture(stage.lab, "life", snapshot=wire.SNAPSHOT) as capture,
        ):
            crowd.open()
            crowd.live(those_that_talk(act, crowd))
            time.sleep(BEFORE_SECONDS)
            log = LogWindow(stage.lab.engine)
            began = time.monotonic()
            with findings.collecting():
                outcome = act.run(stage)
            seconds = time.monotonic() - began
            time.sleep(AFTER_SECONDS)
            lines = log.lines()
            with findings.collecting():
                require_act_logged(act, outcome, lines)
            with findings.collecting():
                crowd.settle(f"during {act.name}")
            with findings.collecting():
                crowd.require_leases_kept()
            with findings.collecting():
                crowd.each(Member.conclude, f"after {act.name}")
            with findings.collecting():
                crowd.each(Member.part, "at their end")
        with findings.collecting():
            require_clean(capture)
    with findings.collecting():
        require_nothing_left(stage)
    findings.conclude()
    return f"{outcome} in {seconds:.2f} s; {SESSIONS} sessions lost nothing"


def those_that_talk(act, crowd):
    """All members, but for an act after which packets pass untranslated for a moment.

    Then the sessions with an offset keep silent, unless the table is the daemon's alone.
    """
    if act.unqueues and not acts.is_owned(crowd.stage):
        return [member for member in crowd.members if not member.has_offset]
    return crowd.members


def require_act_logged(act, outcome, lines):
    if outcome == DONE and act.lines:
        require_lines(act.lines, lines)
    elif outcome == DONE and act.name.startswith("second-daemon"):
        require_lines((), lines)
    elif outcome:
        require_silence(lines)


# --- conntrack entries that somebody deletes ---


def forget_case(forget, stage):
    """Conntrack forgets connections: each goes on exactly, or ends at once and is named in the log.

    Their data connections are not our matter: no rule of the operator's accepts their middle.
    """
    require_ours(stage)
    findings = Findings()
    with Crowd(stage, SESSIONS, roles=("busy", "idle")) as crowd:
        with (
            findings.collecting(),
            Capture(stage.lab, "life", snapshot=wire.SNAPSHOT) as capture,
        ):
            crowd.open()
            crowd.live()
            time.sleep(BEFORE_SECONDS)
            log = LogWindow(stage.lab.engine)
            forgotten = forget(stage, crowd)
            time.sleep(AFTER_SECONDS)
            failed = dict((member.number, failure) for member, failure in crowd.failures())
            others = [member for member in crowd.members if member not in forgotten]
            with findings.collecting():
                crowd.each(
                    functools.partial(go_on_or_end, failed),
                    "after conntrack forgot them",
                    forgotten,
                )
            with findings.collecting():
                crowd.each(Member.conclude, "that conntrack still knows", others)
            ended = [member for member in forgotten if member.ended]
            with findings.collecting():
                require_ends_logged(ended, log.lines())
            with findings.collecting():
                crowd.each(
                    functools.partial(Member.require_transcripts, is_whole=False), "in their bytes"
                )
        with findings.collecting():
            require_clean(capture)
    with findings.collecting():
        require_nothing_left(stage)
    findings.conclude()
    return f"{len(ended)} of {len(forgotten)} forgotten sessions were ended, the others went on"


def go_on_or_end(failed, member):
    """The session exchanges another line, or one of its ends hears that the connection is over.

    `failed` has what went wrong in sessions that were busy, by their numbers.
    """
    failure = failed.get(member.number)
    if not failure:
        try:
            member.talk()
            return
        except (CaseFailure, OSError) as late:
            failure = late
    if not is_over(member.session):
        raise CaseFailure(f"stuck: {failure}")
    member.ended = str(failure)


def is_over(session):
    """Whether one of its ends hears the end of the connection."""
    return any(heard_end(end) for end in (session.client, session.server))


def heard_end(end):
    try:
        end.sock.settimeout(0.2)
        while end.receive():
            pass
        return True
    except TimeoutError:
        return False
    except OSError:
        return True


def require_ends_logged(ended, lines):
    """Each session that was ended is named, once. A flood of them is named once a second."""
    if ended and not any(level == "WARN" for level, _ in lines):
        raise CaseFailure(f"{len(ended)} sessions were ended without a word in the log")
    if len(lines) > SESSIONS + 1:
        detail = "\n".join(line for _, line in lines)
        raise CaseFailure(f"{len(lines)} lines about {SESSIONS} sessions", detail)


def forget_parting_case(stage):
    """Conntrack forgets sessions, and the next that it sees of each is its end, a FIN or a RST."""
    require_ours(stage)
    findings = Findings()
    with Crowd(stage, SESSIONS, roles=("idle",)) as crowd:
        with (
            findings.collecting(),
            Capture(stage.lab, "life", snapshot=wire.SNAPSHOT) as capture,
        ):
            crowd.open()
            forgotten = [member for member in crowd.members if member.has_offset]
            acts.conntrack(stage, "-F")
            half = len(forgotten) // 2
            with findings.collecting():
                crowd.each(Member.part, "at their end", forgotten[:half])
            with findings.collecting():
                crowd.each(Member.reset, "at their client's reset", forgotten[half:])
        with findings.collecting():
            require_clean(capture)
        with findings.collecting():
            require_nothing_left(stage)
    findings.conclude()
    return f"{len(forgotten)} forgotten sessions with an offset were seen to end"


FORGETS = {
    "forget-all": acts.forget_all,
    "forget-stopped": acts.forget_while_stopped,
    "forget-idle": functools.partial(acts.forget_role, "idle"),
    "forget-busy": functools.partial(acts.forget_role, "busy"),
}


# --- rules that the operator loads ---


@contextlib.contextmanager
def crowded_by_hand(lab, deployment):
    """A batch's set-up: the operator loads what `ftp-alg rules` prints."""
    with crowded(lab, deployment) as stage:
        load_by_hand(stage)
        yield stage


def load_by_hand(stage):
    """In the language that this kernel takes: without nft's `queue`, iptables has to queue."""
    if acts.has_queue_statement(stage):
        acts.nft(stage, acts.printed_rules(stage))
    else:
        script = acts.printed_rules(stage, "--frontend", "iptables")
        run_tool(["sh", "-s"], namespace=stage.lab.topology.gateway, stdin=script)


def flush_by_hand(stage, crowd):
    """Flushes the ruleset; the daemon says so once, and loads nothing. Then the operator does."""
    crowd.open()
    log = LogWindow(stage.lab.engine)
    acts.nft(stage, "flush ruleset\n" + stage.deployment.ruleset())
    time.sleep(1 + AFTER_SECONDS)
    if acts.shape(stage):
        raise CaseFailure("the daemon loaded a table that it should leave to the operator")
    lines = log.lines()
    load_by_hand(stage)
    time.sleep(AFTER_SECONDS)
    require_lines((acts.LOADED_BY_HAND,), lines)


def by_hand_case(stage):
    """With `install_rules = false` the operator's own reload brings the table back."""
    require_ours(stage)
    findings = Findings()
    with Crowd(stage, SESSIONS, roles=("transfer", "idle")) as crowd:
        with findings.collecting():
            flush_by_hand(stage, crowd)
        with findings.collecting():
            crowd.each(Member.conclude, "after the operator's reload")
        with findings.collecting():
            crowd.each(Member.part, "at their end")
    with findings.collecting():
        require_nothing_left(stage)
    findings.conclude()


def by_hand_pending_case(stage):
    """What was announced before the operator's reload comes through after it, once."""
    require_ours(stage)
    with Crowd(stage, SESSIONS, roles=("open", "used")) as crowd:
        flush_by_hand(stage, crowd)
        crowd.each(Member.conclude, "after the operator's reload")


# --- batches ---


def batches():
    for act in ACTS:
        for deployment in DEPLOYMENTS:
            for owner in ("owned", "shared") if act.touches_table else ("owned",):
                yield life_batch(
                    f"{act.name}/{deployment}/{owner}",
                    deployment,
                    functools.partial(act_case, act),
                    {} if owner == "owned" else {"table_owner": False},
                )
    for check in (by_hand_case, by_hand_pending_case):
        for deployment in DEPLOYMENTS:
            name = "flush" if check is by_hand_case else "pending"
            yield life_batch(
                f"by-hand/{deployment}/{name}",
                deployment,
                check,
                {"install_rules": False},
                crowded_by_hand,
            )
    for name, act in absent.ACTS.items():
        for deployment in DEPLOYMENTS:
            yield life_batch(
                f"absent/{deployment}/{name}",
                deployment,
                functools.partial(absent.absent_case, act),
                absent.SETTINGS,
                scripted,
            )
    for deployment in DEPLOYMENTS:
        yield life_batch(f"forget-parting/{deployment}/owned", deployment, forget_parting_case, {})
    for name, forget in FORGETS.items():
        for deployment in DEPLOYMENTS:
            yield life_batch(
                f"{name}/{deployment}/owned", deployment, functools.partial(forget_case, forget), {}
            )


def life_batch(name, deployment, check, settings, setup=crowded):
    return Batch(
        f"life/{name}",
        deployment,
        (Case(f"life/{name}", check),),
        setup,
        settings={"nat.ports": LONG_PORTS, **settings},
        extra=not is_selected(name),
    )
