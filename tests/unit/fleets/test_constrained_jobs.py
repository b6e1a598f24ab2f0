"""What groups ask for, through GitHub: jobs that may all run at once never hold one lock, and none waits in vain."""

from __future__ import annotations

from typing import Any

import pytest

from ci_dispatch.core.codec import replace
from ci_dispatch.core.groups import GroupSpec, TestGroup, Together
from ci_dispatch.core.model import Ended, Test, TestId, UnitId, Verdict
from ci_dispatch.fleets.actions import messages as g
from ci_dispatch.fleets.actions.rest.models import JobView
from ci_dispatch.fleets.actions.run.batches import batches, unpack
from ci_dispatch.fleets.actions.run.matrix import MatrixJob
from tests.actions_script import A, ActionsScript, B, job
from tests.simulation import make_tests

IDS = [test.id for test in make_tests(6)]


def of(*numbers: int, **spec: Any) -> TestGroup:
    return TestGroup(spec=GroupSpec(**{"name": f"g{numbers[0]}", **spec}), tests=tuple(IDS[n] for n in numbers))


def jobs(script: ActionsScript) -> list[MatrixJob]:
    return [job.job for run in script.fleet.runs for job in run.jobs.values()]


def holding(script: ActionsScript, lock: str) -> list[MatrixJob]:
    return [job for job in jobs(script) if job.lock == lock]


def named(view: JobView, shard: str) -> JobView:
    return replace(view, name=f"shard {shard}")


def test_one_job_holds_a_resource_of_the_fleet_with_one_worker_and_is_pinned() -> None:
    script = ActionsScript(6, [of(0, 1, exclusive=("db",)), of(2, exclusive=("db",))])
    [locked] = holding(script, "db")
    assert sorted(locked.shard.tests) == IDS[:3]
    assert locked.workers == 1
    assert locked.machine in (A, B)
    assert sorted(test for job in jobs(script) for test in job.shard.tests) == IDS


def test_a_job_that_holds_a_lock_is_a_dispatch_of_its_own_so_that_it_can_be_cancelled_at_once() -> None:
    script = ActionsScript(6, [of(0, 1, exclusive=("db",)), of(2, exclusive=("licence",))])
    locks = [[job.job.lock for job in run.jobs.values()] for run in script.fleet.runs]
    assert sorted(locks, key=len) == [["db"], ["licence"], ["", ""]]


def test_one_job_on_each_machine_holds_a_resource_of_machines() -> None:
    script = ActionsScript(6, [of(*range(6), exclusive_on_machine=("port",))])
    assert sorted(job.machine for job in holding(script, "port")) == [A, B]


def test_a_machine_can_be_asked_for() -> None:
    script = ActionsScript(6, [of(0, 1, 2, 3, needs=("b",))])
    assert {job.machine for job in jobs(script) if set(job.shard.tests) & set(IDS[:4])} == {B}


def test_all_of_a_place_is_on_one_machine() -> None:
    script = ActionsScript(6, [of(0, 1, together=Together.MACHINE), of(1, 2, together=Together.MACHINE)])
    assert len({job.machine for job in jobs(script) if set(job.shard.tests) & set(IDS[:3])}) == 1


def test_a_failed_job_that_github_is_to_run_again_keeps_its_lock() -> None:
    """Others that hold it need another machine, so they have waited: they still do while the re-run is owed."""
    script = ActionsScript(4, [of(0, exclusive=("db",), needs=("a",)), of(1, 2, 3, exclusive=("db",), needs=("b",))])
    script.dispatched()
    [first] = holding(script, "db")
    name, runner = first.shard.id, str(first.machine)
    view = job(1, runner, "failure")
    script.poll(named(view, name), at=20.0, whole="failure")
    script.report(name, Verdict.FAILED, 21.0)
    script.say(g.DownloadDone(7, None), 21.0)
    for second in range(22, 60):
        script.say(g.RunnersSeen(busy=()), float(second))
    assert script.asked(g.RerunFailedJobs)
    assert len(holding(script, "db")) == 1


def test_dependents_are_dispatched_when_what_they_come_after_has_passed() -> None:
    script = ActionsScript(3, [of(0, name="set-up"), of(1, 2, after=("set-up",))])
    script.dispatched()
    [setup] = jobs(script)
    assert setup.shard.tests == (IDS[0],)
    script.poll(named(job(1, str(setup.machine), "success"), setup.shard.id), at=20.0, whole="success")
    script.report(setup.shard.id, Verdict.PASSED, 21.0)
    assert sorted(test for job in jobs(script)[1:] for test in job.shard.tests) == IDS[1:3]


def test_a_job_that_holds_a_lock_and_is_too_large_leaves_its_rest_for_later() -> None:
    tests = {
        name: Test(id=name, unit=UnitId(name), title=(name * 30,)) for name in (TestId(f"t{n}") for n in range(400))
    }
    script = ActionsScript(4, [of(0, exclusive=("db",))])
    [one] = holding(script, "db")
    large = replace(one, shard=replace(one.shard, tests=tuple(tests)))
    [batch] = batches([large], tests, name="x", timeout_minutes=1, max_inputs=4000)
    [sent] = batch.jobs
    assert 0 < len(sent.shard.tests) < 400
    free = batches([replace(large, lock="")], tests, name="x", timeout_minutes=1, max_inputs=4000)
    assert sum(len(job.shard.tests) for batch in free for job in batch.jobs) == 400


@pytest.mark.parametrize(("needs", "moves"), [((), True), (("a",), False)])
def test_a_job_that_no_runner_takes_moves_only_to_a_machine_that_may_have_it(
    needs: tuple[str, ...], *, moves: bool
) -> None:
    """Else the same job would be dispatched for the same runner again and again."""
    script = ActionsScript(4, [of(*range(4), needs=needs)])
    script.dispatched()
    views = [named(job(n, "b" if each.machine == B else ""), each.shard.id) for n, each in enumerate(jobs(script), 1)]
    for at in range(20, 1200, 60):
        script.poll(*views, at=float(at))
        script.say(g.RunnersSeen(busy=()), float(at))
    moved = [a for a in script.state.ledger.attempts.values() if a.result and a.result.ended is Ended.NOT_STARTED]
    assert bool(moved) is moves


def test_what_is_dispatched_says_what_holds_for_it_to_whoever_watches_without_the_folder() -> None:
    locked, free = of(0, 1, exclusive=("db",)), of(2, needs=("a",))
    script = ActionsScript(6, [locked, free])
    plans = [unpack(run.batch.inputs["plan"]) for run in script.fleet.runs]
    assert [group for plan in plans for group in plan.groups] == [locked, free]
