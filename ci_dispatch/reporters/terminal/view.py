"""The live region as lines: a pure function of the state, the time and the size of the terminal.

    moruk   [█████████████████░░░] 22/24  ✗1 ↻1  1:42  checkout › pays
    pakane  lost 0:31 ago after 7 tests: no answer for 12 s
    total   [███████████████░░░░░] 67/88  76%  ✓63 ✗2 ≈1 ∅1  2:31 elapsed  ~0:48 left

Machines that get no work come first, the total is never dropped, and no line is wider than the terminal.
"""

from __future__ import annotations

from dataclasses import dataclass

from ci_dispatch.reporters.counts import RunCounts, clock, failed_on, name_of, run_counts, working_seconds
from ci_dispatch.reporters.terminal.cells import Glyphs, Line, Piece, Style, cells, clip, fit, pad
from ci_dispatch.run.state import MachineState, RunState
from report_merge.render.wording import count
from report_merge.sanitize import one_line

MOST_LINES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """What fits into a width, and how the rows line up."""

    usable: int  # the last column of a terminal stays free: some wrap when it is written
    name: int  # cells of the widest name
    bar: int  # cells between the brackets; 0: no bar
    count: int  # cells of `22/24`
    percent: bool = False
    counters: bool = False
    labels: bool = False  # room for labels and for the current test


def render(state: RunState, now: float, width: int, height: int, glyphs: Glyphs) -> list[Line]:
    """At most min(16, height - 4) lines (but the total, always), each narrower than `width`."""
    if state.started is None:
        return []
    room = max(1, min(MOST_LINES, height - 4)) - 1  # without the total
    machines = _ordered(state, room)
    hidden = machines[max(0, room - 1) :] if len(machines) > room else []
    columns = _columns(machines, state, width)
    lines = [_machine(machine, state, now, columns, glyphs) for machine in machines[: len(machines) - len(hidden)]]
    if hidden and room > 0:
        lines.append(_overflow(hidden, glyphs))
    lines.append(_total(state, now, columns, glyphs))
    return [clip(line, columns.usable, glyphs.ellipsis) for line in lines]


def _ordered(state: RunState, room: int) -> list[MachineState]:
    """Machines that get no work first, then as configured; if not all fit, then those with failures and most work."""
    machines = list(state.machines.values())
    if len(machines) <= room:
        return sorted(machines, key=lambda machine: machine.usable)
    return sorted(machines, key=lambda m: (m.usable, failed_on(m) == 0, m.done - m.given))


def _columns(machines: list[MachineState], state: RunState, width: int) -> Columns:
    longest = 24 if width >= 100 else 16 if width >= 70 else 12
    names = [cells(one_line(machine.spec.name)) for machine in machines]
    return Columns(
        usable=max(8, width - 1),
        name=min(longest, max([5, *names])),
        bar=24 if width >= 100 else 20 if width >= 70 else 10 if width >= 50 else 0,
        count=2 * len(str(state.total)) + 1,
        percent=width >= 50,
        counters=width >= 70,
        labels=width >= 100,
    )


def _machine(machine: MachineState, state: RunState, now: float, columns: Columns, glyphs: Glyphs) -> Line:
    name = pad(fit(one_line(machine.spec.name), columns.name, glyphs.ellipsis), columns.name)
    if not machine.usable:
        return ((name, Style.BAD), ("  ", Style.PLAIN), *_out_of_work(machine, now))
    failed = failed_on(machine)
    line: list[Piece] = [(name, Style.PLAIN), ("  ", Style.PLAIN)]
    line += _bar(machine.done - failed, failed, machine.given, columns.bar, glyphs)
    line.append((pad(f"{machine.done}/{machine.given}", columns.count), Style.PLAIN))
    if not columns.counters:
        if failed:
            line.append((f" {glyphs.failed}{failed}", Style.BAD))
        return tuple(line)
    marks = _counters([(glyphs.failed, failed, Style.BAD), (glyphs.retried, machine.retries, Style.WARN)])
    taken = sum(cells(text) for text, _ in marks)
    line += [*marks, (" " * max(0, 2 * cells(glyphs.failed) + 5 - taken), Style.PLAIN)]
    idle = not machine.leases
    line.append((f"{'idle' if idle else clock(working_seconds(machine, now)):>7}", Style.DIM if idle else Style.PLAIN))
    if columns.labels and machine.current is not None and not idle:
        room = columns.usable - sum(cells(text) for text, _ in line) - 2
        line.append(("  " + fit(name_of(state, machine.current), max(0, room), glyphs.ellipsis), Style.DIM))
    return tuple(line)


