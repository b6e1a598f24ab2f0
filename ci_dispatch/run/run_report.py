"""A run's state as a report for people (`report_merge.model.Report`) and as data for programs (`run.json`). Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from ci_dispatch.core import codec
from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.model import AttemptResult, Ended, TestId, TestResult, Verdict
from ci_dispatch.run.ledger import TestRecord
from ci_dispatch.run.state import MachineState, RunState
from ci_dispatch.run.time_use import time_use
from report_merge.baseline import Comparison
from report_merge.model import (
    Attempt,
    Case,
    MachineUse,
    Outcome,
    Report,
    RunContext,
    WorkSpan,
    count,
    verdict_of,
)

RUN_JSON_VERSION = 2  # 1 (ci-dispatch 0.1) called a `cause` "trouble", "quarantined" "fenced", "reassigned" "moved"

_OUTCOMES = {
    Verdict.PASSED: Outcome.PASSED,
    Verdict.FLAKY: Outcome.PASSED,
    Verdict.FAILED: Outcome.FAILED,
    Verdict.SKIPPED: Outcome.SKIPPED,
}


def report(state: RunState, context: RunContext) -> Report:
    """Everything the renderers need; each expected test is one case with all its attempts.

    Once the run is over the verdict on each case, and on the report, is the run's own.
    """
    cases = tuple(_case(record, state) for record in state.ledger.records.values())
    makespan = state.finished.makespan if state.finished else None
    return Report(
        context=context,
        cases=cases,
        totals=count(cases),
        machines=tuple(_machine_use(state, machine) for machine in state.machines.values()),
        verdict=verdict_word(state) if state.finished else "",
        reason=state.finished.reason if state.finished else "",
        wall_seconds=makespan.realised if makespan else state.elapsed,
        summed_seconds=sum(attempt.seconds or 0.0 for case in cases for attempt in case.attempts),
        compared_times=(("planned", makespan.planned), ("ideal", makespan.lower_bound)) if makespan else (),
        spent_times=time_use(state).parts if makespan else (),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LookedBack:
    """The report of a run beside earlier runs of its suite."""

    report: Report
    comparison: Comparison | None = None  # with an earlier run; None: none is known
    since_green: int | None = None  # runs on its branch since the last that passed, with this one; None: none has


LookBack: TypeAlias = Callable[[Report, RunState], LookedBack]
"""Sets the report of a run that is over beside earlier ones."""


class ReportCache:
    """The report of one run: made anew while it goes on, once when it is over, for everybody who shows it."""

    def __init__(
        self, context: RunContext, look_back: LookBack = lambda report, _state: LookedBack(report=report)
    ) -> None:
        self.context = context
        self._look_back = look_back
        self._final: tuple[RunState, LookedBack] | None = None

    def of(self, state: RunState) -> Report:
        return self.past(state).report

    def past(self, state: RunState) -> LookedBack:
        """The report with what earlier runs add to it, once the run is over."""
        if self._final is not None and self._final[0] is state:
            return self._final[1]
        made = report(state, self.context)
        if state.finished is None:
            return LookedBack(report=made)
        self._final = (state, self._look_back(made, state))
        return self._final[1]


def fails_without_attempt(record: TestRecord) -> bool:
    """Whether only the verdict says that a test failed: one that took its runner down never told a result."""
    told = verdict_of(attempt.outcome for attempt in _told_attempts(record))
    return record.verdict is Verdict.FAILED and told is not Verdict.FAILED


def _case(record: TestRecord, state: RunState) -> Case:
    test = record.test
    undecided = record.verdict is None and state.finished is not None
    return Case(
        key=test.key,
        suite=test.file,
        line=test.line,
        attempts=() if undecided or record.verdict is Verdict.NOT_RUN else tuple(attempts_of(record, state)),
        reason=record.reason or ("no verdict" if undecided else ""),
    )


def attempts_of(record: TestRecord, state: RunState) -> list[Attempt]:
    """Every execution of a test, oldest first; of a test that has a verdict they come to that verdict."""
    told = _told_attempts(record)
    return told + _silent_failures(record, state, len(told)) if fails_without_attempt(record) else told


def _told_attempts(record: TestRecord) -> list[Attempt]:
    attempts: list[Attempt] = []
    for lease, machine, result in record.history:
        if result.verdict is Verdict.FLAKY:  # the runner's own retries: they failed before the last one passed
            attempts += [
                Attempt(number=len(attempts) + n + 1, outcome=Outcome.FAILED, message=result.message, kind=result.kind,
                        text=result.detail, machine=machine, shard=str(lease))
                for n in range(max(1, result.retries))
            ]  # fmt: skip
        attempts.append(_attempt(len(attempts) + 1, str(lease), machine, result))
    return attempts


def _silent_failures(record: TestRecord, state: RunState, told: int) -> list[Attempt]:
    """What the verdict tells, as attempts: one for each runner that died while it ran, or one without a machine."""
    died = [a for a in state.ledger.attempts.values() if a.result and _runner_died(record.test.id, a.result)]
    places = [(str(a.lease.number), str(a.lease.machine)) for a in died] or [("", "")]
    return [
        Attempt(number=told + n, outcome=Outcome.ERROR, message=record.reason, machine=machine, shard=shard)
        for n, (shard, machine) in enumerate(places, 1)
    ]


def _runner_died(test: TestId, result: AttemptResult) -> bool:
    return test in result.suspects and result.ended in (Ended.EXITED, Ended.TIMED_OUT)


def _attempt(number: int, shard: str, machine: str, result: TestResult) -> Attempt:
    passed = result.verdict in (Verdict.PASSED, Verdict.FLAKY)
    return Attempt(
        number=number,
        outcome=_OUTCOMES[result.verdict],
        seconds=result.seconds,
        kind="" if passed else result.kind,
        message=result.reason if result.verdict is Verdict.SKIPPED else "" if passed else result.message,
        text="" if passed else result.detail,
        machine=machine,
        shard=shard,
    )


def _machine_use(state: RunState, machine: MachineState) -> MachineUse:
    spans = tuple(
        WorkSpan(
            start=attempt.started - state.started_at,
            end=(attempt.ended or state.now) - state.started_at,
            label=f"{attempt.lease.shard.kind} {attempt.lease.number}: {len(attempt.lease.shard.tests)} tests",
            verdict=_span_verdict(attempt.result.results if attempt.result else ()),
        )
        for attempt in state.ledger.attempts.values()
        if attempt.lease.machine == machine.spec.name and attempt.started is not None
    )
    return MachineUse(
        name=machine.spec.name,
        tests=machine.verdicts.total(),
        failed=machine.verdicts[Verdict.FAILED],
        retries=machine.retries,
        busy_seconds=machine.busy_seconds,
        idle_seconds=max(0.0, state.elapsed * machine.spec.slots - machine.busy_seconds),
        lost=machine.quarantined or machine.lost,
        spans=spans,
    )


def _span_verdict(results: tuple[TestResult, ...]) -> Verdict:
    verdicts = {result.verdict for result in results}
    return next((v for v in (Verdict.FAILED, Verdict.NOT_RUN, Verdict.FLAKY) if v in verdicts), Verdict.PASSED)


def run_json(state: RunState) -> dict[str, Any]:
    """The whole run as data: expected tests, verdicts, attempts, machines, makespans. Versioned."""
    finished = state.finished
    return {
        "version": RUN_JSON_VERSION,
        "run": state.started.run if state.started else "",
        "title": state.started.title if state.started else "",
        "started": state.started_at,
        "verdict": verdict_word(state),
        "exit_code": finished.exit_code if finished else None,
        "makespan": codec.to_data(finished.makespan) if finished else None,
        "time_use": codec.to_data(time_use(state)) if finished else None,
        "expected": state.total,
        "counts": {verdict.value: state.verdicts[verdict] for verdict in Verdict},
        "tests": [_test_json(record) for record in state.ledger.records.values()],
        "attempts": [
            {
                "lease": number,
                "machine": attempt.lease.machine,
                "kind": attempt.lease.shard.kind,
                "tests": len(attempt.lease.shard.tests),
                "started": attempt.started,
                "ended": attempt.ended,
                "how": attempt.result.ended if attempt.result else None,
                "cause": attempt.result.cause if attempt.result else None,
                "reason": attempt.result.reason if attempt.result else "",
                "stale": attempt.stale,
            }
            for number, attempt in state.ledger.attempts.items()
        ],
        "machines": [
            {
                "name": machine.spec.name,
                "condition": machine.word,
                "tests": machine.verdicts.total(),
                "busy_seconds": round(machine.busy_seconds, 3),
                "idle_seconds": round(max(0.0, state.elapsed * machine.spec.slots - machine.busy_seconds), 3),
                "losses": machine.losses,
            }
            for machine in state.machines.values()
        ],
        "warnings": [{"source": warning.source, "text": warning.text} for warning in state.warnings],
    }


def _test_json(record: TestRecord) -> dict[str, Any]:
    return {
        "id": record.test.id,
        "name": record.test.name,
        "project": record.test.project,
        "file": record.test.file,
        "verdict": record.verdict,
        "reason": record.reason,
        "attempts": [
            {"lease": lease, "machine": machine, "verdict": result.verdict, "seconds": result.seconds}
            for lease, machine, result in record.history
        ],
    }


def verdict_word(state: RunState) -> str:
    """PASSED, FAILED, INCOMPLETE or INTERRUPTED; RUNNING before the end."""
    if state.finished is None:
        return "RUNNING"
    match state.finished.exit_code:
        case ExitCode.PASSED:
            return "PASSED"
        case ExitCode.TESTS_FAILED:
            return "FAILED"
        case ExitCode.INTERRUPTED | ExitCode.TERMINATED:
            return "INTERRUPTED"
        case _:
            return "INCOMPLETE"
