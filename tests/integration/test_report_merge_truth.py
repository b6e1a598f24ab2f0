"""Merging seeded runs of every dialect, alone and mixed, comes to the truth the generator knows."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from lxml import etree

from benchmarks.generated_reports import DIALECTS, Truth, generate
from report_merge.merge.pipeline import merge_files

SHARED = Path(os.environ.get("TEST_CORPUS", Path(__file__).parents[3] / "shared" / "corpus")).parent
GENERATOR = SHARED / "bench" / "gen_junit.py"


def merge_to(path: Path, folder: Path, **options: int) -> Truth:
    with path.open("wb") as stream:
        report = merge_files([folder], stream, **options)
    assert report.problems == ()
    totals = report.totals
    root = etree.parse(str(path)).getroot()
    times = [round(float(case.get("time", "0")) * 1e6) for case in root.iter("testcase")]
    assert len(times) == totals.tests == int(root.get("tests", ""))
    assert round(float(root.get("time", "")) * 1e6) == sum(times)
    return Truth(
        tests=totals.tests,
        passed=totals.passed + totals.flaky,
        failed=totals.failed,
        skipped=totals.skipped,
        flaky=totals.flaky,
        executions=totals.attempts,
        microseconds=sum(times),
    )


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("dialect", ["mixed", *DIALECTS])
def test_the_truth_in_every_dialect(dialect: str, seed: int, tmp_path: Path) -> None:
    truth = generate(tmp_path / "in", shards=6, cases=400, dialect=dialect, seed=seed)
    assert merge_to(tmp_path / "merged.xml", tmp_path / "in") == truth
    assert truth.flaky
    assert truth.failed


def test_two_processes_write_the_same_bytes_as_one(tmp_path: Path) -> None:
    generate(tmp_path / "in", shards=10, cases=200)
    merge_to(tmp_path / "one.xml", tmp_path / "in", processes=1)
    merge_to(tmp_path / "two.xml", tmp_path / "in", processes=2)
    assert (tmp_path / "two.xml").read_bytes() == (tmp_path / "one.xml").read_bytes()


def test_the_merged_file_merged_again_is_the_same_and_as_true(tmp_path: Path) -> None:
    truth = generate(tmp_path / "in", shards=5, cases=300)
    (tmp_path / "again").mkdir()
    merge_to(tmp_path / "again" / "merged.xml", tmp_path / "in")
    assert merge_to(tmp_path / "twice.xml", tmp_path / "again") == truth
    assert (tmp_path / "twice.xml").read_bytes() == (tmp_path / "again" / "merged.xml").read_bytes()


def test_an_error_while_writing_is_raised(tmp_path: Path) -> None:
    generate(tmp_path / "in", shards=2, cases=10)
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError, match="No space"):
        merge_files([tmp_path / "in"], full, processes=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "dialect"), [("large", "mixed"), *(("small", dialect) for dialect in ("mixed", *DIALECTS))]
)
def test_the_shared_generator_agrees(size: str, dialect: str, tmp_path: Path) -> None:
    if not GENERATOR.exists():
        pytest.skip(f"needs {GENERATOR}: set TEST_CORPUS to the folder beside it")
    command = [sys.executable, str(GENERATOR), "--size", size, "--dialect", dialect, "--out", str(tmp_path / "in")]
    subprocess.run(command, check=True, capture_output=True, timeout=250)
    truth = json.loads((tmp_path / "in" / "truth.json").read_text())
    report = merge_files(sorted((tmp_path / "in").glob("attempt-*")), io.BytesIO())
    totals = report.totals
    assert {
        "tests": totals.tests,
        "passed": totals.passed + totals.flaky,
        "failed": totals.failed,
        "skipped": totals.skipped,
        "flaky": totals.flaky,
    } == {
        "tests": truth["tests"],
        "passed": truth["passed"],
        "failed": truth["failed"] + truth["errors"],
        "skipped": truth["skipped"],
        "flaky": truth["flaky"],
    }
