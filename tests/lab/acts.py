"""What operators and their programs do to the gateway while sessions are open.

Each act says what it did: DONE, or REFUSED where the kernel keeps our table from others.
"""

import dataclasses
import difflib
import json
import os
import re
import shutil
import signal
import time
import typing

from engines import as_toml, ftp_alg_binary
from lab import CaseFailure, NotApplicable
from shell import PATIENCE, LabError, run, run_tool

DONE, REFUSED = "done", "refused by the kernel"
TABLE = "inet ftp_alg"
AWAY_SECONDS = 1
# The daemon hears of a change by the kernel's notification.
PUT_BACK_SECONDS = 1.0 * PATIENCE
# A daemon that is refused must not be waited for longer.
REFUSED_DAEMON_SECONDS = 10
SECOND_QUEUES = "40-41"

# The log's words for what happens to our table, each in one line.
PUT_BACK = r"put back"
STAYS = r"our table stays.*`nft delete table inet ftp_alg` removes it"
IN_PLACE = r"our table is in place"
RELOADED = r"configuration reloaded"
LOADED_BY_HAND = r"load again what `ftp-alg rules` prints"


@dataclasses.dataclass(frozen=True)
class Act:
    """One act. `run` gets the stage, and says DONE or REFUSED.

    `lines` are patterns: where the act was done, the log has exactly one line of each, and no
    warning besides. `prepare` comes before the sessions.
    """

    name: str
    run: typing.Callable
    lines: tuple = ()
    prepare: typing.Callable = None
    # Whether the act is about the owner of the table, so that both values of the key are tried.
    touches_table: bool = False
    # Whether it takes away the rules that queue. Where the kernel lets others do that, no program
    # can keep a packet of the next milliseconds from passing untranslated.
    unqueues: bool = False


# --- our table, as others see it ---


def nft(stage, text, check=True):
    return run_tool(
        ["nft", "-f", "-"], namespace=stage.lab.topology.gateway, stdin=text, check=check
    )


def listed(stage, *options):
    """Our table without its elements and counters; empty where there is none."""
    return run_tool(
        ["nft", *options, "-s", "-t", "list", "table", *TABLE.split()],
        namespace=stage.lab.topology.gateway,
        check=False,
    ).stdout


def shape(stage):
    """The same in an order of its own, because that of sets and chains means nothing."""
    parts = re.findall(r"^\t\S.*?^\t}$", listed(stage), re.MULTILINE | re.DOTALL)
    return "\n".join(sorted(parts))


def is_owned(stage):
    """Whether the kernel keeps others from changing our table: a change of nothing is refused."""
    flush = f"flush chain {TABLE} raw_output\n"
    probe = run_tool(
        ["nft", "-c", "-f", "-"],
        namespace=stage.lab.topology.gateway,
        stdin=flush,
        check=False,
    )
    return "Operation not permitted" in probe.stderr


def identity(stage):
    """The handles of everything in our table: what was made anew has others."""
    return listed(stage, "-a")


def elements(stage):
    """All elements of our sets and maps but those of the configuration, as text."""
    found = []
    for kind in ("sets", "maps"):
        listed = run_tool(
            ["nft", "-j", "list", kind], namespace=stage.lab.topology.gateway
        ).stdout
        for item in json.loads(listed)["nftables"]:
            entry = item.get("set") or item.get("map") or {}
            if entry.get("table") == "ftp_alg" and entry.get("name") != "control_ports":
                found += [f"{entry['name']}: {element}" for element in entry.get("elem", [])]
    return found


def change(stage, text):
    """Another program's change of our table, by nft's language."""
    before, handles = shape(stage), identity(stage)
    done = nft(stage, text, check=False)
    if done.returncode:
        if "Operation not permitted" not in done.stderr:
            raise LabError(f"nft: {done.stderr.strip()}")
        if identity(stage) != handles:
            raise CaseFailure("the kernel refused a change, and the table is another one")
        return REFUSED
    deadline = time.monotonic() + PUT_BACK_SECONDS
    while shape(stage) != before:
        if time.monotonic() > deadline:
            changed = difflib.unified_diff(
                before.splitlines(), shape(stage).splitlines(), "before", "now", "", "", 0, ""
            )
            raise CaseFailure("our table was not put back", "\n".join(list(changed)[2:]))
        time.sleep(0.005)
    # `flush ruleset` leaves out what belongs to somebody else, and says nothing.
    is_untouched = "flush ruleset" in text and identity(stage) == handles
    return REFUSED if is_untouched else DONE


