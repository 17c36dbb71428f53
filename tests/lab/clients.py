"""Real FTP clients, told which mode to use and to believe the address in a 227.

By default curl, lftp and ftplib connect to the control connection's address, whatever the 227 says.
That would hide a missing rewrite. Each client reports the commands that it sent, so that the lab
notices a client that silently falls back to another mode.
"""

import contextlib
import dataclasses
import ftplib
import os
import pathlib
import re
import socket
import sys

from shell import PATIENCE, inside, run

MODES = ("PORT", "EPRT", "PASV", "EPSV")
ACTIVE_MODES = ("PORT", "EPRT")
# How long a client waits before it gives up. The lab ends it soon after in any case.
CLIENT_SECONDS = round(9 * PATIENCE)
SENT = re.compile(
    r"(?:^> |---> |==> |--> |Cmd: +|\*cmd\* ')(PORT|EPRT|LPRT|PASV|EPSV|LPSV)\b", re.MULTILINE
)


@dataclasses.dataclass(frozen=True)
class Target:
    """The server to connect to, and the login."""

    address: str
    port: int
    user: str
    password: str
    # "explicit" or "implicit", as the server listens (servers.Listen).
    tls: str = ""

    @property
    def scheme(self):
        return "ftps" if self.tls == "implicit" else "ftp"

    def host(self):
        return f"[{self.address}]" if ":" in self.address else self.address

    def url(self, path):
        user, password = (text.replace("@", "%40") for text in (self.user, self.password))
        return f"{self.scheme}://{user}:{password}@{self.host()}:{self.port}/{path}"


@dataclasses.dataclass
class Job:
    """Files to fetch into `directory` and one to store, in one mode."""

    mode: str
    target: Target
    directory: pathlib.Path
    fetch: tuple
    store: str
    stored_as: str


class Client:
    """A client program; subclasses give its command lines and what it cannot do."""

    name = ""
    can_store = True
    # The modes that it cannot be told to use, by IP version, with the reason.
    unsupported = {4: {}, 6: {"PORT": "IPv4 only", "PASV": "IPv4 only"}}

    def commands(self, job):
        """(argv, stdin) of each program run that the job takes."""
        raise NotImplementedError

    def perform(self, namespace, job, timeout):
        """Runs the job and returns everything the client said; the files alone decide about
        success.
        """
        said = []
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(job.directory),
            "LC_ALL": "C",
            "TERM": "dumb",
            "LAB_PATIENCE": str(PATIENCE),
        }
        for argv, stdin in self.commands(job):
            done = run(
                argv,
                namespace=namespace,
                timeout=timeout,
                check=False,
                stdin=stdin,
                env=environment,
                cwd=job.directory,
            )
            said.append(f"$ {' '.join(argv)}\n{done.stdout}{done.stderr}(exit {done.returncode})\n")
            if done.returncode == 124:
                break
        return "".join(said) + self.trace(job)

    def trace(self, job):
        """What the client wrote about its commands elsewhere than in its output."""
        return ""


class Curl(Client):
    name = "curl"
    # In TLS 1.3 vsftpd sends session tickets on data connections. curl does not read them while it
    # stores, so its close becomes a reset, and sometimes vsftpd loses the end of the file (426).
    # That happened in 8 of 320 such jobs on a gateway without any helper.
    tls_options = ("--ssl-reqd", "--insecure", "--tls-max", "1.2")
    # What it does with an encrypted control connection after its login.
    after_login = ()

    def commands(self, job):
        modes = {
            "PORT": ["--ftp-port", "-", "--disable-eprt"],
            "EPRT": ["--ftp-port", "-"],
            "PASV": ["--disable-epsv"],
            "EPSV": [],
        }
        base = [
            "curl",
            "-sSv",
            "--max-time",
            str(2 * CLIENT_SECONDS),
            "--no-ftp-skip-pasv-ip",
            *modes[job.mode],
        ]
        if job.target.tls:
            base += [*self.tls_options, *self.after_login]
        fetch = [part for name in job.fetch for part in ("-o", name, job.target.url(f"pub/{name}"))]
        yield [*base, *fetch], ""
        yield [*base, "-T", job.store, job.target.url(f"upload/{job.stored_as}")], ""


class CurlClearing(Curl):
    """curl that goes back to clear text after its login (CCC), so that gateways can read on."""

    name = "curl-ccc"
    after_login = ("--ftp-ssl-ccc", "--ftp-ssl-ccc-mode", "active")


