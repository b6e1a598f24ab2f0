"""What a terminal shows after the bytes we send, seen through pyte: at several sizes, resized, coloured or not."""

from __future__ import annotations

import pyte
import pytest

from ci_dispatch.demo.recording import demo_events
from ci_dispatch.reporters.terminal import last_lines
from ci_dispatch.reporters.terminal.cells import UNICODE, Line, Style
from ci_dispatch.reporters.terminal.reporter import LiveReporter
from ci_dispatch.reporters.terminal.screen import Screen
from ci_dispatch.run.state import RunState
from tests.recorded_runs import play, recorded, steps


class Terminal:
    """A text writer that is a terminal: it interprets what it is given, and keeps what scrolled away."""

    busy = False

    def __init__(self, columns: int, rows: int) -> None:
        self.screen = pyte.HistoryScreen(columns, rows, history=5000)
        self._stream = pyte.Stream(self.screen)
        self.raw = ""

    def write(self, text: str) -> None:
        self.raw += text
        self._stream.feed(text.replace("\n", "\r\n"))  # what the line discipline does

    def close(self) -> None:
        pass

    def lines(self) -> list[str]:
        """Everything a person can scroll through, top to bottom."""
        past = ["".join(row[x].data for x in range(self.screen.columns)) for row in self.screen.history.top]
        return [line.rstrip() for line in (*past, *self.screen.display) if line.strip()]


def line(text: str) -> Line:
    return ((text, Style.PLAIN),)


def live(terminal: Terminal, *, colour: bool = False, reflows: bool = False) -> LiveReporter:
    return LiveReporter(
        terminal,
        Screen(colour=colour, reflows=reflows),
        size=lambda: (terminal.screen.columns, terminal.screen.lines),
        glyphs=UNICODE,
        final=last_lines,
    )


@pytest.mark.parametrize(("columns", "rows"), [(20, 10), (40, 12), (80, 24), (110, 30), (200, 50)])
def test_permanent_lines_stand_once_above_one_region(columns: int, rows: int) -> None:
    terminal = Terminal(columns, rows)
    play(demo_events(), live(terminal))
    text = "".join(terminal.lines()).replace(" ", "")  # whatever was wrapped where
    assert text.count("ilko2lost:noheartbeat") == 1
    assert text.count("(attempt2)") == text.count("(attempt3)") == 1
    assert sum(row.startswith("total ") for row in terminal.lines()) == 1
    assert text.count("ci-dispatch:FAILED198tests") == 1
    assert "\x1b[?1049" not in terminal.raw  # never the alternate screen
    assert "\x1b[?1000" not in terminal.raw  # never the mouse
    assert "\x1b[?25l" not in terminal.raw  # nothing to bring back after a kill


def test_the_region_shrinks_and_grows_without_a_trace() -> None:
    terminal, screen = Terminal(40, 10), Screen(colour=False, reflows=False)
    terminal.write(screen.change([line("above")], [line("one"), line("two"), line("three")], 40))
    terminal.write(screen.change([], [line("uno")], 40))
    assert terminal.lines() == ["above", "uno"]
    terminal.write(screen.change([line("below above")], [line("1"), line("2")], 40))
    assert terminal.lines() == ["above", "below above", "1", "2"]


def test_nothing_is_written_when_nothing_changed() -> None:
    screen = Screen(colour=True, reflows=True)
    assert screen.change([], [line("x")], 80)
    assert not screen.change([], [line("x")], 80)
    assert screen.change([], [line("y")], 80)


def test_every_change_is_one_synchronised_update() -> None:
    terminal = Terminal(80, 24)
    play(demo_events(), live(terminal))
    assert terminal.raw.count("\x1b[?2026h") == terminal.raw.count("\x1b[?2026l") > 20


@pytest.mark.parametrize("columns", [45, 60, 150])
def test_resized_in_the_middle_nothing_permanent_is_lost(columns: int) -> None:
    terminal = Terminal(110, 30)  # pyte wraps nothing anew, and throws rows away when it gets fewer
    reporter, state = live(terminal), RunState()
    for now, stamped in steps(demo_events(), state):
        if now > 9.0 and terminal.screen.columns == 110:
            terminal.screen.resize(30, columns)
        if stamped is None:
            reporter.tick(now, state)
        else:
            reporter.handle(stamped, state)
    text = "\n".join(terminal.lines())
    assert text.count("search.spec.ts › waits") == 2  # it failed, it is flaky
    assert "ilko2 lost: no heartbeat" in text
    assert text.count("\ntotal ") == 1


def test_where_lines_are_wrapped_anew_all_their_rows_are_erased() -> None:
    """A terminal that reflows shows a line of 70 cells in 4 rows of 20: they all belong to the region."""
    screen = Screen(colour=False, reflows=True)
    screen.change([], [line("x" * 70), line("y" * 15)], 80)
    assert "\x1b[4A" in screen.change([], [line("z")], 20)
    plain = Screen(colour=False, reflows=False)
    plain.change([], [line("x" * 70), line("y" * 15)], 80)
    assert "\x1b[1A" in plain.change([], [line("z")], 20)


def test_no_colour_means_no_sgr_at_all() -> None:
    terminal = Terminal(100, 30)
    play(recorded("troubled"), live(terminal, colour=False))
    assert "m" not in {part[-1:] for part in _sequences(terminal.raw)}
    coloured = Terminal(100, 30)
    play(recorded("troubled"), live(coloured, colour=True))
    assert "m" in {part[-1:] for part in _sequences(coloured.raw)}


def test_hostile_names_send_no_sequence_of_their_own() -> None:
    terminal = Terminal(100, 30)
    play(recorded("troubled"), live(terminal, colour=True))
    kinds = {part.strip("0123456789;") for part in _sequences(terminal.raw)}
    assert kinds <= {"[?h", "[?l", "[A", "[J", "[m"}, kinds
    assert terminal.screen.title == ""


def _sequences(raw: str) -> list[str]:
    found = []
    for part in raw.split("\x1b")[1:]:
        end = next(i for i, char in enumerate(part[1:], 1) if char.isalpha())
        sequence = part[: end + 1]
        found.append(
            sequence[0] + ("?" if "?" in sequence else "") + sequence[1:].replace("?", "").lstrip("0123456789;")
        )
    return found


def test_the_last_bars_stay_and_closing_twice_says_it_once() -> None:
    terminal = Terminal(120, 60)
    reporter = live(terminal)
    play(demo_events(), reporter)
    reporter.close()
    lines = terminal.lines()
    assert lines[-1].startswith("ci-dispatch: FAILED 198 tests")
    assert sum(row.startswith("ci-dispatch: ") for row in lines) == 1
    assert any(row.startswith("moruk  [████████████████████████] 102/102") for row in lines)


def test_a_run_without_an_end_has_no_last_line() -> None:
    terminal = Terminal(100, 60)
    play([event for event in demo_events() if event.at < 5], live(terminal))
    assert not any("ci-dispatch:" in row for row in terminal.lines())
