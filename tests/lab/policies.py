"""The command policy: real clients say refused commands, read 550, and go on in the same session.

One configuration has most of the entries, so that each server is started once for all of them.
Entries that would disturb the others have a gateway of their own. The words of a refusal tell it
from the server's own. The server never hears the command, so its files stay as they are.
"""

import contextlib
import dataclasses
import ftplib
import functools
import io
import re
import shutil

import clients
import transfers
from clients import CLIENT_SECONDS, Target, abort, answer_after
from deployments import CONTROL_PORTS
from guarantees import require, require_logged
from lab import BIG, SMALL, UPLOAD, Batch, Case, CaseFailure
from servers import SERVERS, Listen
from shell import inside, run
from topology import GATEWAY_WAN4, INSIDE1, INSIDE2, OUTSIDE1


def entry(name="", action="refuse", **matchers):
    """One entry of the command policy."""
    return {**({"name": name} if name else {}), **matchers, "action": action}


POLICY = (
    entry("may-delete", "allow", commands=["DELE"], paths=["/upload/free*"]),
    entry("no-deletes", commands=["DELE", "SITE CHMOD"]),
    entry("no-programs", paths=["*.exe"], operations=["write"]),
    entry("private", paths=["/private/*"], operations=["read", "list"]),
    entry("no-changes", paths=["/upload/fixed*"], operations=["change"]),
    entry("no-ipv6", data_family="ipv6"),
    entry("no-active", mode="active"),
    entry("short-lines", line_max=100),
    entry("guests", commands=["APPE"], users=["anonymous", "la*"]),
    entry("no-oscar", users=["oscar*"]),
    entry("slow-down", commands=["NOOP"], commands_per_second=20),
    entry("told-of-help", "log", commands=["SITE HELP"]),
    entry("neighbour", clients=[INSIDE2.private4], commands=["STAT"]),
    entry("other-port", control_ports=[2121], commands=["STAT"]),
    entry("other-server", servers=["192.0.2.0/24"], commands=["STAT"]),
    entry(
        "this-server",
        control_ports=[21],
        clients=[INSIDE1.private4, "192.0.2.0/24"],
        servers=[f"{OUTSIDE1.public4}/32"],
        commands=["SYST"],
    ),
    entry("at-the-end", "reset", commands=["REIN"]),
)

# The commands that each entry refuses, said by a client in one session.
REFUSED = {
    "no-deletes": ("DELE upload/kept.txt", "SITE CHMOD 600 upload/kept.txt"),
    "no-programs": ("STOR upload/tool.exe", "STOR /pub/../upload/tool.exe"),
    "private": ("RETR /private/secret.bin", "NLST /private/directory", "MLSD /private/directory"),
    "no-changes": (
        "RNFR upload/fixed.txt",
        "MKD upload/fixed-too",
        "RMD upload/fixed",
        "MFMT 20200101000000 upload/fixed.txt",
    ),
    "no-ipv6": ("EPRT |2|2001:db8::1|51201|", "EPSV 2"),
    "no-active": (
        f"PORT {INSIDE1.private4.replace('.', ',')},200,1",
        f"EPRT |1|{INSIDE1.private4}|51201|",
    ),
    "short-lines": (f"HELP {'x' * 100}",),
    "guests": ("APPE upload/more.txt",),
    "no-oscar": ("USER oscar.wilde",),
    "this-server": ("SYST",),
}
# A refusal has as many of these words as fit into the server's answer to NOOP.
WORDS = (
    "Refused by the gateway ({0})",
    "Refused ({0})",
    "Refused by the gateway",
    "Refused",
    "Denied",
    "No",
    "",
)


# --- a client's session ---


@dataclasses.dataclass
class Session:
    """What a client said and heard, and whether the file that it fetched last arrived."""

    said: str
    has_file: bool

    def answers(self, command):
        """The first line of each answer to a command, as the client's trace shows it."""
        found, is_awaited = [], False
        for line in self.said.splitlines():
            if line.startswith("> "):
                is_awaited = line[2:].rstrip() == command
            elif is_awaited and re.match(r"< \d{3} ?", line):
                found.append(line[2:].rstrip())
                is_awaited = False
        return found

    def answer(self, command):
        answers = self.answers(command)
        if not answers:
            raise CaseFailure(f"{command}: no answer", self.said)
        return answers[0]


def target_of(stage, tls=""):
    return Target(
        stage.deployment.target,
        stage.server.listen.port,
        stage.server.user,
        stage.server.password,
        tls,
    )


