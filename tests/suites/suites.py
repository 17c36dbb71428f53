"""Runs other people's test suites through the gateway, with their servers in another namespace.

    sudo scripts/suites.sh [--suites NAMES] [--engines NAMES] [--routes snat,dnat] [--verbose]

Each suite runs directly first: client and server on one link. Then it runs through a gateway that
drops by default, with the kernel's helper and with ftp-alg as shipped, over SNAT (the client is
inside) and DNAT (the server is inside). The program prints how many tests passed where. It lists
each test that passes directly and fails with ours. The exit status is 1 when such a test is not in
the list of expected.py, which has a reason for each.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
import tempfile

LAB = pathlib.Path(__file__).resolve().parents[1] / "lab"
sys.path.insert(0, str(LAB))

import deployments  # noqa: E402
import basic_ftp  # noqa: E402
import curl_suite  # noqa: E402
import lftp_mirror  # noqa: E402
import python_suites  # noqa: E402
from expected import reason_for  # noqa: E402
from lab import Batch, Lab  # noqa: E402
from topology import (  # noqa: E402
    GATEWAY_WAN4,
    GATEWAY_WAN6,
    INSIDE1,
    INSIDE2,
    OUTSIDE1,
    OUTSIDE2,
    begin,
    finish,
)

SUITES = {
    suite.name: suite
    for suite in (
        *python_suites.SUITES,
        curl_suite.Curl(),
        basic_ftp.BasicFtp(),
        lftp_mirror.Mirror(),
    )
}
PASSED = "passed"


@dataclasses.dataclass(frozen=True)
class Route:
    """Who is client and server, and what the client dials, in both families of addresses."""

    deployment: str
    client: object
    server: object
    target: dict

    def addresses(self, host):
        if host.link == "wan":
            return {4: host.public4, 6: host.public6}
        return {4: host.private4, 6: host.private6}


OUTSIDE_SERVER = {4: OUTSIDE1.public4, 6: OUTSIDE1.public6}
ROUTES = {
    # On one link: no packet passes the gateway's hooks.
    "direct": Route("suite-snat", OUTSIDE2, OUTSIDE1, OUTSIDE_SERVER),
    "snat": Route("suite-snat", INSIDE1, OUTSIDE1, OUTSIDE_SERVER),
    "dnat": Route("suite-dnat", OUTSIDE1, INSIDE2, {4: GATEWAY_WAN4, 6: GATEWAY_WAN6}),
}
MASQUERADE6 = f"oifname wan ip6 saddr {INSIDE1.private6} masquerade"
deployments.IN_NETWORKS.update(
    {
        d.name: d
        for d in (
            deployments.Deployment(
                "suite-snat",
                INSIDE1.name,
                OUTSIDE1.name,
                OUTSIDE1.public4,
                postrouting=f"{deployments.MASQUERADE4}\n            {MASQUERADE6}",
                forward=deployments.ALLOW_OUT,
            ),
            deployments.Deployment(
                "suite-dnat",
                OUTSIDE1.name,
                INSIDE2.name,
                GATEWAY_WAN4,
                prerouting=f"{deployments.DNAT_SAME_PORTS4}\n            {deployments.DNAT6}",
                forward=deployments.ALLOW_DNAT,
            ),
        )
    }
)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a suite runs: the lab, the hosts, their addresses, and a directory to work in."""

    lab: Lab
    route: Route
    directory: pathlib.Path

    @property
    def client(self):
        return self.lab.namespace(self.route.client.name)

    @property
    def server(self):
        return self.lab.namespace(self.route.server.name)

    def addresses(self):
        """What stretched.py needs to know, as JSON."""
        return json.dumps(
            {
                "server_namespace": self.server,
                "server": self.route.addresses(self.route.server),
                "client": self.route.addresses(self.route.client),
                "target": self.route.target,
            }
        )


