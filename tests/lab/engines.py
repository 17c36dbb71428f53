"""The helpers that a case can use: none, the kernel's own, conntrackd's, or ftp-alg."""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import signal
import tomllib

from deployments import FORWARD_PASSIVE_RANGE, PORTS
from servers import cache_root, library_path
from shell import Background, LabError, run, run_tool

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
READY_SECONDS = 20
# The daemon says so when it stops and its table stays.
LEFT_BEHIND = "our table stays"

SHIPPED_CONFIGURATION = REPOSITORY / "packaging/ftp-alg.toml"


@dataclasses.dataclass(frozen=True)
class CaseKey:
    """A key of the configuration that some cases set, and the reason."""

    # A pattern for the beginning of these cases' names.
    cases: str
    why: str


# Every case runs with the shipped configuration, because that is what operators run. These keys are
# the only ones that a case may set, each in the cases that are about it.
CASE_KEYS = {
    "control_ports": CaseKey(
        "(transfer|abort|without-helper)/([^/]+/2121|port-forward)/|tls/[^/]+/990/"
        "|shipped/other-ports|attack(-in/[^/]+)?/|policy/|demo/port-forward|record/port-forward"
        "|operator-error/other-control-port/|dialogue/HylaFAX/",
        "clients dial another port than 21, or a second server on another port stands beside",
    ),
    "backend": CaseKey(
        "beside-kernel/|auto/", "the kernel's helper can be attached beside this one; auto's choice"
    ),
    "install_rules": CaseKey(
        "shipped/|life/by-hand/|forgotten/.*/by-hand", "the operator loads a file of rules/ by hand"
    ),
    "when_kernel_helps": CaseKey("beside-kernel/", "both of its values are tried"),
    "expectation.timeout": CaseKey(
        "guarantee/late-gets-nothing/|soak/|dialogue/recall-from-tape/", "the case waits for it"
    ),
    "expectation.max_per_session": CaseKey(
        "dialogue/two-PASVs", "two announcements of a session stay open"
    ),
    "nat.ports": CaseKey(
        "ten-ports/|guarantee/ten-ports-are-reused/|restart/|life/|soak/",
        "few outside ports, or ports whose decimals are long",
    ),
    "nat.public": CaseKey("dialogue/behind-another-router/", "another router is what they are about"),
    "policy.data_sources": CaseKey(
        "dialogue/server-connects-from-another-address/", "the network of such a server"
    ),
    "table_owner": CaseKey(
        "life/[^/]+/[^/]+/shared|soak/|reload/table/",
        "on a kernel where others cannot change our table, the case tries what holds elsewhere",
    ),
    "when_absent": CaseKey("life/absent/", "what holds while no daemon runs is tried"),
    "limits.memory": CaseKey("attack/flood", "a flood is measured against the least bound"),
    "policy.tls_data": CaseKey(
        "tls(-guarantee)?/|dialogue/AUTH-answered", "without it encrypted sessions open nothing"
    ),
    "policy.tls_ports": CaseKey(
        "tls(-guarantee)?/|dialogue/AUTH-answered", "the range that the servers use"
    ),
    "policy.tls_at_once": CaseKey("tls-guarantee/", "its bound is tried"),
    "policy.tls_servers": CaseKey("tls-guarantee/unnamed-server", "a server that it does not name"),
    "policy.tls_implicit_ports": CaseKey("tls/[^/]+/990/", "TLS from the first byte"),
    "command_policy": CaseKey(
        "policy/|life/absent/|forgotten/|network/|attack(-in/[^/]+)?/policy/",
        "the command policy that the case is about"
    ),
}


def sandbox_keys(workspace):
    """The keys that differ from the shipped configuration in every case.

    They are needed because the lab is a sandbox: the files of a case are gone with its workspace,
    and the lab reads the log as JSON. The daemon's user is the shipped one, because each namespace
    has the account (topology.write_etc).
    """
    return {"restart.directory": str(flows_directory(workspace)), "log.format": "json"}


def flows_directory(workspace):
    """Where the daemon of this workspace saves flows: on a tmpfs, as operators have it."""
    base = "/dev/shm" if os.path.ismount("/dev/shm") else "/run"
    return pathlib.Path(base, pathlib.Path(workspace).parent.name, "flows")


