"""A run is never green by accident: no failure hidden by a guess, no input passed over in silence."""

from __future__ import annotations

import gzip
import io
import json
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from lxml import etree

from report_merge import Verdict, merge_files, read
from report_merge.cli import MergeExitCode, run

PASSED = '<testsuite name="s"{at}><testcase classname="c" name="t"{file} time="1"/></testsuite>'
FAILED = PASSED.replace("/></", '><failure message="no"/></testcase></')


def passed(at: str = "", file: str = "") -> str:
    return PASSED.format(at=at and f' timestamp="{at}"', file=file and f' file="{file}"')


def failed(at: str = "", file: str = "") -> str:
    return FAILED.format(at=at and f' timestamp="{at}"', file=file and f' file="{file}"')


def archive(folder: Path, name: str, members: dict[str, str | bytes]) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as packed:
        for member, content in members.items():
            packed.writestr(member, content)
    return path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def merge(files: dict[str, str], *arguments: str) -> MergeExitCode:
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text, encoding="utf-8")
    return MergeExitCode(run(arguments or sorted(files), {}))


@dataclass(frozen=True)
class Guess:
    """What looks like a failure and its retry, and is not."""

    files: dict[str, str]
    options: tuple[str, ...] = field(default=())


GUESSES = {
    "two packages of one repository": Guess(
        {
            "packages/a/junit.xml": failed("2026-01-01T12:00:00Z"),
            "packages/b/junit.xml": passed("2026-01-01T12:05:00Z"),
        }
    ),
    "two checkouts with the same last three parts": Guess(
        {
            "attempt-1/shop.xml": failed(file="/w/shop/tests/Unit/ExampleTest.php"),
            "attempt-2/admin.xml": passed(file="/w/admin/tests/Unit/ExampleTest.php"),
        }
    ),
    "numbered shards whose name ends in a": Guess({"shard-a-1.xml": failed(), "shard-a-2.xml": passed()}),
    "classes whose name ends in a number": Guess({"TEST-com.acme.A1.xml": failed(), "TEST-com.acme.A2.xml": passed()}),
    "classes called like an attempt": Guess({"TEST-com.acme.Try1.xml": failed(), "TEST-com.acme.Try2.xml": passed()}),
    "clocks in two zones": Guess(
        {"berlin.xml": passed("2026-01-01T10:00:00"), "utc.xml": failed("2026-01-01T09:30:00")}
    ),
    "a zone and none, with times asked for": Guess(
        {"berlin.xml": passed("2026-01-01T10:00:00"), "utc.xml": failed("2026-01-01T09:30:00Z")}, ("--order-by-time",)
    ),
    "a retry of the one that had passed": Guess(
        {
            "attempt-1/packages/a/junit.xml": failed(),
            "attempt-1/packages/b/junit.xml": passed(),
            "attempt-2/packages/b/junit.xml": passed(),
        }
    ),
}


@pytest.mark.parametrize("guess", GUESSES.values(), ids=GUESSES.keys())
def test_only_an_attempt_number_makes_a_retry(guess: Guess, capfd: pytest.CaptureFixture[str]) -> None:
    assert merge(guess.files, *guess.files, *guess.options) is MergeExitCode.FAILED
    assert "1 failed" in capfd.readouterr().err


def test_a_retry_of_one_of_two_tests_of_one_name_is_known_by_its_place() -> None:
    files = {
        "attempt-1/packages/a/junit.xml": failed(),
        "attempt-1/packages/b/junit.xml": passed(),
        "attempt-2/packages/a/junit.xml": passed(),
    }
    assert merge(files) is MergeExitCode.PASSED
    assert merge(files, *files, "--fail-on", "flaky") is MergeExitCode.FAILED