def _out_of_work(machine: MachineState, now: float) -> Line:
    ago = f" {clock(now - machine.lost_at)} ago" if machine.lost and machine.lost_at is not None else ""
    after = f" after {count(machine.done, 'test')}" if machine.done else ""
    why = one_line(machine.why_unusable)
    return ((f"{machine.word}{ago}", Style.BAD), (f"{after}{': ' if why else ''}{why}", Style.PLAIN))


def _bar(good: int, failed: int, total: int, width: int, glyphs: Glyphs) -> list[Piece]:
    """`[████░░] `: a failure is at least one cell wide, and the bar is full only when everything is done."""
    if not width:
        return []
    done = good + failed
    filled = min(width, width * done // total) if total else 0
    if done and not filled:
        filled = 1
    red = min(filled, max(1, round(filled * failed / done))) if failed else 0
    return [
        ("[", Style.DIM),
        (glyphs.full * (filled - red), Style.GOOD),
        (glyphs.full * red, Style.BAD_BAR),
        (glyphs.empty * (width - filled), Style.DIM),
        ("] ", Style.DIM),
    ]


def _counters(given: list[tuple[str, int, Style]]) -> list[Piece]:
    return [(f" {sign}{number}", style) for sign, number, style in given if number]


def _overflow(hidden: list[MachineState], glyphs: Glyphs) -> Line:
    done, given = sum(m.done for m in hidden), sum(m.given for m in hidden)
    down = sum(not machine.usable for machine in hidden)
    how = f"{down} not usable" if down else "ok"
    text = f"{glyphs.ellipsis} {count(len(hidden), 'more machine')} {how} ({done}/{given})"
    return ((text, Style.BAD if down else Style.DIM),)


def _total(state: RunState, now: float, columns: Columns, glyphs: Glyphs) -> Line:
    counts = run_counts(state)
    line: list[Piece] = [(pad("total", columns.name) + "  ", Style.BOLD)]
    line += _bar(counts.done - counts.failed, counts.failed, counts.total, columns.bar, glyphs)
    line.append((pad(f"{counts.done}/{counts.total}", columns.count), Style.BOLD))
    if not columns.counters:
        if counts.failed:
            line.append((f" {glyphs.failed}{counts.failed}", Style.BAD))
        if columns.percent:
            line.append((f"  {counts.percent}%  {clock(_elapsed(state, now))}", Style.PLAIN))
        return tuple(line)
    line.append((f" {counts.percent:>3}% ", Style.BOLD))
    line += _verdicts(counts, glyphs)
    line.append((f"  {clock(_elapsed(state, now))}{' elapsed' if columns.labels else ''}", Style.PLAIN))
    left = state.remaining_seconds(now) if state.finished is None else None
    if left is not None and left >= 1:
        line.append((f"  ~{clock(left)} left", Style.PLAIN))
    if state.interrupted and state.finished is None:
        line.append(("  interrupted: finishing", Style.WARN))
    return tuple(line)


def _verdicts(counts: RunCounts, glyphs: Glyphs) -> list[Piece]:
    return _counters(
        [
            (glyphs.passed, counts.passed, Style.GOOD),
            (glyphs.failed, counts.failed, Style.BAD),
            (glyphs.flaky, counts.flaky, Style.WARN),
            (glyphs.skipped, counts.skipped, Style.DIM),
            (glyphs.not_run, counts.not_run, Style.BAD),
        ]
    )


def _elapsed(state: RunState, now: float) -> float:
    return state.elapsed if state.finished_at is not None else max(0.0, now - state.started_at)
