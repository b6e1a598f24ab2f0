"""Runs through GitHub, dispatch to verdict: the plain course, dispatching, again. See docs/github-faults.md."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from ci_dispatch.config.choices import Strategy
from ci_dispatch.core.codec import replace
from ci_dispatch.core.model import FailureCause, ShardId, Verdict
from ci_dispatch.fleets.actions.run.batches import unpack
from ci_dispatch.run.retry import RetryPolicy
from tests.github_double import Fault, Script
from tests.github_double.entities import Job
from tests.github_double.faults import message, secondary_limit
from tests.integration.github_client import client_of
from tests.integration.github_run import COMMIT, FLEET, START, Simulation, World
from tests.integration.github_started import Start, posts, verdicts
from tests.integration.test_github_client import WORKER

# -- the plain course -------------------------------------------------------------------------------------------------


def test_48_shards_in_half_an_hour_need_at_most_120_requests(start: Start) -> None:
    world = World(seconds=75.0)  # 24 shards one after the other on the largest machine: half an hour
    run = start(world, tests=480, shards=48, fleet=FLEET)
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
    run = start(world, tests=480, shards=48, fleet=FLEET)
    assert run.run() == 1
    assert verdicts(run) == {"passed": 478, "flaky": 1, "failed": 1}
    records = {str(test): entry for test, entry in run.state.ledger.records.items()}
    assert records[flaky[0]].verdict is Verdict.FLAKY
    assert [result.verdict for _, _, result in records["t200"].history] == [Verdict.FAILED] * 3
    assert len(posts(run, "rerun-failed-jobs")) == 1
    moved = [ran for ran in world.ran if ran.machine != "pi" and ran.run != world.ran[0].run]
    assert {test for ran in moved for test in ran.tests} >= {
        test for test, entry in records.items() if entry.reassignments
    }
    print(posts(run), f"{run.clock.now() - START:.0f} s, {len(run.double.exchanges)} requests")


def test_a_mixed_plan_lets_the_pool_take_the_tail(start: Start) -> None:
    world = World()
    numbers = {"strategy": Strategy.MIXED, "shards": 0, "pool": ("self-hosted", "e2e"), "head_share": 0.5}
    run = start(world, tests=400, fleet=FLEET, **numbers)
    assert run.run() == 0
    assert verdicts(run) == {"passed": 400}
    leases = [attempt.lease for attempt in run.state.ledger.attempts.values()]
    assert {lease.machine for lease in leases if lease.shard.kind == "tail"} <= {name for name, _ in FLEET}
    assert len(run.double.hub.runs) == 1


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
    assert "actions: write" in str(run.control.refusal)


def test_a_plan_that_is_too_large_for_one_dispatch_becomes_several(start: Start) -> None:
    world = World(seconds=1.0)
    run = start(world, tests=400, shards=300)
    assert run.run() == 0
    assert verdicts(run) == {"passed": 400}
    assert [len(r.jobs) for r in run.double.hub.runs.values()] == [256, 44]


def test_a_worker_workflow_that_makes_no_jobs_is_not_tried_again(start: Start) -> None:
    run = start(World())
    run.double.workflow("e2e-shard.yml", BROKEN)
    assert run.run() == 4
    assert "made no jobs (startup_failure)" in next(iter(run.state.ledger.records.values())).reason
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


# -- a dispatch that is refused while others run ----------------------------------------------------------------------


def loses_ilko2(start: Start, **more: Any) -> Simulation:
    """After half a minute its tests have to be sent elsewhere, while the other machines work on."""
    dead = Script(dies_after=5)
    run = start(
        World(seconds=120.0, script=lambda job: dead if job.runner and job.runner.name == "ilko2" else None), **more
    )
    run.at.append((START + 20, lambda: run.unreachable.add("ilko2")))
    return run


def test_a_branch_that_was_deleted_meanwhile_is_not_needed_the_commit_is(start: Start) -> None:
    run = loses_ilko2(start)
    run.ref = "mend-the-cart"
    run.double.workflow("e2e-shard.yml", WORKER, branches=frozenset({"main", "mend-the-cart"}))
    merged = lambda: run.double.workflow("e2e-shard.yml", WORKER)  # noqa: E731
    run.at.append((START + 10, merged))
    assert run.run() == 0
    assert verdicts(run) == {"passed": 40}
    first, second = run.double.hub.runs.values()
    assert (first.ref, second.ref) == ("mend-the-cart", "main")
    assert {job.matrix["commit"] for job in [*first.jobs, *second.jobs]} == {COMMIT}
    assert any("the branch mend-the-cart is gone" in warning.text for warning in run.state.warnings)


def test_a_dispatch_refused_for_good_leaves_alone_what_runs(start: Start) -> None:
    run = loses_ilko2(start)
    text = message("Resource not accessible by integration")
    run.double.fault(Fault(method="POST", path="/dispatches", status=403, body=text, skip=1, times=99))
    assert run.run() == 5
    assert verdicts(run) == {"passed": 30, "not run": 10}
    assert len(run.double.asked("POST", "/dispatches")) == 2


@pytest.mark.parametrize("lost", [3, 6])
def test_dispatches_whose_answers_are_lost_are_sent_again_for_a_quarter_of_an_hour(start: Start, lost: int) -> None:
    run = loses_ilko2(start)
    run.double.fault(Fault(method="POST", path="/dispatches", status=502, skip=1, times=lost))
    assert run.run() == (0 if lost == 3 else 5)
    assert verdicts(run)["passed"] == (40 if lost == 3 else 30)


def test_a_retry_that_github_refused_makes_no_failed_run_but_an_incomplete_one(start: Start) -> None:
    """The test failed once, and was to be tried again."""
    run = start(World(fails={"t007": 1}))
    no = message("Unable to retry this workflow run because it was created over a month ago")
    run.double.fault(Fault(method="POST", path="rerun-failed", status=403, body=no))
    run.double.fault(Fault(method="POST", path="/dispatches", status=422, body=message("no"), skip=1, times=9))
    assert run.run() == 5
    assert verdicts(run) == {"passed": 39, "failed": 1}
    again = start(World(fails={"t007": 1}))
    again.double.fault(Fault(method="POST", path="rerun-failed", status=403, body=no))
    again.double.fault(Fault(method="POST", path="/dispatches", status=502, skip=1, times=3))
    assert again.run() == 0
    assert verdicts(again) == {"passed": 39, "flaky": 1}


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
    run = start(World(cause=FailureCause.LOAD))
    assert run.run() == 4
    assert verdicts(run) == {"not run": 40}
    assert posts(run) == ["dispatches"]


def test_a_rerun_that_would_repeat_hopeless_jobs_becomes_a_dispatch_of_what_is_owed(start: Start) -> None:
    """t007 has failed for good (no retries left for it), t020 only once: a re-run would repeat both."""
    world = World(fails={"t007": 99, "t020": 1})
    run = start(world, retry=RetryPolicy(max_retries=1, jitter=0.0))
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
