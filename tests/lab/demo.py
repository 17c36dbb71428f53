"""Shows each announcement, its rewritten line, the expectation and the transfer, by deployment.

scripts/demo.sh runs it.
"""

import argparse
import os
import re

from clients import CLIENTS
from deployments import DEPLOYMENTS
from engines import ENGINES
from lab import BIG, FILE_SIZES, SMALL, UPLOAD, Batch, CaseFailure, Lab
from servers import SERVERS, Listen
from topology import begin, finish
from transfers import must_transfer, with_server

WHAT = {
    "inside-client": "a client behind masquerading (SNAT), a server outside",
    "inside-server": "a server behind a port-forward (DNAT), a client outside",
    "routed-client": "a routing firewall without NAT, client inside",
    "routed-server": "a routing firewall without NAT, server inside",
    "routed6-client": "the same over IPv6, client inside",
    "routed6-server": "the same over IPv6, server inside",
    "double-nat": "SNAT and DNAT on one connection",
    "hairpin": "an inside client that uses the public address of an inside server",
    "port-forward": "outside port 2121 leads to the server's port 21",
    "snat-pool": "several outside addresses",
    "gateway-client": "a client on the gateway itself",
    "gateway-server": "a server on the gateway itself",
    "nat66-client": "IPv6 masquerading",
    "nat66-server": "IPv6 port-forward",
}
# (server, client, mode): all servers and clients occur, and each mode in each deployment.
ROUTES4 = (
    ("vsftpd", "curl", "PORT"),
    ("proftpd", "tnftp", "EPRT"),
    ("pure-ftpd", "wget", "PASV"),
    ("pyftpdlib", "lftp", "EPSV"),
    ("vsftpd", "ncftp", "PASV"),
    ("pure-ftpd", "ftplib", "PORT"),
)
ROUTES6 = (("proftpd", "curl", "EPRT"), ("vsftpd", "lftp", "EPSV"), ("pure-ftpd", "ftplib", "EPSV"))
COLUMNS = (
    ("server", 9),
    ("client", 6),
    ("announced", 26),
    ("rewritten to", 26),
    ("expected", 54),
    ("transferred", 15),
)


def show(values):
    print(
        "  " + "".join(f"{value:<{width}} " for value, (_, width) in zip(values, COLUMNS)).rstrip(),
        flush=True,
    )


def worded(value):
    """A field of the log in words, however it is nested."""
    if value in (None, "", "null", "none"):
        return "-"
    if isinstance(value, dict):
        if "line" in value:
            return value["line"]
        destination = endpoint(value.get("dst") or value.get("address"), value.get("port"))
        return f"{value['src']} -> {destination}" if "src" in value else destination
    return str(value)


def shortened(line):
    """The endpoint of a rewritten line, and by how much the line grew or shrank."""
    found = re.search(r"\d+(?:,\d+){5}|\|.*\|", line)
    delta = re.search(r"\(([+-][1-9]\d*) bytes\)", line)
    return (found[0] if found else line) + (f" ({delta[1]})" if delta else "")


def endpoint(address, port):
    return f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"


def demonstrate(stage, client_name, mode):
    """Prints one row; returns whether the files arrived."""
    client, engine = CLIENTS[client_name], stage.lab.engine
    earlier = len(engine.announcements())
    try:
        must_transfer(client, mode, stage)
        files = (SMALL, BIG, UPLOAD) if client.can_store else (SMALL, BIG)
        outcome = f"{len(files)} files, {sum(FILE_SIZES[name] for name in files) / 1e6:.1f} MB"
    except CaseFailure as failure:
        outcome = f"FAILED: {failure}"
    events = engine.announcements()[earlier:]
    first = events[0] if events else {}
    announced = f"{mode} {worded(first.get('announced'))}"
    show(
        (
            stage.server.name,
            client_name,
            announced,
            shortened(worded(first.get("rewritten"))),
            worded(first.get("expect")),
            outcome,
        )
    )
    return not outcome.startswith("FAILED")


def demonstrate_deployment(name, engine):
    """Prints all rows of a deployment; returns how many worked and how many did not."""
    deployment, good = DEPLOYMENTS[name], []
    print(f"\n{name}: {WHAT[name]}")
    show([title for title, _ in COLUMNS])
    with Lab(os.getpid(), "d", engine) as lab, lab.gateway_with_engine(
        Batch(f"demo/{name}", name, (), settings=deployment.settings())
    ) as problems:
        for server, client, mode in ROUTES4 if deployment.version == 4 else ROUTES6:
            with with_server(SERVERS[server], Listen(21), lab, deployment) as stage:
                good.append(demonstrate(stage, client, mode))
    for problem in problems:
        print(f"  {problem}")
    return sum(good), len(good) - sum(good) + len(problems)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=ENGINES, default="ours")
    engine = parser.parse_args().engine
    begin()
    totals = [demonstrate_deployment(name, engine) for name in DEPLOYMENTS]
    passed, failed = map(sum, zip(*totals))
    print(
        f"\n{passed} sessions transferred their files through {len(DEPLOYMENTS)} deployments, "
        f"{failed} failed. "
        "Nothing is left behind."
    )
    return int(failed > 0)


if __name__ == "__main__":
    finish(main, "demo")
