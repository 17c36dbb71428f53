"""What the suites need from package registries, kept in the lab's cache directory."""

import functools
import hashlib
import os
import pathlib
import shutil
import tempfile

from shell import run

INSTALL_SECONDS = 600


def suites_cache():
    base = os.environ.get("FTP_ALG_LAB_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "ftp-alg-lab"
    )
    directory = pathlib.Path(base, "suites")
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def made_once(path, make):
    """A directory of the cache, which `make` fills if it is not there yet.

    It gets its name when it is complete, so that an interrupted run leaves nothing half-made.
    """
    if not path.is_dir():
        unfinished = pathlib.Path(tempfile.mkdtemp(dir=suites_cache()))
        try:
            make(unfinished)
            unfinished.chmod(0o755)
            unfinished.rename(path)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    return path


@functools.cache
def installed(python, requirements):
    """The interpreter of a virtual environment with these packages of PyPI."""
    name = hashlib.sha256(repr((python, requirements)).encode()).hexdigest()[:12]
    path = suites_cache() / f"python-{name}"
    if not (path / "complete").exists():
        shutil.rmtree(path, ignore_errors=True)
        run([python, "-m", "venv", str(path)], timeout=INSTALL_SECONDS)
        pip = [str(path / "bin/python"), "-m", "pip", "--disable-pip-version-check", "install"]
        run([*pip, "-q", *requirements], timeout=INSTALL_SECONDS)
        (path / "complete").touch()
    return str(path / "bin/python")


@functools.cache
def unpacked(package, version):
    """The unpacked source distribution of a package of PyPI."""

    def fetch(directory):
        pip = ["python3", "-m", "pip", "--disable-pip-version-check", "download", "-q"]
        run(
            [*pip, "--no-deps", "--no-binary", ":all:", f"{package}=={version}"],
            cwd=directory,
            timeout=INSTALL_SECONDS,
        )
        (archive,) = directory.glob("*.tar.gz")
        run(["tar", "-xf", archive.name, "--strip-components", "1"], cwd=directory)
        archive.unlink()

    return made_once(suites_cache() / f"{package}-{version}", fetch)
