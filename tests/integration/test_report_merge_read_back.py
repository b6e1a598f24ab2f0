"""What others read in our merged files: lxml, junitparser and junit-report-merger come to the same totals.

And in that of a run each test has the names its runner's own report gives it, so that it is the same to every history.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import junitparser
import junitparser.xunit2
import pytest
from lxml import etree

from benchmarks.generated_reports import generate
from report_merge import Totals
from report_merge.junit import document as junit
from report_merge.merge.pipeline import merge_files
from tests.components import REFERENCE_SUITE
from tests.integration.cli_process import environment
from tests.integration.whole_run import ci_dispatch, repository

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


# -- the merged.xml of a run: its tests under their runner's own names ------------------------------------------------

PYTEST_SUITE = """
import pytest

def test_plain(): pass

@pytest.mark.parametrize("n", ["a b", "x::y", "[z]"])
def test_each(n): pass

class TestShop:
    def test_buys(self): pass
    class TestDeep:
        def test_pays(self): assert False
    @pytest.mark.skip
    def test_later(self): pass
"""
PLAYWRIGHT_SUITE = """
import { test } from '@playwright/test';
test.describe('shop', () => {
  test('opens', () => {});
  test('pays', () => { throw new Error('no money'); });
});
"""
PLAYWRIGHT_CONFIG = """
import { defineConfig } from '@playwright/test';
export default defineConfig({ testDir: 'specs', projects: [{ name: 'desktop' }, { name: 'mobile' }] });
"""
COMMAND_SUITE = """
import sys
from pathlib import Path
cases = "".join(f"<testcase classname='com.acme.Shop' name='{name.rpartition('.')[2]}'/>" for name in sys.argv[2:])
Path(sys.argv[1]).write_text(f"<testsuite name='acme'>{cases}</testsuite>")
"""


def names(path: Path) -> list[tuple[str, str, str]]:
    """(project or nothing, classname, name) of every test in a JUnit file, as any tool reads them."""
    root = etree.parse(str(path)).getroot()
    projects = ("desktop", "mobile")
    found = []
    for suite in root.iter("testsuite"):
        hostname = str(suite.get("hostname", ""))
        project = hostname if hostname in projects else ""
        found += [(project, str(c.get("classname")), str(c.get("name"))) for c in suite.findall("testcase")]
    return sorted(found)


def merged_of(folder: Path) -> Path:
    [path] = folder.glob(".ci-dispatch/runs/*/merged.xml")
    return path


def same_again(path: Path, expected: int) -> None:
    """report-merge reads the same tests from it as from its own merge of it."""
    cases = junit.read(path.read_bytes(), path.name).cases
    assert len({case.key for case in cases}) == len(cases) == expected
    again = path.with_name("again.xml")
    with again.open("wb") as stream:
        merge_files([path], stream)
    twice = junit.read(again.read_bytes(), again.name).cases
    assert [(c.key, c.verdict, c.properties) for c in twice] == [(c.key, c.verdict, c.properties) for c in cases]
    assert all(dict(case.properties)["ci-dispatch.id"] for case in cases)


def test_pytest_keeps_its_own_names(tmp_path: Path) -> None:
    folder = repository(tmp_path, 'runner = "pytest"')
    (folder / "tests" / "unit").mkdir(parents=True)
    (folder / "tests" / "unit" / "test_shop.py").write_text(PYTEST_SUITE)
    (folder / "pytest.ini").write_text("[pytest]\n")
    assert ci_dispatch("run", "--max-retries", "0", cwd=folder).code == 1
    pytest_alone = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=own.xml"]
    alone = {**environment(), "TMPDIR": str(tmp_path)}
    subprocess.run(pytest_alone, cwd=folder, env=alone, check=False, capture_output=True, timeout=60)
    assert names(merged_of(folder)) == names(folder / "own.xml")
    same_again(merged_of(folder), 7)
    [case] = [c for c in junit.read(merged_of(folder).read_bytes(), "m").cases if c.key.name == "test_pays"]
    assert case.key.classname == "tests.unit.test_shop.TestShop.TestDeep"
    assert dict(case.properties)["ci-dispatch.file"] == "tests/unit/test_shop.py"


@pytest.mark.needs("playwright")
def test_playwright_keeps_its_own_names_and_projects(tmp_path: Path) -> None:
    folder = repository(tmp_path, 'runner = "playwright"')
    (folder / "node_modules").symlink_to((REFERENCE_SUITE / "node_modules").resolve())
    (folder / "specs" / "deep").mkdir(parents=True)
    (folder / "specs" / "deep" / "shop.spec.ts").write_text(PLAYWRIGHT_SUITE)
    (folder / "playwright.config.ts").write_text(PLAYWRIGHT_CONFIG)
    assert ci_dispatch("run", "--max-retries", "0", cwd=folder).code == 1
    alone = ["node", "node_modules/@playwright/test/cli.js", "test", "--reporter=junit"]
    env = environment(PLAYWRIGHT_JUNIT_OUTPUT_FILE="own.xml")
    subprocess.run(alone, cwd=folder, env=env, check=False, capture_output=True, timeout=120)
    own = names(folder / "own.xml")
    assert [project for project, _, _ in own] == ["desktop"] * 2 + ["mobile"] * 2
    assert names(merged_of(folder)) == own
    same_again(merged_of(folder), 4)
    for case in junit.read(merged_of(folder).read_bytes(), "m").cases:
        assert case.key.project == dict(case.properties)["ci-dispatch.project"]
        assert {attempt.machine for attempt in case.attempts} == {"local"}, "a project is no machine"
        assert dict(case.properties)["ci-dispatch.file"] == "specs/deep/shop.spec.ts"


def test_a_command_s_own_report_names_its_tests(tmp_path: Path) -> None:
    suite = f'runner = "command"\nlist = "cat tests.txt"\ncommand = "{sys.executable} runner.py {{junit}} {{tests}}"'
    folder = repository(
        tmp_path, suite, **{"runner.py": COMMAND_SUITE, "tests.txt": "com.acme.Shop.buys\ncom.acme.Shop.pays\n"}
    )
    assert ci_dispatch("run", cwd=folder).code == 0
    assert names(merged_of(folder)) == [("", "com.acme.Shop", "buys"), ("", "com.acme.Shop", "pays")]
    same_again(merged_of(folder), 2)
