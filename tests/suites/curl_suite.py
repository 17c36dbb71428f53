"""curl's FTP tests, with their own server and its odd replies.

The test program and its server run in the server's namespace; `curl` itself runs in the client's.
The sources are those of the distribution's source package.
"""

import os
import pathlib
import re
import shutil
import shlex

from cache import made_once, suites_cache
from shell import LabError, run

BUILD_SECONDS, SUITE_SECONDS = 1800, 1800
# No test is about what these do, and each needs a library.
WITHOUT = (
    *("--without-ssl", "--disable-shared", "--disable-ldap", "--disable-manual"),
    *("--without-libpsl", "--without-zlib", "--without-brotli", "--without-zstd"),
    *("--without-nghttp2", "--without-librtmp", "--without-libidn2"),
)
# What a test program that talks to itself says about addresses, and what it says instead: {host}
# is dialled, {server} and {client} are the ends' own addresses. The control port is 21.
PLACES = (
    ('my $HOSTIP="127.0.0.1";', 'my $HOSTIP="{host}";'),
    ('my $CLIENTIP="127.0.0.1";', 'my $CLIENTIP="{client}";'),
    ('--ipv$ipvnum --port 0 --addr \\"$ip\\"', '--ipv$ipvnum --port 21 --addr \\"{server}\\"'),
)


KEPT = ("src", "tests", "curl-config")


class Curl:
    """The tests of the program curl whose only server is FTP's, over IPv4."""

    name, title = "curl", "curl's FTP tests"
    settings = {}
    is_worth_repeating = True

    def prepare(self):
        self.build()

    def build(self):
        return made_once(suites_cache() / "curl", build_curl)

    def run(self, place, only):
        work = place.directory / "curl"
        if not work.exists():
            shutil.copytree(self.build(), work, symlinks=True)
            self.place(work / "tests/runtests.pl", place)
            self.wrap(work, place)
        numbers = [name.split()[0] for name in only] or ftp_tests(work / "tests/data")
        there = str(work / "curl-there")
        done = run(
            ["perl", "-I.", "./runtests.pl", "-a", "-n", "-c", there, "-vc", there, *numbers],
            namespace=place.server,
            cwd=work / "tests",
            env={**os.environ, "srcdir": ".", "LC_ALL": "C"},
            timeout=SUITE_SECONDS,
            check=False,
        )
        outcomes, reasons = outcomes_in(done.stdout)
        if not outcomes:
            raise LabError(f"curl ran no test: {done.stdout[-1500:]}{done.stderr[-500:]}")
        return outcomes, reasons

    def place(self, program, place):
        """Writes the addresses of the two ends into the test program."""
        names = {
            "host": place.route.target[4],
            "server": place.route.addresses(place.route.server)[4],
            "client": place.route.addresses(place.route.client)[4],
        }
        text = program.read_text(errors="surrogateescape")
        for theirs, ours in PLACES:
            if theirs not in text:
                raise LabError(f"curl's runtests.pl does not have {theirs}")
            for name, address in names.items():
                ours = ours.replace("{" + name + "}", address)
            text = text.replace(theirs, ours)
        program.write_text(text, errors="surrogateescape")

    def wrap(self, work, place):
        """A program that is curl in the client's namespace."""
        wrapper = work / "curl-there"
        command = ["ip", "netns", "exec", place.client, str(work / "src/curl")]
        wrapper.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        wrapper.chmod(0o755)


def build_curl(directory):
    """The distribution's sources, built with what the tests need."""
    fetch_source("curl", directory)
    for argv in (
        ["./configure", "--quiet", *WITHOUT],
        ["make", "--silent", "-j2"],
        ["make", "--silent", "-j2", "-C", "tests/server"],
    ):
        run(argv, cwd=directory, timeout=BUILD_SECONDS)
    keep_only(directory, KEPT)


def keep_only(directory, kept):
    """Removes what the tests do not need: sources, documents, objects and libraries."""
    for path in directory.iterdir():
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(directory / "tests/unit")
    # Some tests look for files with its Perl programs.
    for path in (directory / "tests/libtest").iterdir():
        if path.suffix != ".pl":
            path.unlink() if path.is_file() else shutil.rmtree(path)
    for path in [*directory.rglob("*.o"), *(directory / "src").iterdir()]:
        if path.name != "curl":
            path.unlink() if path.is_file() else shutil.rmtree(path)


def fetch_source(package, directory):
    """The original source of a Debian package, unpacked.

    The machine's own lists of archives are used, with `deb-src` in place of `deb`.
    """
    apt = directory / "apt"
    (apt / "parts").mkdir(parents=True)
    (apt / "lists/partial").mkdir(parents=True)
    for path in (pathlib.Path("/etc/apt/sources.list"), *parts_of_sources()):
        if path.exists():
            text = path.read_text()
            text = re.sub(r"^deb\b", "deb-src", text, flags=re.MULTILINE)
            text = re.sub(r"^Types:.*$", "Types: deb-src", text, flags=re.MULTILINE)
            (apt / "parts" / path.name.replace("sources.list", "main.list")).write_text(text)
    options = [
        *("-o", "Dir::Etc::sourcelist=/dev/null", "-o", f"Dir::Etc::sourceparts={apt}/parts"),
        *("-o", f"Dir::State::lists={apt}/lists", "-o", "APT::Sandbox::User=root"),
    ]
    run(["apt-get", "-qq", *options, "update"], timeout=BUILD_SECONDS)
    run(["apt-get", "-qq", *options, "source", "--download-only", package], cwd=apt, timeout=600)
    (archive,) = (path for path in apt.glob(f"{package}_*.orig.tar.*") if path.suffix != ".asc")
    run(["tar", "-xf", str(archive), "--strip-components", "1"], cwd=directory)
    shutil.rmtree(apt)


def parts_of_sources():
    parts = pathlib.Path("/etc/apt/sources.list.d")
    return [path for path in parts.iterdir() if path.suffix in (".list", ".sources")]


def ftp_tests(directory):
    """The numbers of the tests in which curl itself speaks FTP, and needs no other server."""
    chosen = []
    for path in directory.glob("test[0-9]*"):
        text = path.read_text(errors="replace")
        servers = section(text, "server").split()
        is_ftp = servers == ["ftp"] and "FTP" in section(text, "keywords").splitlines()
        # A tool of the tests would run beside the server.
        if is_ftp and not section(text, "tool"):
            chosen.append(path.name.removeprefix("test"))
    return sorted(chosen, key=int)


def section(text, name):
    found = re.search(rf"<{name}>\n(.*?)</{name}>", text, re.DOTALL)
    return found[1] if found else ""


def outcomes_in(said):
    """What the test program says about each test; a name is its number and its title."""
    outcomes, reasons = {}, {}
    for found in re.finditer(
        r"^test (\d+)\.\.\.\[([^\n]*)\]\n(.*?)(?=^test \d|^TESTDONE|\Z)",
        said,
        re.MULTILINE | re.DOTALL,
    ):
        name = f"{int(found[1])} {found[2]}"
        is_good = re.search(r"^\S+ OK ", found[3], re.MULTILINE)
        outcomes[name] = "passed" if is_good else "failed"
        if not is_good:
            reasons[name] = found[3][-3000:]
    return outcomes, reasons
