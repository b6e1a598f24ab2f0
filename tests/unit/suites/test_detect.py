"""A repository that says nothing about its suite is recognised by its files, or asked a clear question."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci_dispatch.config.sections import Runner, SuiteConfig
from ci_dispatch.core.errors import UsageError
from ci_dispatch.suites import open_suite
from ci_dispatch.suites.detect import Recognised, recognise


def put(root: Path, **files: str) -> Path:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("playwright.config.ts", "", Recognised(Runner.PLAYWRIGHT, ".")),
        ("e2e/playwright.config.mjs", "", Recognised(Runner.PLAYWRIGHT, "e2e")),
        ("tests/e2e/playwright.config.js", "", Recognised(Runner.PLAYWRIGHT, "tests/e2e")),
        ("pytest.ini", "", Recognised(Runner.PYTEST, ".")),
        ("pyproject.toml", "[tool.pytest.ini_options]\ntestpaths = ['t']", Recognised(Runner.PYTEST, ".")),
        ("api/pyproject.toml", "[tool.pytest]\ntestpaths = ['t']", Recognised(Runner.PYTEST, "api")),
        ("tox.ini", "[tox]\nx=%(y)s\n[pytest]\naddopts = -q", Recognised(Runner.PYTEST, ".")),
        ("setup.cfg", "[tool:pytest]\naddopts = -q", Recognised(Runner.PYTEST, ".")),
    ],
)
def test_a_configuration_is_recognised(tmp_path: Path, name: str, text: str, expected: Recognised) -> None:
    assert recognise(put(tmp_path, **{name: text})) == expected


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"node_modules/x/playwright.config.js": ""},
        {".venv/pytest.ini": ""},
        {"a/b/c/pytest.ini": ""},
        {"pyproject.toml": "[tool.ruff]"},
        {"pyproject.toml": "[[["},
        {"tox.ini": "no section"},
        {"setup.cfg": "[metadata]\nname = x"},
    ],
)
def test_what_configures_nothing_is_not_taken_for_a_suite(tmp_path: Path, files: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="No suite was found"):
        recognise(put(tmp_path, **files))


def test_the_nearest_suite_is_meant(tmp_path: Path) -> None:
    put(tmp_path, **{"pytest.ini": "", "e2e/playwright.config.ts": ""})
    assert recognise(tmp_path) == Recognised(Runner.PYTEST, ".")
    assert recognise(tmp_path, "e2e") == Recognised(Runner.PLAYWRIGHT, "e2e")


def test_two_suites_equally_near_are_a_question(tmp_path: Path) -> None:
    put(tmp_path, **{"pytest.ini": "", "playwright.config.ts": ""})
    with pytest.raises(UsageError) as caught:
        recognise(tmp_path)
    assert "playwright in ., pytest in ." in str(caught.value)
    assert 'runner = "playwright"' in str(caught.value)


def test_a_folder_that_does_not_exist_has_no_suite(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No suite was found"):
        recognise(tmp_path, "nowhere")


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (SuiteConfig(runner=Runner.PLAYWRIGHT, workdir="e2e"), "playwright"),
        (SuiteConfig(runner=Runner.PYTEST), "pytest"),
        (SuiteConfig(runner=Runner.COMMAND, command="run {junit} {tests}", list="run list"), "command"),
        (SuiteConfig(), "pytest"),
    ],
)
def test_settings_open_their_suite(tmp_path: Path, settings: SuiteConfig, name: str) -> None:
    suite = open_suite(settings, put(tmp_path, **{"pytest.ini": ""}))
    assert (suite.name, suite.title) == (name, tmp_path.name)


@pytest.mark.parametrize(
    ("runner", "argument"),
    [
        (Runner.PLAYWRIGHT, "--shard=1/4"),
        (Runner.PLAYWRIGHT, "--reporter"),
        (Runner.PYTEST, "-n"),
        (Runner.PYTEST, "--lf"),
    ],
)
def test_arguments_that_are_ours_to_give_are_refused(tmp_path: Path, runner: Runner, argument: str) -> None:
    with pytest.raises(UsageError, match="cannot be given"):
        open_suite(SuiteConfig(runner=runner), tmp_path, ["--grep", "x", argument])
    with pytest.raises(UsageError, match="cannot be given"):
        open_suite(SuiteConfig(runner=runner, args=(argument,)), tmp_path)