def require_case_keys(names, settings):
    """Raises an error unless CASE_KEYS allows these settings for all cases of these names."""
    for key in settings:
        if key not in CASE_KEYS:
            raise LabError(f"{names[0]} sets {key}, which is not in CASE_KEYS (engines.py)")
        if others := [name for name in names if not re.match(CASE_KEYS[key].cases, name)]:
            raise LabError(f"{others[0]} sets {key}, but CASE_KEYS (engines.py) does not name it")


def as_toml(configuration):
    """A configuration as text; JSON's strings, numbers, booleans and arrays are TOML's."""
    plain, tables = [], []
    for key, value in configuration.items():
        if isinstance(value, dict):
            tables += [f"[{key}]", *assignments(value)]
        elif is_array_of_tables(value):
            tables += [line for entry in value for line in (f"[[{key}]]", *assignments(entry))]
        else:
            plain += assignments({key: value})
    return "\n".join([*plain, *tables, ""])


def is_array_of_tables(value):
    return isinstance(value, (list, tuple)) and any(isinstance(entry, dict) for entry in value)


def assignments(table):
    return [f"{key} = {toml_value(value)}" for key, value in table.items()]


def toml_value(value):
    if not isinstance(value, dict):
        return json.dumps(value)
    pairs = (f"{json.dumps(key)} = {toml_value(one)}" for key, one in value.items())
    return "{ " + ", ".join(pairs) + " }"


def ftp_alg_binary():
    """The program under test: $FTP_ALG, or the one that `cargo build --release` made."""
    path = pathlib.Path(os.environ.get("FTP_ALG", REPOSITORY / "target/release/ftp-alg"))
    if not os.access(path, os.X_OK):
        raise LabError(f"{path} is not there: run 'cargo build --release', or set FTP_ALG")
    return str(path)


class NoHelper:
    """No helper: this engine proves that the transfers of a deployment need one."""

    name = "none"
    # Whether the engine is ftp-alg, with any backend.
    is_ours = False
    # Whether data connections are known by our ct mark alone. Then the operator's rules need a line
    # for it.
    marks_data = True
    # The family of nf_tables whose hooks the packets pass; a deployment may have another.
    family = "inet"

    def __init__(self, gateway, workspace, settings=None):
        self.gateway, self.workspace = gateway, workspace
        self.settings = settings or {}

    def start(self):
        pass

    def disable(self):
        """Takes the helper's rules away under running connections."""

    def stop(self):
        """Stops the helper and returns a list of problems with its end."""
        return []

    def log(self):
        return ""

    def announcements(self):
        """The announcements that the helper logged, oldest first; see `Ours.announcements`."""
        return []

    def notices(self, begin=0):
        return []


class PortsOpen(NoHelper):
    """No helper, but open ports, as operators have it then.

    Every unprivileged port lies open, and the inside server's passive range is forwarded. This
    shows what an attack would reach, and that servers and clients work where nothing stands in
    their way.
    """

    name = "ports-open"

    def start(self):
        for chain, rule in (
            ("forward", "tcp dport 1024-65535 accept"),
            ("prerouting", FORWARD_PASSIVE_RANGE),
        ):
            run_tool(
                ["nft", "insert", "rule", "inet", "operator", chain, *rule.split()],
                namespace=self.gateway,
            )


class KernelHelper(NoHelper):
    """nf_conntrack_ftp and nf_nat_ftp, attached to the control ports before NAT."""

    name = "kernel"
    marks_data = False

    @property
    def table(self):
        return f"{self.family} kernel_ftp"

    def start(self):
        # nft's helper object loads nf_conntrack_ftp but not nf_nat_ftp, and then nothing is
        # rewritten. Both may be built in.
        run(["modprobe", "-qa", "nf_conntrack_ftp", "nf_nat_ftp"], check=False)
        attach = f'tcp dport {PORTS} ct helper set "ftp-standard"'
        run_tool(
            ["nft", "-f", "-"],
            namespace=self.gateway,
            stdin=f"""
            table {self.table} {{
              ct helper ftp-standard {{
                type "ftp" protocol tcp
              }}
              chain prerouting {{
                type filter hook prerouting priority -150
                {attach}
              }}
              chain output {{
                type filter hook output priority -150
                {attach}
              }}
            }}
            """,
        )

    def disable(self):
        run_tool(["nft", "delete", "table", *self.table.split()], namespace=self.gateway)
        # An attached helper stays with its connections.
        run_tool(["conntrack", "-F"], namespace=self.gateway)

    def stop(self):
        run_tool(
            ["nft", "delete", "table", *self.table.split()], namespace=self.gateway, check=False
        )
        return []


