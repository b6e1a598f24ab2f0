"""A shard inside one workflow run, with a real test runner: what it makes ready, leaves out and reports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ci_dispatch.app import shard, waves
from ci_dispatch.core.errors import ExitCode, UsageError
from ci_dispatch.core.model import FailureCause, Verdict
from ci_dispatch.fleets.actions import shard_report
from tests.waves_room import CONFIG, WavesRoom

RUN = """
import pathlib, sys
wanted, junit = pathlib.Path(sys.argv[1]).read_text().splitlines(), pathlib.Path(sys.argv[2])
pathlib.Path("ran").write_text(" ".join(wanted))
junit.write_text("<testsuite>" + "".join(f'<testcase name="{test}"/>' for test in wanted) + "</testsuite>")
"""
CONFIG_OF_SHARD = CONFIG.replace('"true {tests_file} {junit}"', '"python3 run.py {tests_file} {junit}"')


@pytest.fixture
def room(tmp_path: Path) -> WavesRoom:
    room = WavesRoom(tmp_path, config=CONFIG_OF_SHARD)
    room.checkout("run.py", RUN)
    room.commit()
    return room


def run(room: WavesRoom, entry: dict[str, object], **options: str) -> tuple[ExitCode, shard_report.ShardReport]:
    output = room.folder / "shard"
    code = shard.run(
        room.settings(options), entry=json.dumps(entry), plan=room.plan_id, dispatch_id="", output=output,
        artifacts=room.artifacts,
    )  # fmt: skip
    return code, shard_report.read(output / str(room.attempt))


def test_it_runs_its_part_of_the_plan_on_a_checkout_that_it_has_made_ready(room: WavesRoom) -> None:
    room.plan()
    entry = room.matrix[0]
    code, report = run(room, entry, **{"suite.prepare": "touch ready"})
    assert code is ExitCode.PASSED
    assert [line.test for line in report.result.results] == room.tests_of(entry["shard"])
    assert (report.dispatch, report.plan) == (room.plan_id, "")
    assert report.started <= report.ended
    assert (room.folder / "checkout" / "ready").exists()


def test_a_checkout_that_cannot_be_made_ready_is_a_report_that_says_so(room: WavesRoom) -> None:
    room.plan()
    code, report = run(room, room.matrix[0], **{"suite.prepare": "echo no such registry >&2; exit 3"})
    assert code is ExitCode.INCOMPLETE
    assert "no such registry" in report.result.reason
    assert not (room.folder / "checkout" / "ran").exists()


def test_a_second_attempt_runs_only_what_no_wave_has_mended(room: WavesRoom) -> None:
    room.plan()
    entry = room.matrix[0]
    tests = room.tests_of(entry["shard"])
    room.report(entry["shard"], dict.fromkeys(tests, Verdict.FAILED))
    room.again(2)
    room.report(room.shards[0], {tests[0]: Verdict.PASSED})
    room.attempt = 2
    code, report = run(room, entry)
    assert code is ExitCode.PASSED
    assert [line.test for line in report.result.results] == tests[1:]
    assert (room.folder / "checkout" / "ran").read_text().split() == tests[1:]


def test_what_stood_in_another_shard_s_way_keeps_nobody_from_trying_again(room: WavesRoom) -> None:
    room.plan()
    entry = room.matrix[0]
    tests = room.tests_of(entry["shard"])
    room.report(entry["shard"], dict.fromkeys(tests, Verdict.FAILED))
    room.again(2)
    for shard_id in room.shards:
        room.report(shard_id, dict.fromkeys(room.tests_of(shard_id), Verdict.NOT_RUN), cause=FailureCause.LOAD)
    room.attempt = 2
    assert run(room, entry)[0] is ExitCode.PASSED


def test_what_an_earlier_attempt_says_is_only_text(room: WavesRoom, capsys: pytest.CaptureFixture[str]) -> None:
    room.plan()
    entry = room.matrix[0]
    room.report(
        entry["shard"],
        dict.fromkeys(room.tests_of(entry["shard"]), Verdict.NOT_RUN),
        cause=FailureCause.LOAD,
        reason="\x1b[2J\n::error::x",
    )
    room.attempt = 2
    assert run(room, entry)[0] is ExitCode.INCOMPLETE
    said = capsys.readouterr().err
    assert "Not run again" in said
    assert "\x1b" not in said
    assert "\n::error" not in said


def test_a_shard_of_another_plan_is_refused(room: WavesRoom) -> None:
    room.plan()
    with pytest.raises(UsageError, match="the plan of this dispatch does not know it"):
        run(room, {**room.matrix[0], "shard": "w2-retry-9"})


def test_a_checkout_that_cannot_be_made_ready_is_not_listed(room: WavesRoom) -> None:
    settings = room.settings({"suite.prepare": "echo no such registry >&2; exit 3"})
    with pytest.raises(UsageError, match=r"could not be made ready: echo no such registry.*exit code 3: no such"):
        waves.list_only(settings, room.folder / "listing.json", ())
    assert not (room.folder / "listing.json").exists()
