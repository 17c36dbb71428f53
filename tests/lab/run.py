"""Runs the lab's scenarios: real FTP through a gateway made of network namespaces.

    sudo python3 tests/lab/run.py [--engine NAME] [--filter REGEX] [--covering | --brief]
                                  [--list] [--repeat N] [--jobs N] [--json FILE]

The program prints one line for each case, and `N passed, M failed` at the end. The exit status is 1
when a case failed, and 2 when the lab could not run.
"""

import argparse
import dataclasses
import itertools
import json
import os
import queue
import re
import sys
import threading
import time

import attacks
import attacks_networks
import deployments
import dialogue_rows
import forgotten
import guarantees
import life
import network_cases
import not_yet
import operator_errors
import policies
import reloads
import selection
import soak
import stock
import stress
import tls
import transfers
from engines import ENGINES
from lab import CaseFailure, Lab, NotApplicable
from shell import LabError
from topology import begin, finish

EXCERPT_LINES = 14


@dataclasses.dataclass
class Result:
    name: str
    verdict: str
    seconds: float = 0.0
    reason: str = ""
    detail: str = ""

    def line(self):
        text = f"{self.verdict:<14} {self.name}" + (
            f" ({self.seconds:.2f} s)" if self.seconds else ""
        )
        if self.reason:
            text += f": {self.reason}"
        if self.detail:
            text += "\n" + "\n".join(f"    | {line}" for line in self.detail.splitlines())
        return text


class Report:
    """Collects results from several threads and prints each as it comes."""

    def __init__(self):
        self.results, self.lock = [], threading.Lock()

    def add(self, result):
        with self.lock:
            self.results.append(result)
            print(result.line(), flush=True)

    def count(self, verdict):
        return sum(result.verdict == verdict for result in self.results)

    def closing_line(self):
        return f"{self.count('PASS')} passed, {self.count('FAIL')} failed"


def all_batches(with_extra, with_stock=False):
    groups = (
        transfers,
        tls,
        guarantees,
        dialogue_rows,
        policies,
        attacks,
        attacks_networks,
        stress,
        life,
        forgotten,
        soak,
        reloads,
        stock,
        network_cases,
        operator_errors,
    )
    everything = itertools.chain.from_iterable(group.batches() for group in groups)
    return [
        batch
        for batch in everything
        if (with_extra or not batch.extra) and (with_stock or not batch.stock)
    ]


def select(batches, pattern):
    """The batches with only the cases whose name matches; empty batches are left out."""
    chosen = []
    for batch in batches:
        cases = tuple(case for case in batch.cases if re.search(pattern, case.name))
        if cases:
            chosen.append(dataclasses.replace(batch, cases=cases))
    return chosen


def run_batch(lab, batch, report, stopping):
    """Runs a batch's cases.

    An error of the set-up counts against each case that did not get its turn.
    """
    waiting = []
    for case in batch.cases:
        if case.not_applicable:
            report.add(Result(case.name, "not applicable", reason=case.not_applicable))
        else:
            waiting.append(case)
    problems = []
    try:
        if waiting:
            with lab.gateway_with_engine(batch) as problems, batch.setup(
                lab, deployments.named(batch.deployment)
            ) as stage:
                while waiting and not stopping.is_set():
                    report.add(run_case(lab, waiting.pop(0), stage))
    except (LabError, OSError) as error:
        for case in waiting:
            report.add(
                Result(
                    case.name,
                    "FAIL",
                    reason=f"the lab: {error}",
                    # A network or a rule may have failed before there was an engine.
                    detail=excerpt(lab.engine.log() if lab.engine else ""),
                )
            )
    if problems:
        report.add(
            Result(
                f"{batch.name}/stops-cleanly",
                "FAIL",
                reason="; ".join(problems),
                detail=excerpt(lab.engine.log()),
            )
        )


def run_case(lab, case, stage):
    begin = time.monotonic()
    try:
        said = case.run(stage)
    except NotApplicable as reason:
        return Result(case.name, "not applicable", reason=f"{lab.engine.name}: {reason}")
    except CaseFailure as failure:
        detail = excerpt(failure.detail) + "\n-- the helper's log\n" + excerpt(lab.engine.log())
        return Result(case.name, "FAIL", time.monotonic() - begin, str(failure), detail)
    except (LabError, OSError) as error:
        return Result(
            case.name,
            "FAIL",
            time.monotonic() - begin,
            f"the lab: {error}",
            excerpt(lab.engine.log()),
        )
    return Result(case.name, "PASS", time.monotonic() - begin, said or "")


