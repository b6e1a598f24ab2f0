"""The commands that need no fleet, from the file on the disk to what is printed."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import jsonschema
import pytest

from ci_dispatch.app.settings import read_settings
from ci_dispatch.config import load
from ci_dispatch.core.events import TRANSIENT
from ci_dispatch.demo.recording import demo_events
from ci_dispatch.run.journal import dumps
from tests.integration.cli_process import ci_dispatch

LAST_LINE = "ci-dispatch: FAILED 198 tests: 195 passed, 1 failed, 1 flaky, 1 skipped, 0 not run; 4 machines; 20.8s"


class TestConfig:
    TOML = '[retry]\nmax_retries = 3\nbackoff = "1s"\n\n[[machine]]\nname = "moruk"\ncores = 24\n'

    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        (tmp_path / "ci-dispatch.toml").write_text(self.TOML)

    def test_it_is_written_as_a_file_that_says_the_same(self, tmp_path: Path) -> None:
        ended = ci_dispatch("config", cwd=tmp_path)
        assert (ended.code, ended.err) == (0, "")
        assert load(ended.out).config == load(self.TOML).config

    def test_explain_says_where_each_value_comes_from(self, tmp_path: Path) -> None:
        environ = {"CI_DISPATCH_RETRY_BACKOFF": "3s"}
        ended = ci_dispatch("config", "--explain", "--progress", "plain", cwd=tmp_path, environ=environ)
        rows = {line.split()[0]: line.split()[1:] for line in ended.out.splitlines()}
        assert rows["retry.max_retries"] == ["3", "ci-dispatch.toml:2"]
        assert rows["retry.backoff"] == ['"3s"', "CI_DISPATCH_RETRY_BACKOFF"]
        assert rows["progress.mode"] == ['"plain"', "--progress"]
        assert rows["retry.jitter"] == ['"10%"', "default"]
        assert rows["machine[1].cores"] == ["24", "ci-dispatch.toml:7"]

    def test_json(self, tmp_path: Path) -> None:
        data = json.loads(ci_dispatch("config", "--json", cwd=tmp_path).out)
        assert data["file"].endswith("ci-dispatch.toml")
        assert data["config"]["retry"]["max_retries"] == 3
        assert data["config"]["machine"][0]["name"] == "moruk"
        assert data["origins"]["retry.max_retries"] == {"source": "file", "where": "ci-dispatch.toml:2"}

    def test_the_schema_can_be_had_whatever_the_file_says(self, tmp_path: Path) -> None:
        (tmp_path / "ci-dispatch.toml").write_text("broken")
        ended = ci_dispatch("config", "--schema", cwd=tmp_path)
        assert ended.code == 0
        jsonschema.Draft7Validator(json.loads(ended.out)).validate(tomllib.loads(self.TOML))


class TestInit:
    def test_the_file_it_writes_is_used(self, tmp_path: Path) -> None:
        (tmp_path / ".git").mkdir()
        below = tmp_path / "below"
        below.mkdir()
        ended = ci_dispatch("init", cwd=below)
        assert (ended.code, ended.err) == (0, "")
        assert str(tmp_path / "ci-dispatch.toml") in ended.out
        explained = ci_dispatch("config", "--explain", cwd=below)
        assert explained.code == 0
        assert "ci-dispatch.toml:" in explained.out

    def test_it_says_which_suite_it_recognised(self, tmp_path: Path) -> None:
        (tmp_path / "e2e").mkdir()
        (tmp_path / "e2e" / "playwright.config.ts").touch()
        assert "playwright in e2e" in ci_dispatch("init", cwd=tmp_path).out
        suite = read_settings(None, {}, {}, tmp_path).config.suite
        assert (suite.runner, suite.workdir) == ("playwright", "e2e")

    def test_it_does_not_guess_between_two_suites(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "pytest.ini").touch()
        ended = ci_dispatch("init", cwd=tmp_path)
        assert ended.code == 0
        assert "pytest in a, pytest in b" in ended.out
        assert read_settings(None, {}, {}, tmp_path).config.suite.runner == "auto"

    def test_it_can_be_printed_instead(self, tmp_path: Path) -> None:
        ended = ci_dispatch("init", "--stdout", cwd=tmp_path)
        assert "[retry]" in ended.out
        assert not list(tmp_path.iterdir())


class TestReplay:
    @pytest.fixture
    def journal(self, tmp_path: Path) -> Path:
        journal = tmp_path / "events.jsonl"
        events = (stamped for stamped in demo_events(1000.0) if not isinstance(stamped.event, TRANSIENT))
        journal.write_text("".join(f"{dumps(stamped).decode()}\n" for stamped in events), encoding="utf-8")
        return journal

    @pytest.mark.parametrize("mode", ["plain", "none"])
    def test_a_recorded_run_is_shown_to_its_end(self, journal: Path, mode: str) -> None:
        ended = ci_dispatch("replay", journal.name, "--progress", mode, cwd=journal.parent)
        assert (ended.code, ended.err) == (0, "")
        assert ended.out.splitlines()[-1] == LAST_LINE

    def test_a_folder_stands_for_its_journal(self, journal: Path) -> None:
        ended = ci_dispatch("replay", ".", "--progress", "none", cwd=journal.parent)
        assert ended.out.splitlines()[-1] == LAST_LINE

    @pytest.mark.parametrize("name", ["", "20270115-080000-a1b2", "20270115", ".ci-dispatch/runs/20270115-080000-a1b2"])
    def test_a_run_is_named_as_for_every_other_command(self, journal: Path, name: str) -> None:
        folder = journal.parent / ".ci-dispatch" / "runs" / "20270115-080000-a1b2"
        folder.mkdir(parents=True)
        journal.rename(folder / "events.jsonl")
        arguments = [name] if name else []
        ended = ci_dispatch("replay", *arguments, "--progress", "none", cwd=journal.parent)
        assert (ended.code, ended.err) == (0, "")
        assert ended.out.splitlines()[-1] == LAST_LINE

    def test_its_speed_changes_nothing_that_is_said_at_the_end(self, journal: Path) -> None:
        ended = ci_dispatch("replay", journal.name, "--progress", "plain", "--speed", "100", cwd=journal.parent)
        assert ended.out.splitlines()[-1] == LAST_LINE

    def test_a_run_that_died_is_shown_as_far_as_it_came(self, journal: Path) -> None:
        lines = journal.read_bytes().splitlines(keepends=True)
        journal.write_bytes(b"".join(lines[:200]) + lines[200][:20])
        ended = ci_dispatch("replay", journal.name, "--progress", "plain", cwd=journal.parent)
        assert ended.code == 0
        assert "its controller died" in ended.err
        assert LAST_LINE not in ended.out

    def test_a_damaged_line_in_the_middle_is_refused(self, journal: Path) -> None:
        lines = journal.read_bytes().splitlines(keepends=True)
        journal.write_bytes(b"".join([*lines[:100], b"{}\n", *lines[100:]]))
        ended = ci_dispatch("replay", journal.name, "--progress", "none", cwd=journal.parent)
        assert ended.code == 2
        assert "line 101" in ended.err


def test_the_demo_of_progress(tmp_path: Path) -> None:
    ended = ci_dispatch("progress", "--demo", "--speed", "100", "--progress", "plain", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert "! ilko2 lost" in ended.out
    assert ended.out.splitlines()[-1] == LAST_LINE
