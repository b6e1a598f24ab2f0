"""No bytes whatever make the reader raise, hang, or pass a test it only half read."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from report_merge import Verdict, read
from report_merge.limits import ReadLimits
from report_merge.merge.pipeline import merge_files

SAMPLES = [path.read_bytes() for path in sorted((Path(__file__).parents[2] / "data" / "junit").glob("*/*.xml"))]
PLAIN = next(data for data in SAMPLES if b"test_total" in data)
TOKENS = [
    *(
        b"<testcase",
        b"</testcase>",
        b"<testsuite>",
        b"</testsuite>",
        b"<failure>",
        b"<other>",
        b"</other>",
        b"<![CDATA[",
        b"]]>",
        b"&",
        b"<!--",
    ),
    *(b"-->", b"\x00", b"\xff\xfe", b"<?xml", b"<!DOCTYPE x>", b"'", b'"', b"&#x0;", b"xmlns:a='b'", b" time='1,2'"),
]


def mutated(data: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    for where, length, token in edits:
        at = int(where * len(data))
        data = data[:at] + token + data[at + length :]
    return data


edits = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 40), st.sampled_from(TOKENS) | st.binary(max_size=6)), max_size=4
)


@settings(max_examples=300)
@given(st.sampled_from(SAMPLES), edits)
def test_mutated_reports_never_crash_and_give_tests_or_a_problem(
    data: bytes, changes: list[tuple[float, int, bytes]]
) -> None:
    data = mutated(data, changes)
    reading = read(data, "a.xml")
    assert reading.cases or reading.problem or b"<test" in data


@settings(max_examples=60)
@given(st.sampled_from(SAMPLES), edits)
def test_mutated_reports_merge_to_well_formed_xml(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, changes: list[tuple[float, int, bytes]]
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "a.xml"
    path.write_bytes(mutated(data, changes))
    output = io.BytesIO()
    report = merge_files([path], output)
    root = etree.fromstring(output.getvalue(), etree.XMLParser(huge_tree=True))
    assert len(root.findall(".//testcase")) == report.totals.tests


@given(st.binary(max_size=200))
def test_any_bytes_give_a_problem_or_tests(data: bytes) -> None:
    reading = read(data, "a.xml")
    assert reading.problem is not None or reading.cases or b"<test" in data


@given(st.integers(0, len(PLAIN.rstrip()) - 1))
def test_a_report_cut_anywhere_never_passes_the_test_it_was_cut_in(length: int) -> None:
    data = PLAIN[:length]
    reading = read(data, "a.xml")
    assert reading.problem is not None
    complete = {case.key: case.verdict for case in read(PLAIN, "a.xml").cases}
    for case in reading.cases:
        if case.verdict is Verdict.PASSED:
            assert complete.get(case.key) is Verdict.PASSED
    ended = data.count(b"</testcase>") + data.count(b'0" />')  # PLAIN has one empty <testcase ... time="0.250" />
    assert sum(case.verdict in (Verdict.PASSED, Verdict.SKIPPED) for case in reading.cases) <= ended


@pytest.mark.parametrize("depth", [63, 300, 5000])
def test_depth_is_limited(depth: int) -> None:
    data = b"<testsuite>" * depth + b"<testcase name='deep'/>" + b"</testsuite>" * depth
    reading = read(data, "a.xml")
    assert (reading.problem is None) == (depth < 64)


def test_a_large_text_is_a_legitimate_report() -> None:
    data = b"<testsuite><testcase name='a'><system-out>" + b"x" * 12_000_000 + b"</system-out></testcase></testsuite>"
    assert len(read(data, "a.xml").cases[0].attempts[0].stdout) == 12_000_000


def test_what_needs_more_memory_than_allowed_is_refused() -> None:
    reading = read(b"<testsuite>" + b" " * 2000, "a.xml", limits=ReadLimits(repair_bytes=1000))
    assert reading.problem is not None
    assert "1000 bytes" in reading.problem.reason
