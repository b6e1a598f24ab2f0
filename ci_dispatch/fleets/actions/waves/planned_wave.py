"""What the jobs of one workflow run leave for each other, as artifacts: the plan of each wave. Read back from a folder.

The plan's id is in the name of every artifact, so that two suites in one run never see each other's. A name is unique
over waves and attempts: of two artifacts with one name, the wrong one may be downloaded. What a file is, its content
says: versions of actions/download-artifact differ in where they put a single one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ci_dispatch.core import codec
from ci_dispatch.core.codec import Value, replace
from ci_dispatch.core.errors import UnreadableReport, UsageError
from ci_dispatch.core.events import MachineChecked, RunStarted
from ci_dispatch.core.model import MachineName, RunId, ShardId, Test
from ci_dispatch.fleets.actions import shard_report
from ci_dispatch.fleets.actions.run.batches import MAX_JOBS, entries_of
from ci_dispatch.fleets.actions.run.matrix import MatrixJob
from ci_dispatch.fleets.actions.shard_report import PREFIX, ShardReport

FILE = "plan.json"
MAX_BYTES = 64 << 20
VERSION = 1


class PlannedWave(Value):
    """Who runs what next. The first wave has what the whole run begins with."""

    id: RunId  # of the whole plan
    wave: int  # from 1
    attempt: int  # of the workflow run, when it was planned
    at: float  # seconds since the epoch
    jobs: tuple[MatrixJob, ...] = ()
    checked: tuple[MachineChecked, ...] = ()  # how the machines were
    started: RunStarted | None = None
    commit: str = ""  # that is tested
    workers: int = 0  # how many tests the runner can run at once on one machine; 0: as many as it is told
    extra: tuple[str, ...] = ()  # arguments for the test runner
    v: int = 0  # of this format; `write` sets it

    @property
    def machines(self) -> frozenset[MachineName]:
        """Those that it names."""
        return frozenset((*(job.machine for job in self.jobs), *(each.machine for each in self.checked)))


class Folder(Value):
    """Everything of one plan that a job has downloaded."""

    first: PlannedWave
    started: RunStarted
    waves: tuple[PlannedWave, ...]  # in the order in which they were planned; the first included
    reports: tuple[ShardReport, ...]
    unreadable: tuple[str, ...] = ()  # what could not be read, as sentences

    def tests_of(self, shard: ShardId) -> tuple[Test, ...]:
        """The tests that a shard was planned with, empty for an unknown one."""
        known = {test.id: test for test in self.started.tests}
        jobs = (job for wave in self.waves for job in wave.jobs if job.shard.id == shard)
        return next((tuple(known[test] for test in job.shard.tests if test in known) for job in jobs), ())


def artifact_name(wave: PlannedWave) -> str:
    return f"{PREFIX}-{wave.id}-plan-{wave.wave}-a{wave.attempt}"


def matrix_of(wave: PlannedWave, *, timeout_minutes: int) -> Mapping[str, list[dict[str, object]]]:
    """The wave as a matrix. GitHub refuses an empty one, so a wave without jobs has one entry that nobody runs.

    Raises:
        UsageError: when it has more jobs than a matrix holds.
    """
    if len(wave.jobs) > MAX_JOBS:
        raise UsageError(
            f"Wave {wave.wave} was not started",
            why=f"it has {len(wave.jobs)} jobs, and a matrix holds {MAX_JOBS}",
            hint=f"cut the plan into fewer: `shards: {MAX_JOBS}` or less, with `strategy: pinned`",
        )
    entries = entries_of(wave.jobs, timeout_minutes, wave.commit)
    nobody: dict[str, object] = {"shard": "none", "machine": "none", "labels": ["ubuntu-latest"], "timeout_minutes": 1}
    return {"include": entries or [nobody]}


def write(folder: Path, wave: PlannedWave) -> Path:
    """Write the plan into `folder`, which is made; returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / FILE
    file.write_bytes(codec.encode(replace(wave, v=VERSION)))
    return file


def read(folder: Path, plan: str) -> Folder:
    """Everything of `plan` in a folder of downloaded artifacts; what belongs to another plan is left alone.

    Raises:
        UnreadableReport: when the first wave is not there, or damaged, or names machines that its run does not have.
    """
    unreadable: list[str] = []
    waves: list[PlannedWave] = []
    reports: list[ShardReport] = []
    for file in sorted((*folder.rglob(FILE), *folder.rglob(shard_report.FILE))):
        try:
            if file.name == FILE:
                waves.append(_wave(file))
            else:
                reports.append(shard_report.read(file.parent))
        except UnreadableReport as error:
            unreadable.append(f"{file.parent.name}: {error.why or error.what}")
    waves = sorted((wave for wave in waves if wave.id == plan), key=lambda wave: (wave.attempt, wave.wave))
    started = next((wave.started for wave in waves if wave.started is not None), None)
    known = frozenset(machine.name for machine in started.machines) if started else frozenset()
    for wave in [wave for wave in waves if wave.machines - known]:
        unreadable.append(f"{artifact_name(wave)}: it names machines that the run does not have")
        waves.remove(wave)
    first = next((wave for wave in waves if wave.started is not None), None)
    if first is None or first.started is None:
        raise UnreadableReport(
            f"The plan {plan} is not there",
            why="; ".join(unreadable) or "its artifact was not uploaded, has expired, or could not be downloaded",
            hint="run the whole workflow again: it makes a new plan",
        )
    return Folder(
        first=first,
        started=first.started,
        waves=tuple(waves),
        reports=tuple(
            sorted((r for r in reports if r.dispatch == plan), key=lambda report: (report.attempt, report.ended))
        ),
        unreadable=tuple(unreadable),
    )


def _wave(file: Path) -> PlannedWave:
    """Raises UnreadableReport."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES >> 20} MB")  # noqa: TRY301
        wave = codec.decode(PlannedWave, file.read_bytes())
        if wave.v != VERSION:
            raise ValueError(f"it is a plan of format {wave.v}, not {VERSION}")  # noqa: TRY301
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise UnreadableReport(f"{FILE} could not be read", why=why or "") from error
    return wave
