"""A run on a terminal, in a log, in a pipe: how it is shown, chosen from the stream and the environment.

FORCE_COLOR never decides whether cursor movement is sent (rich does: pypa/pip#13354); colour is a switch of its own.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from enum import StrEnum
from typing import TextIO

from ci_dispatch.core.errors import ExitCode
from ci_dispatch.reporters import Reporter, ReporterContext
from ci_dispatch.reporters.terminal.cells import glyphs_for
from ci_dispatch.reporters.terminal.reporter import (
    FinalLines,
    JsonReporter,
    LiveReporter,
    PlainReporter,
    QuietReporter,
    TerminalReporter,
)
from ci_dispatch.reporters.terminal.screen import JobLog, Screen, StreamWriter
from ci_dispatch.run.run_report import report
from ci_dispatch.run.state import RunState
from report_merge.baseline import Comparison
from report_merge.model import Report, RunContext
from report_merge.render.text import final_lines

LEAST_WIDTH = 40  # of a live display

_CI_WITH_COLOUR = ("GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", "CIRCLECI", "TRAVIS", "DRONE")


class Mode(StrEnum):
    LIVE = "live"  # bars that move, permanent lines above
    PLAIN = "plain"  # lines only, and a heartbeat
    JSON = "json"  # the event stream
    NONE = "none"  # only how it ended


def open_reporter(context: ReporterContext) -> Reporter:
    """The reporter of `progress.mode` on standard output; it ends with the failures and the one line for scripts."""
    merged = str(context.folder.merged_xml)

    def final(state: RunState) -> list[str]:
        past = context.reports.past(state)
        return last_lines(state, past.report, merged, past.comparison)

    return progress(
        context.config.progress.mode,
        stdout=context.stdout,
        stderr=context.stderr,
        environ=context.environ,
        final=final,
        follow=context.follow,
    )


def last_lines(
    state: RunState, shown: Report | None = None, path: str = "", comparison: Comparison | None = None
) -> list[str]:
    """The failures once more, by cause, and exactly one last line that scripts can find.

    `shown` is the report of `state` where there is one already, `path` where it can be read, `comparison` with an
    earlier run.
    """
    shown = shown or report(state, RunContext())
    *lines, last = final_lines(shown, program="ci-dispatch", report_path=path, comparison=comparison)
    if state.finished is not None and state.finished.exit_code == ExitCode.NOTHING_TO_RUN:
        lines.append("  try: see why they were skipped; where a run may end so: --no-fail-if-all-skipped")
    return [*lines, last]


def progress(
    mode: str,
    *,
    stdout: TextIO,
    stderr: TextIO,
    environ: Mapping[str, str],
    final: FinalLines = last_lines,
    follow: str = "",
) -> TerminalReporter:
    """The reporter for `--progress MODE`.

    `final` gives the last lines of a run; they come when the reporter is closed, so close it after all others, whose
    last warnings it shows. `follow` names a machine, or a test by its id or a piece of its name, whose output is shown
    as it comes. Streams are written to and never closed.
    """
    isatty = stdout.isatty()
    width, _ = _size_of(stdout)
    chosen = choose(mode, isatty=isatty, environ=environ, width=width)
    if chosen is Mode.LIVE and isatty and width < LEAST_WIDTH:
        stderr.write(f"{width} columns are too few for bars, lines are shown: make the terminal {LEAST_WIDTH} wide\n")
        chosen = Mode.PLAIN
    glyphs = glyphs_for(stdout.encoding)
    colour = use_colour(isatty=isatty, environ=environ)
    output = JobLog(StreamWriter(stdout))
    match chosen:
        case Mode.LIVE:
            screen = Screen(colour=colour, reflows=reflows(environ))
            return LiveReporter(
                output, screen, size=lambda: _size_of(stdout), glyphs=glyphs, final=final, follow=follow
            )
        case Mode.PLAIN:
            command = output.command if environ.get("GITHUB_ACTIONS") == "true" else None
            return PlainReporter(output, colour=colour, glyphs=glyphs, final=final, command=command, follow=follow)
        case Mode.JSON:
            return JsonReporter(output, JobLog(StreamWriter(stderr)), final=final, follow=follow)
        case Mode.NONE:
            return QuietReporter(output, colour=colour, final=final)


def choose(mode: str, *, isatty: bool, environ: Mapping[str, str], width: int) -> Mode:
    """The mode for a stream: the one that was asked for; `auto` (or empty) asks CI_DISPATCH_PROGRESS, then the stream.

    Live needs a terminal of at least 40 columns that is not dumb, and no CI. An unknown CI_DISPATCH_PROGRESS counts as
    auto: the command line and the configuration refuse wrong words, a stray variable does not stop a run.
    """
    if mode in ("", "auto"):
        mode = environ.get("CI_DISPATCH_PROGRESS", "auto")
    if mode in tuple(Mode):
        return Mode(mode)
    dumb = environ.get("TERM", "") in ("", "dumb")
    in_ci = environ.get("CI", "").lower() not in ("", "0", "false") or "GITHUB_ACTIONS" in environ
    return Mode.LIVE if isatty and not dumb and not in_ci and width >= LEAST_WIDTH else Mode.PLAIN


def use_colour(*, isatty: bool, environ: Mapping[str, str]) -> bool:
    """Whether to colour: NO_COLOR (non-empty, https://no-color.org), then FORCE_COLOR, a known CI, a terminal."""
    if environ.get("NO_COLOR"):
        return False
    if forced := environ.get("FORCE_COLOR", ""):
        return forced.lower() not in ("0", "false")
    if any(environ.get(name) for name in _CI_WITH_COLOUR):
        return True
    return isatty and environ.get("TERM", "") not in ("", "dumb")


def reflows(environ: Mapping[str, str]) -> bool:
    """Whether the terminal re-wraps lines when it becomes narrower: nearly all do, xterm and GNU screen do not."""
    return not (environ.get("XTERM_VERSION") or environ.get("STY") or environ.get("TERM") == "linux")


def _size_of(stream: TextIO) -> tuple[int, int]:
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        size = shutil.get_terminal_size((80, 24))
    return (size.columns or 80, size.lines or 24)
