"""Real FTP servers, each in the foreground of a namespace, with its own directory and one login.

They come unpacked in a cache directory (scripts/install-deps.sh). So they are started by path, with
the path of their libraries.
"""

import dataclasses
import functools
import os
import pathlib
import shutil
import sys

from deployments import PASSIVE_PORTS
from shell import PATIENCE, Background, LabError, inside, run
from topology import FTP_ACCOUNT

# A limit for a server that hangs. On a busy emulated machine the start of Python takes most of a
# minute.
START_SECONDS = 60
# How long a server waits for a data connection that does not come. It is short because of the tests
# that expect failure.
DATA_SECONDS = round(6 * PATIENCE)
# The state LISTEN in /proc/net/tcp.
LISTENING = "0A"


def cache_root():
    base = os.environ.get("FTP_ALG_LAB_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "ftp-alg-lab"
    )
    root = pathlib.Path(base, "root")
    if not root.is_dir():
        raise LabError(f"{root} is not there: run scripts/install-deps.sh")
    return root


@functools.cache
def library_path():
    """The path of the libraries that were unpacked beside the programs."""
    directories = {
        str(path.parent)
        for part in ("lib", "usr/lib")
        for path in (cache_root() / part).rglob("lib*.so*")
    }
    return ":".join(sorted(directories))


@dataclasses.dataclass(frozen=True)
class Listen:
    """Where and how a server listens."""

    port: int = 21
    version: int = 4
    passive: tuple = PASSIVE_PORTS
    # The address that a server is told to announce instead of its own.
    announce: str = ""
    # "explicit" (AUTH TLS) or "implicit" (from the first byte). Then no login in clear text is
    # possible.
    tls: str = ""


def make_certificate(path):
    """Writes a key and a self-signed certificate into one file."""
    path.write_text(certificate())
    return path


@functools.cache
def certificate():
    """Made once a run, because it takes seconds on an emulated machine."""
    return run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            "/dev/stdout",
            "-out",
            "/dev/stdout",
            "-subj",
            "/CN=lab",
            "-days",
            "2",
        ]
    ).stdout


class Server:
    """A server program; subclasses say how it is configured and started."""

    name = ""
    user, password = "anonymous", "lab@example.net"

    def __init__(self, namespace, workspace, files, listen):
        self.namespace, self.listen = namespace, listen
        self.directory = pathlib.Path(workspace, f"{self.name}-{listen.port}")
        self.home = self.directory / "home"
        self.prepare(files)
        self.process = None

    def prepare(self, files):
        """Makes a home that the login can read, with an upload directory that it can write."""
        shutil.rmtree(self.directory, ignore_errors=True)
        (self.home / "pub").mkdir(parents=True)
        for file in files:
            shutil.copy(file, self.home / "pub")
        (self.home / "upload").mkdir()
        (self.home / "upload").chmod(0o777)
        for path in (*self.home.rglob("*.bin"),):
            path.chmod(0o644)
        if self.listen.tls:
            make_certificate(self.certificate)

    @property
    def certificate(self):
        return self.directory / "server.pem"

    def start(self):
        log = self.directory / "server.log"
        environment = {**os.environ, "LC_ALL": "C", **self.environment()}
        self.process = Background(self.command(), log, namespace=self.namespace, env=environment)
        self.process.wait_for(
            self.is_listening, START_SECONDS, f"listening on port {self.listen.port}"
        )

    def is_listening(self):
        """Reads /proc, because a program for each of these many questions would delay the start."""
        with inside(self.namespace):
            tables = [
                pathlib.Path("/proc/thread-self/net", name).read_text() for name in ("tcp", "tcp6")
            ]
        sockets = [line.split() for table in tables for line in table.splitlines()[1:]]
        return any(
            fields[3] == LISTENING and int(fields[1].rsplit(":", 1)[1], 16) == self.listen.port
            for fields in sockets
        )

    def stop(self):
        if self.process:
            self.process.stop()

    def uploaded(self, name):
        return self.home / "upload" / name

    def environment(self):
        return {"LD_LIBRARY_PATH": library_path()}

    def program(self, name):
        return str(cache_root() / "usr/sbin" / name)

    def write_config(self, text):
        path = self.directory / "server.conf"
        path.write_text(text)
        return str(path)

    def command(self):
        raise NotImplementedError


