"""The command lines that go to machines: what every login shell passes on unchanged."""

from __future__ import annotations

import ast
import io
import sys
import zipfile
from pathlib import Path

import pytest

from ci_dispatch.machines import bootstrap, probe
from ci_dispatch.machines.frames import Frame, FrameReader, NotOurs
from ci_dispatch.run.ports import MachineError

COMMANDS = [
    probe.command("n0", root="~/with blank", path="/opt/bin:/bin", tools=("node", "git")),
    probe.command("n0"),
    bootstrap.command("n0", "run", root="/srv/ci", name="job%2E1"),
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
        probe.command("n0", root=word)
    with refused:
        probe.command("n0", tools=[word])
    with refused:
        bootstrap.command("n0", "run", root=word)
    with refused:
        bootstrap.command("n0", "run", name=word)


def test_the_supervisor_is_whole_and_the_same_every_time() -> None:
    packed = bootstrap.program()
    names = set(zipfile.ZipFile(io.BytesIO(packed.data)).namelist())
    assert {"__main__.py", "supervisor/__init__.py", "supervisor/main.py", "supervisor/job.py"} <= names
    bootstrap.program.cache_clear()
    assert bootstrap.program() == packed


STREAM = b"Welcome\n\n@ci-dispatch n0 need\n\n@ci-dispatch n0\nb 0 0\no 5 6\nabc\ndel 0 0\nr 0 2\n{}"
FRAMES = [
    Frame("greeting", b"need"),
    Frame("greeting", b""),
    Frame("b"),
    Frame("o", b"abc\nde", 5),
    Frame("l"),
    Frame("r", b"{}"),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_frames_come_out_whole_however_the_bytes_come_in(size: int) -> None:
    reader = FrameReader("n0")
    pieces = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
    assert [frame for piece in pieces for frame in reader.feed(piece)] == FRAMES


def test_another_conversation_is_not_ours() -> None:
    reader = FrameReader("n0")
    assert reader.feed(b"@ci-dispatch n1\nb 0 0\n") == []
    assert reader.noise == "@ci-dispatch n1\nb 0 0"


@pytest.mark.parametrize("bad", [b"x" * 100, b"o 1\n", b"o -1 5\n", b"o 0 9999999\n", b"O 0 1\na", b"\n"])
def test_what_is_no_frame_is_refused(bad: bytes) -> None:
    reader = FrameReader("n0")
    with pytest.raises(NotOurs):
        reader.feed(b"@ci-dispatch n0\n" + bad)


def test_endless_text_instead_of_a_greeting_is_refused() -> None:
    reader = FrameReader("n0")
    for _ in range(30):
        assert reader.feed(b"y\n" * 4096) == []
    with pytest.raises(NotOurs):
        reader.feed(b"y\n" * 10 * 4096)


SUPERVISOR = sorted(Path(bootstrap.__file__).with_name("supervisor").glob("*.py"))


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
