"""What a run, or the JUnit files of one, come to as rows of the history. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from pathlib import PurePosixPath

from ci_dispatch.core.codec import replace
from ci_dispatch.core.model import LeaseNumber, MachineName, RunId, Test, TestId, TestResult, UnitId, Verdict
from ci_dispatch.history.values import KnownTest, PastAttempt, PastRun, PastTest, RecordedRun, RunSource
from ci_dispatch.planning.samples import DurationSample
from ci_dispatch.run.ledger import AttemptRecord, TestRecord
from ci_dispatch.run.run_report import verdict_word
from ci_dispatch.run.state import MachineState, RunState
from report_merge import failures
from report_merge.model import Attempt, Case, Outcome, Report, RunContext, UneventfulTest, verdict_of

_BAD = (Verdict.FAILED, Verdict.FLAKY)


def recorded(state: RunState, context: RunContext) -> RecordedRun:
    """A run that has finished, with all its tests."""
    assert state.started is not None
    assert state.finished is not None
    makespan = state.finished.makespan
    run = PastRun(
        id=state.started.run,
        at=round(state.started_at, 3),
        title=context.title,
        repository=context.repository,
        branch=context.branch,
        sha=context.sha,
        verdict=verdict_word(state),
        seconds=round(makespan.realised, 3),
        planned=round(makespan.planned, 3),
        lower_bound=round(makespan.lower_bound, 3),
    )
    busy = {name: _busy_shares(machine, state) for name, machine in state.machines.items()}
    tests = [_test(record, state, busy) for record in state.ledger.records.values()]
    return RecordedRun(run=run, tests=tuple(sorted(tests, key=lambda test: test.id)))


def _test(record: TestRecord, state: RunState, busy: Mapping[MachineName, Mapping[LeaseNumber, float]]) -> PastTest:
    test = record.test
    return PastTest(
        id=test.id,
        name=test.name,
        file=test.file,
        project=test.project,
        verdict=record.verdict or Verdict.NOT_RUN,
        reason=record.reason[:200],
        attempts=tuple(
            _attempt(result, state.machines[machine], state.ledger.attempts[lease], busy[machine].get(lease, 1.0))
            for lease, machine, result in record.history
        ),
    )


def _attempt(result: TestResult, machine: MachineState, of: AttemptRecord, busy: float) -> PastAttempt:
    spec = machine.spec
    failed = Attempt(outcome=Outcome.FAILED, kind=result.kind, message=result.message, text=result.detail)
    return PastAttempt(
        verdict=result.verdict,
        machine=spec.name,
        at=round(of.ended or 0.0, 3),
        seconds=_seconds(result.seconds),
        busy=busy,
        workers=spec.workers_per_shard * spec.slots if spec.workers or spec.cores else 0,
        speed=spec.speed,
        fingerprint=_fingerprint(failed) if result.verdict in _BAD else "",
    )


def _busy_shares(machine: MachineState, state: RunState) -> dict[LeaseNumber, float]:
    """For each attempt on a machine: the share of its workers that were busy meanwhile, by what their tests took."""
    spec = machine.spec
    workers = spec.workers_per_shard * spec.slots
    spans = {
        number: (attempt.started, attempt.ended, sum(one.seconds or 0.0 for one in attempt.result.results))
        for number, attempt in state.ledger.attempts.items()
        if attempt.lease.machine == spec.name
        and attempt.result is not None
        and attempt.started is not None
        and attempt.ended is not None
        and attempt.ended > attempt.started
    }
    shares = {}
    for number, (start, end, worked) in spans.items():
        beside = worked / (end - start)
        if spec.slots > 1:
            others = (span for other, span in spans.items() if other != number)
            beside += sum(
                load / (until - since) * max(0.0, min(end, until) - max(start, since)) / (end - start)
                for since, until, load in others
            )
        shares[number] = round(min(1.0, max(1.0, beside) / workers), 3)  # a test that runs has one of them
    return shares


def imported(report: Report, run: RunId, at: float, context: RunContext) -> RecordedRun:
    """The tests of JUnit files that tell of one run, which began `at`; its verdict is theirs."""
    tests = {test.id: test for one in report.tests for test in [_imported(_whole(one), at)]}
    failed = any(test.verdict is Verdict.FAILED for test in tests.values())
    past = PastRun(
        id=run,
        at=at,
        source=RunSource.JUNIT,
        title=context.title,
        repository=context.repository,
        branch=context.branch,
        sha=context.sha,
        verdict="INCOMPLETE" if report.incomplete else "FAILED" if failed else "PASSED",
        seconds=round(report.wall_seconds or 0.0, 3),
    )
    return RecordedRun(run=past, tests=tuple(sorted(tests.values(), key=lambda test: test.id)))


def _whole(one: Case | UneventfulTest) -> Case:
    return one if isinstance(one, Case) else one.case


def _imported(case: Case, at: float) -> PastTest:
    key = case.key
    name = _imported_name(key.project, key.classname or key.file, key.name)
    name += f" ({key.ordinal + 1})" if key.ordinal else ""
    return PastTest(
        id=TestId(name),
        name=key.name,
        file=key.file,
        project=key.project,
        verdict=case.verdict,
        reason=case.reason[:200],
        attempts=tuple(
            PastAttempt(
                verdict=verdict_of([attempt.outcome]),
                machine=attempt.machine,
                at=at,
                seconds=_seconds(attempt.seconds),
                fingerprint=_fingerprint(attempt) if attempt.outcome.bad else "",
            )
            for attempt in case.attempts
        ),
    )


def _fingerprint(attempt: Attempt) -> str:
    return (attempt.cause or failures.cause_of(attempt, failures.load_rules())).fingerprint


def _seconds(seconds: float | None) -> float | None:
    """No clock runs backwards."""
    return None if seconds is None or not isfinite(seconds) else round(max(0.0, seconds), 3)


def under_ids(samples: Iterable[DurationSample], tests: Iterable[Test]) -> list[DurationSample]:
    """Samples under the ids of `tests`: what JUnit files told of them has their names instead."""
    tests = list(tests)
    ids = {test.id for test in tests}
    other = {name: test for name, test in other_ids(tests).items() if name not in ids}
    return [replace(one, test=other[one.test]) if one.test in other else one for one in samples]


def other_ids(tests: Iterable[Test]) -> dict[TestId, TestId]:
    """By the ids that JUnit files may have given to `tests`: their own."""
    return {TestId(name): test.id for test in tests for name in _names(test) if name != test.id}


def listed(test: KnownTest) -> Test:
    """A test as its listing had it, as far as the history knows."""
    title = tuple(test.name.split(" › ")) if test.name else ()
    return Test(id=test.id, unit=UnitId(test.id), project=test.project, file=test.file, title=title)


def _names(test: Test) -> Iterator[str]:
    """What `_imported` calls a test of Playwright, of pytest, and of a runner whose reports have classes."""
    *outer, last = test.title or (test.id,)
    module = ".".join([*PurePosixPath(test.file).with_suffix("").parts, *outer]) if test.file else ""
    for place, name in ((test.file, test.name), (test.classname, test.name), (module, last), (test.classname, last)):
        if place:
            yield _imported_name(test.project, place, name)


def _imported_name(project: str, place: str, name: str) -> str:
    return "::".join(filter(None, (project, place, name)))
