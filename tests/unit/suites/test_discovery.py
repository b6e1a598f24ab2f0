"""A suite is recognised by its files or asked for clearly; its runner may come with any installed package."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import EntryPoints
from pathlib import Path

import pytest

from ci_dispatch.config import load
from ci_dispatch.config.sections import RUNNER_GROUP, RUNNERS, SuiteConfig
from ci_dispatch.core.errors import ConfigError, UsageError
from ci_dispatch.suites import discovery, open_suite
from ci_dispatch.suites.discovery import BUILT_IN, SuiteLocation, recognise


def put(root: Path, **files: str) -> Path:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("playwright.config.ts", "", SuiteLocation("playwright", ".")),
        ("e2e/playwright.config.mjs", "", SuiteLocation("playwright", "e2e")),
        ("tests/e2e/playwright.config.js", "", SuiteLocation("playwright", "tests/e2e")),
        ("pytest.ini", "", SuiteLocation("pytest", ".")),
        ("pyproject.toml", "[tool.pytest.ini_options]\ntestpaths = ['t']", SuiteLocation("pytest", ".")),
        ("api/pyproject.toml", "[tool.pytest]\ntestpaths = ['t']", SuiteLocation("pytest", "api")),
        ("tox.ini", "[tox]\nx=%(y)s\n[pytest]\naddopts = -q", SuiteLocation("pytest", ".")),
        ("setup.cfg", "[tool:pytest]\naddopts = -q", SuiteLocation("pytest", ".")),
    ],
)
def test_a_configuration_is_recognised(tmp_path: Path, name: str, text: str, expected: SuiteLocation) -> None:
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


@pytest.mark.parametrize("name", ["test_a.py", "tests/test_a.py", "src/pkg/a_test.py"])
def test_pytest_needs_no_configuration(tmp_path: Path, name: str) -> None:
    put(tmp_path, **{name: "", "pyproject.toml": "[project]\nname = 'x'"})
    assert recognise(tmp_path) == SuiteLocation("pytest", ".")


def test_the_nearest_suite_is_meant(tmp_path: Path) -> None:
    put(tmp_path, **{"pytest.ini": "", "e2e/playwright.config.ts": ""})
    assert recognise(tmp_path) == SuiteLocation("pytest", ".")
    assert recognise(tmp_path, "e2e") == SuiteLocation("playwright", "e2e")


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
        (SuiteConfig(runner="playwright", workdir="e2e"), "playwright"),
        (SuiteConfig(runner="pytest"), "pytest"),
        (SuiteConfig(runner="command", command="run {junit} {tests}", list="run list"), "command"),
        (SuiteConfig(), "pytest"),
    ],
)
def test_settings_open_their_suite(tmp_path: Path, settings: SuiteConfig, name: str) -> None:
    suite = open_suite(settings, put(tmp_path, **{"pytest.ini": ""}))
    assert (suite.name, suite.title) == (name, tmp_path.name)


@pytest.mark.parametrize(
    ("runner", "argument"),
    [
        ("playwright", "--shard=1/4"),
        ("playwright", "--reporter"),
        ("pytest", "-n"),
        ("pytest", "--lf"),
    ],
)
def test_arguments_that_are_ours_to_give_are_refused(tmp_path: Path, runner: str, argument: str) -> None:
    with pytest.raises(UsageError, match="cannot be given"):
        open_suite(SuiteConfig(runner=runner), tmp_path, ["--grep", "x", argument])
    with pytest.raises(UsageError, match="cannot be given"):
        open_suite(SuiteConfig(runner=runner, args=(argument,)), tmp_path)


DOCS = Path(__file__).parents[3] / "docs" / "suites.md"


def install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, code: str, *, package: str = "acme-tests", name: str = "acme"
) -> None:
    """Put a package with one runner on the path, as pip would: a module and its metadata."""
    module = package.replace("-", "_")
    metadata = folder / f"{module}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / f"{module}.py").write_text(code)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{RUNNER_GROUP}]\n{name} = {module}:AcmeSuite\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, module, raising=False)


def documented(language: str) -> str:
    """The example of the section "Add a runner"."""
    (_, section) = DOCS.read_text(encoding="utf-8").split("## Add a runner")
    found = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert found
    return found[1]


def test_our_own_runners_are_entry_points_like_all_others() -> None:
    declared = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]["entry-points"]
    assert declared[RUNNER_GROUP] == BUILT_IN
    assert {"auto", *BUILT_IN} == set(RUNNERS)


def test_a_checkout_that_is_not_installed_knows_our_own_runners(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Action runs from one."""
    monkeypatch.setattr(discovery, "entry_points", lambda group: EntryPoints())
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    assert open_suite(SuiteConfig(), tmp_path).name == "pytest"


def test_a_runner_of_another_package_is_chosen_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", monkeypatch, documented("python"))
    assert f'[project.entry-points."{RUNNER_GROUP}"]\nacme = "acme_tests:AcmeSuite"' in documented("toml")
    config = load('[suite]\nrunner = "acme"\ntitle = "Shop"').config
    suite = open_suite(config.suite, tmp_path)
    assert (suite.name, suite.title, suite.tools()) == ("acme", "Shop", ("acme",))


@pytest.mark.parametrize(
    ("given", "nearest"), [("acne", "acme"), ("pytests", "pytest"), ("../acme", "acme"), ("X", ""), ("", "")]
)
def test_a_runner_that_is_not_installed_is_answered_with_those_that_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, nearest: str
) -> None:
    install(tmp_path, monkeypatch, "")
    with pytest.raises(ConfigError) as refused:
        load(f'[suite]\nrunner = "{given}"')
    (problem,) = refused.value.problems
    assert (problem.allowed, problem.nearest) == ("one of auto, playwright, pytest, command, acme", nearest)
    with pytest.raises(UsageError, match="is not installed: installed are: acme, command, playwright, pytest") as error:
        open_suite(SuiteConfig(runner=given), tmp_path)
    assert error.value.hint.startswith(f"did you mean {nearest}?" if nearest else "install its package")


def test_installed_packages_are_not_asked_for_our_own_runners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.entry_points", None)
    for name in ("auto", "playwright", "pytest"):
        assert load(f'[suite]\nrunner = "{name}"').config.suite.runner == name


def test_two_packages_with_one_runner_are_a_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the order of the installed packages would decide which tests run."""
    install(tmp_path, monkeypatch, "", package="other-pytest", name="pytest")
    with pytest.raises(UsageError, match="pytest is not clear: ci-dispatch and other-pytest have one"):
        open_suite(SuiteConfig(runner="pytest"), tmp_path)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("", "AttributeError: module 'acme_tests' has no attribute 'AcmeSuite'"),
        ("def AcmeSuite(): pass", "TypeError: "),
        ("AcmeSuite = lambda settings, root: None", "TypeError: it returned None"),
    ],
)
def test_a_package_that_cannot_be_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, why: str
) -> None:
    install(tmp_path, monkeypatch, code)
    with pytest.raises(UsageError, match="The runner acme cannot be used: acme_tests:AcmeSuite of acme-tests") as error:
        open_suite(SuiteConfig(runner="acme"), tmp_path)
    assert why in error.value.why


def test_what_a_runner_itself_refuses_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from_ours = "from ci_dispatch.core.errors import UsageError\n"
    install(tmp_path, monkeypatch, f"{from_ours}def AcmeSuite(settings, root): raise UsageError('no acme.toml')")
    with pytest.raises(UsageError, match=r"^no acme\.toml$"):
        open_suite(SuiteConfig(runner="acme"), tmp_path)
