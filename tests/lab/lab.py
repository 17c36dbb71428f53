"""One lab: a topology, a workspace, and the engine under test; and what a case and a batch of cases are."""

import contextlib
import dataclasses
import pathlib
import random
import shutil
import tempfile
import typing

import deployments
from engines import ENGINES, require_case_keys
from topology import Topology

SMALL, BIG, UPLOAD = "small.bin", "big.bin", "up.bin"
FILE_SIZES = {SMALL: 3_001, BIG: 3_500_017, UPLOAD: 400_009}


class CaseFailure(Exception):
    """A case did not behave: the message is the reason, `detail` what somebody would want to read next."""

    def __init__(self, reason, detail=""):
        super().__init__(reason)
        self.detail = detail


class NotApplicable(Exception):
    """The engine under test cannot be asked this; the message says why."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One named check. `run` gets what the batch's set-up made, and raises CaseFailure; what it returns is printed."""

    name: str
    run: typing.Callable = None
    not_applicable: str = ""


@dataclasses.dataclass(frozen=True)
class Batch:
    """Cases that share a deployment, an engine and whatever else `setup` starts."""

    name: str
    deployment: str
    cases: tuple
    # A context manager from (lab, deployment) to what each case's `run` gets.
    setup: typing.Callable = None
    # The engine to use in place of the chosen one (proofs that no helper means no transfer).
    engine: str = ""
    # Keys of the configuration (`table.key`) and their values: see engines.CASE_KEYS.
    settings: dict = dataclasses.field(default_factory=dict)
    refusal: str = "drop"
    # Not part of a normal run: measures what a later issue promises.
    extra: bool = False
    # Needs what a distribution's kernel has and a cut-down one has not.
    stock: bool = False

    def __post_init__(self):
        require_case_keys([case.name for case in self.cases] or [self.name], self.settings)


class Lab:
    """A topology with a workspace. Use as a context manager."""

    def __init__(self, run_id, number, engine):
        self.topology = Topology(f"fa{run_id}{number}")
        self.default_engine = engine
        self.engine = None

    def __enter__(self):
        self.workspace = pathlib.Path(tempfile.mkdtemp(prefix=f"{self.topology.prefix}-"))
        # Servers that have dropped their privileges walk through it.
        self.workspace.chmod(0o755)
        write_files(self.workspace)
        self.topology.__enter__()
        return self

    def __exit__(self, *exception):
        self.topology.__exit__(*exception)
        shutil.rmtree(self.workspace, ignore_errors=True)

    def file(self, name):
        return self.workspace / name

    def namespace(self, host):
        return self.topology.namespace(host)

    @contextlib.contextmanager
    def gateway_with_engine(self, batch):
        """The deployment's rules and the engine, running; yields the list that collects what stopping finds wrong."""
        deployment = deployments.named(batch.deployment)
        engine = ENGINES[batch.engine or self.default_engine]
        deployment.apply(self.topology, batch.refusal, engine.marks_data)
        folder = self.workspace / "engine"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self.engine = engine(self.topology.gateway, str(folder), batch.settings)
        problems = []
        try:
            self.engine.start()
            deployment.apply_after_start(self.topology, engine.marks_data)
            yield problems
        finally:
            problems += self.engine.stop()


def write_files(folder):
    """The same bytes in every run: a failure must be repeatable."""
    source = random.Random(20)
    for name, size in FILE_SIZES.items():
        (folder / name).write_bytes(source.randbytes(size))
