"""Who runs the jobs of the double: here a script on the double's clock; acting.py runs the real workflow with act."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from tests.github_double.entities import CANCELED, Step, exceeded

if TYPE_CHECKING:
    from tests.github_double.entities import Job
    from tests.github_double.state import Hub

Event = tuple[float, Callable[[], None]]


class Worker(Protocol):
    def start(self, hub: Hub, job: Job) -> None:
        """A runner took the job."""

    def stop(self, job: Job) -> None:
        """The run was cancelled."""

    def events(self, hub: Hub) -> Iterable[Event]:
        """What will happen to the started jobs, with the time of each."""


def zipped(files: Mapping[str, bytes | str]) -> bytes:
    """An artifact as actions/upload-artifact makes it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


class Stop(Enum):
    """What ends a job early while its run goes on. GitHub calls both `cancelled`; only annotations tell them apart."""

    TIME_LIMIT = "its timeout-minutes are over; steps with `if: always()` still run, so its artifacts are uploaded"
    RUNNER = "its runner service was stopped, and takes no more jobs"  # https://github.com/camunda/camunda/issues/57701


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """How one job goes."""

    seconds: float = 10.0
    stop: Stop | None = None  # after `seconds`, instead of `conclusion`
    always: bool = False  # cancelling the run does not end it, only force-cancel does
    conclusion: str = "success"
    artifacts: Mapping[str, bytes] = field(default_factory=dict)  # name -> archive
    annotation: str = ""
    dies_after: float | None = None  # its machine is gone after this many seconds
    status: str = "completed"  # some future word, for clients that must survive it
    log: bytes = b""


class ScriptedWorker:
    """Each job goes as `script(job)` says."""

    def __init__(self, script: Callable[[Job], Script] = lambda _job: Script()) -> None:
        self.script = script
        self._running: dict[int, tuple[Job, Script]] = {}

    def start(self, hub: Hub, job: Job) -> None:
        script = self.script(job)
        job.always = script.always
        self._running[job.id] = (job, script)
        job.steps.append(Step(name="Run the shard", status="in_progress", conclusion=None))

    def stop(self, job: Job) -> None:
        self._running.pop(job.id, None)
        job.steps[-1:] = [Step(name="Run the shard", conclusion="cancelled")]

    def events(self, hub: Hub) -> Iterable[Event]:
        for job, script in list(self._running.values()):
            assert job.started is not None
            if script.dies_after is not None:
                at = job.started + script.dies_after
                yield at, lambda job=job, at=at: self._die(hub, job, at)  # type: ignore[misc]
            else:
                at = job.started + script.seconds
                yield at, lambda job=job, script=script, at=at: self._end(hub, job, script, at)  # type: ignore[misc]

    def _die(self, hub: Hub, job: Job, at: float) -> None:
        del self._running[job.id]
        hub.die(job, at)

    def _end(self, hub: Hub, job: Job, script: Script, at: float) -> None:
        del self._running[job.id]
        conclusion = "cancelled" if script.stop else script.conclusion
        step = conclusion if conclusion in ("failure", "cancelled") else "success"
        job.steps[-1] = Step(name="Run the shard", conclusion=step)
        job.log = script.log
        if script.stop is not Stop.RUNNER:
            for name, data in script.artifacts.items():
                hub.upload(hub.runs[job.run], name, data)
        annotations = [script.annotation]
        if script.stop:
            annotations += [exceeded(script.seconds), CANCELED] if script.stop is Stop.TIME_LIMIT else [CANCELED]
        elif conclusion == "failure" and not script.annotation:
            annotations = ["Process completed with exit code 1."]
        hub.finish(job, conclusion, *annotations, at=at)
        if script.stop is Stop.RUNNER and job.runner:
            job.runner.online = False
        job.status = script.status
