"""Any workflow run, put together again from its artifacts: one verdict each, and never green without evidence."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from ci_dispatch.core.codec import decode, encode
from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.events import RunStarted
from ci_dispatch.core.model import (
    AttemptResult,
    Ended,
    MachineName,
    MachineSpec,
    RunId,
    Test,
    TestId,
    TestResult,
    UnitId,
    Verdict,
)
from ci_dispatch.fleets.actions.run.dispatch_planner import ActionsPolicy
from ci_dispatch.fleets.actions.shard_report import ShardReport
from ci_dispatch.fleets.actions.waves.planned_wave import Folder, PlannedWave, matrix_of
from ci_dispatch.fleets.actions.waves.replay import Replay
from ci_dispatch.run.control import RunPolicy
from report_merge.failures import classify

RUN_VERDICTS = (Verdict.PASSED, Verdict.FAILED, Verdict.SKIPPED, Verdict.FLAKY, Verdict.NOT_RUN)
POLICY = ActionsPolicy()


class Workflow:
    """A workflow run in which anything may get lost or fail."""

    def __init__(self, random: Random, tests: int, machines: int, retries: int) -> None:
        self.random = random
        self.machines = [MachineSpec(name=MachineName(f"m{n}"), cores=2) for n in range(machines)]
        made = tuple(
            Test(id=TestId(f"t{n}"), unit=UnitId(f"u{n // random.choice([1, 2, 3])}"), atomic=random.random() < 0.2)
            for n in range(tests)
        )
        started = RunStarted(
            run=RunId("r"), title="", runner="", tests=made, machines=tuple(self.machines), max_retries=retries
        )
        self.first = PlannedWave(id=RunId("r"), wave=1, attempt=1, at=100.0, started=started)
        self.started = started
        self.waves: list[PlannedWave] = []
        self.reports: list[ShardReport] = []
        self.clock = 100.0
        self.passed: set[TestId] = set()  # that some report calls passed, flaky or skipped
        self.failed: set[TestId] = set()

    def folder(self) -> Folder:
        waves = [decode(PlannedWave, encode(wave)) for wave in self.waves]
        return Folder(first=waves[0], started=self.started, waves=tuple(waves), reports=tuple(self.reports))

    def replay(self, attempt: int, first: PlannedWave | None = None) -> Replay:
        replay = Replay(
            first or self.waves[0],
            policy=RunPolicy(),
            classify=lambda line: classify(line.detail, message=line.message),
        )
        if first is None:
            replay.read(self.folder(), attempt)
        return replay

    def plan(self) -> None:
        wave, _ = self.replay(1, self.first).plan(self.first, self.machines, POLICY)
        self.waves.append(wave)

    def again(self, wave: int, attempt: int) -> PlannedWave:
        replay = self.replay(attempt)
        owed = set(replay.owed)
        empty = PlannedWave(id=RunId("r"), wave=wave, attempt=attempt, at=self.clock)
        made, _ = replay.plan(empty, self.machines, POLICY)
        planned = Counter(test for job in made.jobs for test in job.shard.tests)
        assert not planned or set(planned) == owed, "what is owed is planned whole, or nobody is left"
        assert all(count == 1 for count in planned.values())
        assert len(matrix_of(made, timeout_minutes=1)["include"]) >= 1
        if made.jobs:
            self.waves.append(made)
        return made

    def execute(self, wave: PlannedWave, attempt: int, share: float) -> None:
        for job in wave.jobs:
            if self.random.random() < 0.25:
                continue  # its runner was lost
            results = []
            for test in job.shard.tests:
                if self.random.random() > share:
                    continue  # an earlier wave has it, or the report forgets it
                verdict = self.random.choice(RUN_VERDICTS)
                results.append(TestResult(test=test, verdict=verdict, message="expected 1, got 2"))
                good = verdict in (Verdict.PASSED, Verdict.FLAKY, Verdict.SKIPPED)
                (self.passed if good else self.failed if verdict is Verdict.FAILED else set()).add(test)
            self.clock += 1
            machine = self.random.choice([str(job.machine), f"{job.machine}-2", "stranger"])
            self.reports.append(
                ShardReport(
                    dispatch="r", shard=job.shard.id, attempt=attempt, machine=machine, started=self.clock,
                    ended=self.clock + self.random.choice([-5.0, 1.0]),
                    result=AttemptResult(ended=self.random.choice(list(Ended)), results=tuple(results)),
                )
            )  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32), tests=st.integers(1, 20), machines=st.integers(1, 4), retries=st.integers(0, 3),
    attempts=st.integers(1, 3),
)  # fmt: skip
def test_every_test_has_one_verdict_and_green_has_its_evidence(
    seed: int, tests: int, machines: int, retries: int, attempts: int
) -> None:
    random = Random(seed)
    run = Workflow(random, tests, machines, retries)
    run.plan()
    for attempt in range(1, attempts + 1):
        again = [wave for wave in run.waves if random.random() < 0.7] if attempt > 1 else run.waves[:1]
        for old in again:  # GitHub runs old jobs again, or makes later waves anew
            run.execute(old, attempt, 0.9)
        for number in (2, 3):
            if random.random() < 0.8:
                made = run.again(number, attempt)
                run.execute(made, attempt, 0.95)
    last = run.replay(attempts)
    last.finish(run.clock + 10, "no wave is left")
    state = last.state
    assert state.finished is not None
    verdicts = {test: record.verdict for test, record in state.ledger.records.items()}
    assert set(verdicts) == {test.id for test in run.started.tests}
    assert None not in verdicts.values()
    for test, verdict in verdicts.items():
        if verdict in (Verdict.PASSED, Verdict.FLAKY, Verdict.SKIPPED):
            assert test in run.passed, f"{test} is {verdict} without a report that says so"
        if verdict is Verdict.PASSED:
            assert all(line.verdict is not Verdict.FAILED for _, _, line in state.ledger.records[test].history)
    if state.finished.exit_code == ExitCode.PASSED:
        assert set(verdicts.values()) <= {Verdict.PASSED, Verdict.FLAKY, Verdict.SKIPPED}
    other = run.replay(attempts)
    other.finish(run.clock + 10, "no wave is left")
    assert {t: r.verdict for t, r in other.state.ledger.records.items()} == verdicts, (
        "whoever replays it decides the same"
    )
