"""Plan, waves and merge inside one workflow run: what becomes of every test, decided from files alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ci_dispatch.app import waves
from ci_dispatch.config import Config
from ci_dispatch.core.errors import ExitCode, FleetError, NothingToRun, UsageError
from ci_dispatch.core.events import MachineChecked
from ci_dispatch.core.model import Ended, FailureCause, MachineSpec, Verdict
from tests.waves_room import COMMIT, CONFIG, NAMES, WavesRoom, suite_of

PASSED, FAILED = Verdict.PASSED, Verdict.FAILED


@pytest.fixture
def room(tmp_path: Path) -> WavesRoom:
    return WavesRoom(tmp_path)


class TestPlan:
    def test_the_first_wave_has_every_test_once_and_each_job_says_what_it_needs(self, room: WavesRoom) -> None:
        assert room.plan() is ExitCode.PASSED
        assert sorted(test for shard in room.shards for test in room.tests_of(shard)) == list(NAMES)
        for entry in room.matrix:
            assert entry["commit"] == COMMIT
            assert entry["labels"] == ["self-hosted", entry["machine"]]
            assert entry["timeout_minutes"] == 35
        assert room.outputs["artifact-name"] == f"ci-dispatch-{room.plan_id}-plan-1-a1"

    def test_the_minutes_for_check_out_and_set_up_are_a_setting(self, room: WavesRoom) -> None:
        room.plan({"github.setup_time": "20m", "run.shard_timeout": "10m"})
        assert {entry["timeout_minutes"] for entry in room.matrix} == {30}

    def test_a_plan_that_does_not_fit_into_a_matrix_says_so_and_writes_none(self, tmp_path: Path) -> None:
        room = WavesRoom(tmp_path, suite_of(*(f"t{n}" for n in range(300))))
        with pytest.raises(UsageError, match="300 jobs, and a matrix holds 256"):
            room.plan(shards=300)
        assert not list(tmp_path.rglob("plan.json"))

    def test_1200_tests_with_long_names_fit(self, tmp_path: Path) -> None:
        room = WavesRoom(tmp_path, suite_of(*(f"{n:04}-{'long name ' * 20}" for n in range(1200))))
        assert room.plan(shards=200) is ExitCode.PASSED
        assert len({test for shard in room.shards for test in room.tests_of(shard)}) == 1200
        assert len(room.outputs["matrix"]) < 64_000

    def test_what_an_artifact_shows_to_everybody_holds_no_settings(self, room: WavesRoom) -> None:
        room.plan()
        plan = json.loads(next(room.artifacts.rglob("plan.json")).read_text())
        assert "settings" not in plan["started"]

    @pytest.mark.parametrize(
        ("payload", "allow", "said"),
        [
            ({"head": {"repo": {"full_name": "stranger/fork"}}}, "CI_DISPATCH_ALLOW_FORKS", "stranger/fork"),
            (
                {"head": {"repo": {"full_name": "octo-org/octo-repo"}}, "user": {"login": "dependabot[bot]"}},
                "CI_DISPATCH_ALLOW_DEPENDABOT",
                "Dependabot",
            ),
        ],
    )
    def test_code_that_nobody_here_has_read_is_refused_unless_allowed(
        self, room: WavesRoom, payload: dict[str, Any], allow: str, said: str
    ) -> None:
        event = room.folder / "event.json"
        event.write_text(json.dumps({"pull_request": payload}))
        room.env |= {"GITHUB_EVENT_NAME": "pull_request", "GITHUB_EVENT_PATH": str(event)}
        with pytest.raises(NothingToRun, match=said.replace("/", ".")):
            room.plan()
        room.env[allow] = "true"
        assert room.plan() is ExitCode.PASSED

    def test_a_merge_queue_is_no_stranger(self, room: WavesRoom) -> None:
        event = room.folder / "event.json"
        event.write_text(json.dumps({"merge_group": {"head_sha": "c0ffee"}}))
        room.env |= {"GITHUB_EVENT_NAME": "merge_group", "GITHUB_EVENT_PATH": str(event)}
        assert room.plan() is ExitCode.PASSED


@dataclass
class AskedMachine:
    """One that answers a health check as `sick` says."""

    spec: MachineSpec
    sick: set[str]

    def check(self, deadline: float, *, busy: bool = False) -> MachineChecked:
        ill = self.spec.name in self.sick
        return MachineChecked(
            machine=self.spec.name, healthy=not ill, reachable=True, problems=("disk: 1 % free",) if ill else ()
        )

    def close(self) -> None:
        pass


class TestHealth:
    @pytest.fixture
    def sick(self, room: WavesRoom, monkeypatch: pytest.MonkeyPatch) -> set[str]:
        names: set[str] = set()

        def opened(config: Config, *, through_github: bool) -> dict[str, AskedMachine]:
            assert through_github
            return {spec.name: AskedMachine(spec, names) for spec in config.fleet}

        monkeypatch.setattr(waves, "open_machines", opened)
        room.env["CI_DISPATCH_SKIP_HEALTH_CHECKS"] = "false"
        return names

    def test_a_sick_machine_gets_nothing(
        self, room: WavesRoom, sick: set[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        sick.add("moruk")
        room.plan()
        assert {entry["machine"] for entry in room.matrix} == {"ilko2"}
        assert "Left out: moruk: disk: 1 % free" in capsys.readouterr().err
        room.all_pass()
        assert room.merge() is ExitCode.PASSED

    def test_without_a_well_machine_nothing_is_planned(self, room: WavesRoom, sick: set[str]) -> None:
        sick |= {"moruk", "ilko2"}
        with pytest.raises(FleetError, match="ilko2: disk: 1 % free"):
            room.plan()
        assert not list(room.folder.rglob("plan.json"))

    def test_a_machine_that_lost_a_runner_and_is_well_gets_what_nobody_else_can_take(
        self, room: WavesRoom, sick: set[str]
    ) -> None:
        room.plan()
        assert room.again(2)  # both runners were lost, and both machines are well
        assert {entry["machine"] for entry in room.matrix} == {"moruk", "ilko2"}
        before = {test: entry["machine"] for entry in room.matrix for test in room.tests_of(entry["shard"])}
        room.all_pass()
        assert room.merge() is ExitCode.PASSED
        assert set(before) == set(NAMES)

    def test_an_old_shard_and_a_new_one_that_ran_the_same_test_hide_nothing(
        self, room: WavesRoom, sick: set[str]
    ) -> None:
        room.plan()
        room.all_pass(without="moruk")
        room.again(2)
        old = {shard: room.tests_of(shard) for shard in room.shards}
        room.attempt = 2
        assert room.again(2)
        new = {shard: room.tests_of(shard) for shard in room.shards}
        assert {test for tests in old.values() for test in tests} == {test for tests in new.values() for test in tests}
        for shard, tests in old.items():
            room.report(shard, dict.fromkeys(tests, PASSED))
        for shard, tests in new.items():
            room.report(shard, dict.fromkeys(tests, FAILED))
        assert room.merge() is ExitCode.PASSED
        assert room.outputs["flaky"] == "2"

    def test_a_wave_goes_to_the_machines_that_are_well_then(self, room: WavesRoom, sick: set[str]) -> None:
        room.plan()
        room.all_pass(but={"a": FAILED, "b": FAILED, "c": FAILED, "d": FAILED})
        sick.add("ilko2")
        assert room.again(2)
        assert {entry["machine"] for entry in room.matrix} == {"moruk"}


class TestWaves:
    def test_a_failed_test_that_passes_in_the_second_wave_is_flaky_and_the_run_green(self, room: WavesRoom) -> None:
        room.plan()
        room.all_pass(but={"a": FAILED})
        assert room.again(2)
        assert [room.tests_of(shard) for shard in room.shards] == [["a"]]
        room.all_pass()
        assert not room.again(3)
        assert room.merge() is ExitCode.PASSED
        assert room.outputs["flaky"] == "1"
        assert room.verdict_of("a") == "flaky"

    def test_a_test_that_fails_in_every_wave_has_failed(self, room: WavesRoom) -> None:
        room.plan()
        room.all_pass(but={"a": FAILED})
        machines = [room.matrix[0]["machine"]]
        for wave in (2, 3):
            assert room.again(wave)
            machines.append(room.matrix[0]["machine"])
            room.all_pass(but={"a": FAILED})
        assert len(set(machines)) == 2  # the second failure on one machine is worth a look from another
        assert room.merge() is ExitCode.TESTS_FAILED
        assert room.verdict_of("a") == "failed"

    def test_max_retries_says_how_many_waves_count(self, room: WavesRoom) -> None:
        room.plan({"retry.max_retries": "0"})
        room.all_pass(but={"a": FAILED})
        assert not room.again(2)
        assert room.merge() is ExitCode.TESTS_FAILED

    def test_a_retry_that_no_wave_was_left_for_has_failed_and_says_so(self, room: WavesRoom) -> None:
        room.plan()
        room.all_pass(but={"a": FAILED})
        assert room.merge() is ExitCode.TESTS_FAILED
        assert "was not tried again: no wave is left" in json.dumps(room.run_json())

    def test_what_a_lost_runner_never_finished_is_done_by_another_machine(self, room: WavesRoom) -> None:
        room.plan()
        lost = next(entry for entry in room.matrix if entry["machine"] == "moruk")
        room.all_pass(without="moruk")
        assert room.again(2)
        assert {entry["machine"] for entry in room.matrix} == {"ilko2"}
        assert sorted(t for s in room.shards for t in room.tests_of(s)) == sorted(room.tests_of(lost["shard"]))
        room.all_pass()
        assert room.merge() is ExitCode.PASSED
        assert room.outputs["flaky"] == "0"

    def test_a_machine_with_another_report_is_not_lost(self, tmp_path: Path) -> None:
        config = CONFIG.replace('name = "moruk"', 'name = "moruk"\nslots = 2')
        room = WavesRoom(tmp_path, config=config)
        room.plan({"run.machines": "moruk"})
        first, second = room.shards
        room.report(first, dict.fromkeys(room.tests_of(first), PASSED))
        assert room.again(2)  # it is where the upload of the other one failed
        assert {test for shard in room.shards for test in room.tests_of(shard)} == set(room.tests_of(second))
        room.all_pass()
        assert room.merge() is ExitCode.PASSED

    def test_a_suite_that_cannot_be_loaded_is_not_tried_again(self, room: WavesRoom) -> None:
        room.plan()
        for shard in room.shards:
            room.report(shard, dict.fromkeys(room.tests_of(shard), Verdict.NOT_RUN), cause=FailureCause.LOAD)
        assert not room.again(2)
        assert room.merge() is ExitCode.INCOMPLETE

    def test_a_job_that_was_cancelled_goes_elsewhere_at_nobody_s_charge(self, room: WavesRoom) -> None:
        room.plan()
        for entry in room.matrix:
            tests = dict.fromkeys(room.tests_of(entry["shard"]), PASSED)
            if entry["machine"] == "moruk":
                tests = dict.fromkeys(tests, Verdict.NOT_RUN)
            ended = Ended.CANCELLED if entry["machine"] == "moruk" else Ended.EXITED
            room.report(entry["shard"], tests, ended=ended)
        assert room.again(2)
        room.all_pass()
        assert room.merge() is ExitCode.PASSED

    def test_with_no_machine_left_nothing_is_planned_and_the_run_incomplete(
        self, room: WavesRoom, capsys: pytest.CaptureFixture[str]
    ) -> None:
        room.plan()
        assert not room.again(2)
        assert "4 tests are owed, and nobody is left to run them: moruk: shard head-" in capsys.readouterr().err
        assert room.merge() is ExitCode.INCOMPLETE

    def test_a_runner_of_the_pool_is_the_machine_of_its_name(self, tmp_path: Path) -> None:
        room = WavesRoom(tmp_path, config=CONFIG.replace('"pinned"', '"pooled"'))
        room.plan()
        assert {entry["machine"] for entry in room.matrix} == {"pool"}
        for shard in room.shards:
            room.report(shard, dict.fromkeys(room.tests_of(shard), PASSED), machine="ilko2-3")
        assert room.merge() is ExitCode.PASSED
        assert {attempt["machine"] for test in room.run_json()["tests"] for attempt in test["attempts"]} == {"ilko2"}
