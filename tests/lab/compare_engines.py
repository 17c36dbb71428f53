"""Prints one table of what each helper passed, from the results that run.py wrote.

scripts/compare-engines.sh runs it.
"""

import argparse
import collections
import json
import pathlib
import sys

# Cases with real programs make a row for each deployment, scripted ones for each promise, and
# dialogues each their own.
REAL = ("transfer", "ten-ports", "announces-public", "shipped", "netem")
NAMES = {
    "transfer": "transfers",
    "ten-ports": "ten passive ports",
    "announces-public": "public address announced",
    "shipped": "rules/ as shipped",
    "netem": "lossy, slow links",
}


def row_of(name):
    group, part, *more = name.split("/")
    if group == "dialogue":
        return "/".join([part, *more[:-1]])
    return f"{NAMES.get(group, group)}: {part}" if group in REAL else part.replace("-", " ")


def undecided(results):
    """Cases that did not begin because the set-up failed; they say nothing about the helper."""
    return [
        f"{result['name']}: {result['reason']}"
        for result in results
        if result["reason"].startswith("the lab: ") and not result["seconds"]
    ]


def tally(results):
    """{row: (passed, of)}; cases that an engine cannot be asked do not count."""
    rows = collections.Counter(), collections.Counter()
    for result in results:
        if result["verdict"] in ("PASS", "FAIL"):
            rows[1][row_of(result["name"])] += 1
            rows[0][row_of(result["name"])] += result["verdict"] == "PASS"
    return {row: (rows[0][row], of) for row, of in rows[1].items()}


def cell(figures, row):
    return "{}/{}".format(*figures[row]) if row in figures else "-"


def print_table(tallies):
    rows = sorted(
        {row for figures in tallies.values() for row in figures},
        key=lambda row: (":" not in row, row),
    )
    width = max(map(len, rows))
    print(f"{'':<{width}}" + "".join(f"{engine:>16}" for engine in tallies))
    for row in rows:
        print(
            f"{row:<{width}}" + "".join(f"{cell(figures, row):>16}" for figures in tallies.values())
        )
    sums = ("{}/{}".format(*map(sum, zip(*figures.values()))) for figures in tallies.values())
    print(f"{'all':<{width}}" + "".join(f"{text:>16}" for text in sums))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "results",
        nargs="+",
        type=pathlib.Path,
        help="ENGINE.json of each engine, in the table's order",
    )
    arguments = parser.parse_args()
    results = {path.stem: json.loads(path.read_text()) for path in arguments.results}
    tallies = {engine: tally(found) for engine, found in results.items()}
    if empty := [engine for engine, figures in tallies.items() if not figures]:
        sys.exit(f"compare_engines: no case of {', '.join(empty)} was decided")
    print_table(tallies)
    lost = {engine: names for engine, found in results.items() if (names := undecided(found))}
    for engine, names in lost.items():
        print(
            f"{engine}: {len(names)} cases did not begin, which the table counts as not passed:",
            *names,
            sep="\n  ",
            file=sys.stderr,
        )
    return int(bool(lost))


if __name__ == "__main__":
    sys.exit(main())
