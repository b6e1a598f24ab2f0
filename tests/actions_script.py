"""A run through GitHub without a world: tests say what GitHub shows, and see every event and command."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from ci_dispatch.config.choices import Strategy
from ci_dispatch.core.codec import replace
from ci_dispatch.core.events import (
    Event,
    Stamped,
)
from ci_dispatch.core.groups import TestGroup
from ci_dispatch.core.model import (
    AttemptResult,
    Ended,
    MachineName,
    MachineSpec,
    TestResult,
    Verdict,
)
from ci_dispatch.fleets.actions import messages as g
from ci_dispatch.fleets.actions.fleet import ActionsFleet
from ci_dispatch.fleets.actions.rest.models import JobView, RunView, StepView
from ci_dispatch.fleets.actions.run.dispatch_planner import ActionsPolicy
from ci_dispatch.fleets.actions.run.workflow_run import WorkflowRun
from ci_dispatch.run import messages as m
from ci_dispatch.run.control import RunControl, RunPolicy
from ci_dispatch.run.event_bus import EventBus
from ci_dispatch.run.retry import RetryPolicy
from ci_dispatch.run.state import RunState
from report_merge.failures import UNKNOWN
from tests.simulation import VirtualClock, make_tests, run_started

A, B = MachineName("a"), MachineName("b")
RUN = 7
TIME_LIMIT = "The job running on runner a has exceeded the maximum execution time of 35 minutes."


class ActionsScript:
    """Two machines with one pinned job each; the dispatch has become run 7."""

    name = "script"

    def __init__(self, tests: int = 4, groups: Sequence[TestGroup] = (), **numbers: Any) -> None:
        self.clock, self.state = VirtualClock(0.0), RunState()
        self.events: list[Event] = []
        self.commands: list[m.Command] = []
        bus = EventBus(self.state, self.clock, [self])
        suite = make_tests(tests)
        specs = [MachineSpec(name=name, cores=1, labels=("self-hosted", name)) for name in (A, B)]
        bus.publish(run_started(suite, specs, {test.id: 1.0 for test in suite}, groups))
        self.fleet = ActionsFleet(self.state, [A, B], ActionsPolicy(strategy=Strategy.PINNED))
        policy = RunPolicy(
            retry=RetryPolicy(jitter=0.0), checks=False, check_first=False, report_grace=90.0, signal_grace=3.0,
            force_grace=0.0,
        )  # fmt: skip
        self.control = RunControl(
            self.state,
            bus.publish,
            fleets=[self.fleet],
            policy=replace(policy, **numbers),
            classify=lambda _line: UNKNOWN,
            random=Random(1),
        )
        self.take(self.control.begin(0.0))

    def handle(self, stamped: Stamped, state: RunState) -> None:
        self.events.append(stamped.event)

    def tick(self, now: float, state: RunState) -> None: ...
    def close(self) -> None: ...

    def take(self, commands: list[m.Command]) -> list[m.Command]:
        self.commands += commands
        return commands

    def say(self, message: m.Message, at: float | None = None) -> list[m.Command]:
        self.clock.at = self.clock.at if at is None else at
        return self.take(self.control.step(message, self.clock.at))

    def dispatched(self) -> ActionsScript:
        self.say(g.Dispatched(self.run.batch.id, RUN), 1.0)
        return self

    @property
    def run(self) -> WorkflowRun:
        return self.fleet.runs[0]

    def poll(
        self, *jobs: JobView, at: float, notes: dict[int, tuple[str, ...]] | None = None, whole: str = ""
    ) -> list[m.Command]:
        """`whole`: the run's conclusion, or "in_progress"; empty when it was not asked for."""
        done = whole not in ("", "in_progress")
        view = RunView(id=RUN, status="completed" if done else "in_progress", conclusion=whole if done else "")
        polled = g.Polled(run=RUN, jobs=jobs, annotations=notes or {}, view=view if whole else None)
        return self.say(polled, at)

    def report(self, shard: str, verdict: Verdict, at: float) -> None:
        job = next(job for name, job in self.run.jobs.items() if name == shard)
        lines = tuple(TestResult(test=test, verdict=verdict) for test in job.job.shard.tests)
        result = AttemptResult(ended=Ended.EXITED, exit_code=0, results=lines)
        self.say(g.ReportDownloaded(self.run.batch.id, job.job.shard.id, self.run.attempt, result), at)

    def said(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def asked(self, kind: type[m.Command]) -> list[Any]:
        return [command for command in self.commands if isinstance(command, kind)]


def job(number: int, runner: str, conclusion: str = "", steps: str = "success") -> JobView:
    return JobView(
        id=number,
        name=f"shard head-{number}",
        status="completed" if conclusion else "in_progress",
        conclusion=conclusion,
        runner=runner,
        steps=(StepView(name="Run the shard", status="completed", conclusion=steps),),
    )
