"""Every dialect and hostile shape of tests/data/junit, read in memory and merged through files, gives what it must."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from lxml import etree

from report_merge import Case, Verdict, count, read
from report_merge.junit.dialects import portable_file
from report_merge.merge.pipeline import merge_files
from report_merge.model import Outcome

DATA = Path(__file__).parents[2] / "data" / "junit"

# file: (tests, passed, failed, flaky, skipped, attempts)
EXPECTED = {
    "bom": (1, 1, 0, 0, 0, 1),
    "duplicates": (3, 2, 1, 0, 0, 3),
    "go": (2, 1, 1, 0, 0, 2),
    "googletest": (3, 1, 1, 0, 1, 3),
    "jest": (3, 1, 1, 0, 1, 3),
    "latin-1": (1, 1, 0, 0, 0, 1),
    "loose-cases": (3, 2, 1, 0, 0, 3),
    "namespace": (1, 0, 1, 0, 0, 1),
    "nested": (3, 2, 1, 0, 0, 3),
    "no-attributes": (2, 1, 1, 0, 0, 2),
    "odd-outcomes": (5, 3, 2, 0, 0, 6),
    "playwright": (3, 2, 1, 0, 0, 3),
    "pytest": (5, 2, 2, 0, 1, 5),
    "single-case": (1, 0, 0, 0, 1, 1),
    "suite-error": (2, 0, 1, 0, 1, 2),
    "surefire-rerun": (4, 2, 1, 1, 0, 7),
    "utf-16": (1, 1, 0, 0, 0, 1),
    "xml-1.1": (1, 0, 1, 0, 0, 1),
}
FOREIGN = {
    "empty": "empty",
    "blank": "empty",
    "json": "JSON",
    "text": "not XML",
    "html": "HTML",
    "doctype-html": "HTML",
    "nunit2": "NUnit 2",
    "boost": "Boost.Test",
    "testng": "TestNG",
    "ctest": "CTest",
    "cobertura": "Cobertura",
    "qtest": "QtTest",
    "billion-laughs": "DTD",
    "external-entity": "DTD",
    "external-dtd": "DTD",
    "gzip": "compressed",
}


def files(folder: str) -> list[str]:
    return sorted(path.stem for path in (DATA / folder).glob("*.xml"))


def cases(name: str) -> tuple[Case, ...]:
    return read((DATA / "dialects" / f"{name}.xml").read_bytes(), name).cases


def one(name: str, test: str) -> Case:
    return next(case for case in cases(name) if case.key.name == test)


def test_every_sample_has_its_expectation() -> None:
    assert files("dialects") == sorted(EXPECTED)
    assert files("foreign") == sorted(FOREIGN)


@pytest.mark.parametrize("name", EXPECTED)
def test_in_memory_and_through_files_the_totals_are_the_same(name: str) -> None:
    path = DATA / "dialects" / f"{name}.xml"
    reading = read(path.read_bytes(), str(path))
    output = io.BytesIO()
    merged = merge_files([path], output)
    for totals in (count(reading.cases), merged.totals):
        got = (totals.tests, totals.passed, totals.failed, totals.flaky, totals.skipped, totals.attempts)
        assert got == EXPECTED[name]
    assert reading.problem is None
    assert merged.problems == ()
    root = etree.fromstring(output.getvalue())
    assert int(root.get("tests", "")) == len(root.findall(".//testcase")) == merged.totals.tests
    assert int(root.get("failures", "")) + int(root.get("errors", "")) == merged.totals.failed
    assert [child.tag for child in root if child.tag != "properties"] == ["testsuite"] * len(root.findall("testsuite"))


@pytest.mark.parametrize("name", EXPECTED)
def test_merging_the_merged_file_changes_not_one_byte(name: str, tmp_path: Path) -> None:
    once, twice = io.BytesIO(), io.BytesIO()
    merge_files([DATA / "dialects" / f"{name}.xml"], once)
    (tmp_path / "merged.xml").write_bytes(once.getvalue())
    merge_files([tmp_path / "merged.xml"], twice)
    assert twice.getvalue() == once.getvalue()


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_not_junit_is_refused_by_its_name(name: str) -> None:
    path = DATA / "foreign" / f"{name}.xml"
    reading = read(path.read_bytes(), str(path))
    merged = merge_files([path])
    assert reading.cases == ()
    assert reading.problem is not None
    assert FOREIGN[name] in reading.problem.reason
    assert merged.problems == (reading.problem,)
    assert merged.incomplete


@pytest.mark.parametrize("name", files("damaged"))
def test_what_is_damaged_is_salvaged_and_said_and_a_half_read_test_never_passes(name: str) -> None:
    path = DATA / "damaged" / f"{name}.xml"
    reading = read(path.read_bytes(), str(path))
    merged = merge_files([path])
    verdicts = [case.verdict for case in reading.cases]
    assert merged.totals == count(reading.cases)
    if name not in ("blank-before", "nul-tail"):  # nothing of these is lost or changed
        assert reading.problem is not None
        assert reading.problem.salvaged == len(reading.cases)
        assert merged.problems == (reading.problem,)
    else:
        assert reading.problem is None
    if name == "cut-in-cdata":
        assert verdicts == [Verdict.FAILED]
    elif name == "cut-between":
        assert verdicts == [Verdict.PASSED, Verdict.FAILED]
    elif name.startswith("cut-"):
        assert verdicts == [Verdict.PASSED, Verdict.FAILED, Verdict.FAILED]
        assert reading.cases[2].attempts[0].outcome is Outcome.BROKEN
    else:
        assert verdicts == [Verdict.PASSED, Verdict.FAILED, Verdict.PASSED] * (2 if name == "two-roots" else 1)


def test_repairs_keep_the_text() -> None:
    def text(name: str) -> str:
        reading = read((DATA / "damaged" / f"{name}.xml").read_bytes(), name)
        return reading.cases[2].attempts[0].stdout + reading.cases[1].attempts[0].message

    assert text("raw-less-than") == "long output that is cut herea < b && c"
    assert "a & b &nbsp;" in text("bare-ampersand")
    assert "\N{REPLACEMENT CHARACTER}[31mred" in text("control-characters")


def test_playwright_tells_the_project_in_hostname() -> None:
    assert [case.key.project for case in cases("playwright")] == ["chromium", "chromium", "firefox"]
    assert {attempt.machine for case in cases("playwright") for attempt in case.attempts} == {""}
    assert {attempt.machine for case in cases("pytest") for attempt in case.attempts} == {"moruk"}


def test_the_project_survives_merging(tmp_path: Path) -> None:
    with (tmp_path / "merged.xml").open("wb") as stream:
        merge_files([DATA / "dialects" / "playwright.xml"], stream)
    again = read((tmp_path / "merged.xml").read_bytes(), "merged.xml")
    assert [case.key for case in again.cases] == [case.key for case in cases("playwright")]


def test_surefire_tries_are_attempts_oldest_first() -> None:
    flaky = one("surefire-rerun", "flaky")
    assert [(a.outcome, a.message, a.text) for a in flaky.attempts] == [
        (Outcome.FAILED, "expected 1", "first trace"),
        (Outcome.ERROR, "boom", "second trace"),
        (Outcome.PASSED, "", ""),
    ]
    assert flaky.attempts[0].stdout == "first out"
    never = one("surefire-rerun", "neverPasses")
    assert [a.message for a in never.attempts] == ["first", "second"]


def test_times_of_all_spellings() -> None:
    assert one("surefire-rerun", "slow").attempts[0].seconds == 1234.5
    assert one("surefire-rerun", "fast").attempts[0].seconds is None
    assert one("odd-outcomes", "comma").attempts[0].seconds == 0.25
    assert one("odd-outcomes", "no time").attempts[0].seconds is None
    assert one("odd-outcomes", "negative").attempts[0].seconds is None


def test_a_skip_does_not_excuse_an_earlier_failure_and_the_merged_file_says_so() -> None:
    output = io.BytesIO()
    merge_files([DATA / "dialects" / "odd-outcomes.xml"], output)
    case = etree.fromstring(output.getvalue()).findall(".//testcase")[1]
    assert case.find("error") is not None
    assert case.find("skipped") is None


def test_several_failures_of_one_test_are_one_failed_test_with_all_their_text() -> None:
    adds = one("googletest", "Adds")
    assert "first" in adds.attempts[0].text
    assert "second" in adds.attempts[0].text


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("/home/pi/actions-runner/_work/shop/shop/tests/CartTest.php", "shop/tests/CartTest.php"),
        ("/home/runner/work/shop/shop/tests/CartTest.php", "shop/tests/CartTest.php"),
        ("D:\\a\\_work\\shop\\shop\\tests\\CartTest.php", "shop/tests/CartTest.php"),
        ("/w/shop/tests/CartTest.php", "/w/shop/tests/CartTest.php"),
        ("/home/work/shop/tests/CartTest.php", "/home/work/shop/tests/CartTest.php"),
        ("tests\\CartTest.php", "tests/CartTest.php"),
        ("./tests/CartTest.php", "tests/CartTest.php"),
        ("", ""),
    ],
)
def test_a_file_is_named_from_its_checkout_on_where_that_is_known(path: str, file: str) -> None:
    assert portable_file(path) == file
