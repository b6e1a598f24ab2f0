"""What others read in our merged file: lxml, junitparser and junit-report-merger come to the same totals."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import junitparser
import junitparser.xunit2
import pytest
from lxml import etree

from benchmarks.generated_reports import generate
from report_merge import Totals
from report_merge.merging import merge_files

JRM = Path(__file__).parent / "js" / "junit-report-merger" / "node_modules" / "junit-report-merger" / "cli.js"


read_case: Callable[[Any], Any] = junitparser.xunit2.TestCase.fromelem


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Totals]:
    folder = tmp_path_factory.mktemp("read-back")
    generate(folder / "in", shards=5, cases=200)
    path = folder / "merged.xml"
    with path.open("wb") as stream:
        return path, merge_files([folder / "in"], stream).totals


def stated(attributes: Mapping[str, object]) -> tuple[int, int, int]:
    return (
        int(str(attributes["tests"])),
        int(str(attributes["failures"])) + int(str(attributes["errors"])),
        int(str(attributes["skipped"])),
    )


def test_lxml(merged: tuple[Path, Totals]) -> None:
    path, totals = merged
    root = etree.parse(str(path)).getroot()
    cases = root.findall(".//testcase")
    counted = (
        len(cases),
        sum(case.find("failure") is not None or case.find("error") is not None for case in cases),
        sum(case.find("skipped") is not None for case in cases),
    )
    assert counted == (totals.tests, totals.failed, totals.skipped)
    assert stated({str(k): v for k, v in root.attrib.items()}) == counted
    flaky = [c for c in cases if c.find("flakyFailure") is not None or c.find("flakyError") is not None]
    assert len(flaky) == totals.flaky


def test_junitparser(merged: tuple[Path, Totals]) -> None:
    path, totals = merged
    xml = junitparser.xunit2.JUnitXml.fromfile(str(path))
    assert (xml.tests, xml.failures + xml.errors, xml._elem.get("skipped")) == (
        totals.tests,
        totals.failed,
        str(totals.skipped),
    )

    elements: list[Any] = [case._elem for suite in xml for case in suite]  # it reaches into nested suites by itself
    seen: list[Any] = [read_case(element) for element in elements]
    assert len(seen) == totals.tests
    assert sum(case.is_failure or case.is_error for case in seen) == totals.failed
    assert sum(case.is_skipped for case in seen) == totals.skipped
    assert sum(case.is_flaky for case in seen) == totals.flaky


@pytest.mark.needs("node")
def test_junit_report_merger(merged: tuple[Path, Totals], tmp_path: Path) -> None:
    if not JRM.exists():
        pytest.skip(f"needs junit-report-merger: npm ci in {JRM.parents[2]}")
    path, totals = merged
    subprocess.run(
        ["node", str(JRM), str(tmp_path / "out.xml"), str(path)], check=True, timeout=120, capture_output=True
    )
    root = etree.parse(str(tmp_path / "out.xml")).getroot()
    assert (int(root.get("tests", "")), int(root.get("failures", "")) + int(root.get("errors", ""))) == (
        totals.tests,
        totals.failed,
    )
    assert len(root.findall(".//testcase")) == totals.tests
