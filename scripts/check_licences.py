"""Checks `cargo metadata` (stdin) against a deny.toml: licences, and the sources of crates.

It stands in for two of cargo-deny's checks on machines without cargo-deny. Licences are judged in
the same way: test dependencies are left out, and an expression holds if the allowed licences
satisfy it.
"""

import json
import re
import sys
import tomllib

# From a registry, and not from a repository or a directory.
REGISTRY = "registry+"


def linked_packages(metadata):
    """Ids of everything reachable from the root without its dev-dependencies."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found, waiting = set(), [metadata["resolve"]["root"]]
    while waiting:
        package = waiting.pop()
        if package in found:
            continue
        found.add(package)
        for dependency in nodes[package]["deps"]:
            if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])
    return found


def is_satisfied(expression, allowed):
    """Whether an SPDX expression holds when exactly the allowed licences are true."""
    words = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))
    meaning = {"AND": "and", "OR": "or", "(": "(", ")": ")"}
    exceptions = {
        i for i, word in enumerate(words) if word == "WITH" or (i and words[i - 1] == "WITH")
    }
    python = [
        meaning.get(word, str(word in allowed))
        for i, word in enumerate(words)
        if i not in exceptions
    ]
    return bool(python) and eval(" ".join(python), {"__builtins__": {}})


def problems(metadata, policy):
    allowed = set(policy["licenses"]["allow"])
    exceptions = {
        entry["crate"]: set(entry["allow"]) for entry in policy["licenses"].get("exceptions", [])
    }
    linked = linked_packages(metadata)
    for package in metadata["packages"]:
        name = f"{package['name']} {package['version']}"
        if not (package["source"] or REGISTRY).startswith(REGISTRY):
            yield f"{name} comes from {package['source']}"
        licence = package["license"] or ""
        if package["id"] in linked and not is_satisfied(
            licence, allowed | exceptions.get(package["name"], set())
        ):
            yield f"{name} is under {licence or 'no stated licence'}"


def main():
    with open(sys.argv[1], "rb") as file:
        policy = tomllib.load(file)
    found = sorted(problems(json.load(sys.stdin), policy))
    for problem in found:
        print(f"check-deps: {problem}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
