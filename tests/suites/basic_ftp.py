"""basic-ftp, a client of Node.js: its calls as tests, because its package has none of its own."""

import json
import os
import pathlib

from cache import made_once, suites_cache
from servers import SERVERS, Listen
from shell import LabError, run

HERE = pathlib.Path(__file__).resolve().parent
VERSION = "6.2.6"
SECONDS = 120


class BasicFtp:
    """Every server with each way in which basic-ftp asks for a data connection."""

    name, title = "basic-ftp", f"basic-ftp {VERSION} with four servers"
    settings = {}
    is_worth_repeating = True

    def prepare(self):
        self.package()

    def package(self):
        def install(directory):
            run(
                ["npm", "install", "--silent", "--no-audit", "--no-fund", f"basic-ftp@{VERSION}"],
                cwd=directory,
                timeout=300,
            )

        return made_once(suites_cache() / f"basic-ftp-{VERSION}", install)

    def run(self, place, only):
        outcomes, reasons = {}, {}
        for name in SERVERS:
            found = self.with_server(place, name)
            outcomes |= {test: result["outcome"] for test, result in found.items()}
            reasons |= {test: result["reason"] for test, result in found.items()}
        if only:
            outcomes = {name: outcomes[name] for name in only}
        return outcomes, reasons

    def with_server(self, place, name):
        server = SERVERS[name](
            place.server, place.lab.workspace, [place.lab.file("small.bin")], Listen()
        )
        server.start()
        try:
            done = run(
                ["node", str(HERE / "basic_ftp.js"), name, place.route.target[4]],
                namespace=place.client,
                env={
                    **os.environ,
                    "NODE_PATH": str(self.package() / "node_modules"),
                    "FTP_USER": server.user,
                    "FTP_PASSWORD": server.password,
                },
                cwd=place.directory,
                timeout=SECONDS,
                check=False,
            )
        finally:
            server.stop()
        try:
            return json.loads(done.stdout)
        except ValueError:
            raise LabError(f"basic-ftp with {name}: {done.stdout[-500:]}{done.stderr[-500:]}")
