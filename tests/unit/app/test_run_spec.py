"""What a run is a run of comes back from its journal as it was, whatever today's configuration says."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci_dispatch.app.drive import run_policy
from ci_dispatch.app.run_spec import RunSpec, read_spec
from ci_dispatch.config import load
from ci_dispatch.core.errors import UsageError
from ci_dispatch.core.events import RunResumed, RunStarted, Stamped
from ci_dispatch.core.model import MachineName, RunId
from ci_dispatch.fleets.actions.run.dispatch_state import DispatchTarget
from ci_dispatch.run.journal import dumps, loads
from ci_dispatch.run.state import RunState

CONFIG = load('[run]\nlease = "9s"\n[retry]\nmax_retries = 1\n[[machine]]\nname = "moruk"\ncores = 3').config
TODAY = load('[progress]\nmode = "plain"\n[[machine]]\nname = "morok"').config
TARGET = DispatchTarget(repository="o/r", workflow="w.yml", ref="main")


def journalled(spec: RunSpec) -> RunState:
    started = RunStarted(
        run=RunId("r"), title="t", runner="pytest", tests=(), machines=spec.config.fleet, settings=spec.as_data()
    )
    state = RunState()
    [stamped] = loads(dumps(Stamped(seq=1, at=1.0, event=started)))
    state.apply(stamped)
    return state


@pytest.mark.parametrize("target", [None, TARGET], ids=["over machines", "through GitHub"])
def test_a_spec_comes_back_from_the_journal(target: DispatchTarget | None) -> None:
    spec = RunSpec(root=Path("/somewhere"), config=CONFIG, arguments=("-k", "it's"), target=target)
    again = read_spec(journalled(spec), TODAY)
    assert (again.root, again.arguments, again.target) == (spec.root, spec.arguments, target)
    assert [machine.name for machine in again.config.machines] == ["moruk"], "not today's"
    assert (again.config.run, again.config.retry) == (CONFIG.run, CONFIG.retry)
    assert again.config.progress == TODAY.progress, "how it is shown is of the one who looks"


def test_machines_as_wide_as_the_runner_can_be_stay_so_after_a_resume() -> None:
    spec = RunSpec(root=Path("/somewhere"), config=CONFIG)
    assert spec.with_machines(0) == spec
    [machine] = read_spec(journalled(spec.with_machines(1)), TODAY).config.fleet
    assert (machine.cores, machine.workers, machine.workers_per_shard) == (1, 1, 1)
    unknown = RunSpec(root=Path("/somewhere"), config=load('[[machine]]\nname = "moruk"\nslots = 3').config)
    [machine] = unknown.with_machines(1).config.fleet
    assert (machine.cores, machine.workers_per_shard) == (3, 1), "whatever the machine says it has"


def test_machines_as_fast_as_they_have_shown_stay_so_after_a_resume() -> None:
    spec = RunSpec(root=Path("/somewhere"), config=CONFIG).with_machines(0, {MachineName("moruk"): 0.7})
    assert [machine.speed for machine in read_spec(journalled(spec), TODAY).config.fleet] == [0.7]


@pytest.mark.parametrize(("learnt", "kept"), [(0.003, 0.01), (250.0, 100.0)])
def test_a_speed_that_no_configuration_may_have_is_brought_within_its_bounds(learnt: float, kept: float) -> None:
    """Else the run could not be resumed: its journal has its configuration."""
    spec = RunSpec(root=Path("/somewhere"), config=CONFIG).with_machines(0, {MachineName("moruk"): learnt})
    assert [machine.speed for machine in read_spec(journalled(spec), TODAY).config.fleet] == [kept]


def test_a_deadline_given_to_resume_holds_from_then_on() -> None:
    state = journalled(RunSpec(root=Path("/somewhere"), config=CONFIG))
    assert read_spec(state, TODAY).config.run.deadline == CONFIG.run.deadline
    assert read_spec(state, TODAY, 77.0).config.run.deadline == 77.0
    for seq, deadline in enumerate((99.0, 0.0), start=2):
        state.apply(Stamped(seq=seq, at=2.0, event=RunResumed(controller="c", deadline=deadline)))
        assert read_spec(state, TODAY).config.run.deadline == 99.0
    assert run_policy(read_spec(state, TODAY, 77.0)).deadline == 77.0


def test_a_journal_of_version_0_1_has_no_target_and_is_gone_on_with_over_machines() -> None:
    state = journalled(RunSpec(root=Path("/somewhere"), config=CONFIG))
    assert read_spec(state, TODAY).target is None


def test_a_journal_without_a_spec_cannot_be_gone_on_with() -> None:
    state = RunState()
    started = RunStarted(run=RunId("r"), title="t", runner="pytest", tests=(), machines=())
    state.apply(Stamped(seq=1, at=1.0, event=started))
    with pytest.raises(UsageError, match="cannot be resumed"):
        read_spec(state, TODAY)


def test_inside_a_github_job_reports_are_waited_for_as_long_as_a_runner_lets_us() -> None:
    over_machines = run_policy(RunSpec(root=Path("/"), config=CONFIG))
    through_github = run_policy(RunSpec(root=Path("/"), config=CONFIG, target=TARGET))
    assert through_github.signal_grace <= 3.0 < over_machines.signal_grace
    assert through_github.force_grace == 0.0
    assert over_machines.retry == through_github.retry
    assert over_machines.retry.max_retries == 1
