"""Damaged reports of every kind, seeded: no file is lost that the parser could read, and all faces say the same."""

from __future__ import annotations

import io
import random
import re
from pathlib import Path

import pytest
from lxml import etree

from report_merge import Report, Verdict, count, merge_files, read
from report_merge.limits import ReadLimits

FOLDERS = ("dialects", "damaged")
SAMPLES = [
    path.read_bytes()
    for folder in FOLDERS
    for path in sorted((Path(__file__).parents[2] / "data" / "junit" / folder).glob("*.xml"))
]
TOKENS = (
    b"<testcase", b"<testcase name='n'/>", b"</testcase>", b"<testsuite>", b"</testsuite>", b"<testsuites>",
    b"</testsuites>", b"<failure/>", b"<failure>", b"<skipped/>", b"<error message='e'/>", b"<rerunFailure time='1'/>",
    b"<flakyError>", b"<properties>", b"<x>", b"</x>", b"<x:y/>", b"<![CDATA[", b"]]>", b"&", b"&co;", b"&#1;", b"<!--",
    b"-->", b"<?p?>", b"<?xml version='1.0'?>", b"<!DOCTYPE x>", b"\x00", b"\xff\xfe", b"'", b'"', b"<", b">", b"=",
    b" name='d'", b" time='1,234.5'", b" class='c'", b" status='failed'", b" xmlns='u'", b" xmlns:x='u'", b" x:y='z'",
    b"<property name='report-merge.attempts' value='failed passed'/>",
    b"<property name='report-merge.project' value='p'/>",
)  # fmt: skip
STRICT = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True)


def mutated(chance: random.Random) -> bytes:
    data = chance.choice(SAMPLES)
    for _ in range(chance.randint(1, 4)):
        at, length = chance.randrange(len(data) + 1), chance.choice((0, 0, 0, 1, 5, 40))
        match chance.randrange(5):
            case 0:
                data = data[:at] + data[at + chance.randrange(60) :]
            case 1:
                data = data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
            case 2:
                other = chance.randrange(len(data) + 1)
                data = data[:at] + data[min(at, other) : max(at, other)] + data[at:]
            case _:
                data = data[:at] + chance.choice(TOKENS) + data[at + length :]
    return data


def readable(data: bytes) -> int | None:
    """The tests a parser sees in it; None when it is no well-formed report, or one that is refused for a reason."""
    if b"<!DOCTYPE" in data:
        return None
    try:
        root = etree.fromstring(data, STRICT)
    except (etree.XMLSyntaxError, ValueError):
        return None
    name = re.sub(r"^\{.*\}", "", str(root.tag))
    if name not in ("testsuites", "testsuite") or root.xpath("/*" * (ReadLimits().depth + 1)):
        return None
    found = root.xpath("count(//*[local-name()='testcase'])")
    return int(found) if isinstance(found, float) else None


def merged(path: Path) -> tuple[Report, bytes]:
    output = io.BytesIO()
    return merge_files([path], output, all_cases=True), output.getvalue()


def check(data: bytes, folder: Path) -> None:
    path = folder / "a.xml"
    path.write_bytes(data)
    reading = read(data, str(path))
    report, xml = merged(path)
    assert report.totals == count(reading.cases)
    assert report.problems == ((reading.problem,) if reading.problem else ())
    assert [(c.key, c.verdict) for c in report.cases] == [(c.key, c.verdict) for c in reading.cases]
    seen = readable(data)
    if seen is not None:
        assert reading.problem is None or reading.problem.salvaged is not None, "the parser can read it"
        assert len(reading.cases) >= seen
    root = etree.fromstring(xml, STRICT)
    assert len(root.findall(".//testcase")) == report.totals.tests == int(root.get("tests", ""))
    again = folder / "merged.xml"
    again.write_bytes(xml)
    second, second_xml = merged(again)
    assert second_xml == xml
    assert second.totals == report.totals
    assert [(c.key, c.verdict) for c in second.cases] == [(c.key, c.verdict) for c in report.cases]
    bad = {Verdict.FAILED: 0, Verdict.FLAKY: 0} | {c.verdict: 1 for c in report.cases}
    stated = int(root.get("failures", "")) + int(root.get("errors", ""))
    assert (stated > 0) == (bad[Verdict.FAILED] > 0)


@pytest.mark.parametrize(
    ("first", "number"), [(0, 250), pytest.param(250, 4000, marks=[pytest.mark.slow, pytest.mark.long])]
)
def test_mutated_reports_are_kept_and_read_alike(first: int, number: int, tmp_path: Path) -> None:
    for seed in range(first, first + number):
        data = mutated(random.Random(seed))
        try:
            check(data, tmp_path)
        except Exception as error:
            error.add_note(f"seed {seed}: {data!r}")
            raise
