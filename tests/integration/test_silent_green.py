"""Never green by accident: every trap is a whole run that ends red, INCOMPLETE or refused, and says why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_dispatch.core.errors import ExitCode
from tests.components import ROOT
from tests.integration.traps import of_command, of_playwright, of_pytest
from tests.integration.traps.of_command import FAILS, command_suite, passes
from tests.integration.traps.of_playwright import ONE_TWO, playwright_suite
from tests.integration.traps.of_pytest import GOOD, pytest_suite
from tests.integration.traps.trap import Trap
from tests.integration.whole_run import Whole, ci_dispatch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
NEEDS_PLAYWRIGHT = pytest.mark.needs("playwright")
WORDS = {ExitCode.PASSED: "PASSED", ExitCode.TESTS_FAILED: "FAILED", ExitCode.INCOMPLETE: "INCOMPLETE"}
DOCS = ROOT / "docs" / "suites.md"
BEGIN, END = "<!-- the traps of tests/integration/traps -->", "<!-- end of traps -->"
TRAPS = (*of_pytest.TRAPS, *of_playwright.TRAPS, *of_command.TRAPS)


def run(trap: Trap, folder: Path) -> Whole:
    return ci_dispatch("run", "--", *trap.arguments, cwd=trap.suite(folder), environ=trap.environ)


def rows() -> Iterator[object]:
    for trap in TRAPS:
        marks = [NEEDS_PLAYWRIGHT] if trap.runner == "playwright" else []
        yield pytest.param(trap, id=f"{trap.runner}: {next(iter(trap.traps))}", marks=marks)


@pytest.mark.parametrize(
    "suite",
    [
        pytest.param(pytest_suite(test_it=GOOD), id="pytest"),
        pytest.param(playwright_suite(it=ONE_TWO), id="playwright", marks=NEEDS_PLAYWRIGHT),
        pytest.param(command_suite(passes()), id="command"),
    ],
)
def test_the_suites_of_the_traps_are_green_when_nothing_is_wrong(suite: object, tmp_path: Path) -> None:
    """Or none of the traps would show anything."""
    ended = run(Trap(traps={}, code=ExitCode.PASSED, suite=suite), tmp_path)  # type: ignore[arg-type]
    assert (ended.code, ended.run["verdict"], ended.run["counts"]["passed"]) == (0, "PASSED", 2), ended


@pytest.mark.parametrize("trap", list(rows()))
def test_a_trap_is_no_pass(trap: Trap, tmp_path: Path) -> None:
    ended = run(trap, tmp_path)
    assert ended.code == trap.code, ended
    if trap.code in (ExitCode.USAGE, ExitCode.NOTHING_TO_RUN):  # refused before anything was sent
        assert ended.run == {}
        assert ended.err.startswith("error: ")
        assert all(words in ended.err for words in trap.said), ended.err
        return
    word = WORDS[trap.code]
    assert (ended.run["verdict"], ended.run["exit_code"]) == (word, trap.code)
    assert f"\nci-dispatch: {word} " in f"\n{ended.out}", "the last line says the same"
    assert all(test["reason"] for test in ended.run["tests"] if test["verdict"] == "not run")
    found = {test["name"].rpartition(" › ")[2]: test["verdict"] for test in ended.run["tests"]}
    assert {test: found[test] for test in trap.verdicts} == trap.verdicts
    assert all(words in ended.reasons for words in trap.said), ended.reasons


def test_a_failure_that_nobody_listed_is_wherever_people_look(tmp_path: Path) -> None:
    root = command_suite(passes(FAILS.format("unlisted")))(tmp_path)
    ended = ci_dispatch("run", cwd=root)
    [folder] = root.glob(".ci-dispatch/runs/*/")
    for text in (ended.out, (folder / "summary.md").read_text(), (folder / "merged.xml").read_text()):
        assert "unlisted" in text
        assert "boom" in text
    assert "FAILED 3 tests: 2 passed, 1 failed" in ended.out


def test_a_fleet_that_is_not_there_is_incomplete_and_not_red(tmp_path: Path) -> None:
    root = pytest_suite(test_it=GOOD)(tmp_path)
    text = (root / "ci-dispatch.toml").read_text()
    assert text.count("skip = true") == 1
    text = text.replace("skip = true", 'connect_timeout = "2s"')
    (root / "ci-dispatch.toml").write_text(f'{text}\n[[machine]]\nname = "gone"\nhost = "127.0.0.1"\nport = 9\n')
    ended = ci_dispatch("run", cwd=root)
    assert (ended.run["verdict"], ended.code) == ("INCOMPLETE", ExitCode.INCOMPLETE), ended
    assert ended.run["counts"]["not run"] == 2
    assert "no healthy machine" in ended.reasons


def table() -> str:
    """The traps as the documentation shows them."""
    meanings = {ExitCode.TESTS_FAILED: "red", ExitCode.INCOMPLETE: "INCOMPLETE", ExitCode.USAGE: "refused",
                ExitCode.NOTHING_TO_RUN: "nothing to run"}  # fmt: skip
    lines = ["| trap | runner | alone | here | exit code |", "|---|---|---|---|--:|"]
    told = dict.fromkeys(
        f"| {name} | {trap.runner} | {alone} | {meanings[trap.code]} | {int(trap.code)} |"
        for trap in TRAPS
        for name, alone in trap.traps.items()
    )
    return "\n".join([*lines, *told])


def test_the_documentation_has_every_trap(request: pytest.FixtureRequest) -> None:
    text = DOCS.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    expected = f"{before}{BEGIN}\n{table()}\n{END}{after}"
    if request.config.getoption("--update-golden"):
        DOCS.write_text(expected, encoding="utf-8")
        text = expected
    assert text == expected, "run pytest --update-golden"