def rule_handles(stage, chain, words):
    """The handles of a chain's rules that have these words."""
    listed = run_tool(
        ["nft", "-a", "list", "chain", *TABLE.split(), chain],
        namespace=stage.lab.topology.gateway,
    ).stdout
    found = re.findall(rf"^.*{words}.*# handle (\d+)$", listed, re.MULTILINE)
    if not found:
        raise LabError(f"chain {chain} has no rule with {words}:\n{listed}")
    return found


def has_expectation_sets(stage):
    return "set expect4" in shape(stage)


def has_queue_statement(stage):
    text = "table inet probe {\n chain c {\n  queue to 3\n }\n}\n"
    with_queue = run_tool(
        ["nft", "-c", "-f", "-"], namespace=stage.lab.topology.gateway, stdin=text, check=False
    )
    return with_queue.returncode == 0


# --- acts on the ruleset ---


def flush_ruleset(stage):
    """What `nft -f /etc/nftables.conf` and `systemctl reload nftables` do."""
    return change(stage, "flush ruleset\n" + stage.deployment.ruleset())


def delete_table(stage):
    return change(stage, f"delete table {TABLE}\n")


def delete_chain(stage):
    return change(stage, f"delete chain {TABLE} prerouting\n")


def flush_chain(stage):
    return change(stage, f"flush chain {TABLE} inspect\n")


def delete_rule(stage):
    rules = rule_handles(stage, "prerouting", "goto inspect")
    return change(stage, "".join(f"delete rule {TABLE} prerouting handle {n}\n" for n in rules))


def flush_set(stage):
    if not has_expectation_sets(stage):
        raise NotApplicable("the kernel's own expectations are in no set")
    return change(stage, f"flush set {TABLE} expect4\nflush map {TABLE} dnat4\n")


def delete_set(stage):
    """A set can be deleted with the rules that use it only."""
    if not has_expectation_sets(stage):
        raise NotApplicable("the kernel's own expectations are in no set")
    return change(stage, f"flush chain {TABLE} admit\ndelete set {TABLE} expect4\n")


def load_text_anew(stage):
    """Another program loads our table's own text, as `ftp-alg rules` prints it."""
    if not has_queue_statement(stage):
        raise NotApplicable("this kernel does not take the printed text: it has no `queue`")
    return change(stage, printed_rules(stage))


def printed_rules(stage, *options):
    engine = stage.lab.engine
    config = f"{engine.workspace}/ftp-alg.toml"
    text = run([ftp_alg_binary(), "rules", "--config", config, *options]).stdout
    return text


def replace_helper(stage):
    """Deletes conntrack's helper object of our table with the rules that use it, and adds it."""
    if "ct helper control" not in shape(stage):
        raise NotApplicable("the table has no helper object with this backend")
    chains = ("attach_prerouting", "attach_output", "attach_input", "attach_postrouting")
    return change(
        stage,
        "".join(f"flush chain {TABLE} {chain}\n" for chain in chains)
        + f"delete ct helper {TABLE} control\n"
        + f'table {TABLE} {{\n ct helper control {{\n  type "ftp-alg" protocol tcp\n }}\n}}\n',
    )


def other_tables(stage):
    """Tables of others come and go, one of them with our name in another family."""
    for table in ("inet other", "ip ftp_alg"):
        nft(
            stage,
            f"table {table} {{\n set s {{\n  type inet_service\n  elements = {{ 21 }}\n }}\n"
            " chain c {\n  type filter hook forward priority 5\n  tcp dport @s counter\n }\n}\n",
        )
        nft(stage, f"delete table {table}\n")
    return DONE


# --- acts on the daemon ---


def stop_and_start(stage):
    stage.lab.engine.terminate()
    time.sleep(AWAY_SECONDS)
    stage.lab.engine.spawn()
    return DONE


def restart(stage):
    stage.lab.engine.terminate()
    stage.lab.engine.spawn()
    return DONE


def kill_and_start(stage):
    stage.lab.engine.kill()
    time.sleep(AWAY_SECONDS)
    stage.lab.engine.spawn()
    return DONE


