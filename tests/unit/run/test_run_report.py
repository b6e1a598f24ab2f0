"""What a run came to, for people and for programs: every attempt visible, every test without a verdict named."""

from __future__ import annotations

import json

import pytest

from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.events import (
    AttemptFinished,
    AttemptStarted,
    Event,
    LeaseGranted,
    RunFinished,
    Stamped,
    VerdictReached,
    Warned,
)
from ci_dispatch.core.model import (
    AttemptResult,
    Ended,
    Lease,
    LeaseNumber,
    MachineName,
    MachineSpec,
    Makespan,
    Shard,
    ShardId,
    ShardKind,
    TestResult,
    Verdict,
)
from ci_dispatch.run import run_report
from ci_dispatch.run.state import RunState
from report_merge.model import Outcome, RunContext
from report_merge.model import Verdict as Shown
from tests.simulation import make_tests, run_started

HERE = MachineName("here")
TESTS = make_tests(4)
FAILED, PASSED, FLAKY, SKIPPED = (test.id for test in TESTS)
MAKESPAN = Makespan(planned=10.0, realised=12.0, lower_bound=9.0)


def line(test: str, verdict: Verdict, **more: object) -> TestResult:
    return TestResult(test=test, verdict=verdict, seconds=1.0, **more)  # type: ignore[arg-type]


def granted(number: int, *tests: str) -> LeaseGranted:
    shard = Shard(id=ShardId("s"), kind=ShardKind.HEAD, tests=tests)  # type: ignore[arg-type]
    return LeaseGranted(lease=Lease(number=LeaseNumber(number), shard=shard, machine=HERE, granted=0.0))


def ended(number: int, *results: TestResult) -> AttemptFinished:
    return AttemptFinished(
        lease=LeaseNumber(number), machine=HERE, result=AttemptResult(ended=Ended.EXITED, results=results)
    )


def state(*events: Event, finished: ExitCode | None = ExitCode.TESTS_FAILED) -> RunState:
    folded = RunState()
    first = run_started(TESTS, [MachineSpec(name=HERE, cores=1)], {test.id: 1.0 for test in TESTS})
    last = [RunFinished(exit_code=finished, makespan=MAKESPAN)] if finished is not None else []
    for seq, event in enumerate((first, *events, *last), 1):
        folded.apply(Stamped(seq=seq, at=100.0 + seq, event=event))
    return folded


RUN = (
    granted(1, *(test.id for test in TESTS)),
    AttemptStarted(lease=LeaseNumber(1)),
    ended(
        1,
        line(FAILED, Verdict.FAILED, message="boom", detail="at line 3", kind="Error"),
        line(PASSED, Verdict.PASSED),
        line(FLAKY, Verdict.FLAKY, message="broke", retries=2),
        line(SKIPPED, Verdict.SKIPPED, reason="not today"),
    ),
    granted(2),
    VerdictReached(test=FAILED, verdict=Verdict.FAILED),
    VerdictReached(test=PASSED, verdict=Verdict.PASSED),
    VerdictReached(test=FLAKY, verdict=Verdict.FLAKY),
    VerdictReached(test=SKIPPED, verdict=Verdict.SKIPPED),
)


def test_every_test_is_one_case_with_all_its_attempts() -> None:
    report = run_report.report(state(*RUN), RunContext())
    cases = dict(zip((FAILED, PASSED, FLAKY, SKIPPED), report.cases, strict=True))
    assert [case.verdict for case in report.cases] == [Shown.FAILED, Shown.PASSED, Shown.FLAKY, Shown.SKIPPED]
    [failed] = cases[FAILED].attempts
    assert (failed.message, failed.text, failed.kind, failed.machine, failed.shard) == (
        "boom", "at line 3", "Error", "here", "1",
    )  # fmt: skip
    assert [(a.number, a.outcome, a.message) for a in cases[FLAKY].attempts] == [
        (1, Outcome.FAILED, "broke"),
        (2, Outcome.FAILED, "broke"),
        (3, Outcome.PASSED, ""),
    ], "the runner's own retries are not hidden"
    assert cases[SKIPPED].attempts[0].message == "not today"
    assert report.missing == ()
    assert (report.wall_seconds, report.compared_times) == (12.0, (("planned", 10.0), ("ideal", 9.0)))
    assert report.summed_seconds == 4.0
    [use] = report.machines
    assert (use.tests, use.failed, [span.label for span in use.spans]) == (4, 1, ["head 1: 4 tests"])
    assert use.spans[0].verdict is Shown.FAILED


