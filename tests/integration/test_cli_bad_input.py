"""Bad input: one clear message that says what to do, the promised exit code, never a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.cli_process import Ended, ci_dispatch, environment

HOSTILE = "\x1b]0;owned\x07\u202e\n::error::x"


def refused(ended: Ended, *said: str, code: int = 2) -> None:
    assert ended.code == code, ended
    assert ended.out == ""
    assert ended.err.startswith("error: ")
    assert "Traceback" not in ended.err
    for words in said:
        assert words in ended.err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("rum", ["no command 'rum'", "did you mean run?", "try: ci-dispatch --help"]),
        ("--colr", ["No such option '--colr'", "--color"]),
        ("config --explian", ["No such option '--explian'", "--explain", "try: ci-dispatch config --help"]),
        ("config extra", ["unexpected extra argument", "try: ci-dispatch config --help"]),
        ("config --max-retries", ["requires an argument"]),
        ("config --max-retries -1", ["--max-retries: retry.max_retries", "the number -1", "from 0 to 100"]),
        ("config --max-retries two", ['the text "two"', "a whole number"]),
        ("config --progress loud --deadline soon", ["2 problems", "--progress", "--deadline"]),
        ("config --runner playwrite", ["did you mean playwright?"]),
        ("config --machine nobody", ["--machine: no such machine", '"nobody"', "one of local"]),
        ("config --config nowhere.toml", ["nowhere.toml was not read", "No such file", "ci-dispatch init"]),
        ("--config nowhere.toml config", ["nowhere.toml was not read"]),
        ("config --config .", ["was not read", "directory"]),
        ("progress", ["--demo"]),
        ("progress --demo --speed 0", ["--speed"]),
        ("progress --demo --speed fast", ["--speed"]),
        ("replay", ["There is no run yet", "`ci-dispatch run` makes one"]),
        ("replay nowhere.jsonl", ["There is no run nowhere.jsonl"]),
        ("replay .", ["There is no run ."]),
        (f"replay {'x' * 5000}", ["There is no run xxx"]),
        (f"logs {'x' * 5000}", ["There is no run xxx"]),
    ],
)  # fmt: skip
def test_a_bad_command_line(line: str, said: list[str], tmp_path: Path) -> None:
    refused(ci_dispatch(*line.split(), cwd=tmp_path), *said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[retry]\nmax_retries 3", ["ci-dispatch.toml:2:13: not TOML", "Expected '='"]),
        (b"[retry]\nmax_retries = '3'", ["ci-dispatch.toml:2: retry.max_retries", 'the text "3"', "a whole number"]),
        (b"[retry]\nmax_retires = 3", ["did you mean retry.max_retries?"]),
        (b"[suite]\nrunner = 'jest'", ["suite.runner", "one of auto, playwright, pytest, command"]),
        (b"machine = []", ["machine: got none", "[[machine]]"]),
        (b"[[machine]]\nname='a'\n[[machine]]\nname='a'", ["machine[2].name", "machine[1] has it"]),
        (b"[health]\nmin_disk_free = 10\ninterval = -1", ["2 problems", "10%", "health.interval"]),
        (b"[slack]\ntoken = 'xoxb-hush'", ["slack.token", "did you mean slack.token_env?"]),
        (b"\xff\xfe[\x00", ["ci-dispatch.toml was not read", "byte 0 is not UTF-8"]),
        (b"a = 1\r\n[retry]\r\nbackoff = []\r\n", ["ci-dispatch.toml:3: retry.backoff"]),
        (b"a = " + b"[" * 100_000, ["not TOML", "nested too deeply"]),
        (f"[[machine]]\nname = {HOSTILE!r}\n".replace("'", '"').replace("\\x", "\\u00").encode(), ["machine[1].name"]),
    ],
)  # fmt: skip
def test_a_bad_file(content: bytes, said: list[str], tmp_path: Path) -> None:
    (tmp_path / "ci-dispatch.toml").write_bytes(content)
    ended = ci_dispatch("config", cwd=tmp_path)
    refused(ended, *said)
    assert "hush" not in ended.err


@pytest.mark.parametrize("content", [b"", b"\n", b"{}\n", b"\x00\xff\n", b"[1]\n", b'{"v":99,"seq":1}\n'])
def test_a_file_that_is_no_journal(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(content)
    refused(ci_dispatch("replay", "events.jsonl", cwd=tmp_path), "events.jsonl")


def test_a_bad_variable_and_a_misspelt_one(tmp_path: Path) -> None:
    bad = {"CI_DISPATCH_MAX_RETRIES": "many", "CI_DISPATCH_MAXRETRIES": "1"}
    refused(ci_dispatch("config", cwd=tmp_path, environ=bad), "CI_DISPATCH_MAX_RETRIES: retry.max_retries")
    ended = ci_dispatch("config", cwd=tmp_path, environ={"CI_DISPATCH_MAXRETRIES": "1"})
    assert ended.code == 0
    assert ended.err == (
        "warning: The variable CI_DISPATCH_MAXRETRIES is not a setting and was ignored;"
        " did you mean CI_DISPATCH_MAX_RETRIES?\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [(HOSTILE,), (f"--{HOSTILE}",), ("config", HOSTILE), ("config", "--config", HOSTILE), ("replay", HOSTILE)],
)
def test_hostile_text_only_ever_is_text(arguments: tuple[str, ...], tmp_path: Path) -> None:
    ended = ci_dispatch(*arguments, cwd=tmp_path)
    refused(ended)
    assert not {"\x1b", "\x07", "\u202e"} & set(ended.err)
    assert not [line for line in ended.err.split("\n") if line.strip().startswith("::")]


def test_a_hostile_name_of_a_file_is_only_text_in_a_warning_too(tmp_path: Path) -> None:
    name = HOSTILE.replace("/", "")
    (tmp_path / name).write_text("[retry]\nmax_moves = 3\n")
    ended = ci_dispatch("config", "--config", name, cwd=tmp_path)
    assert ended.code == 0
    assert "retry.max_moves is now called retry.max_reassignments" in ended.err
    assert not {"\x1b", "\x07", "\u202e"} & set(ended.err)
    assert not [line for line in ended.err.split("\n") if line.strip().startswith("::")]


def test_init_never_overwrites_unless_told_to(tmp_path: Path) -> None:
    file = tmp_path / "ci-dispatch.toml"
    file.write_text("# mine\n")
    refused(ci_dispatch("init", cwd=tmp_path), "it exists", "--force")
    assert file.read_text() == "# mine\n"
    assert ci_dispatch("init", "--force", cwd=tmp_path).code == 0
    assert "[retry]" in file.read_text()


@pytest.mark.parametrize("command", ["config", "init"])
def test_a_folder_that_is_gone(command: str, tmp_path: Path) -> None:
    run = 'mkdir gone && cd gone && rmdir ../gone && exec "$0" -m ci_dispatch "$1"'
    done = subprocess.run(
        ["/bin/sh", "-c", run, sys.executable, command],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        check=False,
    )
    refused(Ended(done.returncode, done.stdout.decode(), done.stderr.decode()), "the current folder is gone")


def start(*arguments: str, cwd: Path, stdout: int) -> subprocess.Popen[bytes]:
    run = [sys.executable, "-m", "ci_dispatch", *arguments]
    return subprocess.Popen(run, cwd=cwd, env=environment(), stdout=stdout, stderr=subprocess.PIPE)


def test_a_reader_that_has_left_is_no_error(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = start("config", "--explain", cwd=tmp_path, stdout=writer)
    os.close(writer)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (141, b"")


def test_a_full_disk_under_the_output_is_said(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        process = start("config", "--explain", cwd=tmp_path, stdout=full.fileno())
        _, err = process.communicate(timeout=30)
    assert process.returncode == 4
    assert b"No space left on device" in err
    assert b"Traceback" not in err


def test_an_interrupt_is_130_and_one_word(tmp_path: Path) -> None:
    process = start("progress", "--demo", "--speed", "0.01", "--progress", "json", cwd=tmp_path, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()  # it runs
    process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert b"interrupted" in err
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize("line", ["progress --demo --speed 0.01 --progress json", "health --watch --json"])
def test_an_interrupt_counts_however_the_command_was_started(line: str, tmp_path: Path) -> None:
    """A script's `&` and cron start programs with SIGINT ignored, and Python leaves it so."""
    command = ["/bin/sh", "-c", 'trap "" INT; exec "$0" -m ci_dispatch "$@"', sys.executable, *line.split()]
    environ = environment(CI_DISPATCH_HEALTH_INTERVAL="1s")
    with subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it runs
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(20) == 130
        finally:
            process.kill()


def test_output_that_the_locale_cannot_write_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "ci-dispatch.toml").write_text('[suite]\ntitle = "尺寸"\n', encoding="utf-8")
    ended = ci_dispatch("config", cwd=tmp_path, environ={"PYTHONIOENCODING": "latin-1"})
    assert ended.code == 0
    assert 'title = "\\u5c3a\\u5bf8"' in ended.out
