"""A recorded run, and JUnit files, as rows of the history."""

from __future__ import annotations

from pathlib import Path

import pytest

import report_merge
from ci_dispatch.core import codec
from ci_dispatch.core.events import AttemptFinished, AttemptStarted, LeaseGranted, RunFinished, RunStarted, Stamped
from ci_dispatch.core.model import (
    AttemptResult,
    Ended,
    Lease,
    LeaseNumber,
    MachineName,
    MachineSpec,
    Makespan,
    RunId,
    Shard,
    ShardId,
    ShardKind,
    Test,
    TestId,
    TestResult,
    UnitId,
    Verdict,
)
from ci_dispatch.history.of_run import imported, recorded, under_ids
from ci_dispatch.history.values import PastRun, RunSource
from ci_dispatch.planning.samples import DurationSample
from ci_dispatch.run.run_report import report
from ci_dispatch.run.state import RunState
from report_merge.failures import group
from report_merge.model import Report, RunContext, count
from tests.recorded_runs import play
from tests.recorded_runs import recorded as recorded_run

CONTEXT = RunContext(title="shop", repository="o/r", branch="main", sha="abc")


@pytest.mark.parametrize("name", ["green", "troubled"])
def test_a_run_is_recorded_with_every_test_attempt_and_verdict(name: str) -> None:
    state = play(recorded_run(name))
    record = recorded(state, CONTEXT)
    assert state.started is not None
    assert state.finished is not None
    assert record.run == PastRun(
        id=state.started.run,
        at=state.started_at,
        title="shop",
        repository="o/r",
        branch="main",
        sha="abc",
        verdict={"green": "PASSED", "troubled": "INCOMPLETE"}[name],
        seconds=state.finished.makespan.realised,
        planned=state.finished.makespan.planned,
        lower_bound=state.finished.makespan.lower_bound,
    )
    assert [test.id for test in record.tests] == sorted(state.ledger.records)
    for test in record.tests:
        told = state.ledger.records[test.id]
        assert test.verdict is told.verdict
        assert [(one.machine, one.verdict, one.seconds) for one in test.attempts] == [
            (machine, result.verdict, result.seconds) for _, machine, result in told.history
        ]
        assert all(one.at > record.run.at for one in test.attempts)


def test_causes_have_the_fingerprints_by_which_reports_group_them() -> None:
    state = play(recorded_run("troubled"))
    groups = group(report(state, CONTEXT).cases)
    assert {one.fingerprint for one in groups} <= {
        attempt.fingerprint for test in recorded(state, CONTEXT).tests for attempt in test.attempts
    }


def machine_run(spec: MachineSpec, *attempts: tuple[float, float, tuple[float, ...]]) -> RunState:
    """A run on one machine: when each attempt began and ended, and the seconds of its tests."""
    names = [[TestId(f"{n}-{m}") for m in range(len(seconds))] for n, (_, _, seconds) in enumerate(attempts, 1)]
    tests = tuple(Test(id=test, unit=UnitId(test)) for shard in names for test in shard)
    events: list[tuple[float, object]] = [
        (100.0, RunStarted(run=RunId("r"), title="t", runner="x", tests=tests, machines=(spec,)))
    ]
    for number, ((start, end, seconds), shard) in enumerate(zip(attempts, names, strict=True), 1):
        lease = LeaseNumber(number)
        given = Shard(id=ShardId(str(number)), kind=ShardKind.HEAD, tests=tuple(shard))
        results = tuple(
            TestResult(test=test, verdict=Verdict.PASSED, seconds=took)
            for test, took in zip(shard, seconds, strict=True)
        )
        events += [
            (start, LeaseGranted(lease=Lease(number=lease, shard=given, machine=spec.name, granted=start))),
            (start, AttemptStarted(lease=lease)),
            (end, AttemptFinished(lease=lease, machine=spec.name,
                                  result=AttemptResult(ended=Ended.EXITED, results=results))),
        ]  # fmt: skip
    makespan = Makespan(planned=1.0, realised=1.0, lower_bound=1.0)
    events.append((999.0, RunFinished(exit_code=4, makespan=makespan)))
    state = RunState()
    ordered = sorted(events, key=lambda one: one[0])
    for seq, (at, event) in enumerate(ordered, 1):
        state.apply(Stamped(seq=seq, at=at, event=event))  # type: ignore[arg-type]
    return state


def shares(state: RunState) -> dict[str, float]:
    return {test.id: test.attempts[0].busy for test in recorded(state, CONTEXT).tests}