def test_a_test_without_a_verdict_is_missing_and_never_passed() -> None:
    """It even passed once, in an attempt that its runner did not vouch for."""
    verdicts = (VerdictReached(test=PASSED, verdict=Verdict.NOT_RUN, reason="nobody left"),)
    run = state(granted(1, FAILED, PASSED), ended(1, line(PASSED, Verdict.PASSED)), *verdicts)
    report = run_report.report(run, RunContext())
    assert {case.verdict for case in report.cases} == {Shown.NOT_RUN}
    assert [(case.key.name, case.reason) for case in report.cases] == [
        (TESTS[0].name, "no verdict"),
        (TESTS[1].name, "nobody left"),
        (TESTS[2].name, "no verdict"),
        (TESTS[3].name, "no verdict"),
    ]
    assert report.incomplete
    assert report.missing == (), "each is told once"


def test_run_json_has_the_whole_run() -> None:
    data = json.loads(json.dumps(run_report.run_json(state(*RUN, Warned(source="here", text="mind this")))))
    assert (data["version"], data["verdict"], data["exit_code"], data["expected"]) == (2, "FAILED", 1, 4)
    assert data["counts"] == {"passed": 1, "failed": 1, "flaky": 1, "skipped": 1, "not run": 0}
    assert data["makespan"] == {"planned": 10.0, "realised": 12.0, "lower_bound": 9.0}
    first, second = data["attempts"]
    assert (first["lease"], first["machine"], first["tests"], first["how"], first["stale"]) == (
        1, "here", 4, "exited", False,
    )  # fmt: skip
    assert (first["cause"], second["cause"]) == ("", None)
    assert second["how"] is None, "it has not ended"
    assert data["tests"][0]["attempts"] == [{"lease": 1, "machine": "here", "verdict": "failed", "seconds": 1.0}]
    assert (data["machines"][0]["tests"], data["machines"][0]["condition"]) == (4, "busy")
    assert data["warnings"] == [{"source": "here", "text": "mind this"}]


def test_the_report_of_a_run_that_is_over_is_made_once() -> None:
    reports, over, on = run_report.ReportCache(RunContext(title="shop")), state(*RUN), state(*RUN, finished=None)
    assert reports.of(on) is not reports.of(on)
    assert reports.of(over) is reports.of(over)
    assert reports.of(over) == run_report.report(over, RunContext(title="shop"))
    assert reports.of(on).wall_seconds != reports.of(over).wall_seconds


def test_the_keys_of_run_json_change_only_with_its_version() -> None:
    data = run_report.run_json(state(*RUN))
    assert run_report.RUN_JSON_VERSION == 2
    assert " ".join(data) == (
        "version run title started verdict exit_code makespan time_use expected counts tests attempts machines warnings"
    )
    assert " ".join(data["tests"][0]) == "id name project file verdict reason attempts"
    assert " ".join(data["attempts"][0]) == "lease machine kind tests started ended how cause reason stale"
    assert " ".join(data["machines"][0]) == "name condition tests busy_seconds idle_seconds losses"


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (None, "RUNNING"),
        (ExitCode.PASSED, "PASSED"),
        (ExitCode.TESTS_FAILED, "FAILED"),
        (ExitCode.INCOMPLETE, "INCOMPLETE"),
        (ExitCode.INTERNAL, "INCOMPLETE"),
        (ExitCode.INTERRUPTED, "INTERRUPTED"),
        (ExitCode.TERMINATED, "INTERRUPTED"),
    ],
)
def test_the_verdict_is_one_word(code: ExitCode | None, word: str) -> None:
    assert run_report.verdict_word(state(finished=code)) == word
