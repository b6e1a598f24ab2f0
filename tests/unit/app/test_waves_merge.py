"""The gate of one workflow: one verdict from the plan and every report, and none where something is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ci_dispatch.core.errors import ExitCode, FleetError, NothingToRun, UsageError
from ci_dispatch.core.model import Verdict
from tests.waves_room import WavesRoom, suite_of

PASSED, FAILED = Verdict.PASSED, Verdict.FAILED


@pytest.fixture
def room(tmp_path: Path) -> WavesRoom:
    return WavesRoom(tmp_path)


class TestMerge:
    def test_everything_passed(self, room: WavesRoom) -> None:
        room.plan()
        room.all_pass()
        assert not room.again(2)
        assert room.merge() is ExitCode.PASSED
        assert room.outputs["verdict"] == "passed"
        assert room.outputs["tests"] == room.outputs["passed"] == "4"
        assert Path(room.outputs["report-path"]).is_file()
        assert "passed" in (room.folder / "summary.md").read_text().lower()

    def test_an_empty_wave_is_a_matrix_that_github_takes(self, room: WavesRoom) -> None:
        room.plan()
        room.all_pass()
        room.again(2)
        assert room.outputs["owed"] == "false"
        assert len(room.matrix) == 1

    def test_a_shard_that_never_uploads_is_incomplete(self, room: WavesRoom) -> None:
        room.plan()
        room.all_pass(without="moruk")
        assert room.merge() is ExitCode.INCOMPLETE
        assert room.outputs["verdict"] == "incomplete"
        assert room.outputs["not-run"] == "2"
        assert "no report came from head-" in (room.folder / "summary.md").read_text()

    def test_a_report_that_cannot_be_read_is_none(self, room: WavesRoom) -> None:
        room.plan()
        room.all_pass()
        next(room.artifacts.rglob("attempt.json")).write_text('{"dispatch": ')
        assert room.merge() is ExitCode.INCOMPLETE

    def test_a_shard_that_forgets_a_test_is_incomplete(self, room: WavesRoom) -> None:
        room.plan()
        for shard in room.shards:
            room.report(shard, dict.fromkeys(room.tests_of(shard)[1:], PASSED))
        assert room.merge() is ExitCode.INCOMPLETE

    def test_a_report_of_another_commit_is_not_believed(self, room: WavesRoom) -> None:
        room.plan()
        for shard in room.shards:
            room.report(shard, dict.fromkeys(room.tests_of(shard), PASSED), commit="0ther")
        assert not room.again(2)  # the other jobs will have it too
        assert room.merge() is ExitCode.INCOMPLETE
        assert "commit 0ther was checked out, and this run is of c0ffee" in json.dumps(room.run_json())

    def test_nobody_reported_at_all(self, room: WavesRoom) -> None:
        room.plan()
        assert room.merge() is ExitCode.INCOMPLETE
        assert room.outputs["not-run"] == "4"

    def test_without_a_plan_there_is_no_verdict_and_the_job_is_red(self, room: WavesRoom) -> None:
        with pytest.raises(FleetError, match="no plan was made"):
            room.merge()
        assert room.outputs["verdict"] == "incomplete"
        room.plan()
        room.all_pass()
        for file in room.artifacts.rglob("plan.json"):
            file.unlink()
        with pytest.raises(FleetError, match="is not there"):
            room.merge()

    def test_when_strangers_were_refused_the_gate_says_so(self, room: WavesRoom) -> None:
        event = room.folder / "event.json"
        event.write_text(json.dumps({"pull_request": {"head": {"repo": {"full_name": "stranger/fork"}}}}))
        room.env |= {"GITHUB_EVENT_NAME": "pull_request", "GITHUB_EVENT_PATH": str(event)}
        with pytest.raises(NothingToRun, match="comes from stranger/fork"):
            room.merge()
        assert room.outputs["verdict"] == "incomplete"

    @pytest.mark.parametrize("plan", ["../../etc", "20261128-121158-ab1", "x\n20261128-121158-ab12"])
    def test_a_plan_is_an_id_and_never_a_path(self, room: WavesRoom, plan: str) -> None:
        room.plan_id = plan
        with pytest.raises(FleetError, match="is no plan"):
            room.merge()

    @pytest.mark.parametrize("where", ["jobs", "checked"])
    def test_a_plan_for_machines_that_the_run_does_not_have_is_none(self, room: WavesRoom, where: str) -> None:
        room.plan()
        plan = next(room.artifacts.rglob("plan.json"))
        data = {"checked": [{"healthy": True, "reachable": True}], **json.loads(plan.read_text())}
        data[where][0]["machine"] = "../../etc"
        data["checked"][0].setdefault("machine", "moruk")
        plan.write_text(json.dumps(data))
        with pytest.raises(FleetError, match="machines that the run does not have"):
            room.merge()

    @pytest.mark.parametrize("change", [{"wave": 10**12}, {"attempt": -(10**12)}])
    def test_a_plan_with_a_number_beyond_all_bounds_costs_no_time(
        self, room: WavesRoom, change: dict[str, int]
    ) -> None:
        room.plan()
        room.all_pass(without="moruk")
        plan = next(room.artifacts.rglob("plan.json"))
        plan.write_text(json.dumps({**json.loads(plan.read_text()), **change}))
        assert room.merge() is ExitCode.INCOMPLETE

    @pytest.mark.parametrize("text", ["\ud800", "\x1b[2J\n::error::x", "<script>|`@all`"])
    def test_odd_names_are_only_names(self, room: WavesRoom, text: str) -> None:
        room.plan()
        room.all_pass(without="moruk")
        plan = next(room.artifacts.rglob("plan.json"))
        data = json.loads(plan.read_text())
        data["started"]["title"] = text
        for test in data["started"]["tests"]:
            test["title"] = [text]
        data["jobs"][0]["shard"]["id"] = f"../../{text}"
        plan.write_text(json.dumps(data))
        assert room.merge() is ExitCode.INCOMPLETE
        assert room.run_json()["title"] == text
        assert list(room.artifacts.parent.rglob("plan.json")) == [plan]

    def test_what_was_merged_is_not_merged_again_over_it(self, room: WavesRoom) -> None:
        room.plan()
        room.all_pass()
        assert room.merge() is ExitCode.PASSED
        before = room.run_json()
        with pytest.raises(UsageError, match="was not begun: it has been before"):
            room.merge()
        room.attempt = 2
        assert room.merge() is ExitCode.PASSED
        assert room.run_json()["tests"] == before["tests"]

    def test_two_suites_in_one_run_do_not_see_each_other(self, tmp_path: Path) -> None:
        shop, desk = (WavesRoom(tmp_path / name, suite_of(f"{name} a", f"{name} b")) for name in ("shop", "desk"))
        shop.plan()
        desk.plan()
        assert shop.plan_id != desk.plan_id
        shop.all_pass()
        desk.all_pass(but={"desk a": FAILED})
        for artifact in shop.artifacts.iterdir():
            artifact.rename(desk.artifacts / artifact.name)
        shop.artifacts.rmdir()
        shop.artifacts.symlink_to(desk.artifacts)
        assert shop.merge() is ExitCode.PASSED
        assert desk.merge() is ExitCode.TESTS_FAILED
        assert shop.outputs["tests"] == desk.outputs["tests"] == "2"

    def test_a_single_artifact_lies_where_the_download_put_it(self, room: WavesRoom) -> None:
        room.plan()
        plan = next(room.artifacts.rglob("plan.json"))
        plan.rename(room.artifacts / "plan.json")  # actions/download-artifact makes no folder for one alone
        assert room.again(2) is False
        assert room.merge() is ExitCode.INCOMPLETE
