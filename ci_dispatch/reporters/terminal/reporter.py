"""The four displays of a run: live bars, plain lines, the events as JSON, and only the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.events import TRANSIENT, AttemptOutput, RunFinished, Stamped, TestFinished
from ci_dispatch.core.model import TestResult, Verdict
from ci_dispatch.reporters import BaseReporter
from ci_dispatch.reporters.counts import clock, run_counts
from ci_dispatch.reporters.terminal.cells import Glyphs, Line, Style, ansi, clip, fit, text_of
from ci_dispatch.reporters.terminal.log_lines import LogLines, follows
from ci_dispatch.reporters.terminal.screen import Screen, TextWriter
from ci_dispatch.reporters.terminal.view import render
from ci_dispatch.run.journal import dumps
from ci_dispatch.run.state import MachineState, RunState
from report_merge.render.escape import json_log
from report_merge.render.wording import count
from report_merge.sanitize import one_line

REFRESH = 0.5  # seconds between two pictures
WIDEST = 200  # columns of a plain line
HEARTBEAT = 30.0  # seconds between two plain heartbeats, or every tenth of the tests
_DETAIL_LINES = 20


Size: TypeAlias = Callable[[], tuple[int, int]]  # columns, rows: asked again at each refresh
FinalLines: TypeAlias = Callable[[RunState], Sequence[str]]  # the last lines of a run, already safe to print


class TerminalReporter(BaseReporter):
    """What the displays share: they write to `output`, and end with the final lines of a run that has ended, once."""

    name = "terminal"

    def __init__(self, output: TextWriter, *, colour: bool, final: FinalLines) -> None:
        self._output = output
        self._colour = colour
        self._paint = ansi if colour else text_of
        self._final = final

    def close(self) -> None:
        self._write_end(self._output)
        self._output.close()

    def _write_end(self, output: TextWriter) -> None:
        """The final lines, the very last one coloured by the verdict; nothing for a run that has not ended."""
        state, self.state = self.state, None
        if state is None or state.finished is None:
            return
        lines: list[Line] = [((line, Style.PLAIN),) for line in self._final(state)]
        if lines:
            good = state.finished.exit_code == ExitCode.PASSED
            lines[-1] = ((lines[-1][0][0], Style.GOOD if good else Style.BAD),)
        output.write("\n" + "".join(f"{self._paint(line)}\n" for line in lines))


class QuietReporter(TerminalReporter):
    """Shows no progress, only how the run ended."""


class JsonReporter(TerminalReporter):
    """The event stream, one JSON object a line as in the journal; runners' output only where it is followed.

    Standard output stays pure JSON: the final lines go to `stderr`.
    """

    def __init__(self, output: TextWriter, stderr: TextWriter, *, final: FinalLines, follow: str = "") -> None:
        super().__init__(output, colour=False, final=final)
        self._stderr = stderr
        self._follow = follow

    def handle(self, stamped: Stamped, state: RunState) -> None:
        super().handle(stamped, state)
        event = stamped.event
        followed = isinstance(event, AttemptOutput) and follows(self._follow, event, state)
        if followed or not isinstance(event, TRANSIENT):
            self._output.write(json_log(dumps(stamped).decode()) + "\n")

    def close(self) -> None:
        self._write_end(self._stderr)
        self._output.close()
        self._stderr.close()


class LiveReporter(TerminalReporter):
    """Bars at the bottom, redrawn every 500 ms where something changed; what is worth keeping stays above them."""

    def __init__(
        self, output: TextWriter, screen: Screen, *, size: Size, glyphs: Glyphs, final: FinalLines, follow: str = ""
    ) -> None:
        super().__init__(output, colour=screen.colour, final=final)
        self._screen = screen
        self._size = size
        self._glyphs = glyphs
        self._log = LogLines(glyphs, follow)
        self._frame: list[Line] = []
        self._drawn = 0.0

    def handle(self, stamped: Stamped, state: RunState) -> None:
        super().handle(stamped, state)
        lines = self._log.lines(stamped, state)
        if lines or state.finished is not None:
            self._draw(lines, stamped.at, state)

    def tick(self, now: float, state: RunState) -> None:
        if not 0 <= now - self._drawn < REFRESH * 0.9 and not self._output.busy:
            self._draw([], now, state)

    def close(self) -> None:
        """Leave the last bars where they are; the final lines come below."""
        self._output.write(self._screen.leave())
        super().close()

    def _draw(self, lines: list[Line], now: float, state: RunState) -> None:
        width, height = self._size()
        if not 0 <= now - self._drawn < REFRESH * 0.9 or state.finished is not None:
            self._frame, self._drawn = render(state, now, width, height, self._glyphs), now
            if 0 < len(self._frame) < height - 4:
                self._frame.insert(0, ())  # an empty line between what stays and what moves
        self._output.write(self._screen.change(lines, self._frame, width))


class PlainReporter(TerminalReporter):
    """Lines of at most 200 columns for logs and pipes, without cursor movement, and a heartbeat when nothing happens.

    [2:30] 67/88 76% ok 63 fail 2 flaky 1 | moruk 22/24 vihma 15/22 pakane LOST

    Under GitHub Actions, where `command` takes workflow commands, a failure's detail is folded into a `::group::`.
    """

    def __init__(
        self,
        output: TextWriter,
        *,
        colour: bool,
        glyphs: Glyphs,
        final: FinalLines,
        command: Callable[[str], None] | None = None,
        follow: str = "",
    ) -> None:
        super().__init__(output, colour=colour, final=final)
        self._glyphs = glyphs
        self._command = command
        self._log = LogLines(glyphs, follow)
        self._beat_at = 0.0
        self._beat_tenth = 0

    def handle(self, stamped: Stamped, state: RunState) -> None:
        super().handle(stamped, state)
        self._beat_at = self._beat_at or stamped.at
        lines = self._log.lines(stamped, state)
        match stamped.event:
            case TestFinished(result=result) if self._command and lines and _detail(result):
                self._group(lines[0], result, self._command)
            case _:
                self._print(lines)
        if isinstance(stamped.event, RunFinished) and self._beat_tenth < 10:
            self._heartbeat(stamped.at, state)

    def tick(self, now: float, state: RunState) -> None:
        if state.started is None or state.finished is not None:
            return
        if now - self._beat_at >= HEARTBEAT or run_counts(state).percent // 10 > self._beat_tenth:
            self._heartbeat(now, state)

    def _print(self, lines: list[Line]) -> None:
        for line in lines:
            self._output.write(self._paint(clip(line, WIDEST, self._glyphs.ellipsis)) + "\n")

    def _group(self, title: Line, result: TestResult, command: Callable[[str], None]) -> None:
        """A foldable group; its lines start with a rule, for a group's end is only seen at the start of a line."""
        painted = self._paint(clip(title, WIDEST - 9, self._glyphs.ellipsis))
        command(f"::group::{painted.replace('%', '%25')}")
        self._print([((f"{self._glyphs.rule} ", Style.DIM), (text, Style.PLAIN)) for text in _detail(result)])
        command("::endgroup::")

    def _heartbeat(self, now: float, state: RunState) -> None:
        self._beat_at, self._beat_tenth = now, run_counts(state).percent // 10
        self._print([heartbeat(state, now)])


