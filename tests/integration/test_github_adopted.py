"""`ci-dispatch watch` of a run that no folder here knows, in real time: all its dispatches are one run."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_dispatch.app import adopt
from ci_dispatch.app.dispatch import cancel, watch
from ci_dispatch.core.errors import UsageError
from ci_dispatch.core.model import Verdict
from ci_dispatch.run.journal import recover
from ci_dispatch.run.run_folder import all_runs
from ci_dispatch.run.state import RunState
from tests.github_double.entities import Run
from tests.integration.github_run import Clock, World, double_of
from tests.integration.github_uploaded import Stage

CONFIG = """
[suite]
runner = "command"
command = "true {tests} {junit}"
list = "true"
[health]
skip = true
[github]
workflow = "e2e-shard.yml"
ref = "main"
queue_timeout = "2s"
"""


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr(adopt, "LOOK_AGAIN", 0.2)
    (tmp_path / "ci-dispatch.toml").write_text(CONFIG)
    world, clock = World(), Clock(time.time() - 7200)
    with double_of(world, clock) as double:
        yield Stage(tmp_path, world, clock, double)
        assert double.findings() == []


def verdicts(stage: Stage) -> Counter[Verdict]:
    [folder] = all_runs(stage.settings.runs_folder)
    state = RunState()
    recover(folder.journal, state)
    return state.verdicts


def watched(stage: Stage, run: Run) -> int:
    return int(watch(stage.settings, str(run.id)))


def test_every_batch_of_a_plan_is_watched_whichever_is_named(stage: Stage) -> None:
    first, second = [stage.dispatch(batch) for batch in stage.planned(max_inputs=950)[:2]]
    assert first.id != second.id
    assert watched(stage, second) == 0
    assert verdicts(stage) == {Verdict.PASSED: 8}


def test_a_batch_that_is_not_there_is_no_smaller_run(stage: Stage) -> None:
    run = stage.dispatch(stage.planned(max_inputs=950)[0])
    with pytest.raises(UsageError, match=f"Run {run.id} cannot be watched from here") as refused:
        watched(stage, run)
    assert "of its tests were sent with dispatches of which no shard has uploaded a report" in str(refused.value)


def test_a_cancel_by_the_id_of_one_batch_ends_them_all(stage: Stage) -> None:
    stage.world.seconds = 9e9
    hub = stage.double.hub
    first, second = [
        hub.dispatch(hub.workflows["e2e-shard.yml"], "main", batch.inputs)
        for batch in stage.planned(max_inputs=950)[:2]
    ]
    assert cancel(stage.settings, str(second.id)) == 0
    assert {first.conclusion, second.conclusion} == {"cancelled"}


def test_what_was_sent_elsewhere_is_followed_there_and_what_it_said_before_counts(stage: Stage) -> None:
    """t000 failed in the first dispatch, and passed in the second; its shard-mates are not run again."""
    stage.world.fails = {"t000": 1}
    run = stage.dispatch(stage.planned()[0])
    stage.dispatch(stage.planned(name="r1.2", only=1, shards=1)[0])
    sent = len(stage.double.hub.runs)
    assert watched(stage, run) == 0
    assert verdicts(stage) == {Verdict.PASSED: 7, Verdict.FLAKY: 1}
    assert len(stage.double.hub.runs) == sent
