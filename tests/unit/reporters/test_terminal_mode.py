"""Which display a stream gets: pure choices, every row of the table."""

from __future__ import annotations

import pytest

from ci_dispatch.reporters.terminal import Mode, choose, reflows, use_colour
from ci_dispatch.reporters.terminal.cells import ASCII, UNICODE, glyphs_for

TERMINAL = {"TERM": "xterm-256color"}


@pytest.mark.parametrize(
    ("asked", "isatty", "environ", "width", "mode"),
    [
        ("auto", True, TERMINAL, 80, Mode.LIVE),
        ("", True, TERMINAL, 80, Mode.LIVE),
        ("auto", True, TERMINAL, 40, Mode.LIVE),
        ("auto", True, TERMINAL, 39, Mode.PLAIN),
        ("auto", True, {"TERM": "dumb"}, 80, Mode.PLAIN),
        ("auto", True, {}, 80, Mode.PLAIN),
        ("auto", False, TERMINAL, 80, Mode.PLAIN),
        ("auto", False, {**TERMINAL, "FORCE_COLOR": "1"}, 80, Mode.PLAIN),
        ("auto", True, {**TERMINAL, "CI": "true"}, 80, Mode.PLAIN),
        ("auto", True, {**TERMINAL, "CI": "0"}, 80, Mode.LIVE),
        ("auto", True, {**TERMINAL, "GITHUB_ACTIONS": "true"}, 80, Mode.PLAIN),
        ("auto", True, {**TERMINAL, "CI_DISPATCH_PROGRESS": "json"}, 80, Mode.JSON),
        ("auto", True, {**TERMINAL, "CI_DISPATCH_PROGRESS": "nonsense"}, 80, Mode.LIVE),
        ("plain", True, {**TERMINAL, "CI_DISPATCH_PROGRESS": "json"}, 80, Mode.PLAIN),
        ("live", False, {}, 20, Mode.LIVE),
        ("none", True, TERMINAL, 80, Mode.NONE),
        ("json", False, {}, 80, Mode.JSON),
    ],
)
def test_mode(asked: str, isatty: bool, environ: dict[str, str], width: int, mode: Mode) -> None:
    assert choose(asked, isatty=isatty, environ=environ, width=width) is mode


@pytest.mark.parametrize(
    ("isatty", "environ", "colour"),
    [
        (True, TERMINAL, True),
        (False, TERMINAL, False),
        (True, {"TERM": "dumb"}, False),
        (True, {**TERMINAL, "NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        (True, {**TERMINAL, "NO_COLOR": ""}, True),
        (False, {"FORCE_COLOR": "1"}, True),
        (False, {"FORCE_COLOR": "0", "GITHUB_ACTIONS": "true"}, False),
        (True, {**TERMINAL, "FORCE_COLOR": "false"}, False),
        (False, {"GITHUB_ACTIONS": "true"}, True),
        (False, {"CI": "true"}, False),
    ],
)
def test_colour(isatty: bool, environ: dict[str, str], colour: bool) -> None:
    assert use_colour(isatty=isatty, environ=environ) is colour


@pytest.mark.parametrize(
    ("encoding", "glyphs"),
    [("utf-8", UNICODE), ("ascii", ASCII), ("latin-1", ASCII), ("cp437", ASCII), (None, ASCII), ("no-such", ASCII)],
)
def test_glyphs(encoding: str | None, glyphs: object) -> None:
    assert glyphs_for(encoding) is glyphs


def test_the_terminals_that_do_not_wrap_anew() -> None:
    assert reflows({"TERM": "xterm-256color"})
    assert not reflows({"TERM": "xterm", "XTERM_VERSION": "XTerm(390)"})
    assert not reflows({"TERM": "screen", "STY": "1.pts-0"})