def heartbeat(state: RunState, now: float) -> Line:
    """Everything in one line: elapsed time, counts, then machines, those that get no work first."""
    counts = run_counts(state)
    text = f"[{clock(now - state.started_at)}] {counts.done}/{counts.total} {counts.percent}% ok {counts.passed}"
    for word, number in (
        ("fail", counts.failed), ("retrying", counts.retrying), ("flaky", counts.flaky), ("skipped", counts.skipped),
        ("not run", counts.not_run),
    ):  # fmt: skip
        text += f" {word} {number}" if number else ""
    left = state.remaining_seconds(now) if state.finished is None else None
    text += f" ~{clock(left)} left" if left is not None and left >= 1 else ""
    text += " |"
    for shown, machine in enumerate(sorted(state.machines.values(), key=lambda machine: machine.usable)):
        word = f" {_machine_word(machine)}"
        rest = len(state.machines) - shown
        if len(text) + len(word) > WIDEST - 20:
            return ((f"{text} and {rest} more", Style.PLAIN),)
        text += word
    return ((text, Style.PLAIN),)


def _machine_word(machine: MachineState) -> str:
    name = fit(one_line(machine.spec.name), 30)
    return f"{name} {machine.done}/{machine.given}" if machine.usable else f"{name} {machine.word.upper()}"


def _detail(result: TestResult) -> list[str]:
    """The first lines of what a failed test says, message before stack."""
    if result.verdict is not Verdict.FAILED:
        return []
    message = [line for line in result.message.splitlines() if line.strip()]
    stack = [line for line in result.detail.splitlines() if line.strip()]
    lines = stack if stack and message and message[0] in stack[0] else [*message, *stack]
    left = len(lines) - _DETAIL_LINES
    more = [f"... {count(left, 'more line')}"] if left > 0 else []
    return [_indented(line) for line in lines[:_DETAIL_LINES]] + more


def _indented(line: str) -> str:
    indent = len(line) - len(line.lstrip(" \t"))
    return " " * min(indent, 12) + one_line(line, 400)
