"""Prints one table: announcements cut at every byte position, through each helper.

sudo scripts/compare-splits.sh [--engines kernel,ours] [--step K]
"""

import argparse
import os
import statistics

from deployments import DEPLOYMENTS
from engines import ENGINES
from lab import Batch, Lab
from scripted import scripted
from stress import STYLES, TRANSLATED, try_splits
from topology import begin, finish

MEANING = {
    "nodelay": "two segments, 30 ms apart",
    "nagle": "two writes, Nagle on",
    "pieces": "a segment each k bytes",
}


def measure(engine, step):
    """{(deployment, mode, style): attempts} through one engine."""
    figures = {}
    for deployment, mode in TRANSLATED:
        batch = Batch("compare", deployment, ())
        with Lab(os.getpid(), "s", engine) as lab, lab.gateway_with_engine(batch):
            with scripted(lab, DEPLOYMENTS[deployment]) as stage:
                for style in STYLES:
                    figures[deployment, mode, style] = try_splits(stage, mode, style, step)
    return figures


def cell(attempts):
    """How many positions passed, and how long the announcements that arrived took."""
    passed = [attempt.seconds for attempt in attempts if not attempt.reason]
    took = f", median {statistics.median(passed) * 1000:.0f} ms" if passed else ""
    return f"{len(passed)}/{len(attempts)}{took}"


def print_table(engines, figures):
    print(f"{'announcement':<24}{'cut':<28}" + "".join(f"{engine:<26}" for engine in engines))
    for deployment, mode, style in figures[engines[0]]:
        row = "".join(f"{cell(figures[engine][deployment, mode, style]):<26}" for engine in engines)
        print(f"{mode + ' ' + deployment:<24}{MEANING[style]:<28}{row}")
    for engine in engines:
        attempts = [attempt for group in figures[engine].values() for attempt in group]
        passed = sum(not attempt.reason for attempt in attempts)
        print(
            f"{engine}: {passed} of {len(attempts)} announcements survived, "
            f"{100 * passed / len(attempts):.1f} %"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--engines", default="kernel,ours", help="comma separated (default: kernel,ours)"
    )
    parser.add_argument(
        "--step", type=int, default=1, help="every K-th position (default: every one)"
    )
    arguments = parser.parse_args()
    engines = arguments.engines.split(",")
    if unknown := set(engines) - set(ENGINES):
        parser.error(f"no such engine: {', '.join(unknown)}")
    begin()
    print_table(engines, {engine: measure(engine, arguments.step) for engine in engines})


if __name__ == "__main__":
    finish(main, "compare_splits")