def run_suite(suite, engine, route, number):
    """{test: outcome} of a suite in one place; what failed is tried once more.

    A busy machine fails tests that wait for a second; what fails twice has failed.
    """
    with Lab(f"u{number}", "", "none") as lab, tempfile.TemporaryDirectory() as directory:
        # Servers that drop their privileges read from here.
        pathlib.Path(directory).chmod(0o755)
        batch = Batch(
            f"suite/{suite.name}",
            ROUTES[route].deployment,
            (),
            engine=engine,
            settings=suite.settings if engine == "ours" else {},
            # A refused connection fails at once, and not after each suite's patience.
            refusal="reject",
        )
        place = Place(lab, ROUTES[route], pathlib.Path(directory))
        with lab.gateway_with_engine(batch) as problems:
            outcomes, reasons = suite.run(place, ())
            failed = [name for name, outcome in outcomes.items() if outcome == "failed"]
            if failed and suite.is_worth_repeating:
                again, reasons = suite.run(place, failed)
                outcomes |= {name: again.get(name, "failed") for name in failed}
        log = lab.engine.log()
        for problem in problems:
            print(f"suites: {suite.name}: {problem}")
    return outcomes, reasons, log


def count(outcomes):
    return sum(outcome == PASSED for outcome in outcomes.values())


def try_suite(suite, arguments):
    """The row of the table, and the tests that ours alone fails without a listed reason."""
    columns, unexpected = {}, []
    direct, reasons, log = run_suite(suite, "none", "direct", arguments.number)
    keep(arguments.logs, f"{suite.name}-direct", direct, reasons, log)
    columns["direct"] = f"{count(direct)} of {len(direct)}"
    for engine in arguments.engines:
        for route in arguments.routes:
            outcomes, reasons, log = run_suite(suite, engine, route, arguments.number)
            columns[f"{engine} {route}"] = str(count(outcomes))
            lost = [
                name
                for name, outcome in direct.items()
                if outcome == PASSED and outcomes.get(name, "not run") != PASSED
            ]
            keep(arguments.logs, f"{suite.name}-{engine}-{route}", outcomes, reasons, log)
            for name in lost:
                reason = reason_for(suite.name, name)
                if engine == "ours" and not reason:
                    unexpected.append(name)
                if engine == "ours" or arguments.verbose:
                    print(f"{suite.name}: {engine} {route}: {name}: {reason or 'FAILS'}")
    return columns, unexpected


def keep(directory, name, outcomes, reasons, log):
    """Writes what happened where somebody can look."""
    if directory:
        path = pathlib.Path(directory, f"{name}.json")
        path.write_text(json.dumps({"outcomes": outcomes, "reasons": reasons}, indent=1))
        path.with_suffix(".log").write_text(log)


def print_table(rows):
    titles = list(next(iter(rows.values())))
    width = max(map(len, rows))
    print(f"{'':<{width}}" + "".join(f"  {title:>12}" for title in titles))
    for name, columns in rows.items():
        print(f"{name:<{width}}" + "".join(f"  {columns[title]:>12}" for title in titles))


def parse_arguments():
    def names(known):
        def parse(text):
            chosen = text.split(",")
            if unknown := set(chosen) - set(known):
                raise argparse.ArgumentTypeError(f"{', '.join(unknown)} is none of {list(known)}")
            return chosen

        return parse

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--suites", type=names(SUITES), default=list(SUITES))
    parser.add_argument("--engines", type=names(("kernel", "ours")), default=["kernel", "ours"])
    parser.add_argument("--routes", type=names(("snat", "dnat")), default=["snat", "dnat"])
    parser.add_argument("--verbose", action="store_true", help="also what the kernel fails")
    parser.add_argument("--logs", metavar="DIRECTORY", help="keep outcomes, reasons and logs there")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    begin()
    sys.stdout.reconfigure(line_buffering=True)
    # The prefix of the labs' namespaces: short, because links have it in their names.
    arguments.number = pathlib.Path("/proc/self").resolve().name
    if arguments.logs:
        pathlib.Path(arguments.logs).mkdir(parents=True, exist_ok=True)
    rows, unexpected = {}, 0
    for name in arguments.suites:
        suite = SUITES[name]
        suite.prepare()
        rows[suite.title], failed = try_suite(suite, arguments)
        unexpected += len(failed)
    print_table(rows)
    print(
        f"suites: {unexpected} tests that pass directly fail with ours"
        if unexpected
        else "suites: whatever passes directly passes with ours, but for what expected.py lists"
    )
    return int(unexpected > 0)


if __name__ == "__main__":
    finish(main, "suites")
