"""`ci-dispatch merge`: green only when every planned test has a result. The double over HTTP, in simulated time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ci_dispatch.app.merge import merge
from ci_dispatch.app.settings import read_settings
from tests.github_double import Fault, GitHubDouble, Script
from tests.github_double.entities import Job, Run
from tests.integration.github_run import Clock, World, double_of
from tests.integration.github_uploaded import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    world, clock = World(), Clock()
    with double_of(world, clock) as double:
        yield Stage(tmp_path, world, clock, double)


def merged(stage: Stage, run: Run) -> int:
    return int(merge(stage.settings, str(run.id), stage.folder / "merged.xml"))


def test_all_shards_reported_is_green(stage: Stage) -> None:
    run = stage.dispatch(stage.planned()[0])
    assert merged(stage, run) == 0
    assert (stage.folder / "merged.xml").read_text().count("<testcase") == 8


def test_a_shard_that_uploaded_nothing_is_missed(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.world.script = lambda job: Script(seconds=1) if job.matrix["shard"] == "head-2" else None
    run = stage.dispatch(stage.planned()[0])
    assert merged(stage, run) == 4
    assert "INCOMPLETE: 2 planned tests have no result" in capsys.readouterr().err


def expired(double: GitHubDouble) -> None:
    double.hub.artifacts[1].expired = True


def gone(double: GitHubDouble) -> None:
    """Listed as alive, and gone when it is asked for."""
    number = double.hub.artifacts[1].id
    double.fault(Fault(path=f"/artifacts/{number}/zip", status=410, body='{"message": "Artifact has expired"}'))


def unavailable(double: GitHubDouble) -> None:
    number = double.hub.artifacts[1].id
    double.fault(Fault(path=f"/artifacts/{number}/zip", status=502, times=9))


def damaged(double: GitHubDouble) -> None:
    double.hub.artifacts[1].data = double.hub.artifacts[1].data[:-40]
    double.hub.artifacts[1].digest = ""


def of_another_job(double: GitHubDouble) -> None:
    first, second = double.hub.artifacts[:2]
    second.data, second.digest = first.data, first.digest


@pytest.mark.parametrize("spoil", [expired, gone, unavailable, damaged, of_another_job])
def test_a_report_that_cannot_be_used_is_missed(
    stage: Stage, spoil: Callable[[GitHubDouble], None], capsys: pytest.CaptureFixture[str]
) -> None:
    run = stage.dispatch(stage.planned()[0])
    name = stage.double.hub.artifacts[1].name
    spoil(stage.double)
    assert merged(stage, run) == 4
    said = capsys.readouterr().err
    assert f"INCOMPLETE: The artifact {name}" in said
    assert "INCOMPLETE: 2 planned tests have no result" in said
    assert (stage.folder / "merged.xml").read_text().count("<testcase") == 6


def test_no_report_at_all_is_no_green_run(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.world.script = lambda _job: Script(seconds=1)
    assert merged(stage, stage.dispatch(stage.planned()[0])) == 4
    assert "no shard has uploaded a report" in capsys.readouterr().err


def test_all_batches_of_a_run_are_found_by_one_of_them(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = stage.planned(max_inputs=950)[:2]
    assert merged(stage, stage.dispatch(first)) == 4, "the other one was never sent"
    assert "were sent with other dispatches, of which there is no report" in capsys.readouterr().err
    run = stage.dispatch(second)
    stage.dispatch(stage.planned(name="r11.1")[0])  # of another run, with a similar name
    assert merged(stage, run) == 0
    assert (stage.folder / "merged.xml").read_text().count("<testcase") == 8


def test_what_failed_in_one_dispatch_and_passed_in_the_next_is_flaky(stage: Stage) -> None:
    stage.world.fails = {"t000": 1, "t001": 9}
    run = stage.dispatch(stage.planned()[0])
    assert merged(stage, run) == 1
    stage.world.fails = {"t000": 1}
    stage.dispatch(stage.planned(name="r1.2", only=2, shards=1)[0])
    assert merged(stage, run) == 0
    assert "flaky" in (stage.folder / "merged.xml").read_text()


def test_reports_of_two_commits_are_no_run(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    def tip(job: Job) -> str:
        return "beef" * 10 if job.matrix["shard"] == "head-1" else str(job.matrix["commit"])

    stage.world.checks_out = tip
    assert merged(stage, stage.dispatch(stage.planned()[0])) == 4
    assert "several commits: beefbeefbeef, c0ffee000000" in capsys.readouterr().err


def test_what_a_report_says_of_its_commit_is_only_text(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    odd = "\x1b[2J\n::error::x"
    stage.world.checks_out = lambda job: odd if job.matrix["shard"] == "head-1" else str(job.matrix["commit"])
    assert merged(stage, stage.dispatch(stage.planned()[0])) == 4
    said = capsys.readouterr().err
    assert "several commits" in said
    assert "\x1b" not in said
    assert "\n::error" not in said


def test_a_run_that_is_merged_in_its_own_workflow_needs_no_name(stage: Stage) -> None:
    run = stage.dispatch(stage.planned()[0])
    environ = {**stage.settings.environ, "GITHUB_RUN_ID": str(run.id)}
    settings = read_settings(None, {}, environ, stage.folder)
    assert int(merge(settings, "", stage.folder / "merged.xml")) == 0
