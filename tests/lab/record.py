"""Records the captures in pcap-fixtures/: real sessions, both sides of the gateway, whole packets.

    sudo python3 tests/lab/record.py [--engine ours] [--into pcap-fixtures] [--filter REGEX]

In each capture one client fetches and stores a small file. NAME.inside.pcap and NAME.outside.pcap
are the same session on the two links of the gateway.
"""

import argparse
import os
import pathlib
import re
import sys

import captures
import lab as laboratory
from clients import CLIENTS
from deployments import DEPLOYMENTS
from engines import ENGINES
from servers import SERVERS, Listen
from shell import LabError, run
from topology import begin
from transfers import must_transfer, with_server

# A few segments each: enough for several announcements, small enough to commit.
FIXTURE_FILES = {laboratory.SMALL: 300, laboratory.BIG: 2_000, laboratory.UPLOAD: 500}

# (deployment, server, client, mode): each server, client, mode and deployment at least once.
RECORDINGS = (
    ("inside-client", "vsftpd", "curl", "PORT"),
    ("inside-client", "proftpd", "tnftp", "EPRT"),
    ("inside-client", "pure-ftpd", "wget", "PASV"),
    ("inside-client", "pyftpdlib", "lftp", "EPSV"),
    ("inside-server", "vsftpd", "ncftp", "PASV"),
    ("inside-server", "proftpd", "ftplib", "PASV"),
    ("inside-server", "pure-ftpd", "curl", "EPSV"),
    ("inside-server", "pyftpdlib", "curl", "PASV"),
    ("inside-server", "vsftpd", "lftp", "PORT"),
    ("inside-server", "pyftpdlib", "curl", "EPRT"),
    ("routed-client", "pure-ftpd", "ncftp", "PORT"),
    ("routed-server", "proftpd", "wget", "PASV"),
    ("routed6-client", "vsftpd", "wget", "EPRT"),
    ("routed6-server", "proftpd", "lftp", "EPSV"),
    ("routed6-client", "pyftpdlib", "tnftp", "EPSV"),
    ("routed6-server", "pure-ftpd", "ftplib", "EPRT"),
    ("double-nat", "vsftpd", "tnftp", "PASV"),
    ("double-nat", "proftpd", "curl", "PORT"),
    ("port-forward", "pure-ftpd", "lftp", "PASV"),
    ("snat-pool", "vsftpd", "wget", "PORT"),
    ("gateway-client", "proftpd", "ftplib", "PORT"),
    ("gateway-server", "vsftpd", "curl", "EPSV"),
    ("nat66-client", "vsftpd", "curl", "EPRT"),
    ("nat66-server", "pyftpdlib", "lftp", "EPSV"),
)


def name_of(recording):
    return "-".join(part.lower() for part in recording)


def record(recording, engine, directory):
    """One session, captured on both sides."""
    deployment_name, server, client, mode = recording
    deployment = DEPLOYMENTS[deployment_name]
    batch = laboratory.Batch(
        f"record/{deployment_name}", deployment_name, (), settings=deployment.settings()
    )
    with laboratory.Lab(os.getpid(), "r", engine) as lab, lab.gateway_with_engine(batch):
        for name, size in FIXTURE_FILES.items():
            lab.file(name).write_bytes(lab.file(name).read_bytes()[:size])
        compute_checksums(lab)
        with with_server(SERVERS[server], Listen(21), lab, deployment) as stage:
            with captures.Capture(lab, name_of(recording), directory=directory):
                must_transfer(CLIENTS[client], mode, stage)
    drop_empty(name_of(recording), directory)


def drop_empty(name, directory):
    """Deletes empty captures, because a session of the gateway itself is on one side only."""
    for side in captures.SIDES:
        path = pathlib.Path(directory, f"{name}.{side}.pcap")
        if not any(captures.packets(path)):
            path.unlink()


def compute_checksums(lab):
    """Leaves no checksum to hardware that is not there, so that the packets are as on a wire."""
    hosts = [lab.namespace(name) for name in ("inside1", "inside2", "outside1", "outside2")]
    for namespace, device in [
        *((host, "eth0") for host in hosts),
        (lab.topology.gateway, "lan"),
        (lab.topology.gateway, "wan"),
    ]:
        run(["ethtool", "-K", device, "tx", "off", "tso", "off", "gso", "off"], namespace=namespace)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", choices=ENGINES, default="ours")
    parser.add_argument(
        "--into", default=str(pathlib.Path(__file__).resolve().parents[2] / "pcap-fixtures")
    )
    parser.add_argument("--filter", default="", metavar="REGEX")
    arguments = parser.parse_args()
    begin()
    os.makedirs(arguments.into, exist_ok=True)
    for recording in RECORDINGS:
        if re.search(arguments.filter, name_of(recording)):
            record(recording, arguments.engine, arguments.into)
            print(name_of(recording), flush=True)


if __name__ == "__main__":
    try:
        main()
    except (LabError, laboratory.CaseFailure) as error:
        sys.exit(f"record: {error}")
    except KeyboardInterrupt:
        sys.exit("record: interrupted; everything it had built is removed")