class Conntrackd(NoHelper):
    """conntrackd's FTP helper, the netfilter project's own in userspace.

    Its plug-in is loaded from a fixed directory of the system. Its kernel object belongs to the
    whole machine and has the name of nf_conntrack_ftp's. So it runs in a virtual machine of its own
    only.
    """

    name = "conntrackd"
    marks_data = False
    table = "ip conntrackd_ftp"
    plugins = pathlib.Path("/usr/lib/x86_64-linux-gnu/conntrack-tools")
    process = None

    def start(self):
        if not os.path.isdir("/run/vm/control"):
            raise LabError(
                "conntrackd's helper is tried in a virtual machine only: scripts/compare-engines.sh"
            )
        self.link_plugins()
        run(
            ["modprobe", "-qa", "nfnetlink_cthelper", "nfnetlink_queue", "nf_conntrack_netlink"],
            check=False,
        )
        config = pathlib.Path(self.workspace, "conntrackd.conf")
        config.write_text(f"""
            General {{
                LockFile {self.workspace}/conntrackd.lock
                LogFile {self.workspace}/conntrackd.messages
                UNIX {{
                    Path {self.workspace}/conntrackd.ctl
                }}
            }}
            Helper {{
                Type ftp inet tcp {{
                    QueueNum 0
                    QueueLen 10240
                    Policy ftp {{
                        ExpectMax 1
                        ExpectTimeout 300
                    }}
                }}
            }}
            """)
        programs = cache_root() / "usr/sbin"
        environment = {**os.environ, "LD_LIBRARY_PATH": library_path()}
        # Once for the machine. Each gateway's conntrackd then reads the queue of its own network
        # namespace.
        run(
            [str(programs / "nfct"), "add", "helper", "ftp", "inet", "tcp"],
            env=environment,
            check=False,
        )
        self.process = Background(
            [str(programs / "conntrackd"), "-C", str(config)],
            os.path.join(self.workspace, "conntrackd.log"),
            namespace=self.gateway,
            env=environment,
        )
        self.process.wait_for(
            lambda: "initialization completed" in self.process.output(), READY_SECONDS, "its helper"
        )
        self.attach()
        # nft loads the kernel's helper if nobody has registered one of this name. The case would
        # measure that one then.
        if os.path.isdir("/sys/module/nf_conntrack_ftp"):
            raise LabError("nf_conntrack_ftp is loaded: this is not conntrackd's helper")

    def link_plugins(self):
        """Links the plug-ins; of several labs at once, the first one does it."""
        if not self.plugins.exists():
            with contextlib.suppress(FileExistsError):
                self.plugins.symlink_to(cache_root() / self.plugins.relative_to("/"))

    def attach(self):
        """The rule that gives the helper to control connections."""
        attach = f'tcp dport {PORTS} ct helper set "ftp-userspace"'
        run_tool(
            ["nft", "-f", "-"],
            namespace=self.gateway,
            stdin=f"""
            table {self.table} {{
              ct helper ftp-userspace {{
                type "ftp" protocol tcp
              }}
              chain prerouting {{
                type filter hook prerouting priority -150
                {attach}
              }}
              chain output {{
                type filter hook output priority -150
                {attach}
              }}
            }}
            """,
        )

    def disable(self):
        run_tool(["nft", "delete", "table", *self.table.split()], namespace=self.gateway)
        run_tool(["conntrack", "-F"], namespace=self.gateway)

    def stop(self):
        run_tool(
            ["nft", "delete", "table", *self.table.split()], namespace=self.gateway, check=False
        )
        if self.process:
            self.process.stop()
        return []

    def log(self):
        messages = pathlib.Path(self.workspace, "conntrackd.messages")
        written = messages.read_text(errors="replace") if messages.exists() else ""
        return written + (self.process.output() if self.process else "")


