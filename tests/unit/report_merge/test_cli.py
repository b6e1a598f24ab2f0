"""The command line: exit codes that tell the kinds of red apart, outputs whole or absent, never a traceback."""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path

import pytest
from lxml import etree

from report_merge.cli import MergeExitCode, run

PASSED = '<testsuite name="s"><testcase classname="c" name="t" time="1"/></testsuite>'
FAILED = '<testsuite name="s"><testcase classname="c" name="t" time="1"><failure message="no"/></testcase></testsuite>'
NOT_JUNIT = "<html/>"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def merge(*arguments: str, **files: str) -> MergeExitCode:
    for name, text in files.items():
        path = Path(name.replace("__", "/") + ".xml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return MergeExitCode(run(["*.xml", "*/*.xml", *arguments], {}))


def plan(text: str) -> str:
    Path("plan.json").write_text(text, encoding="utf-8")
    return "plan.json"


def test_each_kind_of_red_has_its_code() -> None:
    assert merge(a=PASSED) is MergeExitCode.PASSED
    assert merge(a=FAILED) is MergeExitCode.FAILED
    assert merge(a=FAILED, b=NOT_JUNIT) is MergeExitCode.UNREADABLE
    assert merge("--expect", plan('{"shards": ["gone"]}'), a=FAILED, b=NOT_JUNIT) is MergeExitCode.INCOMPLETE


def test_codes_are_the_documented_numbers() -> None:
    assert [code.value for code in MergeExitCode] == [2, 4, 6, 3, 1, 0, 70, 130]


def test_nothing_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    assert merge("-o", "merged.xml") is MergeExitCode.NOTHING
    assert "nothing to report" in capfd.readouterr().err
    assert etree.parse("merged.xml").getroot().get("tests") == "0"
    assert merge(a='<testsuite name="s"/>') is MergeExitCode.NOTHING


def test_a_salvaged_file_is_red() -> None:
    assert merge(a=PASSED[:-5]) is MergeExitCode.UNREADABLE


def test_flaky_is_green_unless_asked() -> None:
    runs = {"attempt_1__a": FAILED, "attempt_2__a": PASSED}
    assert merge(**runs) is MergeExitCode.PASSED
    assert merge("--fail-on", "flaky", "--summary", "s.md", **runs) is MergeExitCode.FAILED
    assert Path("s.md").read_text(encoding="utf-8").startswith("## ❌ FAILED: 1 of 1 test flaky")


def test_only_new_failures_if_asked() -> None:
    assert merge("--json", "before.json", a=FAILED) is MergeExitCode.FAILED
    assert merge("--fail-on", "new", "--baseline", "before.json", a=FAILED) is MergeExitCode.PASSED
    worse = FAILED.replace("</testsuite>", '<testcase name="u"><error/></testcase></testsuite>')
    assert merge("--fail-on", "new", "--baseline", "before.json", a=worse) is MergeExitCode.FAILED
    assert merge("--fail-on", "never", a=worse) is MergeExitCode.PASSED


def test_all_outputs_of_one_run() -> None:
    code = merge("-o", "out/merged.xml", "--summary", "s.md", "--html", "r.html", "--json", "r.json", a=FAILED)
    assert code is MergeExitCode.FAILED
    assert etree.parse("out/merged.xml").getroot().get("failures") == "1"
    assert "1 of 1 test failed" in Path("s.md").read_text(encoding="utf-8")
    assert "<html" in Path("r.html").read_text(encoding="utf-8")
    assert json.loads(Path("r.json").read_text(encoding="utf-8"))["report"]["totals"]["failed"] == 1
    assert sorted(path.name for path in Path("out").iterdir()) == ["merged.xml"]


def test_a_second_run_in_the_same_folder_gives_the_same() -> None:
    assert merge("-o", "merged.xml", a=PASSED) is MergeExitCode.PASSED
    first = Path("merged.xml").read_bytes()
    assert merge("-o", "merged.xml") is MergeExitCode.PASSED
    assert Path("merged.xml").read_bytes() == first


def test_a_step_summary_keeps_what_others_wrote() -> None:
    Path("step.md").write_text("hello\n", encoding="utf-8")
    Path("a.xml").write_text(PASSED, encoding="utf-8")
    assert run(["a.xml", "--summary", "step.md"], {"GITHUB_STEP_SUMMARY": "step.md"}) == 0
    assert Path("step.md").read_text(encoding="utf-8").startswith("hello\n")
    assert run(["a.xml", "--summary", "step.md"], {}) == 0
    assert not Path("step.md").read_text(encoding="utf-8").startswith("hello\n")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--no-such-option"],
        ["a.xml", "--attempt-from", "("],
        ["a.xml", "--attempt-from", "none"],
        ["a.xml", "--expect", "gone.json"],
        ["a.xml", "--baseline", "a.xml"],
        ["a.xml", "--fail-on", "new"],
        ["a.xml", "-o", "a.xml/merged.xml"],
        ["explain"],
        ["explain", "gone.log"],
    ],
)
def test_a_wrong_command_line_is_one_message(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    Path("a.xml").write_text(PASSED, encoding="utf-8")
    assert run(arguments, {}) == MergeExitCode.USAGE
    told = capfd.readouterr().err
    assert told.startswith("report-merge: ")
    assert "Traceback" not in told


def test_an_error_of_ours_is_a_message_too(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("boom \x1b[31m")

    monkeypatch.setattr("report_merge.files.discover.find", broken)
    assert merge(a=PASSED) is MergeExitCode.INTERNAL
    told = capfd.readouterr().err
    assert "RuntimeError: boom" in told
    assert "\x1b" not in told


def test_hostile_names_do_not_reach_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    merge(a=FAILED.replace('name="t"', 'name="&#x9b;31m&#x202e;t&#10;::error::x"'))
    told = capfd.readouterr().err
    assert not {"\x9b", "\u202e"} & set(told)
    assert "\n::error::" not in told


def test_an_output_is_replaced_only_when_it_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("merged.xml").write_text("before", encoding="utf-8")

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("report_merge.merge.pipeline._append", broken)
    Path("a.xml").write_text(PASSED, encoding="utf-8")
    assert run(["a.xml", "-o", "merged.xml"], {}) == MergeExitCode.USAGE
    assert Path("merged.xml").read_text(encoding="utf-8") == "before"
    assert sorted(path.name for path in Path().iterdir()) == ["a.xml", "merged.xml"]


def test_nobody_is_told_of_a_verdict_before_the_merged_file_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted", "merged.xml")

    monkeypatch.setattr(Path, "replace", broken)
    Path("a.xml").write_text(PASSED, encoding="utf-8")
    step = {"GITHUB_STEP_SUMMARY": "step.md"}
    assert run(["a.xml", "-o", "merged.xml", "--summary", "step.md", "--outputs", "outputs"], step) == 2
    assert sorted(path.name for path in Path().iterdir()) == ["a.xml"]


def test_a_full_disk_is_told_with_where_to_look(capfd: pytest.CaptureFixture[str]) -> None:
    Path("a.xml").write_text(PASSED, encoding="utf-8")
    assert run(["a.xml", "-o", "/dev/full"], {}) == MergeExitCode.USAGE
    told = capfd.readouterr().err
    assert f"an output, or a temporary file below {tempfile.gettempdir()} (TMPDIR): No space left on device" in told


def test_two_outputs_are_never_one_file(capfd: pytest.CaptureFixture[str]) -> None:
    Path("a.xml").write_text(PASSED, encoding="utf-8")
    Path("x").symlink_to("r.html")
    assert run(["a.xml", "--html", "r.html", "--json", "./x"], {}) == MergeExitCode.USAGE
    assert f"two outputs would be written to {Path('r.html').resolve()}" in capfd.readouterr().err
    assert run(["a.xml", "-o", "/dev/null", "--html", "/dev/null"], {}) == MergeExitCode.PASSED


def test_what_is_interrupted_says_that_outputs_are_whole_or_as_they_were(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("report_merge.merge.pipeline._append", interrupted)
    Path("a.xml").write_text(PASSED, encoding="utf-8")
    assert run(["a.xml", "-o", "merged.xml", "--html", "r.html"], {}) == MergeExitCode.INTERRUPTED
    assert capfd.readouterr().err.strip() == "report-merge: interrupted; each output is whole, or as it was"
    assert sorted(path.name for path in Path().iterdir()) == ["a.xml"]


def test_explain_calls_itself_by_its_name(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["explain"], {}) == 2
    assert "try: report-merge explain --help" in capfd.readouterr().err


def test_explain_says_why(capfd: pytest.CaptureFixture[str]) -> None:
    Path("run.log").write_text("curl: (6) Could not resolve host: nowhere.invalid\n", encoding="utf-8")
    assert run(["explain", "run.log"], {}) == 0
    assert "infra.dns" in capfd.readouterr().out


def test_annotations_are_printed_where_the_runner_reads_them(capfd: pytest.CaptureFixture[str]) -> None:
    assert merge("--annotations", a=FAILED.replace('name="t"', 'name="t" file="t.py" line="3"')) is MergeExitCode.FAILED
    out = capfd.readouterr().out
    assert out.startswith("::error title=")
    assert "file=t.py,line=3::no" in out


def test_outputs_of_a_step_are_added_to_what_is_there() -> None:
    Path("outputs").write_text("before=1\n", encoding="utf-8")
    assert merge("--outputs", "outputs", "-o", "m.xml", "--fail-on", "never", a=FAILED) is MergeExitCode.PASSED
    lines = Path("outputs").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "before=1"
    told = {lines[i].partition("<<")[0]: lines[i + 1] for i in range(1, len(lines), 3)}
    assert told == {
        "verdict": "failed", "exit-code": "0", "tests": "1", "passed": "0", "failed": "1", "flaky": "0",
        "skipped": "0", "not-run": "0", "report-path": "m.xml",
    }  # fmt: skip


def test_the_html_report_lists_every_test_whatever_else_is_asked_for() -> None:
    cases = "".join(f'<testcase classname="c" name="t{n}" time="{n}"/>' for n in range(61))
    cases += "".join(f'<testcase classname="c" name="s{n}"><skipped message="no"/></testcase>' for n in range(300))
    assert merge("--html", "r.html", a=f'<testsuite name="s">{cases}</testsuite>') is MergeExitCode.PASSED
    page = Path("r.html").read_text(encoding="utf-8")
    assert all(f'"t{n}"' in page for n in range(61))
    assert all(f'"s{n}"' in page for n in range(300))
    assert "Everything is shown." in page


def test_the_picture_of_durations_counts_every_test() -> None:
    cases = "".join(f'<testcase classname="c" name="t{n}" time="{n}"/>' for n in range(40))
    merge(
        "--html",
        "r.html",
        a=f'<testsuite name="s">{cases}<testcase name="u" time="0.2"><error/></testcase></testsuite>',
    )
    page = Path("r.html").read_text(encoding="utf-8")
    words = "&lt; 0.1s: 1, 0.3s: 1, 1s: 0, 3s: 2, 10s: 7, 30s: 20, 100s: 10, more: 0"
    assert f"Tests by duration, up to {words}" in page


def test_what_a_test_left_behind_is_linked_from_where_the_page_is() -> None:
    picture = base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    )
    Path("reports/shots").mkdir(parents=True)
    Path("reports/shots/a b.png").write_bytes(picture)
    said = FAILED.replace("</testcase>", "<system-out>[[ATTACHMENT|shots/a b.png]]</system-out></testcase>")
    Path("reports/a.xml").write_text(said, encoding="utf-8")
    assert run(["reports", "--html", "out/r.html"], {}) == MergeExitCode.FAILED
    page = Path("out/r.html").read_text(encoding="utf-8")
    assert 'href="./../reports/shots/a%20b.png"' in page
    assert f"data:image/png;base64,{base64.b64encode(picture).decode()}" in page


def test_a_failed_test_is_linked_to_its_line_in_the_repository(capfd: pytest.CaptureFixture[str]) -> None:
    Path("a.xml").write_text(FAILED.replace('name="t"', 'name="t" file="tests/t.py" line="3"'), encoding="utf-8")
    here = {"GITHUB_REPOSITORY": "o/r", "GITHUB_SHA": "abc"}
    assert run(["a.xml", "--summary", "s.md"], here) == MergeExitCode.FAILED
    assert run(["a.xml"], here) == MergeExitCode.FAILED
    assert "✗ c › t  tests/t.py:3  1.00s" in capfd.readouterr().err
    link = "[tests/t.py:3](https://github.com/o/r/blob/abc/tests/t.py#L3)"
    assert link in Path("s.md").read_text(encoding="utf-8")
