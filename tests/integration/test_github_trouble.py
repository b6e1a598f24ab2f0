"""Runs through GitHub in trouble: machines that die, reports of no use, GitHub's weather. See docs/github-faults.md."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ci_dispatch.config.choices import Strategy
from ci_dispatch.core.events import AttemptFinished, MachineLost, MachineQuarantined
from ci_dispatch.core.model import MachineName
from tests.github_double import Fault, Script, Stop, zipped
from tests.github_double.entities import Job
from tests.github_double.faults import secondary_limit
from tests.integration.github_run import FLEET, START, World
from tests.integration.github_started import EVEN, Start, posts, verdicts

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


def test_a_machine_whose_runner_died_gets_no_new_work_though_ssh_calls_it_healthy(start: Start) -> None:
    """Every test fails twice, so that there is much to hand out again; the largest machine has no runner any more."""
    world = World(script=on("local", Script(dies_after=5)), fails={f"t{n:03}": 2 for n in range(40)})
    run = start(world)
    assert run.run() == 0
    assert verdicts(run) == {"flaky": 40}
    _, *later = run.double.hub.runs.values()
    assert later
    assert not [job.labels for again in later for job in again.jobs if "local" in job.labels]
    assert run.state.machines[MachineName("local")].usable  # its health checks went on to say so


def test_a_shutdown_signal_is_no_test_failure(start: Start) -> None:
    text = "The runner has received a shutdown signal. This can happen when the runner service is stopped."
    world = World(script=on("ilko2", Script(seconds=5, conclusion="failure", annotation=text), before=10))
    run = start(world)
    assert run.run() == 0
    assert verdicts(run) == {"passed": 40}
    assert not any(entry.retries for entry in run.state.ledger.records.values())


def test_a_queue_that_never_starts_is_left_after_its_timeout(start: Start) -> None:
    world = World()
    run = start(world, queue_timeout=300.0)
    next(r for r in run.double.hub.runners if r.name == "ilko2").online = False
    assert run.run() == 0
    assert verdicts(run) == {"passed": 40}
    assert 300 < run.clock.now() - START < 500
    assert not any(ran.machine == "ilko2" for ran in world.ran)


@pytest.mark.parametrize("asked", [4, 3], ids=["one is not well", "one was not asked for"])
@pytest.mark.parametrize("strategy", [Strategy.MIXED, Strategy.POOLED])
def test_a_machine_that_should_get_nothing_gets_nothing_through_the_pool_either(
    start: Start, asked: int, strategy: Strategy
) -> None:
    """Its runner has the pool's labels and is free."""
    world = World(fails={"t007": 1, "t020": 2})
    pool = {"pool": ("self-hosted", "e2e"), "pooled": frozenset(name for name, _ in FLEET), "head_share": 0.3}
    run = start(world, tests=60, fleet=EVEN[:asked], strategy=strategy, shards=0, **pool)
    run.unreachable.update(["pi"] if asked == 4 else [])
    assert run.run() == 0
    assert {ran.machine for ran in world.ran} <= {name for name, _ in FLEET[:3]}
    assert "pi" not in {ran.machine for ran in world.ran}


def test_a_fleet_that_another_run_holds_is_waited_for(start: Start) -> None:
    """For eighty minutes: no move, no quarantine, no second dispatch."""
    others: list[int] = []
    held = Script(seconds=4800)
    run = start(World(script=lambda job: held if job.run in others else None))
    include = [{"shard": name, "labels": [name]} for name, _ in FLEET]
    inputs = {"matrix": json.dumps({"include": include}), "plan": "p", "dispatch_id": "another.1"}
    hub = run.double.hub
    other = hub.dispatch(hub.workflows["e2e-shard.yml"], "main", inputs)
    others.append(other.id)
    hub.tick()
    assert run.run(limit=20_000.0) == 0
    assert verdicts(run) == {"passed": 40}
    assert 4800 < run.clock.now() - START < 5400
    assert posts(run) == ["dispatches"]
    assert not run.journal.of(MachineQuarantined)
    assert not any(record.reassignments for record in run.state.ledger.records.values())


def test_labels_that_no_runner_has_are_not_waited_for_till_the_end_of_time(start: Start) -> None:
    run = start(World(), queue_timeout=300.0)
    for runner in run.double.hub.runners:
        runner.online = False
    assert run.run() == 4
    assert 1200 < run.clock.now() - START < 1600
    assert posts(run, "dispatches") == ["dispatches"]
    [reason] = {
        record.reason.partition(" took")[0] for record in run.state.ledger.records.values() if "pi " in record.reason
    }
    assert reason == "no runner with the labels self-hosted, pi"


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


@pytest.mark.long
def test_a_github_that_stays_away_ends_the_run_incomplete_and_never_green(start: Start) -> None:
    run = start(World(), patience=120.0)
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


@pytest.mark.parametrize("shard", ["head-1", "head-2"], ids=["others wait for its runner", "its machine's last"])
def test_a_runner_that_is_stopped_costs_its_job_and_nothing_else(start: Start, shard: str) -> None:
    """GitHub cancels the job, and in the end calls the whole run cancelled."""
    stopped = Script(seconds=5, stop=Stop.RUNNER)
    run = start(World(script=lambda job: stopped if job.matrix["shard"] == shard else None))
    assert run.run() == 0
    assert verdicts(run) == {"passed": 40}
    assert run.clock.now() - START < 600, "its tests go elsewhere while the others run"
    assert len(posts(run, "dispatches")) == 2


def test_a_job_that_checks_out_another_commit_ends_the_run_and_is_not_believed(start: Start) -> None:
    """A worker workflow without `ref`: somebody has pushed meanwhile, and some jobs run the branch's new tip."""
    run = start(World(checks_out=lambda job: "beef" * 10 if job.matrix["shard"] == "head-3" else job.matrix["commit"]))
    assert run.run() == 4
    unbelieved = [record for record in run.state.ledger.records.values() if record.reason]
    assert 0 < len(unbelieved) < 40
    assert verdicts(run) == {"passed": 40 - len(unbelieved), "not run": len(unbelieved)}
    [reason] = {record.reason for record in unbelieved}
    assert reason.startswith("commit beefbeefbeef was checked out, and this run is of c0ffee000000")
    assert "`ref: ${{ matrix.commit }}`" in reason
    assert posts(run, "dispatches") == ["dispatches"], "no retry helps"


def test_workers_of_another_version_end_the_run_at_once_with_what_to_do(start: Start) -> None:
    """Every machine would answer the same: nothing is moved from one to the next."""
    old = zipped(
        {"attempt.json": '{"v":1,"dispatch":"d","shard":"s","attempt":1,"machine":"m","result":{"ended":"exited"}}'}
    )
    run = start(World(archive=lambda _job, _data: old))
    assert run.run() == 4
    assert verdicts(run) == {"not run": 40}
    assert len(posts(run, "dispatches")) == 1
    reasons = {record.reason for record in run.state.ledger.records.values()}
    assert len(reasons) == 1
    assert "use the same version of the action" in reasons.pop()
