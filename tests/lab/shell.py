"""Running programs in the lab: always with a timeout, always with an error that says what was run.

Servers and clients run inside a network namespace through `ip netns exec`, which also gives them the resolv.conf of
that namespace. Sockets of the harness itself and its tools (nft, conntrack) are made inside a namespace by `inside`: scripted
clients and servers need no processes of their own, and a tool needs one in place of two.
"""

import contextlib
import ctypes
import os
import pathlib
import signal
import subprocess
import threading
import time

# How many times longer than usual programs may take: an emulated machine is slow.
PATIENCE = float(os.environ.get("LAB_PATIENCE", "1"))

CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """The lab itself could not do its work: no verdict about the helper follows from it."""


def run(argv, *, namespace=None, timeout=30, check=True, stdin="", env=None, cwd=None):
    """Run a program to its end and return the CompletedProcess with text output."""
    full = in_namespace(namespace, argv)
    timeout *= PATIENCE
    try:
        done = subprocess.run(
            full,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=env,
            cwd=cwd,
        )
    except FileNotFoundError as missing:
        raise LabError(
            f"{missing.filename} is not installed: run scripts/install-deps.sh"
        ) from missing
    except subprocess.TimeoutExpired as expired:
        if check:
            raise LabError(f"{' '.join(full)}: not done after {timeout} s") from expired
        output = [
            (
                (part or b"").decode(errors="replace")
                if isinstance(part, (bytes, type(None)))
                else part
            )
            for part in (expired.stdout, expired.stderr)
        ]
        return subprocess.CompletedProcess(
            full, 124, output[0], output[1] + f"\n(ended after {timeout} s)"
        )
    if check and done.returncode != 0:
        raise LabError(
            f"{' '.join(full)}: exit {done.returncode}: {done.stderr.strip() or done.stdout.strip()}"
        )
    return done


def run_tool(argv, *, namespace, **more):
    """`run` for a tool that cares for the network alone: a child stays in the network namespace of the thread that made it."""
    with inside(namespace):
        return run(argv, **more)


def write_sysctls(namespace, settings, check=True):
    """Settings as `sysctl -w` takes them: `name=value`."""
    with inside(namespace):
        for setting in settings:
            name, value = setting.split("=")
            path = pathlib.Path("/proc/sys", name.replace(".", "/"))
            if not path.exists() and not check:
                continue
            try:
                path.write_text(value)
            except OSError as error:
                raise LabError(f"{namespace}: {setting}: {error}") from error


def in_namespace(namespace, argv):
    """The command line that runs `argv` in a namespace (None: where the harness is)."""
    return ["ip", "netns", "exec", namespace, *argv] if namespace else list(argv)


class Background:
    """A program that keeps running, with its output in a file, ended by its own pid."""

    def __init__(self, argv, log, *, namespace=None, env=None, cwd=None):
        self.argv, self.log = argv, log
        # vsftpd writes what it dislikes about its configuration to descriptor 0.
        with open(log, "a+b") as sink:
            self.process = subprocess.Popen(
                in_namespace(namespace, argv),
                stdin=sink,
                stdout=sink,
                stderr=sink,
                env=env,
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def pid(self):
        """The pid of the program itself: `ip netns exec` replaces itself by it."""
        return self.process.pid

    def is_running(self):
        return self.process.poll() is None

    def output(self):
        with open(self.log, errors="replace") as text:
            return text.read()

    def wait_for(self, is_ready, timeout, what):
        """Poll until `is_ready()`; a program that ended or is late is an error with its last words."""
        deadline = time.monotonic() + timeout * PATIENCE
        while not is_ready():
            if not self.is_running() or time.monotonic() > deadline:
                raise LabError(f"{self.argv[0]}: {what} did not happen: {self.output()[-600:]}")
            time.sleep(0.01)

    def stop(self, sig=signal.SIGTERM, timeout=10):
        """Send a signal, wait, and return the exit status; what ignores the signal is killed."""
        if self.is_running():
            self.process.send_signal(sig)
        try:
            status = self.process.wait(timeout * PATIENCE)
        except subprocess.TimeoutExpired:
            status = None
        self.kill_session()
        return status

    def kill_session(self):
        """End what the program left behind in its own session (servers fork one process a client)."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(5 * PATIENCE)


@contextlib.contextmanager
def inside(namespace):
    """Let this thread create sockets in another network namespace; a socket stays where it was made."""
    here = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        enter(there)
        yield
    finally:
        enter(here)
        os.close(there)
        os.close(here)


def enter(descriptor):
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise LabError(f"setns: {os.strerror(ctypes.get_errno())}: run as root")
