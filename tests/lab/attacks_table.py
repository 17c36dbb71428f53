"""Prints which attacks succeed without a helper, with the kernel's, and with ours.

    off         no helper, with the usual rules: nothing comes through, honest or not
    ports-open  no helper, with a rule that leaves every port from 1024 up open
    kernel      nf_conntrack_ftp
    ours        ftp-alg

scripts/attacks.sh runs it. The exit status is 1 when ours opens anything, when an honest session
beside ours does not finish, or when an attack succeeds nowhere without a reason.
"""

import argparse
import dataclasses
import platform
import re
import sys

import attacks
import attacks_floods
import attacks_networks
import run
from topology import begin, finish

COLUMNS = {
    "none": "off",
    "ports-open": "ports-open",
    "kernel": "kernel",
    "ours": "ours",
    "ours-nftables": "ours-nftables",
    "ours-conntrack": "ours-conntrack",
}
# With these in the table each attack succeeds somewhere, or it proves nothing.
SHOWING = {"ports-open", "kernel"}
SUCCESSES = (attacks.OPENED, attacks.BROKE, attacks.PASSED)


@dataclasses.dataclass(frozen=True)
class Cell:
    """What became of one attack with one engine, and of the honest sessions beside it."""

    succeeded: str
    honest: str
    trouble: str = ""

    def text(self):
        return self.trouble or f"{self.succeeded or 'nothing'}, {self.honest}"


def cell_of(result, engine):
    reasons = result.reason.split("; ") if result.verdict == "FAIL" else []
    known = (*SUCCESSES, attacks.UNFINISHED)
    if unknown := [reason for reason in reasons if reason not in known]:
        return Cell("", "", f"not tried: {unknown[0]}")
    succeeded = next((reason for reason in reasons if reason in SUCCESSES), "")
    if engine == "none":
        return Cell(succeeded, "-")
    return Cell(succeeded, "broken" if attacks.UNFINISHED in reasons else "ok")


class Quiet(run.Report):
    """Collects the results, and prints a dot for each."""

    def add(self, result):
        with self.lock:
            self.results.append(result)
            print(".", end="", file=sys.stderr, flush=True)


@dataclasses.dataclass(frozen=True)
class Table:
    """The rows of one table: the attacks, and how a case is called."""

    rows: tuple
    group: str
    batches: tuple

    @classmethod
    def of(cls, network):
        """The table in a network of this name, or in the plain router."""
        if not network:
            rows = attacks.suite()
            return cls(rows, "attack", tuple(attacks.batches_of(rows)))
        network = attacks_networks.NETWORKS[network]
        rows = attacks_networks.rows_in(network)
        group = attacks_networks.group_of(network)
        return cls(rows, group, tuple(attacks_networks.batches_in(network, rows)))


def try_all(engine, table, arguments):
    """{attack: Cell} for one engine."""
    report = Quiet()
    batches = run.select(table.batches, arguments.filter)
    workers = run.Workers(batches, min(arguments.jobs, max(1, len(batches))), engine, report)
    workers.run()
    print(f" {engine}", file=sys.stderr)
    for error in workers.errors:
        print(f"lab: {error}", file=sys.stderr)
    for result in report.results:
        if result.verdict == "FAIL" and (arguments.verbose or is_telling(result, engine)):
            print(f"-- {engine}: {result.line()}", file=sys.stderr)
    return {
        result.name.removeprefix(f"{table.group}/"): cell_of(result, engine)
        for result in report.results
    }


def is_telling(result, engine):
    """Whether a failure is unexpected: any with ours, and honest sessions that do not finish."""
    return engine.startswith("ours") or any(
        reason not in SUCCESSES for reason in result.reason.split("; ")
    )


def print_table(names, cells, network):
    where = f", in the network {network}" if network else ""
    print(f"on Linux {platform.release()}{where}")
    title = "attack, and honest sessions beside it"
    width = max(map(len, [title, *names]))
    print(f"{title:<{width}}" + "".join(f"  {COLUMNS[engine]:<16}" for engine in cells))
    for name in names:
        row = (cells[engine].get(name, Cell("", "", "not tried")).text() for engine in cells)
        print(f"{name:<{width}}" + "".join(f"  {text:<16}" for text in row).rstrip())
    print(
        f"{'succeeded':<{width}}"
        + "".join(
            f"  {f'{sum(bool(cell.succeeded) for cell in column.values())} of {len(column)}':<16}"
            for column in cells.values()
        )
    )


def problems_of(names, cells, table):
    """The reasons for which the run fails."""
    reasons = {attack.name: attack.nowhere for attack in table.rows}
    for name in names:
        for engine, column in cells.items():
            cell = column.get(name, Cell("", "", "not tried"))
            if cell.trouble:
                yield f"{name}: {engine}: {cell.trouble}"
            if engine.startswith("ours") and (cell.succeeded or cell.honest == "broken"):
                yield f"{name}: {engine}: {cell.text()}"
        others = [
            column[name]
            for engine, column in cells.items()
            if not engine.startswith("ours") and name in column
        ]
        if SHOWING <= set(cells) and not any(cell.succeeded for cell in others):
            if not reasons[name]:
                yield f"{name}: succeeds with nobody, so that it proves nothing"
            else:
                print(f"{name}: succeeds with nobody: {reasons[name]}")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--engines", default="none,ports-open,kernel,ours", type=lambda text: text.split(",")
    )
    parser.add_argument(
        "--filter", default="", metavar="REGEX", help="only attacks whose name matches"
    )
    parser.add_argument(
        "--jobs", type=int, default=2, help="gateways at the same time (default: 2)"
    )
    parser.add_argument(
        "--no-floods", action="store_true", help="without the heavy ones, which take some minutes"
    )
    parser.add_argument("--only-floods", action="store_true")
    parser.add_argument(
        "--network",
        choices=attacks_networks.NETWORKS,
        default="",
        help="the table, without the floods, in this network (attacks_networks.py)",
    )
    parser.add_argument(
        "--verbose", action="store_true", help="also what the attacks say that succeed with others"
    )
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    if unknown := set(arguments.engines) - set(COLUMNS):
        sys.exit(f"attacks: unknown engines: {', '.join(unknown)}")
    begin()
    problems = []
    if not arguments.only_floods:
        table = Table.of(arguments.network)
        names = [
            attack.name
            for attack in table.rows
            if re.search(arguments.filter, f"{table.group}/{attack.name}")
        ]
        cells = {engine: try_all(engine, table, arguments) for engine in arguments.engines}
        print_table(names, cells, arguments.network)
        problems += problems_of(names, cells, table)
    if not (arguments.no_floods or arguments.network):
        problems += attacks_floods.measure_all(arguments.engines)
    for problem in problems:
        print(f"attacks: {problem}")
    print(
        f"attacks: {len(problems)} problems"
        if problems
        else "attacks: ours opened nothing, and honest sessions finished"
    )
    return int(bool(problems))


if __name__ == "__main__":
    finish(main, "attacks")