class Lftp(Client):
    name = "lftp"
    unsupported = {4: {"EPRT": "lftp sends EPRT over IPv6 only"}, 6: Client.unsupported[6]}

    def commands(self, job):
        passive = job.mode not in ACTIVE_MODES
        settings = {
            "ftp:passive-mode": passive,
            "ftp:prefer-epsv": job.mode == "EPSV",
            "ftp:fix-pasv-address": False,
            "ftp:use-feat": True,
            **self.tls_settings(job.target.tls),
            "net:max-retries": 1,
            "net:timeout": CLIENT_SECONDS,
            "cmd:fail-exit": True,
        }
        lines = [f"set {key} {str(value).lower()}" for key, value in settings.items()]
        host = (
            f"{job.target.scheme}://{job.target.host()}" if job.target.tls else job.target.address
        )
        lines += [f"open -u {job.target.user},{job.target.password} -p {job.target.port} {host}"]
        lines += [f"get pub/{name}" for name in job.fetch]
        lines += [f"put {job.store} -o upload/{job.stored_as}", "bye"]
        yield ["lftp", "-d", "-f", "/dev/stdin"], "\n".join(lines) + "\n"

    def tls_settings(self, tls):
        if not tls:
            return {"ftp:ssl-allow": False}
        return {
            "ftp:ssl-force": True,
            "ftp:ssl-protect-data": True,
            "ssl:verify-certificate": False,
        }


class Wget(Client):
    name = "wget"
    can_store = False
    unsupported = {
        4: {"EPRT": "wget sends EPRT over IPv6 only", "EPSV": "wget sends EPSV over IPv6 only"},
        6: Client.unsupported[6],
    }

    def commands(self, job):
        mode = ["--no-passive-ftp"] if job.mode in ACTIVE_MODES else []
        yield [
            "wget",
            "-v",
            "--tries=1",
            f"--timeout={CLIENT_SECONDS}",
            "--progress=dot:giga",
            *mode,
            *(job.target.url(f"pub/{name}") for name in job.fetch),
        ], ""


class Tnftp(Client):
    name = "tnftp"

    def commands(self, job):
        epsv = "on" if job.mode.startswith("E") else "off"
        passive = "off" if job.mode in ACTIVE_MODES else "on"
        lines = [
            f"epsv4 {epsv}",
            f"epsv6 {epsv}",
            f"passive {passive}",
            "binary",
            f"open {job.target.address} {job.target.port}",
            f"user {job.target.user} {job.target.password}",
            *(f"get pub/{name} {name}" for name in job.fetch),
            f"put {job.store} upload/{job.stored_as}",
            "quit",
        ]
        yield ["tnftp", "-n", "-i", "-v", "-d"], "\n".join(lines) + "\n"


class Ncftp(Client):
    name = "ncftp"
    unsupported = {
        4: {"EPRT": "ncftp knows PORT and PASV only", "EPSV": "ncftp knows PORT and PASV only"},
        6: {mode: "ncftp knows IPv4 only" for mode in MODES},
    }

    def commands(self, job):
        target = job.target
        common = [
            "-V",
            "-t",
            str(CLIENT_SECONDS),
            "-r",
            "1",
            "-d",
            "trace.log",
            "-E" if job.mode == "PORT" else "-F",
            "-P",
            str(target.port),
            "-u",
            target.user,
            "-p",
            target.password,
        ]
        yield ["ncftpget", *common, target.address, ".", *(f"pub/{name}" for name in job.fetch)], ""
        # It stores under the local name only, so -C names the remote file.
        yield ["ncftpput", *common, "-C", target.address, job.store, f"upload/{job.stored_as}"], ""

    def trace(self, job):
        log = job.directory / "trace.log"
        return log.read_text(errors="replace") if log.exists() else ""


class Ftplib(Client):
    name = "ftplib"

    def commands(self, job):
        script = pathlib.Path(__file__).with_name("ftplib_client.py")
        target = job.target
        yield [
            sys.executable,
            "-I",
            "-S",
            str(script),
            job.mode,
            target.address,
            str(target.port),
            target.user,
            target.password,
            job.store,
            job.stored_as,
            *job.fetch,
        ], ""


@contextlib.contextmanager
def logged_in(namespace, target):
    """A session of ftplib within this program, because no client's script can do what a test needs.

    The session stays open, and the test speaks in it. Its data connections have to be made `inside`
    the namespace too.
    """
    client = ftplib.FTP(timeout=CLIENT_SECONDS)
    try:
        with inside(namespace):
            client.connect(target.address, target.port)
        client.login(target.user, target.password)
        # Most clients do this. Before it, only the server knows where a relative path begins.
        client.pwd()
        yield client
    finally:
        client.close()


def abort(client):
    """Ends a transfer as lftp and others do: Telnet's IP and Synch, and then ABOR.

    The last byte of the Synch is urgent (RFC 854).
    """
    client.sock.sendall(b"\xff\xf4\xff", socket.MSG_OOB)
    client.sock.sendall(b"\xf2ABOR\r\n")


def answer_after(client, command):
    """The answer to a command that follows ABOR; servers answer ABOR once or twice."""
    client.putcmd(command)
    while (heard := client.getmultiline())[:3] in ("150", "225", "226", "426"):
        pass
    return heard


CLIENTS = {client.name: client() for client in (Curl, Lftp, Wget, Tnftp, Ncftp, Ftplib)}


def modes_sent(said):
    """The announcing commands that a client says it sent."""
    return set(SENT.findall(said))
