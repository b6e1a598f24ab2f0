"""Runs through GitHub at their end: cancelled, too late, killed and watched again. See docs/github-faults.md."""

from __future__ import annotations

import pytest

from ci_dispatch.config.choices import Strategy
from ci_dispatch.core.events import AttemptFinished, RunFinished, Warned
from ci_dispatch.run import messages as m
from tests.github_double import Fault
from tests.integration.github_run import START, World
from tests.integration.github_started import Start, posts, verdicts

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
    run = start(World(seconds=100.0), deadline=250.0, shards=16)
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
    numbers = {"strategy": Strategy.MIXED, "shards": 0, "pool": ("self-hosted", "e2e"), "head_share": 0.3}
    run = start(World(), tests=300, **numbers)

    def kill() -> None:
        run.alive = False

    run.at.append((START + 30, kill))
    assert run.run() == -1
    assert run.killed_and_watched() == 0
    assert verdicts(run) == {"passed": 300}
    assert len(run.double.hub.runs) == 1
