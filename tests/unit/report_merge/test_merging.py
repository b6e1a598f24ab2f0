"""Merging through files: one row a test, attempts resolved, suites and output kept, totals that add up."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from report_merge import Outcome, Report, Verdict, read, write
from report_merge.limits import ReadLimits
from report_merge.merge.pipeline import merge_files
from report_merge.model import Case
from report_merge.render.html_tests import listed_tests
from report_merge.render.json import dumps, loads
from report_merge.render.view import view


def put(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def merged(*paths: Path) -> tuple[Report, etree._Element]:
    output = io.BytesIO()
    report = merge_files(paths, output)
    return report, etree.fromstring(output.getvalue())


FAILED = """<testsuite name="s" time="9.5" hostname="moruk" timestamp="2026-01-01T09:00:00"><properties><property
 name="os" value="linux"/></properties><testcase classname="c" name="t" time="1.5"><failure message="nope"
 type="AssertionError">trace one</failure><system-out>out one</system-out></testcase>
<testcase classname="c" name="u" time="0.5"/><system-out>suite out</system-out></testsuite>"""
PASSED = """<testsuite name="s" hostname="pi" timestamp="2026-01-01T09:12:00"><testcase classname="c" name="t"
 time="2.25"><system-out>out two</system-out></testcase></testsuite>"""


def test_failed_then_passed_is_flaky_with_its_history(tmp_path: Path) -> None:
    report, root = merged(put(tmp_path, "attempt-1/a.xml", FAILED), put(tmp_path, "attempt-2/a.xml", PASSED))
    assert (report.totals.tests, report.totals.flaky, report.totals.passed, report.totals.attempts) == (2, 1, 1, 3)
    case = next(case for case in report.cases if case.key.name == "t")
    assert [(a.number, a.outcome, a.machine, a.seconds) for a in case.attempts] == [
        (1, Outcome.FAILED, "moruk", 1.5),
        (2, Outcome.PASSED, "pi", 2.25),
    ]
    element = root.find(".//testcase[@name='t']")
    assert element is not None
    flaky = element.find("flakyFailure")
    assert flaky is not None
    assert {str(name): str(value) for name, value in flaky.attrib.items()} == {
        "message": "nope",
        "type": "AssertionError",
        "time": "1.500",
        "hostname": "moruk",
        "timestamp": "2026-01-01T09:00:00",
    }
    assert flaky.findtext("stackTrace") == "trace one"
    assert flaky.findtext("system-out") == "out one"
    assert element.findtext("system-out") == "out two"
    assert element.get("hostname") == "pi"
    assert len(root.findall(".//testcase")) == 2


def test_the_order_of_the_arguments_plays_no_part(tmp_path: Path) -> None:
    first, second = put(tmp_path, "attempt-1/a.xml", FAILED), put(tmp_path, "attempt-2/a.xml", PASSED)
    assert merged(second, first)[0].cases == merged(first, second)[0].cases


def test_without_attempt_numbers_the_start_times_decide_only_when_asked(tmp_path: Path) -> None:
    paths = [put(tmp_path, "b.xml", FAILED), put(tmp_path, "a.xml", PASSED)]
    assert merge_files(paths, by_time=True).totals.flaky == 1
    assert merge_files(paths).totals.failed == 1


def test_without_any_order_a_failure_is_not_hidden(tmp_path: Path) -> None:
    one = '<testsuite name="s"><testcase classname="c" name="t"><failure/></testcase></testsuite>'
    two = '<testsuite name="s"><testcase classname="c" name="t"/></testsuite>'
    report, root = merged(put(tmp_path, "a.xml", one), put(tmp_path, "b.xml", two))
    assert report.totals.failed == 1
    assert root.get("failures") == "1"


def test_passed_then_failed_keeps_its_history_in_a_property(tmp_path: Path) -> None:
    report, root = merged(
        put(tmp_path, "attempt-1/a.xml", PASSED), put(tmp_path, "attempt-2/a.xml", FAILED.replace("9:00", "9:30"))
    )
    assert report.totals.failed == 1
    history = root.find(".//testcase[@name='t']/properties/property")
    assert history is not None
    assert history.get("value") == "passed failed"
    again = read(etree.tostring(root), "merged.xml").cases[0]
    assert [attempt.outcome for attempt in again.attempts] == [Outcome.PASSED, Outcome.FAILED]


def test_suites_keep_what_they_hold_and_wall_time_is_apart_from_summed_time(tmp_path: Path) -> None:
    report, root = merged(put(tmp_path, "attempt-1/a.xml", FAILED), put(tmp_path, "attempt-2/a.xml", PASSED))
    suite = root.find("testsuite")
    assert suite is not None
    assert (suite.get("hostname"), suite.get("timestamp"), suite.get("tests")) == ("moruk", "2026-01-01T09:00:00", "2")
    assert suite.get("time") == "2.750" == root.get("time")
    assert {p.get("name"): p.get("value") for p in suite.iterfind("properties/property")} == {
        "os": "linux",
        "report-merge.wall": "9.500",
    }
    assert suite.findtext("system-out") == "suite out"
    assert len(root.findall("testsuite")) == 1  # the other suite's only test is told here
    assert report.wall_seconds == 722.25
    assert report.summed_seconds == 4.25


def test_a_later_suite_that_held_more_than_tests_is_kept(tmp_path: Path) -> None:
    later = PASSED.replace("</testsuite>", "<system-err>why</system-err></testsuite>")
    _, root = merged(put(tmp_path, "attempt-1/a.xml", FAILED), put(tmp_path, "attempt-2/a.xml", later))
    assert [suite.get("tests") for suite in root.findall("testsuite")] == ["2", "0"]


def test_projects_and_parameters_are_different_tests(tmp_path: Path) -> None:
    def playwright(project: str, result: str) -> str:
        return (
            f'<testsuites id="" name=""><testsuite name="a" hostname="{project}"><testcase classname="a.spec.ts"'
            f' name="t[1]">{result}</testcase><testcase classname="a.spec.ts" name="t[2]"/></testsuite></testsuites>'
        )

    report, root = merged(
        put(tmp_path, "1.xml", playwright("chromium", "<failure/>")), put(tmp_path, "2.xml", playwright("firefox", ""))
    )
    assert (report.totals.tests, report.totals.failed, report.totals.flaky) == (4, 1, 0)
    assert len(root.findall(".//testcase")) == 4


def test_duplicates_have_ordinals_and_a_rerun_finds_the_failed_one(tmp_path: Path) -> None:
    first = '<testsuite name="s"><testcase name="t"/><testcase name="t"><failure/></testcase></testsuite>'
    again = '<testsuite name="s"><testcase name="t"/></testsuite>'
    report, _ = merged(put(tmp_path, "attempt-1/a.xml", first), put(tmp_path, "attempt-2/a.xml", again))
    assert (report.totals.tests, report.totals.flaky) == (2, 1)
    flaky = next(case for case in report.cases if case.verdict is Verdict.FLAKY)
    assert flaky.key.ordinal == 1


def test_one_bad_file_does_not_sink_the_others(tmp_path: Path) -> None:
    report, root = merged(put(tmp_path, "good.xml", PASSED), put(tmp_path, "bad.xml", "<html/>"))
    assert report.totals.passed == 1
    assert [Path(problem.file).name for problem in report.problems] == ["bad.xml"]
    assert root.get("tests") == "1"


def test_texts_in_the_report_are_bounded_and_in_the_file_whole(tmp_path: Path) -> None:
    text = "x" * 500_000
    path = put(
        tmp_path, "a.xml", f'<testsuite name="s"><testcase name="t"><failure>{text}</failure></testcase></testsuite>'
    )
    output = io.BytesIO()
    report = merge_files([path], output, limits=ReadLimits(text_bytes=1000))
    assert len(report.cases[0].attempts[0].text) < 1200
    assert "left out" in report.cases[0].attempts[0].text
    assert text.encode() in output.getvalue()


def test_all_cases_gives_every_test_a_row(tmp_path: Path) -> None:
    paths = [put(tmp_path, "attempt-1/a.xml", FAILED), put(tmp_path, "attempt-2/a.xml", PASSED)]
    body = "".join(f'<testcase classname="c" name="n{n}" time="0"/>' for n in range(50))
    paths.append(
        put(tmp_path, "b.xml", f'<testsuite name="s"><testcase name="d"/><testcase name="d"/>{body}</testsuite>')
    )
    report = merge_files(paths, all_cases=True)
    assert len({case.key for case in report.cases}) == len(report.cases) == report.totals.tests == 54
    assert len(merge_files(paths).cases) < 54


def test_what_is_kept_small_is_the_same_in_every_output_and_in_the_order_of_the_files(tmp_path: Path) -> None:
    rows = [
        '<testcase classname="c" name="a" time="0.125"/>',
        '<testcase name="&lt;b&gt;  &amp;" file="t/b.py"><failure message="no"/></testcase>',
        '<testcase name="c"><skipped message="not on arm"/></testcase>',
        '<testcase classname="c" name="a"/>',
        '<testcase classname="ü" name="&#x2028;d" time="4000000000"/>',
    ]
    paths = [
        put(tmp_path, "one/a.xml", f'<testsuite name="s" hostname="pi">{"".join(rows)}</testsuite>'),
        put(tmp_path, "two/b.xml", f'<testsuite file="k">{"".join(rows[2::-1])}</testsuite>'),
    ]
    report = merge_files(paths, all_cases=True)
    verdicts = ["passed", "failed", "skipped", "passed", "passed", "skipped", "failed", "passed"]
    assert [case.verdict for case in report.cases] == verdicts
    assert [case.key.ordinal for case in report.cases[:5]] == [0, 0, 0, 1, 0]
    assert report.cases[2].attempts[0].message == "not on arm"
    assert [t if isinstance(t, Case) else t.case for t in report.tests] == list(report.cases)
    assert loads(dumps(report)).cases == tuple(report.cases)
    listed = json.loads("".join(listed_tests(view(report, None), 100_000, {}).written()))
    assert [row[2] for row in listed["rows"]] == ["<b> &", "<b> &", "a", "c", "a (2)", "d", "c", "a"]
    assert [listed["places"][row[1]][0] for row in listed["rows"]] == ["s", "t/b.py", "c", "s", "c", "ü", "k", "c"]


def test_a_text_in_cdata_and_what_nobody_knows_is_copied_byte_for_byte(tmp_path: Path) -> None:
    both = '<testcase name="u"><skipped/><failure message="a">one</failure><error message="b">two</error></testcase>'
    odd = both + (
        '<testcase name="t" assertions="3"><system-out><![CDATA[<&>]]></system-out><custom x="1"/><!-- c --></testcase>'
    )
    output = io.BytesIO()
    merge_files([put(tmp_path, "a.xml", f'<testsuite name="s">{odd}</testsuite>')], output)
    assert odd.encode() in output.getvalue()


names = st.text("ab<&\"'é😀\x00\x0b\ufffe", max_size=4)
texts = st.text("xy<]]>&\n\r\t\x1b é", max_size=12)
results = st.sampled_from(["", "failure", "error", "skipped"])
case_lists = st.lists(st.tuples(names, results, texts), max_size=5)


def junit(rows: list[tuple[str, str, str]]) -> bytes:
    from report_merge.junit.xml import new, to_bytes, xml_text

    suite = new("testsuite", name="s")
    for name, result, text in rows:
        case = new("testcase", classname="c", name=name)
        if result:
            child = new(result, message=text)
            child.text = xml_text(text)
            case.append(child)
        suite.append(case)
    return to_bytes(suite)


@given(st.lists(case_lists, min_size=1, max_size=3))
def test_any_attempts_merge_to_totals_that_add_up_and_stay(
    tmp_path_factory: pytest.TempPathFactory, runs: list[list[tuple[str, str, str]]]
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    paths = []
    for number, rows in enumerate(runs, 1):
        path = folder / f"attempt-{number}.xml"
        path.write_bytes(junit(rows))
        paths.append(path)
    once, twice = io.BytesIO(), io.BytesIO()
    report = merge_files(paths, once, all_cases=True)
    (folder / "merged.xml").write_bytes(once.getvalue())
    again = merge_files([folder / "merged.xml"], twice, all_cases=True)
    assert twice.getvalue() == once.getvalue()
    assert again.totals == report.totals
    root = etree.fromstring(once.getvalue())
    assert len(root.findall(".//testcase")) == report.totals.tests == len(report.cases)
    assert {case.key: case.verdict for case in report.cases} == {case.key: case.verdict for case in again.cases}
    assert report.totals.attempts == sum(map(len, runs))
    for case in report.cases:
        if case.verdict is Verdict.PASSED:
            assert all(not attempt.outcome.bad for attempt in case.attempts)


@given(case_lists)
def test_what_is_written_from_a_report_reads_back_equal(rows: list[tuple[str, str, str]]) -> None:
    cases = read(junit(rows), "a.xml").cases
    output = io.BytesIO()
    write(Report(cases=cases), output)
    assert read(output.getvalue(), "a.xml").cases == cases


def test_a_further_attempt_merged_into_a_merged_file_keeps_the_first_claimed_time(tmp_path: Path) -> None:
    with (tmp_path / "merged.xml").open("wb") as stream:
        merge_files([put(tmp_path, "attempt-1/a.xml", FAILED)], stream)
    report, root = merged(tmp_path / "merged.xml", put(tmp_path, "attempt-2/a.xml", PASSED))
    assert report.totals.flaky == 1
    walls = root.findall("testsuite/properties/property[@name='report-merge.wall']")
    assert [wall.get("value") for wall in walls] == ["9.500"]


def test_more_tests_of_one_name_in_a_later_attempt_are_tests_of_their_own(tmp_path: Path) -> None:
    one = '<testcase name="t" time="1"/>'
    paths = [
        put(tmp_path, "attempt-1/a.xml", f'<testsuite name="s">{one}</testsuite>'),
        put(tmp_path, "attempt-2/a.xml", f'<testsuite name="s">{one * 4}</testsuite>'),
    ]
    report, root = merged(*paths)
    assert (report.totals.tests, report.totals.attempts, root.get("time")) == (4, 5, "4.000")
    every = merge_files(paths, all_cases=True).cases
    assert [case.key.ordinal for case in every] == [0, 1, 2, 3]
    assert (len(every), tuple(every)) == (4, every[:])


def test_a_test_that_only_later_attempts_have_stands_in_the_first_of_them(tmp_path: Path) -> None:
    test = '<testcase classname="c" name="t"/>'
    failed = test.replace("/>", "><failure/></testcase>")
    report, root = merged(
        put(tmp_path, "attempt-1/a.xml", '<testsuite name="s"><testcase name="u"/></testsuite>'),
        put(tmp_path, "attempt-2/b.xml", f'<testsuite name="later">{failed}</testsuite>'),
        put(tmp_path, "attempt-3/b.xml", f'<testsuite name="last">{test}</testsuite>'),
    )
    assert (report.totals.tests, report.totals.flaky, report.totals.attempts) == (2, 1, 3)
    assert [suite.get("name") for suite in root.findall("testsuite")] == ["s", "later"]


def test_a_worker_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    import os
    import signal

    from report_merge.merge.workers import on_each

    here = os.getpid()

    def work(number: int) -> int:
        if number == 3 and os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return number * number

    assert list(on_each(work, range(8), 2)) == [number * number for number in range(8)]


@pytest.mark.parametrize(("threads", "processes"), [(1, 2), (2, 1)])
def test_a_process_with_threads_is_not_forked(
    threads: int, processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from report_merge.files.discover import InputSource
    from report_merge.merge import workers

    sources = [InputSource(path=put(tmp_path, f"{name}.xml", "<testsuite/>"), name=name) for name in "ab"]
    monkeypatch.setattr(workers, "FORKS", True)
    monkeypatch.setattr(workers, "_WORTH_A_SECOND_PROCESS", 1)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr("threading.active_count", lambda: threads)
    assert workers.worthwhile_processes(sources) == processes


@given(st.dictionaries(st.tuples(st.integers(1, 3), st.sampled_from("abc")), case_lists, min_size=2, max_size=5))
def test_any_files_of_any_attempts_merge_to_totals_that_add_up_and_hide_nothing(
    tmp_path_factory: pytest.TempPathFactory, files: dict[tuple[int, str], list[tuple[str, str, str]]]
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    for (attempt, place), rows in files.items():
        (folder / f"attempt-{attempt}").mkdir(exist_ok=True)
        (folder / f"attempt-{attempt}" / f"{place}.xml").write_bytes(junit(rows))
    once, twice = io.BytesIO(), io.BytesIO()
    report = merge_files([folder], once, all_cases=True)
    (folder / "merged.xml").write_bytes(once.getvalue())
    again = merge_files([folder / "merged.xml"], twice, all_cases=True)
    assert twice.getvalue() == once.getvalue()
    assert again.totals == report.totals
    root = etree.fromstring(once.getvalue())
    assert len(root.findall(".//testcase")) == report.totals.tests == len({case.key for case in report.cases})
    assert report.totals.attempts == sum(map(len, files.values()))
    stated = [(p.get("tests"), len(p.findall(".//testcase"))) for p in root.iter("testsuite")]
    assert all(str(seen) == tests for tests, seen in stated)
    last = max(attempt for attempt, _ in files)
    for (attempt, _), rows in files.items():
        failed = sum(result in ("failure", "error") for _, result, _ in rows)
        assert attempt < last or report.totals.failed >= failed
