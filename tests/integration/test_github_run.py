"""Runs through GitHub from dispatch to verdict, with everything that goes wrong there. See docs/github-faults.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from ci_dispatch import messages as m
from ci_dispatch.core.batches import unpack
from ci_dispatch.core.events import AttemptFinished, MachineLost, RunFinished, Warned
from ci_dispatch.core.matrix import Strategy
from ci_dispatch.core.model import ShardId, Trouble, Verdict
from ci_dispatch.core.retry import RetryPolicy
from ci_dispatch.github.outgoing import Terms
from tests.github_double import Fault, GitHubDouble, Script, zipped
from tests.github_double.entities import Job
from tests.github_double.faults import message, secondary_limit
from tests.integration.github_client import client_of
from tests.integration.github_run import FLEET, START, Clock, Simulation, World, double_of, suite

PINNED = Terms(strategy=Strategy.PINNED, retry=RetryPolicy(max_retries=2, jitter=0.0), shards=8)
EVEN = tuple((name, 2) for name, _ in FLEET)  # two shards for each machine
Start = Callable[..., Simulation]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """`start(world, ...)`: a simulation; afterwards the official description has the last word on all that was said."""
    with ExitStack() as stack:
        doubles: list[GitHubDouble] = []

        def begin(
            world: World, *, tests: int = 40, terms: Terms = PINNED, fleet: Sequence[tuple[str, int]] = EVEN
        ) -> Simulation:
            clock = Clock()
            double = stack.enter_context(double_of(world, clock))
            doubles.append(double)
            simulation = Simulation(double, clock, tmp_path, tests=suite(tests), terms=terms, fleet=fleet)
            stack.callback(simulation.github.client.close)
            return simulation

        yield begin
        for double in doubles:
            assert [f for f in double.findings() if " 5" not in f] == []
            assert double.token_leaks == []


def verdicts(simulation: Simulation) -> Counter[str]:
    entries = simulation.state.ledger.entries.values()
    return Counter(str(entry.verdict) for entry in entries)


def posts(simulation: Simulation, part: str = "") -> list[str]:
    return [x.url.rsplit("/", 1)[1] for x in simulation.double.asked("POST", part)]


# -- the plain course -------------------------------------------------------------------------------------------------


def test_48_shards_in_half_an_hour_need_at_most_120_requests(start: Start) -> None:
    world = World(seconds=75.0)  # 24 shards one after the other on the largest machine: half an hour
    run = start(world, tests=480, terms=replace(PINNED, shards=48), fleet=FLEET)
    assert run.run() == 0
    assert verdicts(run) == {"passed": 480}
    assert len(run.double.hub.runs) == 1
    assert len(world.ran) == 48
    took = run.clock.now() - START
    assert took > 1750
    sent = len(run.double.exchanges)
    print(f"{sent} requests in {took:.0f} s")
    assert sent <= 120
    assert run.github.client.sent == sent


def test_each_expected_test_has_one_verdict_when_all_three_kinds_of_trouble_meet(start: Start) -> None:
    """48 shards: one flaky test, one that truly fails, one runner that dies."""

    def dies(job: Job) -> Script | None:
        if job.runner is None or job.runner.name != "pi":
            return None
        shard = unpack(run.double.hub.runs[job.run].inputs["plan"]).tests[ShardId(job.matrix["shard"])]
        flaky.append(shard[0].id)
        world.fails = {"t200": 99, shard[0].id: 1}  # it will fail where it is moved to
        return Script(dies_after=5)

    flaky: list[str] = []
    world = World(script=dies)
    run = start(world, tests=480, terms=replace(PINNED, shards=48), fleet=FLEET)
    assert run.run() == 1
    assert verdicts(run) == {"passed": 478, "flaky": 1, "failed": 1}
    entries = {str(test): entry for test, entry in run.state.ledger.entries.items()}
    assert entries[flaky[0]].verdict is Verdict.FLAKY
    assert [result.verdict for _, _, result in entries["t200"].history] == [Verdict.FAILED] * 3
    assert len(posts(run, "rerun-failed-jobs")) == 1
    moved = [ran for ran in world.ran if ran.machine != "pi" and ran.run != world.ran[0].run]
    assert {test for ran in moved for test in ran.tests} >= {test for test, entry in entries.items() if entry.moves}
    print(posts(run), f"{run.clock.now() - START:.0f} s, {len(run.double.exchanges)} requests")


def test_a_mixed_plan_lets_the_pool_take_the_tail(start: Start) -> None:
    world = World()
    terms = replace(PINNED, strategy=Strategy.MIXED, shards=0, pool=("self-hosted", "e2e"), head_share=0.5)
    run = start(world, tests=400, terms=terms, fleet=FLEET)
    assert run.run() == 0
    assert verdicts(run) == {"passed": 400}
    leases = [attempt.lease for attempt in run.state.ledger.attempts.values()]
    assert {lease.machine for lease in leases if lease.shard.kind == "tail"} <= {name for name, _ in FLEET}
    assert len(run.double.hub.runs) == 1


# -- again ------------------------------------------------------------------------------------------------------------


def test_a_flaky_test_is_run_again_in_its_own_job_and_only_it(start: Start) -> None:
    world = World(fails={"t007": 1})
    run = start(world)
    assert run.run() == 0
    assert verdicts(run) == {"passed": 39, "flaky": 1}
    assert posts(run) == ["dispatches", "rerun-failed-jobs"]
    again = [ran for ran in world.ran if ran.attempt == 2]
    assert [ran.tests for ran in again] == [("t007",)]


def test_a_failing_test_is_tried_max_retries_times_with_growing_backoff(start: Start) -> None:
    world = World(fails={"t007": 99})
    run = start(world)
    assert run.run() == 1
    assert verdicts(run) == {"passed": 39, "failed": 1}
    # twice on its machine in a re-run, then from another: test or machine?
    assert sum("t007" in ran.tests for ran in world.ran) == 3


def test_what_no_retry_can_help_is_not_tried_again(start: Start) -> None:
    run = start(World(trouble=Trouble.LOAD))
    assert run.run() == 4
    assert verdicts(run) == {"not run": 40}
    assert posts(run) == ["dispatches"]


def test_a_rerun_that_would_repeat_hopeless_jobs_becomes_a_dispatch_of_what_is_owed(start: Start) -> None:
    """t007 has failed for good (no retries left for it), t020 only once: a re-run would repeat both."""
    world = World(fails={"t007": 99, "t020": 1})
    run = start(world, terms=replace(PINNED, retry=RetryPolicy(max_retries=1, jitter=0.0)))
    assert run.run() == 1
    assert verdicts(run) == {"passed": 38, "flaky": 1, "failed": 1}


def test_a_403_while_the_run_still_counts_as_running_is_waited_out(start: Start) -> None:
    run = start(World(fails={"t007": 1}))
    body = message("This workflow is already running")
    run.double.fault(Fault(method="POST", path="rerun-failed", status=403, body=body, times=3))
    assert run.run() == 0
    assert posts(run) == ["dispatches"] + ["rerun-failed-jobs"] * 4
    times = [x.moment for x in run.double.asked("POST", "rerun")]
    assert all(later - earlier >= 30 for earlier, later in pairwise(times))


def test_a_rerun_that_is_refused_for_good_becomes_a_dispatch(start: Start) -> None:
    run = start(World(fails={"t007": 1}))
    body = message("Unable to retry this workflow run because it was created over a month ago")
    run.double.fault(Fault(method="POST", path="rerun-failed", status=403, body=body))
    assert run.run() == 0
    assert posts(run) == ["dispatches", "rerun-failed-jobs", "dispatches"]
    assert any("over a month ago" in w.text for w in run.state.warnings)


def test_a_rerun_whose_answer_was_lost_is_not_asked_for_twice(start: Start) -> None:
    run = start(World(fails={"t007": 1}))
    run.double.fault(Fault(method="POST", path="rerun-failed", status=502, processed=True))
    assert run.run() == 0
    assert posts(run) == ["dispatches", "rerun-failed-jobs"]


# -- dispatch ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [0, 502])
@pytest.mark.parametrize("processed", [True, False])
def test_a_dispatch_without_an_answer_makes_exactly_one_run(start: Start, status: int, processed: bool) -> None:
    run = start(World())
    run.double.hub.lag.listing = 12.0  # the new run is not listed at once either
    run.double.fault(Fault(method="POST", path="/dispatches", status=status, processed=processed))
    assert run.run() == 0
    assert len(run.double.hub.runs) == 1
    assert len(posts(run)) == (1 if processed else 2)


def test_an_older_server_that_tells_no_run_id(start: Start) -> None:
    run = start(World())
    run.double.returns_run_details = False
    run.double.hub.lag.listing = 8.0
    assert run.run() == 0
    assert len(run.double.hub.runs) == 1


def test_a_rate_limited_dispatch_waits_as_told(start: Start) -> None:
    run = start(World())
    fault = secondary_limit("/dispatches", retry_after=40)
    run.double.fault(replace(fault, method="POST"))
    assert run.run() == 0
    first, second = run.double.asked("POST", "/dispatches")
    assert second.moment - first.moment >= 40


def test_a_token_without_permission_ends_the_run_and_names_it(start: Start) -> None:
    run = start(World())
    run.github.client.close()
    run.github = client_of(run.double, token=run.double.grant("actions:read"))
    assert run.run() == 5
    assert verdicts(run) == {"not run": 40}
    assert "actions: write" in str(run.dispatcher.refusal)


def test_a_plan_that_is_too_large_for_one_dispatch_becomes_several(start: Start) -> None:
    world = World(seconds=1.0)
    run = start(world, tests=400, terms=replace(PINNED, shards=300))
    assert run.run() == 0
    assert verdicts(run) == {"passed": 400}
    assert [len(r.jobs) for r in run.double.hub.runs.values()] == [256, 44]


def test_a_worker_workflow_that_makes_no_jobs_is_not_tried_again(start: Start) -> None:
    run = start(World())
    run.double.workflow("e2e-shard.yml", BROKEN)
    assert run.run() == 4
    assert "made no jobs (startup_failure)" in next(iter(run.state.ledger.entries.values())).reason
    assert posts(run) == ["dispatches"]


BROKEN = """
name: Shards
run-name: "Shards [${{ inputs.dispatch_id }}]"
on:
  workflow_dispatch:
    inputs:
      matrix: {required: true}
      plan: {required: true}
      dispatch_id: {required: true}
      empty: {default: '{"include": []}'}
