"""Real reports of many projects: nothing crashes, nothing is lost, what is refused says why."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from lxml import etree

from report_merge import count, read
from report_merge.merge.pipeline import merge_files

CORPUS = Path(os.environ.get("TEST_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))
FILES = sorted(path for path in CORPUS.rglob("*xml") if path.is_file())
TEXTS = {"failure", "error", "skipped", "system-out", "system-err", "stackTrace"}

pytestmark = pytest.mark.skipif(not FILES, reason=f"needs sample reports in {CORPUS}: set TEST_CORPUS to theirs")


def local_name(element: etree._Element) -> str:
    tag: object = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def texts(root: etree._Element) -> list[str]:
    found = ("".join(str(part) for part in e.itertext()).strip() for e in root.iter() if local_name(e) in TEXTS)
    return sorted(text for text in found if text)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CORPUS)))
def test_every_case_and_text_is_kept_or_the_file_is_named(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    reading = read(data, str(path))
    output = io.BytesIO()
    report = merge_files([path], output)
    merged = etree.fromstring(output.getvalue(), etree.XMLParser(huge_tree=True))
    assert report.totals == count(reading.cases)
    assert report.problems == ((reading.problem,) if reading.problem else ())
    assert len(merged.findall(".//testcase")) == report.totals.tests == int(merged.get("tests", ""))
    if reading.problem:
        assert reading.problem.reason
        return
    try:
        source = etree.fromstring(data, etree.XMLParser(huge_tree=True, resolve_entities=False))
    except etree.XMLSyntaxError:
        return  # a lie about the encoding, which we see through
    assert texts(merged) == texts(source)
    suite_level = sum(
        local_name(child) in ("failure", "error")
        for child in source.iter()
        if (parent := child.getparent()) is not None and local_name(parent) == "testsuite"
    )
    assert report.totals.tests == sum(local_name(e) == "testcase" for e in source.iter()) + suite_level


def test_all_of_them_merge_at_once_and_again_without_a_change(tmp_path: Path) -> None:
    once = tmp_path / "merged.xml"
    with once.open("wb") as stream:
        report = merge_files(FILES, stream)
    output = io.BytesIO()
    again = merge_files([once], output)
    assert output.getvalue() == once.read_bytes()
    assert again.totals == report.totals
