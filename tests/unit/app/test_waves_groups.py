"""Groups inside one workflow run, whose jobs run at once: what is apart is one job, and what comes after waits."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci_dispatch.core.errors import ConfigError, ExitCode
from ci_dispatch.core.model import Verdict
from tests.waves_room import CONFIG, WavesRoom

FAILED = Verdict.FAILED


def room_of(folder: Path, groups: str) -> WavesRoom:
    return WavesRoom(folder, config=CONFIG + groups)


def wave(room: WavesRoom) -> dict[str, list[str]]:
    """The tests of each job of the last plan."""
    return {shard: sorted(room.tests_of(shard)) for shard in room.shards}


def test_what_holds_a_resource_of_the_fleet_is_one_job_with_one_worker(tmp_path: Path) -> None:
    room = room_of(tmp_path, '[[group]]\nname = "db"\ntitles = ["a", "b", "c"]\nexclusive = ["db"]\n')
    room.plan()
    assert sorted(wave(room).values()) == [["a", "b", "c"], ["d"]]
    assert {entry["workers"] for entry in room.matrix if len(room.tests_of(entry["shard"])) == 3} == {1}
    room.all_pass()
    assert room.merge() is ExitCode.PASSED


def test_a_resource_of_machines_is_held_by_one_job_on_each(tmp_path: Path) -> None:
    room = room_of(tmp_path, '[[group]]\nname = "port"\ntitles = ["*"]\nexclusive_on_machine = ["port"]\n')
    room.plan()
    assert sorted(entry["machine"] for entry in room.matrix) == ["ilko2", "moruk"]
    assert sorted(test for tests in wave(room).values() for test in tests) == ["a", "b", "c", "d"]


def test_what_needs_a_machine_runs_there_also_when_it_is_tried_again(tmp_path: Path) -> None:
    room = room_of(tmp_path, '[[group]]\nname = "g"\ntitles = ["a", "b"]\nneeds = ["ilko2"]\n')
    room.plan()
    assert {e["machine"] for e in room.matrix if set(room.tests_of(e["shard"])) & {"a", "b"}} == {"ilko2"}
    room.all_pass(but={"a": FAILED})
    room.again(2)
    [entry] = room.matrix
    assert (entry["machine"], room.tests_of(entry["shard"])) == ("ilko2", ["a"])


AFTER = """
[[group]]
name = "set-up"
titles = ["a"]

[[group]]
name = "rest"
titles = ["*"]
after = ["set-up"]
"""


def test_dependents_go_into_the_wave_after_what_they_wait_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    room = room_of(tmp_path, AFTER)
    room.plan()
    assert "it takes 2 waves at least" in capsys.readouterr().err
    assert list(wave(room).values()) == [["a"]]
    room.all_pass()
    assert room.again(2)
    assert sorted(test for tests in wave(room).values() for test in tests) == ["b", "c", "d"]
    room.all_pass()
    assert not room.again(3)
    assert room.merge() is ExitCode.PASSED


def test_what_failed_for_good_leaves_its_dependents_not_run_and_the_run_incomplete(tmp_path: Path) -> None:
    room = room_of(tmp_path, AFTER)
    room.plan()
    for number in (2, 3):
        room.all_pass(but={"a": FAILED})
        assert room.again(number)
        assert list(wave(room).values()) == [["a"]]
    room.all_pass(but={"a": FAILED})
    assert room.merge() is ExitCode.INCOMPLETE
    assert room.verdict_of("a") == "failed"
    reasons = {test["reason"] for test in room.run_json()["tests"] if test["id"] != "a"}
    assert reasons == {"it comes after set-up, of which a failed"}


def test_who_runs_the_failed_job_again_gets_the_dependents_too(tmp_path: Path) -> None:
    room = room_of(tmp_path, "[retry]\nmax_retries = 0\n" + AFTER)
    room.plan()
    [shard] = room.shards
    room.report(shard, {"a": FAILED})
    assert not room.again(2)
    assert room.merge() is ExitCode.INCOMPLETE
    room.attempt = 2
    room.report(shard, {"a": Verdict.PASSED})
    assert room.again(2)
    assert sorted(test for tests in wave(room).values() for test in tests) == ["b", "c", "d"]
    room.all_pass()
    assert room.merge() is ExitCode.PASSED


def test_what_nobody_can_do_is_said_by_the_plan(tmp_path: Path) -> None:
    room = room_of(tmp_path, '[[group]]\nname = "g"\ntitles = ["a"]\nneeds = ["gpu"]\n')
    with pytest.raises(ConfigError, match='group g: needs: got "gpu"'):
        room.plan()
