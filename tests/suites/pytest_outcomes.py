"""A plug-in of pytest: stretches the suite named by SUITE, and writes each test's outcome as JSON.

SUITE_RESULTS names the file. An outcome is `passed`, `failed` or `skipped`, and why a test failed.
"""

import importlib
import json
import os
import pathlib
import re

import stretched

stretched.translate_sockets()
stretch = importlib.import_module(os.environ["SUITE"])
outcomes, reasons = {}, {}


def pytest_collection_modifyitems(items):
    """The suite's modules are loaded, and no test has run."""
    stretch.prepare({item.module for item in items if getattr(item, "module", None)})


def pytest_runtest_logreport(report):
    name = re.sub(r"^.*?(?=test_)", "", report.nodeid, count=1)
    if report.failed:
        outcomes[name] = "failed"
        reasons.setdefault(name, str(report.longrepr)[-1500:])
    elif report.skipped:
        outcomes.setdefault(name, "skipped")
    elif report.when == "call":
        outcomes.setdefault(name, "passed")
    # Written after each test, because a suite that hangs is ended.
    text = json.dumps({"outcomes": outcomes, "reasons": reasons})
    pathlib.Path(os.environ["SUITE_RESULTS"]).write_text(text)
