"""The life of our table and of the daemon: sessions live through what operators do to the gateway.

Each case opens many sessions in every mode and state (crowd.py), half of them with a sequence
offset. Then one act (acts.py) happens. Nothing that was open may be lost, no end may hear a wrong
byte, no packet may leave untranslated, and the log has one line for the act.
"""

import contextlib
import functools
import json
import pathlib
import re
import time

import acts
import wire
from acts import ACTS, DONE
from captures import Capture
from crowd import LONG_PORTS, Crowd, Member, crowded
from lab import Batch, Case, CaseFailure, NotApplicable
from shell import PATIENCE, run_tool

SESSIONS = 50
DEPLOYMENTS = ("inside-client", "inside-server")
BEFORE_SECONDS, AFTER_SECONDS = 0.5, 0.5
GONE_SECONDS = 4 * PATIENCE
# How long an end of a forgotten connection may wait for its answer, or for the connection's end.
FORGOTTEN_SECONDS = 15 * PATIENCE
# Of each thing that went wrong, so many lines are shown.
DETAIL_LINES = 3
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
    "forget-all/inside-client/owned",
    "forget-idle/inside-server/owned",
    "forget-busy/inside-client/owned",
)


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
    """What the sessions left in the kernel and in the directory of saved flows.

    The flow of a closed connection stays for two minutes, for what its ends repeat.
    """
    gateway = stage.lab.topology.gateway
    expected = run_tool(["conntrack", "-L", "expect"], namespace=gateway, check=False).stdout
    known = run_tool(["conntrack", "-L", "-p", "tcp"], namespace=gateway).stdout
    closed = {
        f"{source}:{port}"
        for source, port in re.findall(r"TIME_WAIT src=(\S+) dst=\S+ sport=(\d+)", known)
    }
    return (
        [f"element of {element}" for element in acts.elements(stage)]
        + [f"expectation {line}" for line in expected.splitlines() if "proto=" in line]
        + [f"saved flow {name}" for name in saved_flows(stage) if name.split("-")[0] not in closed]
    )


def saved_flows(stage):
    directory = pathlib.Path(stage.lab.engine.workspace, "flows")
    return [path.name for path in directory.glob("*/*") if path.is_file()]


def require_nothing_left(stage, seconds=GONE_SECONDS):
    deadline = time.monotonic() + seconds
    while (left := leftovers(stage)) and time.monotonic() < deadline:
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
            crowd.live()
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
            crowd.ending.set()
            others = [member for member in crowd.members if member not in forgotten]
            with findings.collecting():
                crowd.each(go_on_or_end, "after conntrack forgot them", forgotten)
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


def go_on_or_end(member):
    """The session exchanges another line, or one of its ends hears that the connection is over."""
    for end in (member.session.client, member.session.server):
        end.sock.settimeout(FORGOTTEN_SECONDS)
    words = f"{member.number}-after"
    for speaker, listener, line in (
        (member.session.client, member.session.server, f"NOOP {words}"),
        (member.session.server, member.session.client, f"200 well {words}"),
    ):
        try:
            speaker.send(line.encode() + b"\r\n")
            while listener.line(FORGOTTEN_SECONDS) != line:
                pass
        except (CaseFailure, OSError) as failure:
            if not is_over(member.session):
                raise CaseFailure(f"stuck: {failure}") from failure
            member.ended = str(failure)
            return


def is_over(session):
    """Whether the end that speaks first hears the end of the connection."""
    return any(heard_end(end) for end in (session.client, session.server))


def heard_end(end):
    end.sock.settimeout(0.2)
    try:
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


FORGETS = {
    "forget-all": acts.forget_all,
    "forget-idle": functools.partial(acts.forget_role, "idle"),
    "forget-busy": functools.partial(acts.forget_role, "busy"),
}


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
    for name, forget in FORGETS.items():
        for deployment in DEPLOYMENTS:
            yield life_batch(
                f"{name}/{deployment}/owned", deployment, functools.partial(forget_case, forget), {}
            )


def life_batch(name, deployment, check, settings):
    return Batch(
        f"life/{name}",
        deployment,
        (Case(f"life/{name}", check),),
        crowded,
        settings={"nat.ports": LONG_PORTS, **settings},
        extra=name not in SELECTED,
    )