jobs:
  shard:
    strategy: {matrix: "${{ fromJSON(inputs.empty) }}"}
    runs-on: x
    steps: [{run: echo}]
"""


# -- machines ---------------------------------------------------------------------------------------------------------


def on(machine: str, script: Script, *, before: float = 1e9) -> Callable[[Job], Script | None]:
    def choose(job: Job) -> Script | None:
        return script if job.runner and job.runner.name == machine and (job.started or 0) < START + before else None

    return choose


def test_a_runner_that_dies_unseen_is_found_out_and_its_tests_move(start: Start) -> None:
    """GitHub shows the run in progress for almost ten minutes; then its shards go elsewhere."""
    world = World(script=on("ilko2", Script(dies_after=5)))
    run = start(world)
    assert run.run() == 0
    assert verdicts(run) == {"passed": 40}
    assert 585 < run.clock.now() - START < 900
    assert len(posts(run, "dispatches")) == 2
    assert [e.machine for e in run.journal.of(MachineLost)] == ["ilko2"]  # type: ignore[union-attr]
    old, new = run.double.hub.runs.values()
    assert old.status == "completed"
    assert all(job.runner and job.runner.name != "ilko2" for job in new.jobs)


def test_a_machine_that_health_checks_call_dead_is_not_waited_for(start: Start) -> None:
    world = World(script=on("ilko2", Script(dies_after=5)))
    run = start(world)
    run.at.append((START + 20, lambda: run.unreachable.add("ilko2")))
    assert run.run() == 0
    assert run.clock.now() - START < 300
    assert posts(run, "dispatches") == ["dispatches", "dispatches"]
    assert posts(run, "cancel") == ["cancel"]  # the old run would look alive for minutes


def test_a_shutdown_signal_is_no_test_failure(start: Start) -> None:
    text = "The runner has received a shutdown signal. This can happen when the runner service is stopped."
    world = World(script=on("ilko2", Script(seconds=5, conclusion="failure", annotation=text), before=10))
    run = start(world)
    assert run.run() == 0
    assert verdicts(run) == {"passed": 40}
    assert not any(entry.retries for entry in run.state.ledger.entries.values())


def test_a_queue_that_never_starts_is_left_after_its_timeout(start: Start) -> None:
    world = World()
    run = start(world, terms=replace(PINNED, queue_timeout=300.0))
    next(r for r in run.double.hub.runners if r.name == "ilko2").online = False
    assert run.run() == 0
    assert verdicts(run) == {"passed": 40}
    assert 300 < run.clock.now() - START < 500
    assert not any(ran.machine == "ilko2" for ran in world.ran)


def test_when_nobody_is_left_the_run_ends_incomplete(start: Start) -> None:
    run = start(World())
    run.unreachable.update(name for name, _ in FLEET)
    assert run.run() == 4
    assert run.state.finished is not None
    assert run.state.finished.reason == "no healthy machine"
    assert posts(run) == []


# -- reports ----------------------------------------------------------------------------------------------------------


def first_of(machine: str, change: Callable[[bytes], bytes]) -> Callable[[Job, bytes], bytes]:
    def archive(job: Job, data: bytes) -> bytes:
        early = (job.started or 0) < START + 60
        return change(data) if early and job.runner and job.runner.name == machine else data

    return archive


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda _data: b"<html>not a zip</html>", "no zip"),
        (
            lambda _data: zipped({"../../x": "owned"}),
            "elsewhere",
        ),
        (
            lambda _data: zipped({"attempt.json": "{"}),
            "attempt.json",
        ),
        (lambda data: data[:-40], "damaged"),
    ],
)
def test_a_report_that_cannot_be_used_costs_its_shard_and_nothing_else(
    start: Start, tmp_path: Path, change: Callable[[bytes], bytes], says: str
) -> None:
    run = start(World(archive=first_of("ilko2", change)))
    assert run.run() == 0
    assert verdicts(run) == {"passed": 40}
    reasons = [e.result.reason for e in run.journal.of(AttemptFinished)]  # type: ignore[union-attr]
    assert any(says in reason for reason in reasons)
    assert not list(tmp_path.parent.glob("x"))


def test_an_expired_or_forged_artifact_is_not_believed(start: Start) -> None:
    run = start(World())

    def spoil() -> None:
        run.double.hub.tick()
        first, second = run.double.hub.artifacts[:2]
        first.expired = True
        second.digest = "sha256:" + "0" * 64

    run.double.fault(Fault(path="/artifacts", status=None, before=spoil))
    assert run.run() == 0
    assert verdicts(run) == {"passed": 40}
    reasons = " ".join(e.result.reason for e in run.journal.of(AttemptFinished))  # type: ignore[union-attr]
    assert "expired" in reasons
    assert "digest" in reasons


def test_a_job_that_leaves_no_report_is_not_taken_for_passed(start: Start) -> None:
    world = World(script=on("ilko2", Script(seconds=5), before=30))  # "success", and nothing uploaded
    run = start(world)
    assert run.run() == 0
    assert verdicts(run) == {"passed": 40}
    reasons = [e.result.reason for e in run.journal.of(AttemptFinished)]  # type: ignore[union-attr]
    assert any("left no report" in reason for reason in reasons)


# -- GitHub's weather -------------------------------------------------------------------------------------------------


def test_eventual_consistency_is_lived_with(start: Start) -> None:
    run = start(World(fails={"t007": 1}))
    run.double.hub.lag.jobs, run.double.hub.lag.rerun, run.double.hub.lag.listing = 25.0, 25.0, 25.0
    assert run.run() == 0
    assert verdicts(run) == {"passed": 39, "flaky": 1}
    assert posts(run) == ["dispatches", "rerun-failed-jobs"]


def test_a_rate_limit_while_watching_is_waited_out_in_silence(start: Start) -> None:
    run = start(World())
    run.double.fault(secondary_limit("/jobs", retry_after=100))
    assert run.run() == 0
    limited = next(x for x in run.double.exchanges if x.status == 403)
    later = [x.moment for x in run.double.exchanges if x.moment > limited.moment]
    assert min(later) - limited.moment >= 100


def test_minutes_of_bad_gateways_are_survived(start: Start) -> None:
    run = start(World(seconds=60.0))
    run.double.fault(Fault(path="/jobs", status=502, times=12))
    assert run.run() == 0
    assert verdicts(run) == {"passed": 40}


def test_a_github_that_stays_away_ends_the_run_incomplete_and_never_green(start: Start) -> None:
    run = start(World(), terms=replace(PINNED, patience=120.0))
    run.double.fault(Fault(path="/jobs", status=503, times=1000))
    assert run.run() == 5
    assert verdicts(run) == {"not run": 40}


def test_words_of_tomorrow_do_not_stop_us(start: Start) -> None:
    world = World(script=on("ilko2", Script(seconds=5, conclusion="evaporated"), before=30))
    run = start(world)
    assert run.run() == 0
    assert verdicts(run) == {"passed": 40}
    assert any("evaporated" in finding for finding in run.double.findings())
    run.double.exchanges.clear()


# -- the end ----------------------------------------------------------------------------------------------------------


def test_a_person_who_cancels_on_github_is_obeyed(start: Start) -> None:
    run = start(World(seconds=120.0))
    run.at.append((START + 30, lambda: run.double.hub.cancel(next(iter(run.double.hub.runs.values())))))
    assert run.run() == 4
    assert run.state.finished is not None
    assert "not by us: standing down" in run.state.finished.reason
    assert posts(run, "dispatches") == ["dispatches"]
    assert posts(run, "rerun") == []


@pytest.mark.parametrize(("signal", "code"), [(2, 130), (15, 143)])
def test_a_signal_cancels_the_child_run_within_seven_seconds(start: Start, signal: int, code: int) -> None:
    run = start(World(seconds=600.0))
    run.at.append((START + 30, lambda: run.inbox.append(m.Signalled(signal))))
    assert run.run() == code
    assert run.clock.now() - START - 30 < 7
    assert [r.conclusion for r in run.double.hub.runs.values()] == ["cancelled"]
    assert verdicts(run) == {"not run": 40}


def test_the_deadline_ends_everything_and_keeps_what_is_known(start: Start) -> None:
    run = start(World(seconds=100.0), terms=replace(PINNED, deadline=250.0, shards=16))
    assert run.run() == 4
    assert run.clock.now() - START < 400
    assert 0 < verdicts(run)["passed"] < 40
    assert verdicts(run)["not run"] > 0
    assert [r.conclusion for r in run.double.hub.runs.values()] == ["cancelled"]


def test_events_end_with_the_run_and_warnings_are_told(start: Start) -> None:
    run = start(World())
    run.run()
    assert isinstance(run.journal.events[-1].event, RunFinished)
    assert not [w for w in run.journal.of(Warned) if "internal" in w.text]  # type: ignore[union-attr]


# -- the controller may die -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [1.0, 2.0, 8.0, 26.0, 45.0, 52.0, 60.0, 70.0])
def test_a_controller_killed_at_any_time_is_followed_by_one_that_finishes_the_run(start: Start, after: float) -> None:
    world = World(fails={"t007": 1, "t020": 99})
    run = start(world)

    def kill() -> None:
        run.alive = False

    run.at.append((START + after, kill))
    assert run.run() == -1
    run.clock.moment += 30
    assert run.killed_and_watched() == 1
    assert verdicts(run) == {"passed": 38, "flaky": 1, "failed": 1}
    assert not [e for e in run.journal.of(AttemptFinished) if e.stale]  # type: ignore[union-attr]  # nothing told twice


@pytest.mark.parametrize("save", [True, False])
def test_killed_between_writing_down_and_dispatching(start: Start, save: bool) -> None:
    """The dispatch may have been sent or not: its id tells, and in the end there is one run of it."""
    run = start(World())

    def kill() -> None:
        run.alive = False

    run.double.fault(Fault(method="POST", path="/dispatches", status=0, processed=save, before=kill))
    assert run.run() == -1
    assert run.killed_and_watched() == 0
    assert verdicts(run) == {"passed": 40}
    assert len(run.double.hub.runs) == 1


def test_killed_before_anything_was_written_down(start: Start) -> None:
    """The journal has leases of a dispatch that nobody wrote down: it was never sent, so its tests are free."""
    run = start(World())
    run.dies_when_saving = True
    assert run.run() == -1
    run.dies_when_saving = False
    assert run.killed_and_watched() == 0
    assert verdicts(run) == {"passed": 40}
    assert len(run.double.hub.runs) == 1


def test_a_pooled_run_is_watched_again(start: Start) -> None:
    terms = replace(PINNED, strategy=Strategy.MIXED, shards=0, pool=("self-hosted", "e2e"), head_share=0.3)
    run = start(World(), tests=300, terms=terms)

    def kill() -> None:
        run.alive = False

    run.at.append((START + 30, kill))
    assert run.run() == -1
    assert run.killed_and_watched() == 0
    assert verdicts(run) == {"passed": 300}
    assert len(run.double.hub.runs) == 1
