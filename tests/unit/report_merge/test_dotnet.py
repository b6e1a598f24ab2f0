"""TRX, NUnit 3 and xUnit 2: converted, said so, and green only where the format says so."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from lxml import etree

from report_merge.cli import MergeExitCode, run
from report_merge.junit.document import read
from report_merge.merge.pipeline import merge_files
from report_merge.model import Case, Outcome, count

DATA = Path(__file__).parents[2] / "data" / "junit" / "converted"
EXPECTED = {  # tests, passed, failed and broken, skipped
    "results.trx": (8, 2, 5, 1),
    "nunit3.xml": (8, 3, 3, 2),
    "xunit2.xml": (5, 1, 3, 1),
}
FORMATS = {"results.trx": "Visual Studio TRX", "nunit3.xml": "NUnit 3", "xunit2.xml": "xUnit.net v2"}


def cases(name: str) -> dict[str, Case]:
    return {case.key.name: case for case in read((DATA / name).read_bytes(), name).cases}


@pytest.mark.parametrize("name", EXPECTED)
def test_in_memory_and_through_files_the_totals_are_the_same(name: str) -> None:
    output = io.BytesIO()
    merged = merge_files([DATA / name], output)
    for totals in (count(cases(name).values()), merged.totals):
        assert (totals.tests, totals.passed, totals.failed, totals.skipped) == EXPECTED[name]
    assert merged.problems == ()
    assert [note.reason for note in merged.notes] == [f"converted from {FORMATS[name]}"]
    root = etree.fromstring(output.getvalue())
    assert len(root.findall(".//testcase")) == EXPECTED[name][0]


@pytest.mark.parametrize("name", EXPECTED)
def test_merging_the_merged_file_changes_not_one_byte(name: str, tmp_path: Path) -> None:
    once, twice = io.BytesIO(), io.BytesIO()
    merge_files([DATA / name], once)
    (tmp_path / "merged.xml").write_bytes(once.getvalue())
    assert merge_files([tmp_path / "merged.xml"], twice).notes == ()
    assert twice.getvalue() == once.getvalue()


def test_trx() -> None:
    found = cases("results.trx")
    passed, failed = found["Totals"], found["Discounts"]
    assert (passed.key.classname, passed.seconds, passed.last and passed.last.machine) == (
        "Shop.CartTests",
        1.5,
        "MORUK",
    )
    assert passed.last
    assert passed.last.stdout.strip() == "adding <2>"
    assert failed.last
    assert failed.last.outcome is Outcome.FAILED
    assert failed.last.message.startswith("Assert.AreEqual failed. Expected:<19>")
    assert "CartTests.cs:line 18" in failed.last.text
    assert "[[ATTACHMENT|MORUK\\shot.png]]" in failed.last.stdout
    assert failed.last.stderr == "no voucher"
    assert found["Hangs"].seconds == 60
    for name, word in (("Hangs", "Timeout"), ("Odd", "Exploded"), ("NoWord", "not told")):
        (attempt,) = found[name].attempts
        assert attempt.outcome is Outcome.ERROR
        assert word in attempt.message
    assert "Rows" not in found, "its rows are the tests"
    assert found["Rows (2)"].verdict == "failed"


def test_nunit() -> None:
    found = cases("nunit3.xml")
    assert found["Totals"].properties == (("Category", "smoke"),)
    failed = found["Discounts(10)"].last
    assert failed
    assert (failed.outcome, failed.machine) == (Outcome.FAILED, "moruk")
    assert "CartTests.cs:line 18" in failed.text
    assert "[[ATTACHMENT|shots/a.png]]" in failed.stdout
    assert found["Crashes"].attempts[0].outcome is Outcome.ERROR
    assert found["Later"].verdict == found["Unsure"].verdict == "skipped"
    assert found["Warns"].verdict == "passed"
    broken = found["(TearDown)"]
    assert (broken.key.classname, broken.verdict) == ("Shop.DbTests", "failed")


def test_xunit() -> None:
    found = cases("xunit2.xml")
    failed = found["Discounts(percent: 10)"]
    assert (failed.key.file, failed.line) == ("/src/CartTests.cs", 18)
    assert failed.attempts[0].kind == "Xunit.Sdk.EqualException"
    assert found["named by hand"].verdict == "skipped"
    assert found["Odd"].attempts[0].outcome is Outcome.ERROR
    cleanup = found["(assembly-cleanup Shop.Tests.dll)"]
    assert cleanup.attempts[0].message == "disk gone"


def test_a_folder_of_them_is_read_and_the_summary_says_what_was_converted(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results.trx").write_bytes((DATA / "results.trx").read_bytes())
    assert run([str(tmp_path), "--summary", str(tmp_path / "s.md")], {}) == MergeExitCode.FAILED
    assert "results.trx: converted from Visual Studio TRX" in capfd.readouterr().err
    assert "converted from Visual Studio TRX" in (tmp_path / "s.md").read_text(encoding="utf-8")


def test_a_cut_one_is_refused_and_never_partly_believed() -> None:
    whole = (DATA / "results.trx").read_bytes()
    for end in (len(whole) // 2, len(whole) - 20):
        reading = read(whole[:end], "results.trx")
        assert reading.cases == ()
        assert reading.problem


@pytest.mark.parametrize("text", ["<TestRun/>", "<test-run/>", "<assemblies/>", "<assembly/>"])
def test_one_without_results_is_refused(text: str) -> None:
    reading = read(text.encode(), "a.xml")
    assert reading.cases == ()
    assert reading.problem
    assert "the run may have ended before it was written" in reading.problem.reason


def test_a_test_that_says_nothing_is_not_green() -> None:
    reading = read(b"<assembly><collection><test/></collection></assembly>", "a.xml")
    assert [case.verdict for case in reading.cases] == ["failed"]
