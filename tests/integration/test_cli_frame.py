"""Help, version and the table of commands: quick to start, and one text wherever it is shown."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from ci_dispatch import __version__
from ci_dispatch.cli.errors import BROKEN_PIPE
from ci_dispatch.cli.main import COMMANDS
from ci_dispatch.core.errors import ExitCode
from tests.integration.cli_process import ci_dispatch, environment

MODULES = {name: f"ci_dispatch.cli.{module}" for part in COMMANDS.values() for name, (module, _) in part.items()}
HEAVY = {
    "asyncio", "github", "jinja2", "junitparser", "lxml", "paramiko", "requests", "rich", "slack_sdk", "starlette",
    "uvicorn",
}  # fmt: skip

LOADED = """
import sys
from ci_dispatch.__main__ import main
sys.argv = ["ci-dispatch", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("\\nloaded:", *{name.partition(".")[0] for name in sys.modules}, *(n for n in sys.modules if n.startswith("ci_")))
"""


def modules_loaded_by(*arguments: str) -> set[str]:
    run = [sys.executable, "-c", LOADED, *arguments]
    done = subprocess.run(run, env=environment(), capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.rpartition("loaded:")[2].split())


@pytest.mark.parametrize("option", ["--help", "--version", "-h"])
def test_help_and_version_load_nothing_but_click(option: str) -> None:
    loaded = modules_loaded_by(option)
    assert not loaded & {*HEAVY, "tomllib", "ci_dispatch.config", "ci_dispatch.core.model", "report_merge"}


@pytest.mark.parametrize("command", sorted(name for name in MODULES if find_spec(MODULES[name])))
def test_the_help_of_a_command_loads_no_library(command: str) -> None:
    assert not modules_loaded_by(command, "--help") & HEAVY


def test_every_command_of_the_table_exists() -> None:
    assert [name for name, module in MODULES.items() if find_spec(module) is None] == []


def test_version(tmp_path: Path) -> None:
    ended = ci_dispatch("--version", cwd=tmp_path)
    assert (ended.code, ended.out, ended.err) == (0, f"ci-dispatch {__version__}\n", "")


def test_no_command_shows_the_help_and_is_an_error(tmp_path: Path) -> None:
    """A script that forgot the command must not go on as if its tests had passed."""
    ended = ci_dispatch(cwd=tmp_path)
    assert ended.code == 2
    assert ended.out == ci_dispatch("--help", cwd=tmp_path).out


@pytest.mark.parametrize("command", ["", "config", "init", "replay", "progress"])
def test_help_text(command: str, tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    ended = ci_dispatch(*command.split(), "--help", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    golden(f"cli/help{'-' if command else ''}{command}.txt", ended.out)


def test_the_table_says_what_the_commands_say(tmp_path: Path) -> None:
    """The first sentence of a command's own help is its line in the list."""
    lines = {name: text for part in COMMANDS.values() for name, (_, text) in part.items()}
    for name in ("config", "init", "replay", "progress"):
        assert lines[name] in ci_dispatch(name, "--help", cwd=tmp_path).out


def test_the_documentation_lists_every_command_and_every_exit_code() -> None:
    text = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    rows = [f"| `{name}` | {line} |" for part in COMMANDS.values() for name, (_, line) in part.items()]
    assert "\n".join(rows) in text
    told = {int(code) for row in re.findall(r"^\| ([0-9, ]+) \|", text, re.MULTILINE) for code in row.split(",")}
    assert told == {*ExitCode, BROKEN_PIPE}