def talk(stage, *commands, client="", arguments=(), tls=""):
    """curl logs in, says the commands whatever the answers are, and then fetches a file."""
    directory = new_directory(stage)
    quotes = [part for command in commands for part in ("--quote", f"*{command}")]
    argv = [
        "curl",
        "-sSv",
        "--max-time",
        str(CLIENT_SECONDS),
        *quotes,
        *arguments,
        "-o",
        SMALL,
        target_of(stage, tls).url(f"pub/{SMALL}"),
    ]
    done = run(
        argv,
        namespace=stage.lab.namespace(client or stage.deployment.client),
        check=False,
        cwd=directory,
        timeout=transfers.TIMEOUT,
    )
    return Session(
        f"$ {' '.join(argv)}\n{done.stderr}(exit {done.returncode})\n",
        transfers.same(directory / SMALL, stage.lab.file(SMALL)),
    )


def new_directory(stage):
    directory = stage.lab.workspace / f"policy-{next(stage.counter)}"
    directory.mkdir()
    shutil.copy(stage.lab.file(UPLOAD), directory)
    return directory


def require_refusal(session, answer, name):
    """Raises unless an answer is the gateway's 550; its words tell it from the server's own."""
    if answer[:4].strip() != "550" or answer[4:].strip() not in [
        words.format(name) for words in WORDS
    ]:
        raise CaseFailure(f"{answer!r} is no refusal by the entry {name}", session.said)


def require_file(session):
    if not session.has_file:
        raise CaseFailure("the session did not go on to its file", session.said)


def tree(directory):
    """The name, size, time and permissions of each of a server's files."""
    found = {path.relative_to(directory): path.stat() for path in directory.rglob("*")}
    return {name: (about.st_size, about.st_mode, about.st_mtime) for name, about in found.items()}


@contextlib.contextmanager
def untouched(stage):
    """A block in which the server's files must not change."""
    before = tree(stage.server.home)
    yield
    changed = before.items() ^ tree(stage.server.home).items()
    require(not changed, f"the server's files changed: {sorted(str(name) for name, _ in changed)}")


# --- cases ---


def refused(name, stage):
    """The gateway answers each command with 550, the server does nothing, and a file follows."""
    with untouched(stage):
        session = talk(stage, *REFUSED[name])
    for command in REFUSED[name]:
        require_refusal(session, session.answer(command), name)
    require_file(session)


def allowed(stage):
    """The first entry that matches decides, so a command that it allows reaches the server."""
    session = talk(stage, "DELE upload/free.txt", "DELE upload/kept.txt")
    require(
        session.answer("DELE upload/free.txt").startswith("250"), "what is allowed was not done"
    )
    require_refusal(session, session.answer("DELE upload/kept.txt"), "no-deletes")
    require(
        not (stage.server.home / "upload/free.txt").exists(),
        "what is allowed was not done by the server",
    )
    require(
        (stage.server.home / "upload/kept.txt").exists(), "what is refused was done by the server"
    )
    require_file(session)


def logged(stage):
    """An entry that only logs changes nothing for either end."""
    session = talk(stage, "SITE HELP")
    require(not is_refusal(session.answer("SITE HELP")), "what is only logged was refused")
    require_logged(stage.lab.engine, "told-of-help", "the log does not name the entry")
    require_file(session)


def is_refusal(answer):
    return answer.startswith(("550 Refused", "550 Denied"))


def reset(stage):
    """The command ends the session for the client and for the server."""
    session = talk(stage, "REIN")
    require(not session.answers("REIN") and not session.has_file, "the session went on")
    require(
        "reset" in session.said.lower(),
        f"the client did not hear of a reset: {session.said[-200:]}",
    )
    require_file(talk(stage))


def beyond_the_rate(stage):
    """Of eighty commands at once the server answers some, and the gateway refuses the others."""
    session = talk(stage, *["NOOP"] * 80)
    answers = session.answers("NOOP")
    done = [answer for answer in answers if answer.startswith("2")]
    require(
        len(answers) == 80 and 10 <= len(done) <= 70,
        f"{len(done)} of {len(answers)} commands went through",
    )
    for answer in set(answers) - set(done):
        require_refusal(session, answer, "slow-down")
    require_file(session)


def within_scope(stage):
    """An entry for one client, one port or one server concerns no other."""
    session = talk(stage, "STAT", client=INSIDE2.name)
    require_refusal(session, session.answer("STAT"), "neighbour")
    require_file(session)
    session = talk(stage, "STAT")
    require(
        session.answer("STAT").startswith("21"), f"another client heard {session.answer('STAT')!r}"
    )
    require_file(session)


def refused_where_it_is(stage):
    """A relative path counts from the session's directory.

    curl changes to the directory before it names the file. It fetches its next file in the same
    session.
    """
    session = talk(
        stage, arguments=("-o", "secret.bin", target_of(stage).url("private/secret.bin"))
    )
    require_refusal(session, session.answer("RETR secret.bin"), "private")
    require_file(session)
    if session.said.count("> USER") != 1:
        raise CaseFailure("it took a second session", session.said)


