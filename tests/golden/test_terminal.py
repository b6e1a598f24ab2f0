"""Recorded runs through the terminal's reporters: what people and scripts see, byte for byte."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ci_dispatch.demo.recording import demo_events
from ci_dispatch.reporters.terminal import last_lines
from ci_dispatch.reporters.terminal.cells import ASCII, UNICODE, text_of
from ci_dispatch.reporters.terminal.reporter import JsonReporter, PlainReporter, QuietReporter
from ci_dispatch.reporters.terminal.screen import JobLog
from ci_dispatch.reporters.terminal.view import render
from ci_dispatch.run.state import RunState
from tests.recorded_runs import play, recorded, steps

Golden = Callable[[str, str], None]


class Kept:
    """A text writer that keeps what it was given."""

    busy = False

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def close(self) -> None:
        pass


@pytest.mark.parametrize("run", ["green", "troubled"])
def test_plain(run: str, golden: Golden) -> None:
    out = Kept()
    play(recorded(run), PlainReporter(out, colour=False, glyphs=UNICODE, final=last_lines))
    golden(f"terminal-plain-{run}.txt", out.text)


def test_plain_in_a_github_job_following_a_machine(golden: Golden) -> None:
    out = Kept()
    log = JobLog(out)
    reporter = PlainReporter(log, colour=False, glyphs=UNICODE, final=last_lines, command=log.command, follow="local")
    play(recorded("troubled"), reporter)
    golden("terminal-plain-github.txt", out.text)


def test_plain_ascii_and_coloured(golden: Golden) -> None:
    out = Kept()
    play(recorded("troubled"), PlainReporter(out, colour=True, glyphs=ASCII, final=last_lines))
    golden("terminal-plain-ascii-colour.txt", out.text.replace("\x1b", "␛"))


def test_json_is_the_journal_and_the_result_goes_to_standard_error(golden: Golden) -> None:
    out, errors = Kept(), Kept()
    play(recorded("green"), JsonReporter(out, errors, final=last_lines))
    golden("terminal-json-green.jsonl", out.text)
    golden("terminal-json-green-aside.txt", errors.text)


def test_none_says_only_how_it_ended(golden: Golden) -> None:
    out = Kept()
    play(recorded("green"), QuietReporter(out, colour=False, final=last_lines))
    golden("terminal-none-green.txt", out.text)


@pytest.mark.parametrize("width", [40, 60, 80, 110, 200])
def test_live_frames_at_several_widths(width: int, golden: Golden) -> None:
    state, frames, wanted = RunState(), [], [2.0, 6.5, 9.0, 16.0]
    for now, _ in steps(demo_events(), state):
        if wanted and now >= wanted[0]:
            lines = render(state, now, width, 24, UNICODE)
            frames.append(f"--- after {wanted.pop(0):g} s\n" + "".join(f"{text_of(line)}\n" for line in lines))
    lines = render(state, state.now, width, 24, UNICODE)
    frames.append("--- at the end\n" + "".join(f"{text_of(line)}\n" for line in lines))
    golden(f"terminal-live-{width}.txt", "".join(frames))
