"""What narrows a selection unseen: options and variables of the suite's own configuration have no say, or are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci_dispatch.config.sections import SuiteConfig
from ci_dispatch.core.errors import UsageError
from ci_dispatch.core.model import FailureCause, Verdict
from ci_dispatch.run.ports import Listing
from ci_dispatch.suites.playwright import PlaywrightSuite
from ci_dispatch.suites.pytest import PytestSuite
from tests.components import REFERENCE_SUITE
from tests.suite_attempts import OWN_PYTHON, attempt

pytestmark = pytest.mark.slow
PLAYWRIGHT = pytest.mark.needs("playwright")

SIX = "".join(
    f"def test_{n}():\n    assert {n} != 1\n\n\n" for n in range(6)
)  # one fails: a cache has something to say
SPEC = "const { test } = require('@playwright/test');\nfor (const n of '012345') test(n, () => {});\n"


def pytest_suite(folder: Path, addopts: str = "", conftest: str = "", **env: str) -> PytestSuite:
    folder.mkdir(exist_ok=True)
    (folder / "pytest.ini").write_text(f"[pytest]\naddopts = {addopts}\n")
    (folder / "conftest.py").write_text(conftest)
    (folder / "test_six.py").write_text(SIX)
    return PytestSuite(SuiteConfig(env={**OWN_PYTHON, **env}), folder)


def playwright_suite(folder: Path, config: str, *arguments: str, spec: str = SPEC, **env: str) -> PlaywrightSuite:
    folder.mkdir(exist_ok=True)
    (folder / "playwright.config.js").write_text(f"module.exports = {{ fullyParallel: true, {config} }};\n")
    (folder / "six.spec.js").write_text(spec)
    if not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(REFERENCE_SUITE / "node_modules")
    return PlaywrightSuite(SuiteConfig(env=env, args=arguments), folder)


def with_a_cache(folder: Path) -> Path:
    """A tree in which pytest has run once: test_1 failed."""
    suite = pytest_suite(folder)
    attempt(suite, suite.list_tests(60).tests, folder.parent / "first", root=folder)
    assert (folder / ".pytest_cache").exists()
    return folder


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("place", ["addopts", "PYTEST_ADDOPTS"])
def test_options_that_would_leave_tests_out_have_no_say(tmp_path: Path, place: str, workers: int) -> None:
    """Each of them alone would keep some of the tests from running."""
    options = ["--lf", "--ff", "--sw", "--sw-skip", "-x", "--setup-only", "--setup-plan"]
    tree = with_a_cache(tmp_path / "tree")
    given = {place: " ".join([*options, "--collect-only"])}
    suite = pytest_suite(tree, **given)
    listing = suite.list_tests(60)
    assert [test.title for test in listing.tests] == [(f"test_{n}",) for n in range(6)]
    (note,) = listing.notes
    assert note.endswith("without effect, every expected test is run")
    assert all(option in note for option in options)
    results = attempt(suite, listing.tests, tmp_path / "a", root=tree, workers=workers).results
    assert [result.verdict for result in results] == [
        Verdict.FAILED if number == 1 else Verdict.PASSED for number in range(6)
    ]


def notes(listing: Listing) -> str:
    return "\n".join(listing.notes)


@pytest.mark.parametrize(
    ("addopts", "conftest", "says"),
    [
        ("-k 'test_1 or test_2'", "", "4 of 6 tests are deselected and do not count: -k test_1 or test_2"),
        ("--deselect test_six.py::test_3", "", "1 of 6 tests are deselected and do not count: --deselect"),
        (
            "",
            "def pytest_collection_modifyitems(items):\n    del items[1:]\n",
            "5 of 6 tests are deselected and do not",
        ),
    ],
)
def test_what_the_suite_itself_deselects_is_said(tmp_path: Path, addopts: str, conftest: str, says: str) -> None:
    assert says in notes(pytest_suite(tmp_path / "tree", addopts=addopts, conftest=conftest).list_tests(60))


def test_a_selection_in_the_environment_is_refused(tmp_path: Path) -> None:
    given = "-k test_1 -m slow --deselect x test_six.py::test_1 --ignore=x --ignore-glob=y -c pytest.ini -o testpaths=x"
    named = r"PYTEST_ADDOPTS selects tests \(-k, -m, --deselect, paths, --ignore, --ignore-glob, -c, -o\)"
    with pytest.raises(UsageError, match=named) as caught:
        pytest_suite(tmp_path / "tree", PYTEST_ADDOPTS=given).list_tests(60)
    assert "after --" in str(caught.value)


def test_other_options_in_the_environment_stay(tmp_path: Path) -> None:
    conftest = "def pytest_addoption(parser):\n    parser.addoption('--colour')\n"
    suite = pytest_suite(tmp_path / "tree", conftest=conftest, PYTEST_ADDOPTS="-v --colour blue -p no:doctest")
    assert (len(suite.list_tests(60).tests), suite.list_tests(60).notes) == (6, ())


def test_plugins_that_the_suite_has_switched_off_break_nothing(tmp_path: Path) -> None:
    suite = pytest_suite(tmp_path / "tree", addopts="-p no:xdist -p no:junitxml -p no:cacheprovider -p no:terminal")
    listing = suite.list_tests(60)
    reading = attempt(suite, listing.tests, tmp_path / "a", root=tmp_path / "tree", workers=2)
    assert [result.verdict for result in reading.results].count(Verdict.PASSED) == 5
    assert listing.workers == 1
    assert pytest_suite(tmp_path / "tree").list_tests(60).workers == 0


def test_what_one_machine_deselects_another_may_run(tmp_path: Path) -> None:
    conftest = (
        "import os\n\n\ndef pytest_collection_modifyitems(config, items):\n"
        "    gone = [item for item in items if item.name in os.environ.get('POOR', '').split()]\n"
        "    items[:] = [item for item in items if item not in gone]\n"
        "    config.hook.pytest_deselected(items=gone)\n"
    )
    tests = pytest_suite(tmp_path / "tree", conftest=conftest).list_tests(60).tests
    poor = pytest_suite(tmp_path / "tree", conftest=conftest, POOR="test_2 test_3")
    reading = attempt(poor, tests[2:4], tmp_path / "a", root=tmp_path / "tree")
    assert reading.cause is FailureCause.SETUP
    assert {result.reason for result in reading.results} == {
        "the suite's own configuration deselects it on this machine"
    }
    for workers in (1, 2):
        reading = attempt(poor, tests[2:], tmp_path / str(workers), root=tmp_path / "tree", workers=workers)
        assert [result.verdict for result in reading.results] == [Verdict.NOT_RUN] * 2 + [Verdict.PASSED] * 2
        assert "deselects it on this machine" in reading.results[0].reason


def test_a_file_that_is_skipped_as_a_whole_is_said_and_its_tests_may_run_elsewhere(tmp_path: Path) -> None:
    pytest_suite(tmp_path / "tree")
    source = "import os\nimport pytest\n\nif 'POOR' in os.environ:\n    pytest.importorskip('no_such')\n\n\n"
    (tmp_path / "tree" / "test_rich.py").write_text(f"{source}def test_rich():\n    pass\n")
    tests = pytest_suite(tmp_path / "tree").list_tests(60).tests
    poor = pytest_suite(tmp_path / "tree", POOR="1")
    (note,) = poor.list_tests(60).notes
    assert note.startswith(
        "skipped as a whole, so that their tests do not count: test_rich.py (could not import 'no_such'"
    )
    for workers in (1, 2):
        reading = attempt(poor, tests, tmp_path / str(workers), root=tmp_path / "tree", workers=workers)
        assert reading.cause is FailureCause.SETUP
        rich = dict(zip((test.title[-1] for test in tests), reading.results, strict=True))["test_rich"]
        assert rich.verdict is Verdict.NOT_RUN
        assert rich.reason.startswith("test_rich.py is skipped as a whole on this machine: could not import 'no_such'")
        assert [result.verdict for result in reading.results].count(Verdict.PASSED) == 5


@PLAYWRIGHT
@pytest.mark.parametrize(
    ("config", "env"),
    [
        ("maxFailures: 1, shard: { current: 1, total: 3 }", {}),
        ("shard: { current: 1, total: 2 }", {"PWTEST_SHARD_WEIGHTS": "1:5", "PWTEST_WATCH": "1"}),
    ],
)
def test_what_would_leave_playwright_tests_out_has_no_say(tmp_path: Path, config: str, env: dict[str, str]) -> None:
    spec = SPEC.replace("() => {}", "() => { if (n < 2) throw new Error('no'); }")
    suite = playwright_suite(tmp_path / "tree", config, spec=spec, **env)
    tests = suite.list_tests(60).tests
    assert len(tests) == 6
    results = attempt(suite, tests, tmp_path / "a", root=tmp_path / "tree").results
    assert [result.verdict for result in results].count(Verdict.PASSED) == 4
    assert [result.verdict for result in results].count(Verdict.FAILED) == 2


@PLAYWRIGHT
def test_a_focused_test_that_was_left_behind_is_refused(tmp_path: Path) -> None:
    suite = playwright_suite(tmp_path / "tree", "", spec=f"{SPEC}test.only('this one', () => {{}});\n")
    with pytest.raises(UsageError, match=r"item focused with '\.only'"):
        suite.list_tests(60)


@PLAYWRIGHT
def test_what_a_playwright_configuration_leaves_out_is_said(tmp_path: Path) -> None:
    listing = playwright_suite(
        tmp_path / "tree", "grep: /[123]/, projects: [{ name: 'p', grepInvert: /2/ }]"
    ).list_tests(60)
    assert (len(listing.tests), listing.notes) == (
        2, ("the configuration leaves out tests of p: grep /[123]/, grepInvert /2/",)
    )  # fmt: skip


@PLAYWRIGHT
@pytest.mark.parametrize(
    ("config", "arguments", "fails"),
    [("", (), False), ("failOnFlakyTests: true", (), True), ("", ("--fail-on-flaky-tests",), True)],
)
def test_a_runner_that_is_told_that_flaky_is_a_failure(
    tmp_path: Path, config: str, arguments: tuple[str, ...], fails: bool
) -> None:
    assert playwright_suite(tmp_path / "tree", config, *arguments).list_tests(60).flaky_is_failure is fails


def test_pytest_that_is_told_that_flaky_is_a_failure(tmp_path: Path) -> None:
    assert pytest_suite(tmp_path / "tree", addopts="--fail-on-flaky").list_tests(60).flaky_is_failure