def hang_up(stage):
    stage.lab.engine.process.process.send_signal(signal.SIGHUP)
    return DONE


def run_a_copy(stage):
    """The daemon runs from a file of the lab's own, as from /usr/bin."""
    engine = stage.lab.engine
    engine.terminate()
    engine.program = str(stage.lab.workspace / "ftp-alg")
    shutil.copy2(ftp_alg_binary(), engine.program)
    engine.spawn()


def upgrade(stage):
    """A package manager puts a new file in the place of the program, and restarts it."""
    program = stage.lab.engine.program
    shutil.copy2(ftp_alg_binary(), f"{program}.new")
    os.rename(f"{program}.new", program)
    time.sleep(AWAY_SECONDS)
    return restart(stage)


def second_daemon(queues, stage):
    """Another daemon on the same host is refused, and leaves everything as it is."""
    handles = identity(stage)
    engine = stage.lab.engine
    configuration = engine.configuration()
    configuration["queue"] = queues or configuration["queue"]
    configuration["restart"] = {"directory": f"{engine.workspace}/second"}
    path = f"{engine.workspace}/second.toml"
    with open(path, "w") as file:
        file.write(as_toml(configuration))
    ended = run(
        [ftp_alg_binary(), "run", "--config", path],
        namespace=stage.lab.topology.gateway,
        timeout=REFUSED_DAEMON_SECONDS / PATIENCE,
        check=False,
    )
    said = ended.stdout + ended.stderr
    if identity(stage) != handles:
        raise CaseFailure("a second daemon changed the table of the first", said)
    if ended.returncode in (0, 124):
        raise CaseFailure(f"a second daemon was not refused: exit {ended.returncode}", said)
    if not re.search(r"another|already|in use", said):
        raise CaseFailure("the second daemon's error does not name the first", said)
    return DONE


# --- acts on conntrack ---


def conntrack(stage, *arguments):
    """Runs conntrack(8), which fails where it has found nothing."""
    run_tool(["conntrack", *arguments], namespace=stage.lab.topology.gateway, check=False)


def forget_all(stage, crowd):
    conntrack(stage, "-F")
    return crowd.members


def forget_while_stopped(stage, crowd):
    """No daemon is there to put an entry back."""
    stage.lab.engine.terminate()
    conntrack(stage, "-F")
    stage.lab.engine.spawn()
    return crowd.members


def forget_role(role, stage, crowd):
    """Deletes the entries of one session with an offset, in this role."""
    member = next(
        member for member in crowd.members if member.role == role and member.has_offset
    )
    address, port = member.session.client.sock.getsockname()[:2]
    conntrack(stage, "-D", "-p", "tcp", "-s", address, "--sport", str(port), "--dport", "21")
    return [member]


ACTS = (
    Act("stop-start", stop_and_start, (STAYS, IN_PLACE), touches_table=True),
    Act("restart", restart, (STAYS, IN_PLACE), touches_table=True),
    Act("kill-start", kill_and_start, (IN_PLACE,), touches_table=True),
    Act("upgrade", upgrade, (STAYS, IN_PLACE), prepare=run_a_copy),
    Act("hang-up", hang_up, (RELOADED,)),
    Act("flush-ruleset", flush_ruleset, (PUT_BACK,), touches_table=True, unqueues=True),
    Act("delete-table", delete_table, (PUT_BACK,), touches_table=True, unqueues=True),
    Act("delete-chain", delete_chain, (PUT_BACK,), touches_table=True, unqueues=True),
    Act("flush-chain", flush_chain, (PUT_BACK,), touches_table=True, unqueues=True),
    Act("delete-rule", delete_rule, (PUT_BACK,), touches_table=True, unqueues=True),
    Act("delete-set", delete_set, (PUT_BACK,), touches_table=True),
    Act("flush-set", flush_set, (PUT_BACK,), touches_table=True),
    Act("load-text-anew", load_text_anew, (PUT_BACK,), touches_table=True),
    Act("replace-helper", replace_helper, (PUT_BACK,), touches_table=True),
    Act("other-tables", other_tables),
    Act("second-daemon", lambda stage: second_daemon(SECOND_QUEUES, stage)),
    Act("second-daemon-same-queues", lambda stage: second_daemon("", stage)),
)
