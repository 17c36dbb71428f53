"""Transactions a second through the gateway: the kernel's helper, a loop that accepts, and ours.

    sudo scripts/bench-transactions.sh [--rounds N] [--seconds S] [--sessions 1,16]
                                       [--deployment NAME] [--json FILE]

A transaction is PASV, its 227, one data connection, and the 226. The engines take turns in one run,
so that other work of the machine disturbs all alike. The medians of the rounds are compared.
"""

import argparse
import collections
import json
import os
import pathlib
import statistics
import sys

from deployments import DEPLOYMENTS
from engines import ENGINES, REPOSITORY, Ours
from lab import Batch, Lab
from shell import Background, LabError, run
from topology import begin, finish

# The accept loop opens nothing, so the operator's rules let data connections through, for all
# engines alike.
ALLOW_DATA = "iifname lan oifname wan tcp dport 1024-65535 accept"
PORT = 21


def tool(name):
    """A program of benches/tools; cargo builds them as examples."""
    directory = os.environ.get("FTP_ALG_TOOLS", REPOSITORY / "target/release/examples")
    path = pathlib.Path(directory, name)
    if not os.access(path, os.X_OK):
        raise LabError(f"{path} is not there: run scripts/bench-transactions.sh, which builds it")
    return str(path)


class AcceptLoop(Ours):
    """A loop that accepts every packet, behind the very rules that ftp-alg loads.

    The daemon loads the rules that this kernel can have, and is killed. The rules stay, and the
    loop takes over the queues.
    """

    name = "accept-loop"

    def start(self):
        super().start()
        self.kill()
        first, last = self.configuration()["queue"].split("-")
        queues = [str(number) for number in range(int(first), int(last) + 1)]
        self.process = Background(
            [tool("accept_loop"), *queues],
            os.path.join(self.workspace, "accept.log"),
            namespace=self.gateway,
        )
        self.process.wait_for(lambda: "ready" in self.process.output(), 5, "'ready'")

    def stop(self):
        self.process.stop()
        run(["nft", "delete", "table", "inet", "ftp_alg"], namespace=self.gateway)
        return []


def measure(engine, arguments, sessions):
    """(transactions a second, median latency in microseconds) of one round."""
    deployment = DEPLOYMENTS[arguments.deployment]
    batch = Batch("bench", deployment.name, (), engine=engine)
    with Lab(os.getpid(), "b", engine) as lab, lab.gateway_with_engine(batch):
        run(
            ["nft", "add", "rule", "inet", "operator", "forward", *ALLOW_DATA.split()],
            namespace=lab.topology.gateway,
        )
        for host in (deployment.client, deployment.server):
            run(
                ["sysctl", "-qw", "net.ipv4.ip_local_port_range=1024 65535"],
                namespace=lab.namespace(host),
            )
        address = f"{deployment.target}:{PORT}"
        server = Background(
            [tool("ftp_load"), "serve", address],
            lab.workspace / "load.log",
            namespace=lab.namespace(deployment.server),
        )
        try:
            server.wait_for(lambda: "ready" in server.output(), 5, "'ready'")
            done = run(
                [tool("ftp_load"), "run", address, str(sessions), str(arguments.seconds)],
                namespace=lab.namespace(deployment.client),
                timeout=arguments.seconds + 30,
            )
        finally:
            server.stop()
    rate, latency = done.stdout.split()
    return float(rate), int(latency)


def compare(arguments):
    """{(sessions, engine): [(rate, latency)]}, each round in turn."""
    figures = collections.defaultdict(list)
    for number in range(arguments.rounds):
        for sessions in arguments.sessions:
            for engine in order(number):
                figures[sessions, engine].append(measure(engine, arguments, sessions))
                print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return figures


def order(number):
    """Every engine is first, second and third equally often."""
    engines = [*MEASURED]
    return engines[number % len(engines) :] + engines[: number % len(engines)]


MEASURED = ("kernel", AcceptLoop.name, "ours")


def print_table(figures, arguments):
    print(f"{arguments.deployment}, {arguments.rounds} rounds of {arguments.seconds} s")
    print(
        f"{'sessions':<10}{'helper':<14}{'transactions/s':<24}{'latency':<12}"
        "beside the accept loop"
    )
    for sessions in arguments.sessions:
        base = median(figures[sessions, AcceptLoop.name], 0)
        for engine in MEASURED:
            rounds = figures[sessions, engine]
            rates = [rate for rate, _ in rounds]
            spread = f"{median(rounds, 0):.0f} ({min(rates):.0f}..{max(rates):.0f})"
            print(
                f"{sessions:<10}{engine:<14}{spread:<24}{median(rounds, 1):<4.0f} us     "
                f"{median(rounds, 0) / base:.3f}"
            )


def median(rounds, column):
    return statistics.median(figures[column] for figures in rounds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement")
    parser.add_argument(
        "--sessions", default="1,16", type=lambda text: [int(part) for part in text.split(",")]
    )
    parser.add_argument(
        "--deployment", default="routed-client", choices=("routed-client", "inside-client")
    )
    parser.add_argument("--json", metavar="FILE", help="write every measurement there as well")
    arguments = parser.parse_args()
    begin()
    ENGINES[AcceptLoop.name] = AcceptLoop
    os.environ["RUST_LOG"] = "info"  # as in production
    figures = compare(arguments)
    print_table(figures, arguments)
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(
                [
                    {"sessions": key[0], "helper": key[1], "rounds": rounds}
                    for key, rounds in figures.items()
                ],
                file,
            )


if __name__ == "__main__":
    finish(main, "bench")
