"""`--lighthouse` on the command line: its gate is in the exit code, in the last line and in every page."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from report_merge.cli import MergeExitCode, run

DATA = Path(__file__).parents[2] / "data" / "lighthouse"
PASSED = '<testsuite name="s"><testcase classname="c" name="t" time="1"/></testsuite>'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("a.xml").write_text(PASSED, encoding="utf-8")
    return tmp_path


def merge(*arguments: str) -> MergeExitCode:
    return MergeExitCode(run(["a.xml", *arguments], {}))


def copy(name: str, **changes: object) -> str:
    """A folder of Lighthouse results, with some fields of every result replaced."""
    shutil.copytree(DATA / name, name)
    for file in Path(name).glob("lhr-*.json"):
        file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | changes), encoding="utf-8")
    return name


def test_a_gate_that_does_not_hold_is_exit_code_1_everywhere(capfd: pytest.CaptureFixture[str]) -> None:
    code = merge("--lighthouse", copy("lhci"), "--summary", "s.md", "--html", "r.html")
    assert code is MergeExitCode.FAILED
    told = capfd.readouterr().err
    assert "LIGHTHOUSE error color-contrast" in told
    assert told.splitlines()[-1].startswith("report-merge: FAILED 1 test: 1 passed")
    assert Path("s.md").read_text(encoding="utf-8").startswith("## ❌")
    assert 'data-status="FAILED"' in Path("r.html").read_text(encoding="utf-8")
    assert merge("--lighthouse", "lhci", "--fail-on", "never") is MergeExitCode.PASSED


def test_a_gate_that_holds_is_green() -> None:
    copy("lhci")
    Path("lhci/assertion-results.json").unlink()
    assert merge("--lighthouse", "lhci") is MergeExitCode.PASSED


def test_a_folder_that_is_not_there_is_red_and_the_tests_are_shown_all_the_same(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert merge("--lighthouse", "gone", "--summary", "s.md") is MergeExitCode.UNREADABLE
    assert "UNREADABLE gone: cannot be read" in capfd.readouterr().err
    summary = Path("s.md").read_text(encoding="utf-8")
    assert summary.startswith("## ⚠️ 1 test passed — 1 Lighthouse file could not be used")
    assert merge("--lighthouse", "a.xml") is MergeExitCode.UNREADABLE


def test_a_folder_that_holds_no_result_is_not_green(capfd: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    assert merge("--lighthouse", "empty", "--summary", "s.md") is MergeExitCode.UNREADABLE
    assert capfd.readouterr().err.splitlines()[-1].startswith("report-merge: UNREADABLE")
    assert "✅" not in Path("s.md").read_text(encoding="utf-8").splitlines()[0]


def test_a_damaged_result_is_not_green_and_a_foreign_file_is_only_a_note() -> None:
    copy("lhci")
    Path("lhci/assertion-results.json").unlink()
    Path("lhci/package.json").write_text("{}", encoding="utf-8")
    assert merge("--lighthouse", "lhci") is MergeExitCode.PASSED
    Path("lhci/lhr-1.json").write_text('{"lighthouseVersion": ', encoding="utf-8")
    assert merge("--lighthouse", "lhci") is MergeExitCode.UNREADABLE


def test_changes_are_told_against_the_baseline_and_what_was_not_measured_again() -> None:
    assert merge("--lighthouse", copy("lhci"), "--json", "before.json") is MergeExitCode.FAILED
    for file in Path("lhci").glob("lhr-*.json"):
        document = json.loads(file.read_text(encoding="utf-8"))
        if document["requestedUrl"].endswith("/cart"):
            file.unlink()
            continue
        document["categories"]["performance"]["score"] = 0.4
        file.write_text(json.dumps(document), encoding="utf-8")
    merge("--lighthouse", "lhci", "--baseline", "before.json", "--summary", "s.md", "--html", "r.html")
    for page in ("s.md", "r.html"):
        text = Path(page).read_text(encoding="utf-8")
        assert "Performance −59" in text
        assert "not measured again" in text


def test_only_assertions_that_held_before_are_new() -> None:
    merge("--lighthouse", copy("lhci"), "--json", "before.json")
    new = ("--lighthouse", "lhci", "--fail-on", "new", "--baseline", "before.json")
    assert merge(*new) is MergeExitCode.PASSED
    results = Path("lhci/assertion-results.json")
    entries = json.loads(results.read_text(encoding="utf-8"))
    entries.append(entries[0] | {"auditId": "uses-text-compression", "passed": False, "level": "error"})
    results.write_text(json.dumps(entries), encoding="utf-8")
    assert merge(*new) is MergeExitCode.FAILED
