"""Progress as ordinary lines, for logs and pipes: news at once, and a heartbeat so that silence is never the signal.

[2:30] 67/88 76% ok 63 fail 2 flaky 1 | moruk 22/24 vihma 15/22 pakane LOST
"""

from __future__ import annotations

from ci_dispatch.core.events import RunFinished, Stamped, TestFinished
from ci_dispatch.core.model import TestResult, Verdict
from ci_dispatch.reporters.tally import clock, tally
from ci_dispatch.reporters.terminal.cells import Line, Style, ansi, clip, fit, text_of
from ci_dispatch.reporters.terminal.live import Closing, Writes, last_words
from ci_dispatch.reporters.terminal.mode import Glyphs
from ci_dispatch.reporters.terminal.news import News
from ci_dispatch.run.state import MachineState, RunState
from report_merge.plain import one_line
from report_merge.render.escape import workflow_log

WIDEST = 200  # columns of a line
HEARTBEAT = 30.0  # seconds, or every tenth of the tests
_DETAIL_LINES = 20


class PlainReporter:
    """Writes lines of at most 200 columns, without cursor movement.

    Under GitHub Actions a failure's detail is folded into a `::group::`, and no foreign text can be a workflow command.
    """

    name = "terminal"
    essential = False

    def __init__(
        self, outlet: Writes, *, colour: bool, glyphs: Glyphs, closing: Closing, github: bool = False, follow: str = ""
    ) -> None:
        self._outlet = outlet
        self._colour = colour
        self._paint = ansi if colour else text_of
        self._glyphs = glyphs
        self._closing = closing
        self._github = github
        self._news = News(glyphs, follow)
        self._beat_at = 0.0
        self._beat_tenth = 0
        self._state: RunState | None = None

    def handle(self, stamped: Stamped, state: RunState) -> None:
        self._state = state
        self._beat_at = self._beat_at or stamped.at
        lines = self._news.lines(stamped, state)
        match stamped.event:
            case TestFinished(result=result) if self._github and lines and _detail(result):
                self._group(lines[0], result)
            case _:
                self._print(lines)
        if isinstance(stamped.event, RunFinished) and self._beat_tenth < 10:
            self._heartbeat(stamped.at, state)

    def tick(self, now: float, state: RunState) -> None:
        if state.started is None or state.finished is not None:
            return
        if now - self._beat_at >= HEARTBEAT or tally(state).percent // 10 > self._beat_tenth:
            self._heartbeat(now, state)

    def close(self) -> None:
        """Say how it ended; closed twice, it says it once."""
        if self._state is not None:
            self._outlet.write(last_words(self._state, self._closing, colour=self._colour))
            self._state = None
        self._outlet.close()

    def _print(self, lines: list[Line]) -> None:
        for line in lines:
            shown = clip(line, WIDEST, self._glyphs.ellipsis)
            if self._github:
                shown = tuple((workflow_log(text), style) for text, style in shown)
            self._outlet.write(self._paint(shown) + "\n")

    def _group(self, title: Line, result: TestResult) -> None:
        """A foldable group; its lines start with a rule, for a group's end is only seen at the start of a line."""
        self._outlet.write(f"::group::{self._paint(clip(title, WIDEST - 9, self._glyphs.ellipsis))}\n")
        self._print([((f"{self._glyphs.rule} ", Style.DIM), (text, Style.PLAIN)) for text in _detail(result)])
        self._outlet.write("::endgroup::\n")

    def _heartbeat(self, now: float, state: RunState) -> None:
        self._beat_at, self._beat_tenth = now, tally(state).percent // 10
        self._print([heartbeat(state, now)])


def heartbeat(state: RunState, now: float) -> Line:
    """Everything in one line: elapsed time, counts, then machines, those in trouble first."""
    counts = tally(state)
    text = f"[{clock(now - state.started_at)}] {counts.done}/{counts.total} {counts.percent}% ok {counts.passed}"
    for word, number in (
        ("fail", counts.failed), ("flaky", counts.flaky), ("skipped", counts.skipped), ("not run", counts.not_run),
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
    return [_indented(line) for line in lines[:_DETAIL_LINES]]


def _indented(line: str) -> str:
    indent = len(line) - len(line.lstrip(" \t"))
    return " " * min(indent, 12) + one_line(line, 400)