def refused_upload(stage):
    """A whole upload is refused: curl announces, reads 550, and stores nothing."""
    with untouched(stage):
        session = talk(
            stage,
            arguments=("-T", UPLOAD, target_of(stage).url("upload/tool.exe"), "--next", "-sSv"),
        )
    require_refusal(session, session.answer("STOR tool.exe"), "no-programs")
    require_file(session)


def refused_in_a_pipeline(stage):
    """lftp does not wait for answers here: it says PASV and RETR in one go.

    It still takes each answer for the right command.
    """
    directory, target = new_directory(stage), target_of(stage)
    settings = {
        "ftp:ssl-allow": "no",
        "net:max-retries": 1,
        "net:timeout": CLIENT_SECONDS,
        "cmd:fail-exit": "no",
    }
    script = [f"set {key} {value}" for key, value in settings.items()]
    script += [
        f"open -u {target.user},{target.password} -p {target.port} {target.address}",
        "cd /",
        "set ftp:sync-mode no",
        "rm upload/kept.txt",
        "get /private/secret.bin",
        f"get pub/{SMALL}",
        "bye",
    ]
    with untouched(stage):
        done = run(
            ["lftp", "-d", "-f", "/dev/stdin"],
            namespace=stage.lab.namespace(stage.deployment.client),
            check=False,
            cwd=directory,
            stdin="\n".join(script) + "\n",
            timeout=transfers.TIMEOUT,
        )
    session = Session(
        done.stdout + done.stderr, transfers.same(directory / SMALL, stage.lab.file(SMALL))
    )
    answers = re.findall(r"^<--- (550.*)$", session.said, re.MULTILINE)
    if len(answers) != 2:
        raise CaseFailure(f"lftp read {answers}", session.said)
    for answer, name in zip(answers, ("no-deletes", "private")):
        require_refusal(session, answer, name)
    require_file(session)


def aborted(stage):
    """A session may end a transfer, and the policy holds afterwards as before."""
    with logged_in(stage, INSIDE1) as client, inside(stage.lab.namespace(INSIDE1.name)):
        with client.transfercmd(f"RETR pub/{BIG}") as data:
            data.recv(1000)
            abort(client)
        require_refusal(Session("", False), answer_after(client, "SYST"), "this-server")
        arrived = io.BytesIO()
        client.retrbinary(f"RETR pub/{SMALL}", arrived.write)
    require(
        arrived.getvalue() == stage.lab.file(SMALL).read_bytes(),
        "the next file did not come through whole",
    )


SHARED = {
    **{name: functools.partial(refused, name) for name in REFUSED},
    "may-delete": allowed,
    "told-of-help": logged,
    "at-the-end": reset,
    "slow-down": beyond_the_rate,
    "neighbour": within_scope,
    "private-by-its-directory": refused_where_it_is,
    "no-programs-uploaded": refused_upload,
    "refused-in-a-pipeline": refused_in_a_pipeline,
    "abort": aborted,
}


def passive_refused(stage):
    """A client that insists on passive has no file; one that goes on with active has it."""
    session = talk(stage)
    for command in ("EPSV", "PASV"):
        require_refusal(session, session.answer(command), "no-passive")
    require(not session.has_file, "a file came through in passive mode")
    session = talk(stage, "PASV", arguments=("--ftp-port", "-"))
    require_refusal(session, session.answer("PASV"), "no-passive")
    require_file(session)


def family_refused(stage):
    """A session over IPv4 has no data connection over IPv4.

    EPSV for the other family reaches the server, which refuses it for reasons of its own.
    """
    session = talk(stage, "PASV", "EPSV", "EPSV 2")
    for command in ("PASV", "EPSV"):
        require_refusal(session, session.answer(command), "no-ipv4")
    require(not is_refusal(session.answer("EPSV 2")), "the other family was refused as well")
    require(not session.has_file, "a file came through over IPv4")


def clear_login_refused(stage):
    """A login in clear text reads 550; one within TLS comes through."""
    session = talk(stage)
    require_refusal(session, session.answer(f"USER {stage.server.user}"), "only-tls")
    require(not session.has_file, "a file came through in clear text")
    session = talk(stage, arguments=("--ssl-reqd", "--insecure", "--head"), tls="explicit")
    require("< 230" in session.said, "no login within TLS")


def encryption_refused(stage):
    """A client that prefers TLS reads 550 and goes on without it."""
    session = talk(stage, arguments=("--ssl", "--insecure"))
    for command in ("AUTH SSL", "AUTH TLS"):
        require_refusal(session, session.answer(command), "no-tls")
    require_file(session)


@contextlib.contextmanager
def logged_in(stage, host):
    """A session of a host, which stays open during the block."""
    try:
        with clients.logged_in(stage.lab.namespace(host.name), target_of(stage)) as client:
            yield client
    except ftplib.all_errors as error:
        raise CaseFailure(f"in ftplib's session: {error or 'it ended'}") from error


