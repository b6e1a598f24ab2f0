"""`--join-suites`: suites that say the same of themselves become one, and nothing of them is lost."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from lxml import etree

from report_merge.cli import MergeExitCode, run
from report_merge.limits import Rejected
from report_merge.merge.joined import join_suites
from report_merge.merge.pipeline import merge_files

SUITE = """<testsuite name="{name}" hostname="{host}" timestamp="{start}" time="9">
<properties><property name="os" value="linux"/><property name="part" value="{part}"/></properties>
<testcase classname="c" name="t{part}" time="1.5">{inside}</testcase><system-out>out {part}</system-out></testsuite>"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(part: int, *, name: str = "unit", host: str = "moruk", start: str = "", inside: str = "") -> None:
    start = start or f"2026-11-28T10:0{9 - part}:00"
    text = SUITE.format(name=name, host=host, start=start, part=part, inside=inside)
    Path(f"part-{part}.xml").write_text(text, encoding="utf-8")


def merge(*arguments: str) -> MergeExitCode:
    return MergeExitCode(run(["part-*.xml", "-o", "merged.xml", *arguments], {}))


def suites() -> list[etree._Element]:
    return etree.parse("merged.xml").getroot().findall("testsuite")


def test_parts_of_one_suite_are_one_and_lose_nothing() -> None:
    write(1)
    write(2, inside='<failure message="no"/>')
    write(3, inside="<skipped/>")
    assert merge("--join-suites") is MergeExitCode.FAILED
    (suite,) = suites()
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped", "time")}
    assert counts == {"tests": "3", "failures": "1", "errors": "0", "skipped": "1", "time": "4.500"}
    assert suite.get("timestamp") == "2026-11-28T10:06:00"
    assert [case.get("name") for case in suite.findall("testcase")] == ["t1", "t2", "t3"]
    assert [(p.get("name"), p.get("value")) for p in suite.findall("properties/property")] == [
        ("os", "linux"), ("part", "1"), ("part", "2"), ("part", "3"),
    ]  # fmt: skip
    assert suite.findtext("system-out") == "out 1\nout 2\nout 3"
    root = suite.getparent()
    assert root is not None
    assert (root.get("tests"), root.get("failures"), root.get("time")) == ("3", "1", "4.500")


def test_without_it_they_stay_apart() -> None:
    write(1)
    write(2)
    assert merge() is MergeExitCode.PASSED
    assert len(suites()) == 2


def test_suites_of_two_machines_or_names_stay_two() -> None:
    write(1)
    write(2, host="pi")
    write(3, name="other")
    merge("--join-suites")
    assert [(s.get("name"), s.get("hostname")) for s in suites()] == [
        ("unit", "moruk"), ("unit", "pi"), ("other", "moruk"),
    ]  # fmt: skip


def test_merging_the_joined_file_changes_not_one_byte() -> None:
    write(1)
    write(2)
    merge("--join-suites")
    joined = Path("merged.xml").read_bytes()
    again = io.BytesIO()
    report = merge_files(["merged.xml"], again)
    assert report.totals.tests == 2
    assert again.getvalue() == joined
    twice = io.BytesIO()
    join_suites(joined, twice, 10**6)
    assert twice.getvalue() == joined


def test_what_is_too_large_to_be_joined_is_refused_and_nothing_is_written(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Rejected, match="suites are joined up to 10"):
        join_suites(b"x" * 11, io.BytesIO(), 10)
