"""One lab (a topology, a workspace, and the engine under test), and what cases and batches are."""

import contextlib
import dataclasses
import pathlib
import random
import shutil
import tempfile
import typing

import deployments
from engines import ENGINES, flows_directory, require_case_keys
from topology import Topology

SMALL, BIG, UPLOAD = "small.bin", "big.bin", "up.bin"
FILE_SIZES = {SMALL: 3_001, BIG: 3_500_017, UPLOAD: 400_009}


class CaseFailure(Exception):
    """A case failed; the message is the reason, and `detail` helps to understand it."""

    def __init__(self, reason, detail=""):
        super().__init__(reason)
        self.detail = detail


class NotApplicable(Exception):
    """The engine under test cannot be asked this, and the message says why."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One named check.

    `run` gets what the batch's set-up made, and raises CaseFailure. The report prints what it
    returns.
    """

    name: str
    run: typing.Callable = None
    not_applicable: str = ""


@dataclasses.dataclass(frozen=True)
class Batch:
    """Cases that share a deployment, an engine, and whatever `setup` starts."""

    name: str
    deployment: str
    cases: tuple
    # A context manager that gets (lab, deployment) and yields the argument of each case's `run`.
    setup: typing.Callable = None
    # The engine instead of the chosen one, for proofs that nothing transfers without a helper.
    engine: str = ""
    # Keys of the configuration (`table.key`) and their values: see engines.CASE_KEYS.
    settings: dict = dataclasses.field(default_factory=dict)
    refusal: str = "drop"
    # Not part of a normal run: `--extra` adds it.
    extra: bool = False
    # Needs features of a distribution's kernel that a cut-down one lacks.
    stock: bool = False

    def __post_init__(self):
        require_case_keys([case.name for case in self.cases] or [self.name], self.settings)


class Lab:
    """A topology with a workspace.

    Use it as a context manager.
    """

    def __init__(self, run_id, number, engine):
        self.topology = Topology(f"fa{run_id}{number}")
        self.default_engine = engine
        self.engine = None

    def __enter__(self):
        self.workspace = pathlib.Path(tempfile.mkdtemp(prefix=f"{self.topology.prefix}-"))
        # Servers reach their files through it after they have dropped their privileges.
        self.workspace.chmod(0o755)
        write_files(self.workspace)
        self.topology.__enter__()
        return self

    def __exit__(self, *exception):
        self.topology.__exit__(*exception)
        shutil.rmtree(self.workspace, ignore_errors=True)
        shutil.rmtree(flows_directory(self.workspace / "engine").parent, ignore_errors=True)

    def file(self, name):
        return self.workspace / name

    def namespace(self, host):
        return self.topology.namespace(host)

    @contextlib.contextmanager
    def gateway_with_engine(self, batch):
        """Runs the deployment's rules and the engine; yields the list of problems.

        The list also gets what stopping the engine finds wrong.
        """
        deployment = deployments.named(batch.deployment)
        engine = ENGINES[batch.engine or self.default_engine]
        deployment.apply(self.topology, batch.refusal, engine.marks_data)
        directory = self.workspace / "engine"
        for old in (directory, flows_directory(directory)):
            shutil.rmtree(old, ignore_errors=True)
        directory.mkdir()
        self.engine = engine(self.topology.gateway, str(directory), batch.settings)
        self.engine.family = deployment.family
        problems = []
        try:
            self.engine.start()
            deployment.apply_after_start(self.topology, engine.marks_data)
            yield problems
        finally:
            problems += self.engine.stop()


def write_files(directory):
    """Writes the same bytes in every run, because a failure must be repeatable."""
    source = random.Random(20)
    for name, size in FILE_SIZES.items():
        (directory / name).write_bytes(source.randbytes(size))