class Ours(NoHelper):
    """ftp-alg, run with the shipped configuration and the keys that the case sets."""

    name = "ours"
    is_ours = True
    # If it is empty, the shipped configuration chooses.
    backend = os.environ.get("FTP_ALG_BACKEND", "")
    process = None
    # Another program file than the one under test, for a case that replaces it.
    program = ""

    def configuration(self):
        """The shipped configuration with the changes for the sandbox, the engine and the case."""
        found = tomllib.loads(SHIPPED_CONFIGURATION.read_text())
        changes = {**sandbox_keys(self.workspace), **self.settings}
        if self.backend:
            changes.setdefault("backend", self.backend)
        for name, value in changes.items():
            *table, key = name.split(".")
            place = found.setdefault(table[0], {}) if table else found
            place[key] = value
        return found

    def installs_rules(self):
        return self.configuration()["install_rules"]

    def start(self):
        config = pathlib.Path(self.workspace, "ftp-alg.toml")
        config.write_text(as_toml(self.configuration()))
        self.spawn()

    def spawn(self):
        """Starts the daemon; a second call continues the same log."""
        log = os.path.join(self.workspace, "ftp-alg.log")
        seen = os.path.getsize(log) if os.path.exists(log) else 0
        # Announcements are logged at debug.
        environment = {**os.environ, "RUST_LOG": os.environ.get("RUST_LOG", "info,ftp_alg=debug")}
        self.process = Background(
            [
                self.program or ftp_alg_binary(),
                "run",
                "--config",
                f"{self.workspace}/ftp-alg.toml",
            ],
            log,
            namespace=self.gateway,
            env=environment,
        )
        self.process.wait_for(
            lambda: '"ready"' in self.process.output()[seen:], READY_SECONDS, "'ready' in its log"
        )

    def kill(self):
        self.process.stop(signal.SIGKILL)

    def terminate(self):
        """Ends the daemon as a service manager does, and raises unless it ends well."""
        status = self.process.stop(signal.SIGTERM)
        if status != 0:
            raise LabError(f"exit status after SIGTERM: {status}: {self.log()[-600:]}")

    def disable(self):
        """Ends the daemon first, because it keeps its table from others or puts it back."""
        self.kill()
        run_tool(["nft", "delete", "table", "inet", "ftp_alg"], namespace=self.gateway)
        self.process = None

    def stop(self):
        if not self.process:
            return []
        problems = []
        if not self.process.is_running():
            problems.append(f"the daemon had ended by itself: {self.process.process.returncode}")
        begin = len(self.log())
        status = self.process.stop(signal.SIGTERM)
        if not problems and status != 0:
            problems.append(f"exit status after SIGTERM: {status}")
        tables = run_tool(["nft", "list", "tables"], namespace=self.gateway).stdout
        # Sessions of the case may still be open, and something be expected for them.
        stays = not self.installs_rules() or LEFT_BEHIND in self.log()[begin:]
        if ("ftp_alg" in tables) != stays:
            problems.append(
                f"after SIGTERM, with install_rules = {self.installs_rules()}: {tables.strip()}"
            )
        return problems

    def log(self):
        log = pathlib.Path(self.workspace, "ftp-alg.log")
        return log.read_text(errors="replace") if log.exists() else ""

    def announcements(self):
        return [event for event in map(log_event, self.log().splitlines()) if event]

    def notices(self, begin=0):
        """The lines of the log, from a place on, that the default level shows."""
        lines = self.log()[begin:].splitlines()
        return [line for line in lines if not re.search(r'"level":"(DEBUG|TRACE)"', line)]


class OnNftables(Ours):
    """ftp-alg with sets and maps of its own."""

    name = "ours-nftables"
    backend = "nftables"


class OnConntrack(Ours):
    """ftp-alg with the kernel's expectations; operators accept established and related alone."""

    name = "ours-conntrack"
    backend = "conntrack"
    marks_data = False


class BesideKernel(Ours):
    """ftp-alg beside the kernel's helper on the same ports; one must leave them to the other."""

    name = "ours-beside-kernel"

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.kernel = KernelHelper(*arguments)

    def start(self):
        self.kernel.start()
        super().start()

    def stop(self):
        return super().stop() + self.kernel.stop()


def log_event(line):
    """One line of the JSON log as a flat dict if it is about an announcement, else None.

    This is the only place that knows the words of the daemon's log. It accepts any nesting of
    fields.
    """
    try:
        record = json.loads(line)
    except ValueError:
        return None
    fields = {**record, **record.get("span", {}), **record.get("fields", {})}
    if "announcement" not in str(fields.get("message", "")):
        return None
    return {
        key: fields.get(key)
        for key in ("kind", "announced", "rewritten", "expect", "message", "session")
    }


ENGINES = {
    engine.name: engine
    for engine in (
        NoHelper,
        PortsOpen,
        KernelHelper,
        Conntrackd,
        Ours,
        OnNftables,
        OnConntrack,
        BesideKernel,
    )
}
