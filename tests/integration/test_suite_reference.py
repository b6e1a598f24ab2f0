"""The reference suites whole, with the real Playwright, browser and pytest: totals equal those of a run without us."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from ci_dispatch.config.choices import Split
from ci_dispatch.config.sections import SuiteConfig
from ci_dispatch.core.errors import UsageError
from ci_dispatch.core.model import FailureCause, Test, Verdict
from ci_dispatch.run.ports import AttemptReading
from ci_dispatch.suites.playwright import PlaywrightSuite
from ci_dispatch.suites.pytest import PytestSuite
from tests.components import REFERENCE_SUITE, ROOT, chromium
from tests.suite_attempts import OWN_PYTHON, attempt, verdicts

PYTEST_SUITE = ROOT / "examples" / "pytest-suite"
BOTH_NEEDED = pytest.mark.needs("playwright", "chromium")
pytestmark = pytest.mark.slow


def shop(arguments: Sequence[str] = (), split: Split = Split.AUTO, **env: str) -> PlaywrightSuite:
    browser = {"CHROMIUM": chromium() or ""}
    return PlaywrightSuite(SuiteConfig(args=tuple(arguments), env={**browser, **env}, split=split), REFERENCE_SUITE)


def parcels(split: Split = Split.AUTO, **env: str) -> PytestSuite:
    env = {**OWN_PYTHON, "PYTHONDONTWRITEBYTECODE": "1", **env}
    return PytestSuite(SuiteConfig(env=env, split=split), PYTEST_SUITE)


def own_copy(folder: Path) -> Path:
    tree = folder / "tree"
    shutil.copytree(REFERENCE_SUITE, tree, ignore=shutil.ignore_patterns("node_modules", "test-results"))
    (tree / "node_modules").symlink_to(REFERENCE_SUITE / "node_modules")
    return tree


def counts(*readings: AttemptReading) -> Counter[Verdict]:
    return Counter(result.verdict for reading in readings for result in reading.results)


def unstable(tests: Sequence[Test], project: str = "desktop") -> list[Test]:
    return [test for test in tests if test.file.endswith("unstable.spec.ts") and test.project == project]


def cut(tests: Sequence[Test], shards: int) -> list[list[Test]]:
    """Whole units, dealt out in turn."""
    units = list(dict.fromkeys(test.unit for test in tests))
    return [[test for test in tests if units.index(test.unit) % shards == number] for number in range(shards)]


@pytest.mark.long
@BOTH_NEEDED
def test_the_reference_suite_cut_in_three_gives_what_playwright_alone_gives(tmp_path: Path) -> None:
    suite = shop()
    tests = suite.list_tests(60).tests
    assert Counter(test.project for test in tests) == {"desktop": 66, "mobile": 66, "tablet": 66}
    assert len({test.file for test in tests}) == 12
    readings = [
        attempt(suite, shard, tmp_path / str(number), root=REFERENCE_SUITE, workers=2)
        for number, shard in enumerate(cut(tests, 3))
    ]
    assert [(reading.cause, reading.unexpected) for reading in readings] == [(FailureCause.NONE, ())] * 3
    assert counts(*readings) == {Verdict.PASSED: 195, Verdict.SKIPPED: 3}
    # One project by Playwright alone: the same tests with the same verdicts.
    alone = subprocess.run(
        ["node", "node_modules/@playwright/test/cli.js", "test", "--project=tablet", "--reporter=json", "--workers=2"],
        cwd=REFERENCE_SUITE,
        env={**os.environ, "CHROMIUM": chromium() or "", "PLAYWRIGHT_JSON_OUTPUT_FILE": str(tmp_path / "alone.json")},
        check=True,
        timeout=300,
        capture_output=True,
    )
    assert alone.returncode == 0
    stats = json.loads((tmp_path / "alone.json").read_text())["stats"]
    tablet = {test.id for test in tests if test.project == "tablet"}
    ours = Counter(v for reading in readings for test, v in verdicts(reading).items() if test in tablet)
    assert (stats["expected"], stats["skipped"]) == (ours[Verdict.PASSED], ours[Verdict.SKIPPED])


@BOTH_NEEDED
def test_units_are_what_playwright_would_not_cut() -> None:
    tests = [test for test in shop().list_tests(60).tests if test.project == "mobile"]
    by_file = {test.file: {t.unit for t in tests if t.file == test.file} for test in tests}
    assert len(by_file["tests/prices.spec.ts"]) == 5  # the file says `mode: 'parallel'`
    assert {len(units) for file, units in by_file.items() if "prices" not in file} == {1}
    assert {test.file for test in tests if test.atomic} == {"tests/checkout.spec.ts"}


@BOTH_NEEDED
@pytest.mark.parametrize("how", [{"FULLY_PARALLEL": "1"}, {"split": Split.TEST}])
def test_fully_parallel_suites_are_cut_by_test_but_never_inside_a_serial_group(how: dict[str, str]) -> None:
    split = Split(how.pop("split", Split.AUTO))
    tests = [test for test in shop(split=split, **how).list_tests(60).tests if test.project == "mobile"]
    checkout = {test.unit for test in tests if test.file == "tests/checkout.spec.ts"}
    assert len(checkout) == 1
    assert len({test.unit for test in tests}) == 66 - 5 + 1


@BOTH_NEEDED
def test_setup_projects_count_once_however_often_they_run(tmp_path: Path) -> None:
    suite = shop(["-c", "playwright.setup.config.ts"])
    tests = suite.list_tests(60).tests
    setup = [test for test in tests if test.project in ("open", "close")]
    prices = [test for test in tests if test.file == "tests/prices.spec.ts" and test.project == "tablet"]
    extra = ["-c", "playwright.setup.config.ts"]
    assert (len(tests), len(setup), len({test.unit for test in setup})) == (201, 3, 2)
    readings = [
        attempt(suite, selected, tmp_path / str(number), root=REFERENCE_SUITE, extra=extra)
        for number, selected in enumerate([setup, prices[:1], prices[1:]])
    ]
    assert [len(reading.results) for reading in readings] == [3, 1, 4]
    assert counts(*readings) == {Verdict.PASSED: 8}
    assert [reading.unexpected for reading in readings] == [(), (), ()]


@BOTH_NEEDED
def test_selecting_arguments_select_in_the_listing_and_in_the_run(tmp_path: Path) -> None:
    extra = ["--project", "desktop", "tablet", "--grep", "@smoke"]
    suite = shop(extra)
    tests = suite.list_tests(60).tests
    assert [test.project for test in tests] == ["desktop", "tablet"]
    assert counts(attempt(suite, tests, tmp_path / "a", root=REFERENCE_SUITE, extra=extra)) == {Verdict.PASSED: 2}
    with pytest.raises(UsageError, match="--shard=1/2"):
        shop(["--shard=1/2"])


@BOTH_NEEDED
def test_a_missing_browser_is_the_machines_trouble_and_no_failed_test(tmp_path: Path) -> None:
    suite = shop(CHROMIUM="/nowhere/chromium")
    tests = [t for t in suite.list_tests(60).tests if t.file in ("tests/product.spec.ts", "tests/prices.spec.ts")]
    tests = [test for test in tests if test.project == "desktop"]
    reading = attempt(suite, tests, tmp_path / "a", root=REFERENCE_SUITE)
    assert counts(reading) == {Verdict.NOT_RUN: 5, Verdict.PASSED: 5}  # prices need no browser
    assert reading.cause is FailureCause.SETUP
    assert "Executable doesn't exist" in reading.reason or "/nowhere/chromium" in reading.reason


@BOTH_NEEDED
def test_when_the_setup_fails_its_dependents_say_so(tmp_path: Path) -> None:
    tree = own_copy(tmp_path)
    setup = tree / "tests" / "open.setup.ts"
    setup.write_text(setup.read_text().replace("toBe(true)", "toBe(false)"))
    extra = ["-c", "playwright.setup.config.ts"]
    suite = PlaywrightSuite(SuiteConfig(args=tuple(extra), env={"CHROMIUM": chromium() or ""}), tree)
    tests = [test for test in suite.list_tests(60).tests if test.file == "tests/prices.spec.ts"]
    reading = attempt(suite, tests, tmp_path / "a", root=tree, extra=extra)
    assert counts(reading) == {Verdict.NOT_RUN: 15}
    assert {result.reason for result in reading.results} == {
        "what it depends on failed: open › open.setup.ts › the shop is open"
    }
    assert (reading.cause, reading.unexpected) == (FailureCause.NONE, ())


@BOTH_NEEDED
def test_a_failed_step_leaves_the_rest_of_its_serial_group_without_verdict(tmp_path: Path) -> None:
    tree = own_copy(tmp_path)
    spec = tree / "tests" / "checkout.spec.ts"
    spec.write_text(re.sub(r"toHaveText\('4\.90 €'\)", "toHaveText('free', { timeout: 200 })", spec.read_text()))
    suite = PlaywrightSuite(SuiteConfig(env={"CHROMIUM": chromium() or ""}), tree)
    tests = [t for t in suite.list_tests(60).tests if t.project == "desktop" and "checkout" in t.file]
    reading = attempt(suite, tests, tmp_path / "a", root=tree)
    words = [result.verdict for result in reading.results]
    assert words == [Verdict.PASSED, Verdict.FAILED, Verdict.NOT_RUN, Verdict.NOT_RUN, Verdict.NOT_RUN]
    assert "serial group" in reading.results[2].reason
    assert reading.cause is FailureCause.NONE


@BOTH_NEEDED
def test_a_port_that_is_taken_is_the_machines_trouble(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        suite = shop(PORT=str(other.server_port))
        tests = suite.list_tests(60).tests[:2]
        reading = attempt(suite, tests, tmp_path / "a", root=REFERENCE_SUITE)
        other.shutdown()
    assert counts(reading) == {Verdict.NOT_RUN: 2}
    assert reading.cause is FailureCause.SETUP
    assert "config.webServer" in reading.reason


@BOTH_NEEDED
@pytest.mark.parametrize(
    ("mode", "name", "verdict"),
    [("failing", "may fail", Verdict.FAILED), ("crashing", "may crash", Verdict.FAILED)],
)
def test_one_bad_test_is_its_own_trouble_only(tmp_path: Path, mode: str, name: str, verdict: Verdict) -> None:
    suite = shop(E2E_MODE=mode)
    tests = unstable(suite.list_tests(60).tests)
    reading = attempt(suite, tests, tmp_path / "a", root=REFERENCE_SUITE)
    bad = {test.id for test in tests if test.title == (name,)}
    assert verdicts(reading) == {test.id: verdict if test.id in bad else Verdict.PASSED for test in tests}
    assert reading.cause is FailureCause.NONE


@BOTH_NEEDED
def test_a_retry_inside_the_runner_shows_as_flaky(tmp_path: Path) -> None:
    suite = shop(E2E_MODE="flaky", RETRIES="2")
    tests = unstable(suite.list_tests(60).tests)
    reading = attempt(suite, tests, tmp_path / "a", root=REFERENCE_SUITE)
    flaky = [result for result in reading.results if result.verdict is Verdict.FLAKY]
    assert [result.retries for result in flaky] == [1]
    assert "broken" in flaky[0].message  # what went wrong the first time
    live = (tmp_path / "a" / "live.jsonl").read_bytes().splitlines()
    assert [news.verdict for line in live if (news := suite.live_result(line)) and news.test == flaky[0].test] == [
        Verdict.FLAKY  # the failure that was about to be tried again was no end
    ]


def test_the_pytest_suite_gives_what_pytest_alone_gives(tmp_path: Path) -> None:
    suite = parcels()
    tests = suite.list_tests(60).tests
    readings = [
        attempt(suite, shard, tmp_path / str(number), root=PYTEST_SUITE, workers=workers)
        for number, (shard, workers) in enumerate(zip(cut(tests, 2), (1, 2), strict=True))
    ]
    assert [(reading.cause, reading.unexpected) for reading in readings] == [(FailureCause.NONE, ())] * 2
    assert counts(*readings) == {Verdict.PASSED: 50, Verdict.SKIPPED: 2}
    alone = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    said = subprocess.run(
        alone, cwd=PYTEST_SUITE, env=env, check=True, timeout=120, capture_output=True, text=True
    ).stdout
    assert "50 passed, 1 skipped, 1 xfailed" in said


@pytest.mark.parametrize("workers", [1, 3])
def test_an_xdist_group_stays_in_one_process_and_in_order(tmp_path: Path, workers: int) -> None:
    suite = parcels()
    tests = [test for test in suite.list_tests(60).tests if "journey" in test.file or "postage" in test.file]
    assert len({test.unit for test in tests if test.atomic}) == 1
    assert sum(test.atomic for test in tests) == 3
    reading = attempt(suite, tests, tmp_path / "a", root=PYTEST_SUITE, workers=workers)
    assert set(verdicts(reading).values()) == {Verdict.PASSED}


@pytest.mark.parametrize("workers", [1, 3])
def test_a_crash_loses_no_other_test_of_a_pytest_run(tmp_path: Path, workers: int) -> None:
    suite = parcels(PARCELS_MODE="crashing")
    tests = [test for test in suite.list_tests(60).tests if "unstable" in test.file or "journey" in test.file]
    reading = attempt(suite, tests, tmp_path / "a", root=PYTEST_SUITE, workers=workers)
    by_name = {test.title[-1]: result for test, result in zip(tests, reading.results, strict=True)}
    if workers == 1:  # the whole runner died: what had ended before has its verdict, the rest is to be run again
        assert by_name["test_may_crash"].verdict is Verdict.NOT_RUN
        assert reading.suspects == (by_name["test_may_crash"].test,)
        assert by_name["test_may_vanish"].verdict is Verdict.NOT_RUN
        assert reading.cause is FailureCause.CRASH
    else:
        assert by_name["test_may_crash"].verdict is Verdict.FAILED
        assert "crashed while running" in by_name["test_may_crash"].message
    assert by_name["test_may_fail"].verdict is Verdict.PASSED


@pytest.mark.parametrize(
    ("ini", "units"),
    [
        ("--dist loadfile", 5),
        ("--dist loadscope", 10),
        ("", 50),
    ],  # files, classes, and an id with `::`, which xdist cuts there
)
def test_units_follow_the_suites_own_xdist_mode(tmp_path: Path, ini: str, units: int) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(PYTEST_SUITE, tree)
    (tree / "pytest.ini").write_text((tree / "pytest.ini").read_text().replace("--strict-markers", ini))
    tests = PytestSuite(SuiteConfig(env=OWN_PYTHON), tree).list_tests(60).tests
    assert (len(tests), len({test.unit for test in tests})) == (52, units)


def test_split_by_file_keeps_files_whole() -> None:
    tests = parcels(split=Split.FILE).list_tests(60).tests
    assert len({test.unit for test in tests}) == 6  # five files, one of them with a group besides


def test_a_file_that_cannot_be_imported_on_a_machine_keeps_no_other_from_running(tmp_path: Path) -> None:
    tests = [test for test in parcels().list_tests(60).tests if "unstable" in test.file or "postage" in test.file]
    reading = attempt(parcels(PARCELS_MODE="unloadable"), tests, tmp_path / "a", root=PYTEST_SUITE)
    assert reading.cause is FailureCause.LOAD
    assert "cannot be imported" in reading.reason
    assert {test.file for test, r in zip(tests, reading.results, strict=True) if r.verdict is Verdict.NOT_RUN} == {
        "tests/test_unstable.py"
    }