def sessions_refused(stage):
    """Each host may have two sessions, and all hosts three; the next login reads 550.

    A login succeeds again when a session has ended.
    """

    def require_full(host, name):
        session = talk(stage, client=host.name)
        require_refusal(session, session.answer(f"USER {stage.server.user}"), name)
        require(not session.has_file, "a file came through in a session too many")

    with logged_in(stage, INSIDE1):
        with logged_in(stage, INSIDE1) as second:
            require_full(INSIDE1, "two-each")
            with logged_in(stage, INSIDE2):
                require_full(INSIDE2, "three-in-all")
            second.quit()
        require_file(talk(stage))


def either_address_counts(stage):
    """An entry may name a server behind DNAT by its own address or by the one that clients dial."""
    session = talk(stage, "SYST", "STAT")
    require_refusal(session, session.answer("SYST"), "dialled")
    require_refusal(session, session.answer("STAT"), "own")
    require_file(session)


def family_refused_over_ipv6(stage):
    """The same for a session over IPv6, whose data connections are IPv6 too."""
    session = talk(stage, "SYST")
    require_refusal(session, session.answer("SYST"), "from-ipv6")
    require_refusal(session, session.answer("EPSV"), "no-ipv6-data")
    require(not session.has_file, "a file came through over IPv6")


def in_words(stage):
    """A refusal names an entry without a name by its number, and an entry may have its own text."""
    session = talk(stage, "SYST", "STAT")
    require_refusal(session, session.answer("SYST"), "entry 1")
    require(
        session.answer("STAT").startswith("550 Ask the helpdesk"),
        f"the user was told {session.answer('STAT')!r}",
    )
    require_file(session)


# Name, deployment, server, check, entries, how the server listens.
ALONE = (
    (
        "no-passive",
        "inside-client",
        "vsftpd",
        passive_refused,
        (entry("no-passive", mode="passive"),),
        Listen(),
    ),
    (
        "no-ipv4",
        "inside-client",
        "proftpd",
        family_refused,
        (entry("no-ipv4", data_family="ipv4"),),
        Listen(),
    ),
    (
        "only-tls",
        "inside-client",
        "vsftpd",
        clear_login_refused,
        (entry("only-tls", tls="required"),),
        Listen(tls="explicit"),
    ),
    (
        "no-tls",
        "inside-client",
        "proftpd",
        encryption_refused,
        (entry("no-tls", tls="forbidden"),),
        Listen(tls="explicit"),
    ),
    (
        "either-address",
        "inside-server",
        "vsftpd",
        either_address_counts,
        (
            entry("dialled", servers=[GATEWAY_WAN4], commands=["SYST"]),
            entry("own", servers=[INSIDE2.private4], commands=["STAT"]),
        ),
        Listen(),
    ),
    (
        "ipv6",
        "routed6-client",
        "vsftpd",
        family_refused_over_ipv6,
        (
            entry("from-ipv6", clients=[INSIDE1.public6], commands=["SYST"]),
            entry("no-ipv6-data", data_family="ipv6"),
        ),
        Listen(),
    ),
    (
        "in-words",
        "inside-client",
        "proftpd",
        in_words,
        (entry(commands=["SYST"]), entry("told", commands=["STAT"], text="Ask the helpdesk")),
        Listen(),
    ),
    (
        "sessions",
        "inside-client",
        "vsftpd",
        sessions_refused,
        (entry("two-each", sessions_per_client=2), entry("three-in-all", sessions=3)),
        Listen(),
    ),
)


@contextlib.contextmanager
def with_files(server, listen, lab, deployment):
    """A batch's set-up: a server with the files that the entries are about."""
    with transfers.with_server(SERVERS[server], listen, lab, deployment) as stage:
        home = stage.server.home
        (home / "private").mkdir()
        shutil.copy(lab.file(SMALL), home / "private/secret.bin")
        for name in ("kept.txt", "free.txt", "fixed.txt"):
            (home / "upload" / name).write_text("as it was\n")
            (home / "upload" / name).chmod(0o666)
        yield stage


def batches():
    for server in SERVERS:
        cases = tuple(Case(f"policy/{name}/{server}", check) for name, check in SHARED.items())
        yield Batch(
            f"policy/{server}",
            "inside-client",
            cases,
            functools.partial(with_files, server, Listen()),
            settings={"control_ports": CONTROL_PORTS, "command_policy": POLICY},
            refusal="reject",
        )
    for name, deployment, server, check, entries, listen in ALONE:
        yield Batch(
            f"policy/{name}",
            deployment,
            (Case(f"policy/{name}/{server}", check),),
            functools.partial(with_files, server, listen),
            settings={"command_policy": entries},
            refusal="reject",
        )
