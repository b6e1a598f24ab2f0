"""How a run is told to a person at a terminal, a log, a pipe: `progress` picks the reporter for a stream."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import TextIO

from ci_dispatch.reporters.terminal.jsonl import JsonReporter, QuietReporter
from ci_dispatch.reporters.terminal.live import Closing, LiveReporter
from ci_dispatch.reporters.terminal.mode import CHOICES, LEAST_WIDTH, Mode, choose, glyphs_for, reflows, use_colour
from ci_dispatch.reporters.terminal.plain import PlainReporter
from ci_dispatch.reporters.terminal.screen import Outlet, Screen
from ci_dispatch.run.ports import Reporter
from ci_dispatch.run.run_report import report
from ci_dispatch.run.state import RunState
from report_merge.model import RunContext
from report_merge.render.text import final_lines

__all__ = ["CHOICES", "Mode", "closing_lines", "progress"]


def closing_lines(state: RunState, context: RunContext | None = None, report_path: str = "") -> list[str]:
    """The failures again, by cause, and exactly one last line that scripts can find."""
    return final_lines(report(state, context or RunContext()), report_path=report_path)


def progress(
    asked: str,
    *,
    stream: TextIO,
    aside: TextIO,
    environ: Mapping[str, str],
    closing: Closing = closing_lines,
    follow: str = "",
) -> Reporter:
    """The reporter for `--progress ASKED` on `stream` (standard output); `aside` is standard error.

    `closing` gives the last lines of a run; they come when the reporter is closed, so close it after all others, whose
    last warnings it shows. `follow` names a machine, or a test by its id or a piece of its name, whose
    output is shown as it comes. Streams are written to and never closed.
    """
    isatty = stream.isatty()
    width, _ = _size_of(stream)
    mode = choose(asked, isatty=isatty, environ=environ, width=width)
    if mode is Mode.LIVE and isatty and width < LEAST_WIDTH:
        aside.write(f"{width} columns are too few for bars, lines are shown: make the terminal {LEAST_WIDTH} wide\n")
        mode = Mode.PLAIN
    glyphs = glyphs_for(stream.encoding)
    colour = use_colour(isatty=isatty, environ=environ)
    match mode:
        case Mode.LIVE:
            screen = Screen(colour=colour, reflows=reflows(environ))
            return LiveReporter(
                Outlet(stream), screen, size=lambda: _size_of(stream), glyphs=glyphs, closing=closing, follow=follow
            )
        case Mode.PLAIN:
            github = environ.get("GITHUB_ACTIONS") == "true"
            return PlainReporter(
                Outlet(stream), colour=colour, glyphs=glyphs, closing=closing, github=github, follow=follow
            )
        case Mode.JSON:
            return JsonReporter(Outlet(stream), Outlet(aside), closing=closing, follow=follow)
        case Mode.NONE:
            return QuietReporter(Outlet(stream), colour=colour, closing=closing)


def _size_of(stream: TextIO) -> tuple[int, int]:
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        size = shutil.get_terminal_size((80, 24))
    return (size.columns or 80, size.lines or 24)
