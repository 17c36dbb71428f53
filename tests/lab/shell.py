"""Runs programs in the lab, always with a timeout, and with errors that name the command.

Servers and clients run inside a network namespace through `ip netns exec`, which also gives them
the namespace's files in /etc. The harness makes its own sockets inside a namespace with `inside`,
so scripted clients and servers need no processes of their own. Tools (nft, conntrack) are started
in the same way, so each needs one process instead of two.
"""

import contextlib
import ctypes
import os
import pathlib
import signal
import subprocess
import threading
import time

# How many times longer than usual programs may take, because an emulated machine is slow.
PATIENCE = float(os.environ.get("LAB_PATIENCE", "1"))

CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """The lab itself could not do its work, which says nothing about the helper."""


def run(argv, *, namespace=None, timeout=30, check=True, stdin="", env=None, cwd=None):
    """Runs a program to its end and returns the CompletedProcess with text output."""
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
            f"{' '.join(full)}: exit {done.returncode}: "
            f"{done.stderr.strip() or done.stdout.strip()}"
        )
    return done


def run_tool(argv, *, namespace, **more):
    """`run` for a tool that needs the network namespace alone; a child stays in its thread's."""
    with inside(namespace):
        return run(argv, **more)


def write_sysctls(namespace, settings, check=True):
    """Takes settings as `sysctl -w` does: `name=value`."""
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
    """A program that keeps running, with its output in a file; it is ended by its own pid."""

    def __init__(self, argv, log, *, namespace=None, env=None, cwd=None):
        self.argv, self.log = argv, log
        # vsftpd writes complaints about its configuration to descriptor 0.
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
        """Polls until `is_ready()`.

        A program that ended or is late is an error, with the program's last words.
        """
        deadline = time.monotonic() + timeout * PATIENCE
        while not is_ready():
            if not self.is_running() or time.monotonic() > deadline:
                raise LabError(f"{self.argv[0]}: {what} did not happen: {self.output()[-600:]}")
            time.sleep(0.01)

    def stop(self, sig=signal.SIGTERM, timeout=10):
        """Sends a signal and returns the exit status; a program that ignores it is killed."""
        if self.is_running():
            self.process.send_signal(sig)
        try:
            status = self.process.wait(timeout * PATIENCE)
        except subprocess.TimeoutExpired:
            status = None
        self.kill_session()
        return status

    def kill_session(self):
        """Ends what the program left in its session, because servers fork a process for each
        client.
        """
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(5 * PATIENCE)


@contextlib.contextmanager
def inside(namespace):
    """Lets this thread make sockets in another network namespace, where they stay."""
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