def test_the_worst_outcome_of_a_collision_counts_and_the_collision_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    files = {"packages/a/junit.xml": failed(), "packages/b/junit.xml": passed()}
    merge(files, *files, "-o", "merged.xml", "--summary", "summary.md", "--html", "report.html")
    root = etree.parse("merged.xml").getroot()
    assert (root.get("tests"), root.get("failures"), len(root.findall(".//testcase"))) == ("1", "1", 1)
    for text in (capfd.readouterr().err, Path("summary.md").read_text(), Path("report.html").read_text()):
        assert "1 test stands in several files of one attempt" in text
        assert "packages/a/junit.xml" in text
        assert "packages/b/junit.xml" in text


def test_order_by_time_is_for_those_who_ask() -> None:
    files = {"b.xml": failed("2026-01-01T09:00:00Z"), "a.xml": passed("2026-01-01T09:12:00Z")}
    assert merge(files) is MergeExitCode.FAILED
    assert merge(files, *files, "--order-by-time") is MergeExitCode.PASSED


def test_a_word_captured_for_an_attempt_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    assert merge({"try-two.xml": passed()}, "try-two.xml", "--attempt-from", r"try-(\w+)") is MergeExitCode.USAGE
    assert "'two'" in capfd.readouterr().err


ASSERTED = '[{"name": "minScore", "auditId": "categories", "auditProperty": "performance", "expected": 0.9, '
ASSERTED += '"actual": 0.5, "values": [0.5], "operator": ">=", "passed": false, "level": "error", "url": "http://a/"}]'


def test_a_lighthouse_gate_that_does_not_hold_is_red(capfd: pytest.CaptureFixture[str]) -> None:
    Path("lhci").mkdir()
    Path("lhci/assertion-results.json").write_text(ASSERTED)
    assert merge({"a.xml": passed()}, "a.xml", "--lighthouse", "lhci") is MergeExitCode.FAILED
    assert "the Lighthouse gate does not hold" in capfd.readouterr().err
    assert merge({}, "a.xml", "--lighthouse", "lhci", "--fail-on", "never") is MergeExitCode.PASSED


def test_lighthouse_results_that_are_not_there_are_red(capfd: pytest.CaptureFixture[str]) -> None:
    assert merge({"a.xml": passed()}, "a.xml", "--lighthouse", "gone") is MergeExitCode.UNREADABLE
    assert "gone" in capfd.readouterr().err


