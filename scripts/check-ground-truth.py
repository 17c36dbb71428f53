#!/usr/bin/env python3
"""Compares `ftp-alg replay --json` with a list of the announcements in captures.

    scripts/check-ground-truth.py GROUND_TRUTH.jsonl CAPTURES [--program target/debug/ftp-alg]

Each line of the list is an object with `file` (below the directory CAPTURES), `frame`, `kind`,
`address`, `port`, and where it matters: `optional` (may be missed, because it follows a hole in the
capture), `address_is_sender` (false: must be refused), `solicited` (false: must be refused). An
entry whose address or port cannot be read is malformed and must be refused. An announcement that is
not on the list must not be expected.

The script prints each difference and a closing count. The exit status is 1 if there is a
difference.
"""

import argparse
import collections
import ipaddress
import json
import pathlib
import subprocess
import sys


def main():
    arguments = parse_arguments()
    truth = collections.defaultdict(list)
    for line in arguments.ground_truth.read_text().splitlines():
        entry = json.loads(line)
        truth[entry["file"]].append(entry)
    differences = []
    counts = collections.Counter()
    for file in captures_below(arguments.captures, truth):
        found = replay(arguments, file, differences, counts)
        differences += compare(file, truth.get(file, []), found, counts)
    for difference in differences:
        print(difference)
    print(
        f"{counts['files']} captures, {counts['entries']} entries "
        f"({counts['missed']} optional ones missed), "
        f"{counts['announcements']} announcements: {len(differences)} differences"
    )
    return 1 if differences or not counts["entries"] else 0


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ground_truth", type=pathlib.Path)
    parser.add_argument("captures", type=pathlib.Path)
    parser.add_argument("--program", default="target/debug/ftp-alg")
    return parser.parse_args()


def captures_below(directory, truth):
    """Every capture in the directory, on the list or not, and everything on the list."""
    found = {
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if path.suffix in (".pcap", ".pcapng", ".cap")
    }
    return sorted(found | set(truth))


def replay(arguments, file, differences, counts):
    command = [arguments.program, "replay", "--json", str(arguments.captures / file)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        differences.append(f"{file}: exit {result.returncode}: {result.stderr.strip()}")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    counts["files"] += 1
    return [line for line in lines if line["type"] == "announcement"]


def compare(file, entries, found, counts):
    counts["entries"] += len(entries)
    counts["announcements"] += len(found)
    unclaimed = list(found)
    for entry in entries:
        match = best_match(entry, unclaimed)
        if match is not None:
            unclaimed.remove(match)
            yield from disagreements(file, entry, match)
        elif "optional" in entry:
            counts["missed"] += 1
        else:
            yield f"{file}: frame {entry['frame']}: {entry['kind']} was not found"
    for line in unclaimed:
        if line["decision"] == "expect":
            yield f"{file}: frame {line['frame']}: {line['kind']} is not on the list, but expected"


def best_match(entry, lines):
    """One frame may hold several announcements of a kind: the one with the same endpoint first."""
    place = (entry["frame"], entry["kind"])
    here = [line for line in lines if (line["frame"], line["kind"]) == place]
    return next((line for line in here if is_same_endpoint(entry, line)), here[0] if here else None)


def disagreements(file, entry, line):
    place = f"{file}: frame {entry['frame']}: {entry['kind']}"
    must_refuse = why_refused(entry)
    wanted = "refuse" if must_refuse else "expect"
    if line["decision"] != wanted:
        yield (
            f"{place}: {line['decision']} ({line['reason']}), not {wanted}: "
            f"{must_refuse or 'it is sound'}"
        )
    if line["from"] != entry.get("from", line["from"]):
        yield f"{place}: from {line['from']}, not {entry['from']}"
    if not is_same_endpoint(entry, line):
        yield (
            f"{place}: {line['address']} port {line['port']}, "
            f"not {entry['address']} port {entry['port']}"
        )


def why_refused(entry):
    """Why policy must refuse an entry, or None."""
    if is_malformed(entry):
        return "malformed"
    if entry.get("address_is_sender") is False:
        return "not the announcer's address"
    if entry.get("solicited") is False:
        return "unsolicited"
    return None


def is_malformed(entry):
    try:
        ipaddress.ip_address(entry["address"])
    except ValueError:
        return True
    return not isinstance(entry["port"], int) or not 1 <= entry["port"] <= 65535


def is_same_endpoint(entry, line):
    if line["address"] is None or is_malformed(entry):
        return line["address"] is None and is_malformed(entry)
    addresses = [ipaddress.ip_address(side["address"]) for side in (entry, line)]
    return addresses[0] == addresses[1] and entry["port"] == line["port"]


if __name__ == "__main__":
    sys.exit(main())
