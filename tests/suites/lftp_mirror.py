"""lftp with `ftp:sync-mode off`, which sends commands without waiting, mirrors 200 files."""

import functools
import itertools
import os
import random
import shutil

from servers import SERVERS, Listen
from shell import run

FILES, LARGEST = 200, 9_000
MIRROR_SECONDS = 60


class Mirror:
    """Twelve variants: server, who connects for data, and how many sessions at once."""

    name, title = "lftp", f"lftp mirror of {FILES} files, sync-mode off"
    settings = {}
    is_worth_repeating = True

    def prepare(self):
        """scripts/install-deps.sh has installed it."""

    def variants(self):
        for server, mode, sessions in itertools.product(
            ("vsftpd", "proftpd", "pure-ftpd"), ("passive", "active"), (1, 4)
        ):
            yield f"{server}/{mode}/{sessions}", server, mode, sessions

    def run(self, place, only):
        outcomes, reasons = {}, {}
        for name, server, mode, sessions in self.variants():
            if not only or name in only:
                said = self.mirror(place, server, mode, sessions)
                outcomes[name] = "failed" if said else "passed"
                reasons |= {name: said} if said else {}
        return outcomes, reasons

    def mirror(self, place, server_name, mode, sessions):
        """What went wrong; empty if every file came through."""
        source, copy = self.files(place.directory / "source"), place.directory / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        server = SERVERS[server_name](place.server, place.lab.workspace, source, Listen())
        server.start()
        try:
            script = self.script(place, server, mode, sessions)
            done = run(
                ["lftp", "-f", "/dev/stdin"],
                namespace=place.client,
                stdin=script,
                cwd=copy,
                env={**os.environ, "HOME": str(place.directory)},
                timeout=MIRROR_SECONDS,
                check=False,
            )
        finally:
            server.stop()
        missing = [f.name for f in source if not same(f, copy / "pub" / f.name)]
        return f"{len(missing)} files are missing: {done.stdout}{done.stderr}" if missing else ""

    def files(self, directory):
        """The same bytes each time."""
        numbers = random.Random(12)
        directory.mkdir(exist_ok=True)
        paths = [directory / f"{number:03}.txt" for number in range(FILES)]
        for path in paths:
            path.write_bytes(numbers.randbytes(numbers.randrange(LARGEST)))
        return paths

    def script(self, place, server, mode, sessions):
        settings = {
            "ftp:sync-mode": "off",
            "ftp:passive-mode": "on" if mode == "passive" else "off",
            "ftp:ssl-allow": "no",
            "net:max-retries": 2,
            "net:timeout": 10,
            "net:reconnect-interval-base": 1,
            "cmd:fail-exit": "yes",
        }
        lines = [f"set {key} {value}" for key, value in settings.items()]
        login = f"{server.user},{server.password}"
        lines.append(f"open -u {login} ftp://{place.route.target[4]}")
        lines.append(f"mirror --parallel={sessions} pub pub")
        return "\n".join([*lines, "bye", ""])


@functools.cache
def content(path):
    return path.read_bytes()


def same(one, other):
    return other.exists() and content(one) == other.read_bytes()