def test_what_is_named_and_holds_no_report_is_an_error(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    inner = archive(folder, "inner.zip", {"a.xml": failed()})
    archive(folder, "outer.zip", {"inner.zip": inner.read_bytes()})
    archive(folder, "logs.zip", {"run.log": "x"})
    Path("empty").mkdir()
    for named in ("outer.zip", "logs.zip", "empty"):
        assert merge({"a.xml": passed()}, "a.xml", named) is MergeExitCode.UNREADABLE
        assert named in capfd.readouterr().err


NO_TESTS = {
    "coverage.xml": '<?xml version="1.0" ?>\n<!DOCTYPE coverage SYSTEM "http://x/coverage-04.dtd">\n<coverage/>',
    "jacoco.xml": '<?xml version="1.0"?><!DOCTYPE report PUBLIC "-//JACOCO//DTD Report 1.1//EN" "r.dtd"><report/>',
    "pom.xml": "<project/>",
}


def test_other_xml_in_a_folder_is_a_note_and_named_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    files = {f"out/{name}": text for name, text in {**NO_TESTS, "junit.xml": passed()}.items()}
    assert merge(files, "out") is MergeExitCode.PASSED
    told = capfd.readouterr().err
    assert all(name in told for name in NO_TESTS)
    for name in NO_TESTS:
        assert merge({}, f"out/{name}", "out/junit.xml") is MergeExitCode.UNREADABLE


@pytest.mark.parametrize("text", ["", "<html/>", '{"a": 1}', '<test-run id="2"/>', "<TestRun/>", "<Error/>"])
def test_what_may_be_a_lost_report_is_an_error_in_a_folder_too(text: str) -> None:
    assert merge({"out/a.xml": passed(), "out/b.xml": text}, "out") is MergeExitCode.UNREADABLE


def test_an_output_is_never_an_input(capfd: pytest.CaptureFixture[str]) -> None:
    files = {"a.xml": passed()}
    merge(files, "a.xml", "-o", "merged.xml")
    Path("a.xml").write_text(passed().replace('name="t"', 'name="renamed"'))
    assert merge({}, "a.xml", "merged.xml", "-o", "merged.xml") is MergeExitCode.PASSED
    assert etree.parse("merged.xml").getroot().get("tests") == "1"
    assert "it is an output of this run" in capfd.readouterr().err


def test_parameters_may_hold_colons() -> None:
    report = passed().replace('name="t"', 'name="test_one[::1]"').replace('"c"', '"tests.test_net"')
    plan = {"plan.json": json.dumps({"tests": ["tests/test_net.py::test_one[::1]"]}), "a.xml": report}
    assert merge(plan, "a.xml", "--expect", "plan.json") is MergeExitCode.PASSED


GDUNIT = (
    '<testsuites id="2026-11-28" name="report_1" tests="1" failures="{n}" skipped="0" flaky="0" time="1.0">'
    '<testsuite id="0" name="CartTest" package="tests" timestamp="2026-11-28T10:00:00" hostname="{host}" tests="1"'
    ' failures="{n}" errors="0" skipped="0" time="1.0"><testcase name="pays" classname="CartTest" time="1.0">{what}'
    "</testcase></testsuite></testsuites>"
)


def test_a_host_is_no_project_only_because_the_root_has_an_id() -> None:
    files = {
        "attempt-1/a.xml": GDUNIT.format(n=1, host="moruk", what='<failure message="no"/>'),
        "attempt-2/a.xml": GDUNIT.format(n=0, host="pi", what=""),
    }
    assert merge(files) is MergeExitCode.PASSED
    report = merge_files(list(files))
    assert (report.totals.tests, report.totals.flaky) == (1, 1)
    assert [machine.name for machine in report.machines] == ["moruk", "pi"]


@pytest.mark.parametrize("depth", [65, 70, 300, 1500, 5000])
@pytest.mark.parametrize("tag", ["testsuite", "properties", "testsuites", "x"])
def test_what_is_nested_too_deep_is_refused(depth: int, tag: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = f"<testsuite>{f'<{tag}>' * depth}{f'</{tag}>' * depth}<testcase name='a'/></testsuite>"
    assert merge({"a.xml": data}, "a.xml") is MergeExitCode.UNREADABLE
    assert "nested deeper than 64" in capfd.readouterr().err
    problem = read(data.encode(), "a.xml").problem
    assert problem is not None
    assert "nested deeper than 64" in problem.reason


def test_a_cause_does_not_depend_on_the_outputs_that_are_asked_for() -> None:
    trace = "Error: expect(received).toBe(expected)\n" + "    at step (/repo/a.ts:1:1)\n" * 400
    trace += "connect ECONNREFUSED 127.0.0.1:3000\n" + "    at later (/repo/b.ts:1:1)\n" * 400
    cases = "".join(f'<testcase name="t{n}"><failure message="no">{trace}</failure></testcase>' for n in range(700))
    files = {"a.xml": f'<testsuite name="s">{cases}</testsuite>'}
    merge(files, "a.xml", "--summary", "one.md")
    merge(files, "a.xml", "--summary", "two.md", "--html", "r.html", "--json", "r.json", "-o", "m.xml")
    assert Path("one.md").read_text() == Path("two.md").read_text()
    assert "(1 cause)" in Path("r.html").read_text()


def test_any_stream_is_written_whole(tmp_path: Path) -> None:
    text = "x" * 100_000
    for number in range(90):  # more than 8 MiB in all
        case = f'<testcase name="t{number}"><system-out>{text}</system-out></testcase>'
        (tmp_path / f"{number}.xml").write_text(f'<testsuite name="s">{case}</testsuite>')
    plain, spooled, packed = io.BytesIO(), tempfile.SpooledTemporaryFile(max_size=1 << 20), io.BytesIO()  # noqa: SIM115
    merge_files([tmp_path], plain)
    with spooled:
        merge_files([tmp_path], spooled)
        spooled.seek(0)
        assert spooled.read() == plain.getvalue()
    with gzip.GzipFile(fileobj=packed, mode="wb") as stream:
        merge_files([tmp_path], stream)
    assert gzip.decompress(packed.getvalue()) == plain.getvalue()
    with (tmp_path / "out").open("wb") as file:
        merge_files([tmp_path], file)
    assert (tmp_path / "out").read_bytes() == plain.getvalue()


def test_a_rerun_keeps_its_own_time() -> None:
    case = '<testcase name="t" time="1.5"><failure message="a"/><rerunFailure message="b" time="2.5"/></testcase>'
    tries = read(f'<testsuite name="s">{case}</testsuite>'.encode(), "a.xml").cases[0].attempts
    assert [attempt.seconds for attempt in tries] == [1.5, 2.5]


def test_a_rerun_without_a_time_has_that_of_the_test() -> None:
    case = '<testcase name="t" time="1.5"><failure message="a"/><rerunFailure message="b"/></testcase>'
    tries = read(f'<testsuite name="s">{case}</testsuite>'.encode(), "a.xml").cases[0].attempts
    assert [attempt.seconds for attempt in tries] == [None, 1.5]


def test_every_failure_counts_for_its_cause() -> None:
    cases = "".join(f'<testcase name="t{n}"><failure message="no"/></testcase>' for n in range(25_000))
    files = {"a.xml": f'<testsuite name="s">{cases}</testsuite>'}
    merge(files, "a.xml", "--summary", "s.md", "--html", "r.html")
    assert "<b>25,000 tests</b>" in Path("s.md").read_text()
    assert '<span class="tag">25,000 tests</span>' in Path("r.html").read_text()


def test_the_page_lists_every_test_whatever_else_is_asked_for() -> None:
    cases = "".join(f'<testcase name="t{n}" time="0.1"/>' for n in range(61))
    merge({"a.xml": f'<testsuite name="s">{cases}</testsuite>'}, "a.xml", "--html", "r.html")
    page = Path("r.html").read_text()
    assert all(f'"t{n}"' in page for n in range(61))
    assert "not listed" not in page


ONE = "<testsuite name='s'><testcase name='t'/></testsuite>"


@pytest.mark.parametrize(
    ("data", "tests", "verdict"),
    [
        (f"<testsuites><testsuites>{ONE}</testsuites></testsuites>", 1, "passed"),
        ("<testsuite name='s'><skipped/></testsuite>", 1, "skipped"),
        ("<testsuite name='s'><error message='x'/><testcase name='t'/></testsuite>", 2, "failed"),
        (ONE + ONE.replace("'s'", "'r'"), 2, "passed"),
        ("<testsuite name='s'><testcase name='t' name='u'/></testsuite>", 1, "failed"),
    ],
    ids=["nested testsuites", "skipped suite", "error of a suite", "two documents", "an attribute twice"],
)
def test_odd_shapes_are_read_alike_in_memory_and_merged(data: str, tests: int, verdict: str) -> None:
    reading = read(data.encode(), "a.xml")
    Path("a.xml").write_text(data)
    output = io.BytesIO()
    report = merge_files(["a.xml"], output, all_cases=True)
    assert len(reading.cases) == report.totals.tests == tests
    assert [case.verdict for case in reading.cases] == [case.verdict for case in report.cases]
    assert reading.cases[0].verdict is Verdict(verdict)
    assert report.problems == ((reading.problem,) if reading.problem else ())
    assert len(etree.fromstring(output.getvalue()).findall(".//testcase")) == tests


def test_a_property_decides_no_verdict() -> None:
    history = '<properties><property name="report-merge.attempts" value="failed passed"/></properties>'
    case = f'<testcase name="t">{history}<failure message="no"/></testcase>'
    assert merge({"a.xml": f'<testsuite name="s">{case}</testsuite>'}) is MergeExitCode.FAILED
    assert read(Path("a.xml").read_bytes(), "a.xml").cases[0].verdict is Verdict.FAILED