def excerpt(text):
    return "\n".join(line[:240] for line in text.splitlines()[-EXCERPT_LINES:])


class Workers:
    """Several labs at once, each taking the next batch; they are removed whatever happens."""

    def __init__(self, batches, jobs, engine, report):
        self.todo, self.report, self.engine = queue.SimpleQueue(), report, engine
        for batch in batches:
            self.todo.put(batch)
        self.stopping, self.errors = threading.Event(), []
        self.threads = [
            threading.Thread(target=self.work, args=(number,)) for number in range(jobs)
        ]
        # The program waits for these events instead of the threads, because a join() that a signal
        # interrupts takes its thread for ended (Python 3.11).
        self.ended = [threading.Event() for _ in self.threads]

    def work(self, number):
        try:
            while not self.stopping.is_set():
                batch = self.todo.get_nowait()
                # Each batch has a new lab, because a port in TIME_WAIT must not carry over to the
                # next server.
                with Lab(os.getpid(), chr(ord("a") + number), self.engine) as lab:
                    run_batch(lab, batch, self.report, self.stopping)
        except queue.Empty:
            return
        except Exception as error:
            self.errors.append(f"{type(error).__name__}: {error}")
            self.stopping.set()
        finally:
            self.ended[number].set()

    def run(self):
        for thread in self.threads:
            thread.start()
        try:
            self.wait()
        finally:
            self.stopping.set()
            self.wait()

    def wait(self):
        for ended in self.ended:
            ended.wait()


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--engine", choices=ENGINES, default="ours", help="what helps FTP (default: ours)"
    )
    parser.add_argument(
        "--filter", default="", metavar="REGEX", help="only cases whose name matches"
    )
    parser.add_argument("--list", action="store_true", help="print the names of the cases and stop")
    parser.add_argument("--jobs", type=int, default=3, help="labs at the same time (default: 3)")
    parser.add_argument("--extra", action="store_true", help="also the splits, losses and restarts")
    parser.add_argument(
        "--stock",
        action="store_true",
        help="also what needs a distribution's kernel (see scripts/vm-run.sh)",
    )
    parser.add_argument(
        "--covering",
        action="store_true",
        help="a few cases in which all that the matrix tries occurs (selection.py)",
    )
    parser.add_argument(
        "--brief",
        action="store_true",
        help="fewer still: what depends on the kernel (selection.py)",
    )
    parser.add_argument(
        "--repeat",
        type=int,
        default=1,
        metavar="N",
        help="every case N times in the same lab (default: 1)",
    )
    parser.add_argument(
        "--not-yet", action="store_true", help="also the cases that are known to fail (not_yet.py)"
    )
    parser.add_argument("--json", metavar="FILE", help="write the results there as well")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    not_yet.require_names(all_batches(with_extra=True, with_stock=True))
    batches = all_batches(arguments.extra, arguments.stock)
    if arguments.brief:
        batches = selection.brief(batches)
        selection.require_brief(batches)
    batches, held = select(batches, arguments.filter), []
    if ENGINES[arguments.engine].is_ours and not arguments.not_yet:
        batches, held = not_yet.hold_back(batches, arguments.engine)
    if arguments.covering:
        everything, batches = batches, selection.covering(batches)
        selection.require_covered(everything, batches)
    if arguments.list:
        for batch in batches:
            for case in batch.cases:
                print(
                    case.name
                    + (f": not applicable: {case.not_applicable}" if case.not_applicable else "")
                )
        for name, reason in held:
            print(f"{name}: not yet: {reason}")
        return 0
    batches = [
        dataclasses.replace(batch, cases=batch.cases * arguments.repeat) for batch in batches
    ]
    begin()
    report = Report()
    for name, reason in held:
        report.add(Result(name, "not yet", reason=reason))
    workers = Workers(batches, max(1, min(arguments.jobs, len(batches))), arguments.engine, report)
    workers.run()
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump([dataclasses.asdict(result) for result in report.results], file, indent=1)
    return conclude(report, workers.errors)


def conclude(report, errors):
    for error in errors:
        print(f"lab: {error}", file=sys.stderr)
    if not report.results:
        print("no case matches the filter", file=sys.stderr)
    print(report.closing_line())
    return 2 if errors or not report.results else int(report.count("FAIL") > 0)


if __name__ == "__main__":
    finish(main, "lab")
