"""The command lines that go to machines: what every login shell passes on unchanged."""

from __future__ import annotations

import ast
import io
import sys
import zipfile
from pathlib import Path

import pytest

from ci_dispatch.machines import command_lines
from ci_dispatch.run.ports import MachineError

COMMANDS = [
    command_lines.probe("n0", root="~/with blank", path="/opt/bin:/bin", tools=("node", "git")),
    command_lines.probe("n0"),
    command_lines.supervisor("n0", "run", root="/srv/ci", name="job%2E1"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_nothing_that_a_shell_could_take_otherwise(command: str) -> None:
    quoted = command.split("'")
    assert len(quoted) % 2 == 1, "a quote within the quotes"
    for inside in quoted[1::2]:
        assert not any(letter in inside for letter in "\n!\\")
    for outside in quoted[0::2]:
        assert not any(letter in outside for letter in '$`"\n!\\*?;&|<>()'), outside
    assert len(command) < 8000


@pytest.mark.parametrize("word", ["it's", "back\\slash", "bang!", "new\nline", 'quo"te', "$HOME", "`id`"])
def test_words_that_no_shell_can_be_trusted_with_are_refused(word: str) -> None:
    refused = pytest.raises(MachineError, match="cannot be given")
    with refused:
        command_lines.probe("n0", root=word)
    with refused:
        command_lines.probe("n0", tools=[word])
    with refused:
        command_lines.supervisor("n0", "run", root=word)
    with refused:
        command_lines.supervisor("n0", "run", name=word)


def test_the_supervisor_is_whole_and_the_same_every_time() -> None:
    packed = command_lines.program()
    names = set(zipfile.ZipFile(io.BytesIO(packed.data)).namelist())
    assert {"__main__.py", "supervisor/__init__.py", "supervisor/main.py", "supervisor/job.py"} <= names
    command_lines.program.cache_clear()
    assert command_lines.program() == packed


SUPERVISOR = sorted(Path(command_lines.__file__).with_name("supervisor").glob("*.py"))


@pytest.mark.parametrize("path", SUPERVISOR, ids=lambda path: path.name)
def test_the_supervisor_is_python_3_8_with_nothing_but_its_library(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert all(alias.name.partition(".")[0] in sys.stdlib_module_names for alias in node.names)
        if isinstance(node, ast.ImportFrom) and not node.level:
            assert (node.module or "").partition(".")[0] in sys.stdlib_module_names
    later = {"removeprefix", "removesuffix", "is_relative_to", "file_digest", "to_thread"}
    assert not later & {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