class Vsftpd(Server):
    name = "vsftpd"

    def command(self):
        listen = self.listen
        (self.directory / "empty").mkdir(exist_ok=True)
        options = {
            "listen": "YES" if listen.version == 4 else "NO",
            "listen_ipv6": "YES" if listen.version == 6 else "NO",
            "listen_port": listen.port,
            "background": "NO",
            "anonymous_enable": "YES",
            "local_enable": "NO",
            "no_anon_password": "YES",
            "ftp_username": FTP_ACCOUNT,
            "nopriv_user": "nobody",
            "anon_root": self.home,
            "write_enable": "YES",
            "anon_upload_enable": "YES",
            "anon_umask": "022",
            "anon_other_write_enable": "YES",
            "anon_mkdir_write_enable": "YES",
            "secure_chroot_dir": self.directory / "empty",
            # Its sandboxes need a certain kernel, and a network namespace of their own.
            "seccomp_sandbox": "NO",
            "isolate": "NO",
            "isolate_network": "NO",
            "connect_from_port_20": "YES",
            "ftp_data_port": listen.port - 1,
            "pasv_min_port": listen.passive[0],
            "pasv_max_port": listen.passive[1],
            "connect_timeout": DATA_SECONDS,
            "accept_timeout": DATA_SECONDS,
            "xferlog_enable": "NO",
            "tcp_wrappers": "NO",
        }
        if listen.announce:
            options["pasv_address"] = listen.announce
        if listen.tls:
            options |= self.tls_options()
        return [
            self.program("vsftpd"),
            self.write_config("".join(f"{k}={v}\n" for k, v in options.items())),
        ]

    def tls_options(self):
        return {
            "ssl_enable": "YES",
            "allow_anon_ssl": "YES",
            "force_anon_logins_ssl": "YES",
            "force_anon_data_ssl": "YES",
            "implicit_ssl": "YES" if self.listen.tls == "implicit" else "NO",
            "ssl_ciphers": "HIGH",
            "rsa_cert_file": self.certificate,
            "rsa_private_key_file": self.certificate,
            # curl and lftp reuse the session, but not in each release with each version of TLS.
            "require_ssl_reuse": "NO",
        }


class Proftpd(Server):
    name = "proftpd"

    def command(self):
        listen = self.listen
        config = f"""
            ServerType standalone
            ServerName lab
            DefaultAddress {"0.0.0.0" if listen.version == 4 else "::"}
            UseIPv6 {"off" if listen.version == 4 else "on"}
            Port {listen.port}
            User nobody
            Group nogroup
            PidFile {self.directory}/pid
            ScoreboardFile {self.directory}/scoreboard
            DelayEngine off
            WtmpLog off
            SystemLog {self.directory}/system.log
            TransferLog none
            UseReverseDNS off
            UseFtpUsers off
            RequireValidShell off
            PassivePorts {listen.passive[0]} {listen.passive[1]}
            {f"MasqueradeAddress {listen.announce}" if listen.announce else ""}
            TimeoutNoTransfer 60
            TimeoutStalled 60
            AllowOverwrite on
            {self.tls_directives() if listen.tls else ""}
            <Anonymous {self.home}>
              User nobody
              Group nogroup
              UserAlias anonymous nobody
              AnonRequirePassword off
              RequireValidShell off
            </Anonymous>
            """
        return [self.program("proftpd"), "-n", "-q", "-c", self.write_config(config)]

    def tls_directives(self):
        """TLS as an option, because `TLSRequired on` would refuse CCC; the clients insist on it."""
        implicit = "UseImplicitSSL" if self.listen.tls == "implicit" else ""
        return f"""
            ModulePath {cache_root()}/usr/lib/proftpd
            LoadModule mod_tls.c
            TLSEngine on
            TLSRequired off
            TLSRSACertificateFile {self.certificate}
            TLSRSACertificateKeyFile {self.certificate}
            TLSLog {self.directory}/tls.log
            TLSOptions NoSessionReuseRequired {implicit}
            """


class PureFtpd(Server):
    name = "pure-ftpd"
    user, password = "lab", "throw-away"
    # Made by `openssl passwd -1 -salt lab throw-away`, because Pure-FTPd's own hashes take seconds
    # for each login.
    password_hash = "$1$lab$z3aO8KRxz1tXNDR8kUxAj0"

    def prepare(self, files):
        """Adds a virtual user, because Pure-FTPd's anonymous login needs a system account."""
        super().prepare(files)
        (self.directory / "passwd").write_text(
            f"{self.user}:{self.password_hash}:65534:65534::{self.home}/./::::::::::::\n"
        )
        run(
            [
                str(cache_root() / "usr/bin/pure-pw"),
                "mkdb",
                f"{self.directory}/users.pdb",
                "-f",
                f"{self.directory}/passwd",
            ],
            env={**os.environ, **self.environment()},
        )

    def command(self):
        listen = self.listen
        command = [
            self.program("pure-ftpd"),
            "-S",
            str(listen.port),
            "-l",
            f"puredb:{self.directory}/users.pdb",
            "-p",
            f"{listen.passive[0]}:{listen.passive[1]}",
            "-g",
            f"{self.directory}/pid",
            "-E",
            "-H",
            "-u",
            "1",
            "-c",
            "100",
            "-C",
            "100",
            "-f",
            "none",
            "-4" if listen.version == 4 else "-6",
        ]
        if listen.announce:
            command += ["-P", listen.announce]
        if listen.tls:
            command += ["-Y", "2", "-2", str(self.certificate)]
        return command


class Pyftpdlib(Server):
    """A server that reads PORT or EPRT, connects, and answers when the connection is there."""

    name = "pyftpdlib"
    user, password = "lab", "throw-away"

    def environment(self):
        return {"PYTHONPATH": str(cache_root() / "usr/lib/python3/dist-packages")}

    def command(self):
        listen = self.listen
        script = pathlib.Path(__file__).with_name("pyftpdlib_server.py")
        return [
            sys.executable,
            "-u",
            str(script),
            "0.0.0.0" if listen.version == 4 else "::",
            str(listen.port),
            str(self.home),
            self.user,
            self.password,
            *map(str, listen.passive),
            *([listen.announce] if listen.announce else []),
        ]


SERVERS = {server.name: server for server in (Vsftpd, Proftpd, PureFtpd, Pyftpdlib)}
