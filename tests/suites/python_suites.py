"""Suites in Python: CPython's test_ftplib, pyftpdlib's functional tests, and aioftp's."""

import dataclasses
import json
import os
import pathlib
import shutil
import sys

from cache import installed, suites_cache, unpacked
from shell import LabError, run

HERE = pathlib.Path(__file__).resolve().parent
# Whatever the suites and their tests import, as the table in tests/lab/README.md was made with.
REQUIREMENTS = (
    "pytest==8.4.2",
    "pytest-timeout==2.4.0",
    "pytest-asyncio==1.2.0",
    "pytest-mock==3.15.1",
    "psutil",
    "trustme",
    "async_timeout",
    "siosocks",
)
# A test that hangs fails after so many seconds, and a suite is ended.
TEST_SECONDS, SUITE_SECONDS = 20, 1200


@dataclasses.dataclass(frozen=True)
class PythonSuite:
    """A suite that pytest runs, stretched over two namespaces (stretched.py)."""

    name: str
    title: str
    # The module that stretches it.
    stretch: str
    # The package on the registry, and its version; without one, it comes with Python.
    package: str = ""
    version: str = ""
    # What pytest is told to run, in the package's directory.
    tests: tuple = ()
    options: tuple = ()
    settings: dict = dataclasses.field(default_factory=dict)
    is_worth_repeating: bool = True

    def prepare(self):
        self.python()
        if self.package:
            unpacked(self.package, self.version)
        else:
            require_test_package()

    def python(self):
        """The interpreter that has what the suites import."""
        return installed(sys.executable, REQUIREMENTS)

    def directory(self):
        return unpacked(self.package, self.version) if self.package else suites_cache()

    def run(self, place, only):
        """(outcomes, reasons) of all tests, or of those that `only` names."""
        results = place.directory / "results.json"
        results.unlink(missing_ok=True)
        work = place.directory / self.name
        shutil.rmtree(work, ignore_errors=True)
        if self.package:
            shutil.copytree(self.directory(), work)
        else:
            work.mkdir()
        selection = ("-k", self.selected(only)) if only else ()
        argv = [
            *(self.python(), "-m", "pytest", "-p", "pytest_outcomes", "-p", "no:cacheprovider"),
            # The packages' own options want more plug-ins.
            *("-q", "--timeout", str(TEST_SECONDS), "-W", "ignore", "-o", "addopts="),
            *self.tests,
            *self.options,
            *selection,
        ]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(HERE), str(work), str(work / "src")]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "SUITE": self.stretch,
            "SUITE_PLACE": place.addresses(),
            "SUITE_RESULTS": str(results),
        }
        if not self.package:
            environment["PYTHONPATH"] += os.pathsep + str(require_test_package())
        done = run(
            argv,
            namespace=place.client,
            cwd=work,
            env=environment,
            timeout=SUITE_SECONDS,
            check=False,
        )
        if not results.exists():
            raise LabError(f"{self.name} ran no test: {done.stdout[-1500:]}{done.stderr[-500:]}")
        found = json.loads(results.read_text())
        return found["outcomes"], found["reasons"]

    def selected(self, only):
        """pytest's expression for tests by the last part of their names, without parameters."""
        names = sorted({name.split("::")[-1].split("[")[0] for name in only})
        return " or ".join(names)


def require_test_package():
    """A directory to import CPython's own tests from, if this Python has not got them already."""
    found = run([sys.executable, "-c", "import test.test_ftplib"], check=False)
    if found.returncode == 0:
        return ""
    return merged_test_package()


def merged_test_package():
    """Debian keeps the tests in a package of their own, beside the support that they import."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    home = suites_cache() / f"cpython-{version}"
    if not (home / "test").is_dir():
        run(["apt-get", "download", f"libpython{version}-testsuite"], cwd=suites_cache())
        for package in suites_cache().glob(f"libpython{version}-testsuite_*.deb"):
            run(["dpkg-deb", "-x", str(package), str(home / "unpacked")])
            package.unlink()
        library = f"lib/python{version}/test"
        for part in (pathlib.Path("/usr", library), home / "unpacked/usr" / library):
            shutil.copytree(part, home / "test", dirs_exist_ok=True)
        shutil.rmtree(home / "unpacked")
    return home


SUITES = (
    PythonSuite(
        "cpython",
        "CPython test_ftplib, with a login",
        "stretch_cpython",
        tests=("--pyargs", "test.test_ftplib"),
        # Within TLS nobody reads an announcement.
        options=("-k", "not TLS"),
    ),
    PythonSuite(
        "pyftpdlib",
        "pyftpdlib test_functional",
        "stretch_pyftpdlib",
        "pyftpdlib",
        "2.2.0",
        tests=("tests/test_functional.py",),
    ),
    PythonSuite(
        "aioftp",
        "aioftp",
        "stretch_aioftp",
        "aioftp",
        "0.28.3",
        tests=("tests",),
        options=("-o", "asyncio_mode=auto"),
    ),
)
