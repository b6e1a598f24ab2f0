"""Commands are filled word by word, never by a shell; what cannot work is refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci_dispatch.config.choices import Split
from ci_dispatch.config.sections import SuiteConfig
from ci_dispatch.core.errors import UsageError
from ci_dispatch.core.model import Ended, FailureCause, Test, TestId, UnitId, Verdict
from ci_dispatch.run.ports import AttemptPaths, AttemptReading, Invocation, JobEnd
from ci_dispatch.suites.command import CommandSuite
from ci_dispatch.suites.junit_results import junit_results

PLACE = AttemptPaths(tree="/t", attempt="/t/.a")
NAMES = ["m::a b", "m::$(touch owned)", 'm::"q"', "n::c"]
TESTS = [Test(id=TestId(name), unit=UnitId(name), runner_id=name) for name in NAMES]
EXITED = JobEnd(ended=Ended.EXITED, exit_code=0)


def suite(command: str = "run {junit} {tests}", junit: str = "") -> CommandSuite:
    return CommandSuite(SuiteConfig(command=command, list="run --list", junit=junit), Path("shop"))


def call(command: str, junit: str = "") -> Invocation:
    return suite(command, junit).invocation(TESTS, PLACE, workers=3, shard=2, extra=("--x",))


def test_every_placeholder_becomes_one_word_and_tests_one_each() -> None:
    argv = call("run -o {junit} '{live}' n{shard} -w{workers} {attempt} {tree} {tests} -z").argv
    assert argv == (
        "run", "-o", "/t/.a/junit.xml", "/t/.a/live.jsonl", "n2", "-w3", "/t/.a", "/t", *NAMES, "-z", "--x"
    )  # fmt: skip


def test_names_that_look_like_placeholders_are_left_alone() -> None:
    hostile = [Test(id=TestId("{tree}"), unit=UnitId("u"), runner_id="{tree}")]
    for command, expected in [("run {junit} {tests}", "{tree}"), ("run {junit} --only={tests}", "--only={tree}")]:
        found = suite(command).invocation(hostile, PLACE, workers=1, shard=1, extra=())
        assert found.argv[2] == expected


def test_tests_can_be_joined_or_written_to_a_file() -> None:
    assert call("run {junit} --only={tests}").argv[2] == "--only=" + ",".join(NAMES)
    found = call("run {junit} @{tests_file}")
    assert found.argv[2] == "@/t/.a/tests.txt"
    assert found.files["tests.txt"].decode().splitlines() == NAMES


def test_a_fixed_junit_file_is_copied_by_the_launcher() -> None:
    found = call("run {tests}", junit="build/report.xml")
    launcher = ("python3", "/t/.a/command_launcher.py", "/t/build/report.xml", "/t/.a/junit.xml", "run")
    assert found.argv[:5] == launcher
    assert b"def main" in found.files["command_launcher.py"]


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("run {junit}", r"neither \{tests\} nor \{tests_file\}"),
        ("run {tests}", r"neither \{junit\} nor \{live\}"),
        ("run {junit} {tests} {nonsense}", r"\{nonsense\} is not known; known: tests, "),
        ("run {junit} {tests} --shard={shard}/{total}", r"\{total\} cannot be given: .* not known when one starts"),
        ("sh -c 'run {tests} > {junit}'", "inside a longer word"),
        ("run {junit} x{tests}", "inside a longer word"),
        ("", "`command` in the section .suite. is empty"),
        ("run '{tests}", "cannot be read"),
    ],
)
def test_a_command_that_cannot_work_is_refused(command: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        suite(command)


def test_a_missing_list_command_is_refused() -> None:
    with pytest.raises(UsageError, match=r"`list` in the section .suite. is empty"):
        CommandSuite(SuiteConfig(command="run {junit} {tests}", list=""), Path("shop"))


def test_tools_are_programs_not_files() -> None:
    assert suite().tools() == ("run",)
    assert suite("bin/run {junit} {tests}").tools() == ()


def read(report: str | None, folder: Path, end: JobEnd = EXITED) -> AttemptReading:
    if report is not None:
        (folder / "junit.xml").write_text(report)
    return suite().read(TESTS, folder, end)


def words(reading: AttemptReading) -> str:
    return " ".join(result.verdict for result in reading.results)


CASE = '<testcase classname="m" name="a b" time="0.5"/>'


def test_a_report_without_tests_is_no_pass(tmp_path: Path) -> None:
    reading = read("<testsuites/>", tmp_path)
    assert (words(reading), reading.cause) == ("not run not run not run not run", FailureCause.USAGE)


def test_half_a_report_counts_for_what_it_holds_and_says_that_it_is_cut(tmp_path: Path) -> None:
    reading = read(f'<testsuite>{CASE}<testcase classname="n" name="c"><fail', tmp_path)
    assert words(reading) == "passed not run not run not run"
    assert "JUnit file" in reading.results[1].reason


def test_no_report_is_no_pass(tmp_path: Path) -> None:
    assert read(None, tmp_path).cause is FailureCause.USAGE
    assert "JUnit file: there is none" in read(None, tmp_path).reason


def test_a_report_about_other_tests_names_one_of_them(tmp_path: Path) -> None:
    reading = read('<testsuite><testcase classname="other" name="thing"/></testsuite>', tmp_path)
    assert reading.cause is FailureCause.USAGE
    assert "names 'other::thing' and no test as `list` does" in reading.reason


def test_a_failing_case_that_nobody_listed_is_no_case_of_the_shard_and_is_not_dropped(tmp_path: Path) -> None:
    bad = '<testcase file="f.rb" classname="other" name="{}"><failure message="boom"/></testcase>'
    fine = '<testcase classname="other" name="y"/>'
    reading = read(f"<testsuite>{CASE}{bad.format('x')}{bad.format('x')}{fine}</testsuite>", tmp_path)
    (other,) = reading.unlisted
    assert (other.test.id, other.result.verdict, other.result.message) == ("f.rb::other::x", Verdict.FAILED, "boom")
    assert {"other::x", "other.x", "x", "f.rb"} <= set(other.names)
    assert reading.unexpected == ("f.rb › other › x", "other › y")
    (tmp_path / "live.jsonl").write_text('{"kind": "end", "id": "other::x", "verdict": "failed"}\n')
    assert [other.test.id for other in read(None, tmp_path).unlisted] == ["other::x"]  # told once, by the live file


def test_the_worse_of_live_events_and_report_counts(tmp_path: Path) -> None:
    (tmp_path / "live.jsonl").write_text('{"kind": "end", "id": "m::a b", "verdict": "flaky"}\n')
    assert words(read(f"<testsuite>{CASE}</testsuite>", tmp_path)) == "flaky not run not run not run"
    (tmp_path / "live.jsonl").write_text('{"kind": "end", "id": "m::a b", "verdict": "passed"}\n')
    failed = CASE.replace("/>", "><failure/></testcase>")
    assert words(read(f"<testsuite>{failed}</testsuite>", tmp_path)) == "failed not run not run not run"


@pytest.mark.parametrize(
    ("live", "verdict"),
    [
        ("", "not run"),  # the report does not say when it failed
        ('{"kind": "end", "id": "m::a b", "verdict": "passed"}\n', "not run"),
        ('{"kind": "end", "id": "m::a b", "verdict": "failed"}\n', "failed"),
        ('\n{"kind": "end", "id": "m::a b", "verdict": "failed"}\n', "not run"),  # after the interruption
    ],
)
def test_a_report_of_an_interrupted_command_may_tell_of_failures_that_the_interruption_made(
    tmp_path: Path, live: str, verdict: str
) -> None:
    (tmp_path / "live.jsonl").write_text(live)
    failed = CASE.replace("/>", "><failure/></testcase>")
    end = JobEnd(ended=Ended.CANCELLED, live_lines=1)
    assert words(read(f"<testsuite>{failed}</testsuite>", tmp_path, end)) == f"{verdict} not run not run not run"


def test_a_report_that_counts_a_failure_and_shows_none_is_not_trusted(tmp_path: Path) -> None:
    for suite_tag in ('<testsuite tests="1" failures="1">', "<testsuite name='x' errors='2' >"):
        reading = read(f"{suite_tag}{CASE}</testsuite>", tmp_path)
        assert words(reading) == "not run not run not run not run"
        assert "failures and shows none" in reading.results[0].reason
    assert words(read(f'<testsuite failures="0" errors="0">{CASE}</testsuite>', tmp_path)).startswith("passed")


def test_a_file_or_class_whose_report_is_cut_has_not_passed(tmp_path: Path) -> None:
    (tmp_path / "j.xml").write_text('<testsuite><testcase classname="m" name="a"/><testcase classname="n" name="b"/>')
    tests = [Test(id=TestId(name), unit=UnitId(name), runner_id=name) for name in ("m", "n::b")]
    verdicts = {result.test: result.verdict for result in junit_results(tmp_path / "j.xml", tests).results}
    assert verdicts == {"m": Verdict.NOT_RUN, "n::b": Verdict.PASSED}


@pytest.mark.parametrize("name", ["f.py::m::t", "f.py::t", "m::t", "m.t", "t", "f.py", "m"])
def test_a_case_is_found_by_any_of_its_names(name: str, tmp_path: Path) -> None:
    (tmp_path / "j.xml").write_text('<testsuite><testcase file="f.py" classname="m" name="t" time="2"/></testsuite>')
    test = Test(id=TestId("id"), unit=UnitId("id"), runner_id=name)
    (result,) = junit_results(tmp_path / "j.xml", [test]).results
    assert (result.test, result.verdict, result.seconds) == ("id", Verdict.PASSED, 2.0)


def test_several_cases_of_one_name_are_the_worst_of_them(tmp_path: Path) -> None:
    bad = '<testcase classname="m" name="b" time="2"><failure message="no"/></testcase>'
    cases = f'<testcase classname="m" name="a" time="1"/>{bad}'
    (tmp_path / "j.xml").write_text(f"<testsuite>{cases}</testsuite>")
    (result,) = junit_results(tmp_path / "j.xml", [Test(id=TestId("m"), unit=UnitId("m"), runner_id="m")]).results
    assert (result.verdict, result.seconds, result.message) == (Verdict.FAILED, 3.0, "no")


def test_listed_names_make_units() -> None:
    from ci_dispatch.suites.command import _test

    assert _test("a.rb::x::y", Split.AUTO).unit == "a.rb::x::y"
    assert _test("a.rb::x::y", Split.FILE).unit == "a.rb"
    assert _test("plain", Split.FILE).unit == "plain"
    assert (_test("a.rb::x::y", Split.AUTO).file, _test("a.rb::x::y", Split.AUTO).title) == ("a.rb", ("x::y",))