def test_the_load_of_a_machine_is_what_its_tests_took_of_its_workers() -> None:
    spec = MachineSpec(name=MachineName("m"), cores=4, speed=0.5)
    state = machine_run(spec, (110.0, 120.0, (10.0, 10.0, 10.0, 10.0)), (120.0, 130.0, (9.0, 1.0)))
    assert shares(state) == {"1-0": 1.0, "1-1": 1.0, "1-2": 1.0, "1-3": 1.0, "2-0": 0.25, "2-1": 0.25}
    one = recorded(state, CONTEXT).tests[0].attempts[0]
    assert (one.workers, one.speed, one.at) == (4, 0.5, 120.0)


def test_shards_side_by_side_load_a_machine_together() -> None:
    spec = MachineSpec(name=MachineName("m"), cores=4, slots=2)
    state = machine_run(spec, (110.0, 120.0, (10.0,)), (115.0, 125.0, (10.0, 10.0)), (200.0, 210.0, (5.0,)))
    assert shares(state) == {"1-0": 0.5, "2-0": 0.625, "2-1": 0.625, "3-0": 0.25}


def test_cores_that_nobody_knows_are_no_workers() -> None:
    state = machine_run(MachineSpec(name=MachineName("m")), (110.0, 120.0, (10.0,)))
    assert recorded(state, CONTEXT).tests[0].attempts[0].workers == 0


JUNIT = b"""<testsuites><testsuite name="shop.spec.ts" hostname="desktop" time="3">
<testcase classname="shop.spec.ts" name="buys" time="1.5" file="shop.spec.ts"/>
<testcase classname="shop.spec.ts" name="pays" time="0.5" file="shop.spec.ts">
<failure message="no">boom</failure></testcase>
<testcase classname="shop.spec.ts" name="later" file="shop.spec.ts"><skipped/></testcase>
</testsuite></testsuites>"""


def junit() -> Report:
    cases = report_merge.read(JUNIT, "a.xml").cases
    return Report(cases=cases, totals=count(cases), wall_seconds=3.0)


def test_junit_files_are_a_run_of_the_history() -> None:
    record = imported(junit(), RunId("ci-7"), 50.0, CONTEXT)
    assert record.run == PastRun(
        id=RunId("ci-7"), at=50.0, source=RunSource.JUNIT, title="shop", repository="o/r", branch="main", sha="abc",
        verdict="FAILED", seconds=3.0,
    )  # fmt: skip
    assert {test.name: test.verdict for test in record.tests} == {
        "buys": Verdict.PASSED, "pays": Verdict.FAILED, "later": Verdict.SKIPPED,
    }  # fmt: skip
    [buys, _, pays] = record.tests
    assert (buys.attempts[0].seconds, buys.attempts[0].at, buys.attempts[0].fingerprint) == (1.5, 50.0, "")
    assert len(pays.attempts[0].fingerprint) == 12


PLAYWRIGHT = (Path(__file__).parents[2] / "data" / "junit" / "dialects" / "playwright.xml").read_bytes()
PYTEST = b"""<testsuites><testsuite name="pytest"><testcase classname="a.test_b.TestC" name="test_d[1]" time="2"/>
</testsuite></testsuites>"""


@pytest.mark.parametrize(
    ("data", "ours"),
    [
        (PLAYWRIGHT, Test(id=TestId("5f3a"), unit=UnitId("u"), project="chromium", file="cart.spec.ts",
                          title=("cart", "empties"))),
        (PYTEST, Test(id=TestId("a/test_b.py::TestC::test_d[1]"), unit=UnitId("u"), file="a/test_b.py",
                      title=("TestC", "test_d[1]"))),
    ],
    ids=["Playwright", "pytest"],
)  # fmt: skip
def test_what_was_imported_counts_for_the_test_of_the_same_names(data: bytes, ours: Test) -> None:
    cases = report_merge.read(data, "a.xml").cases
    record = imported(Report(cases=cases, totals=count(cases)), RunId("ci-7"), 50.0, CONTEXT)
    samples = [
        DurationSample(test=test.id, file=test.file, project=test.project, machine=MachineName(""), run=RunId("ci-7"),
                       at=50.0, seconds=1.5, verdict=Verdict.PASSED)
        for test in record.tests[:1]
    ]  # fmt: skip
    elsewhere = codec.replace(ours, id=TestId("77"), project="firefox2")
    assert [one.test for one in under_ids(samples, [elsewhere, ours])] == [ours.id]
    assert under_ids(samples, [elsewhere]) == samples
    same = codec.replace(ours, id=record.tests[0].id)
    assert under_ids(samples, [ours, same]) == samples
