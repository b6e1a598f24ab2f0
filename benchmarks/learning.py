"""Ten runs in a row: what is learnt of speeds, what it saves. Prints the table and draws docs/images/learning.svg."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from ci_dispatch.core.model import MachineName
from tests.learnt_runs import CORES, MACHINE_NOISE, TEST_NOISE, TRUE, LearntRun, relative, runs_in_a_row

RUNS = 10
SEEDS = 20
WITHIN = 0.1  # of the true speed
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "learning.svg"
COLOURS = ("#0b6bcb", "#b3541e", "#2e7d32", "#8e24aa")
WIDTH, HEIGHT, MARGIN = 460, 300, 50

Points = Sequence[tuple[float, float]]


def off(run: LearntRun) -> dict[MachineName, float]:
    """Learnt speeds over true ones; as nobody tells fast machines from short tests, both over their means."""
    true = relative(TRUE)
    return {name: speed / true[name] for name, speed in run.relative().items()}


@dataclass(frozen=True)
class Panel:
    """A part of the picture, with its own axes: runs from left to right, and `low` to `high` upwards."""

    left: int
    title: str
    low: float
    high: float

    def at(self, run: float, value: float) -> str:
        x = self.left + MARGIN + (WIDTH - 2 * MARGIN) * run / RUNS
        y = MARGIN + (HEIGHT - 2 * MARGIN) * (self.high - min(self.high, max(self.low, value))) / (self.high - self.low)
        return f"{x:.1f},{y:.1f}"

    def axes(self, ticks: Iterable[float]) -> Iterable[str]:
        yield text(f"{self.left + MARGIN},28", self.title, size=14)
        for tick in ticks:
            yield f'<polyline points="{self.at(0, tick)} {self.at(RUNS, tick)}" stroke="#ddd"/>'
            yield text(self.at(-0.2, tick), f"{tick:g}", anchor="end")
        for run in range(0, RUNS + 1, 2):
            x, y = self.at(run, self.low).split(",")
            yield text(f"{x},{float(y) + 18:.1f}", f"{run}", anchor="middle")
        x, y = self.at(RUNS / 2, self.low).split(",")
        yield text(f"{x},{float(y) + 36:.1f}", "runs", anchor="middle")

    def line(self, points: Points, colour: str, label: str = "") -> Iterable[str]:
        path = " ".join(self.at(run, value) for run, value in points)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        x, y = self.at(*points[-1]).split(",")
        if label:
            yield text(f"{float(x) + 4},{y}", label, colour=colour)


def text(at: str, words: str, *, anchor: str = "start", size: int = 11, colour: str = "#222") -> str:
    x, y = at.split(",")
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">{words}</text>'


def picture(learnt: Sequence[LearntRun], with_speeds: Sequence[float], without: Sequence[float]) -> str:
    """Speeds of one row of runs, and makespans of all of them."""
    speeds = Panel(0, "Learnt speed over the true one, one row of runs", 0.5, 2.0)
    ratios = Panel(WIDTH, f"Makespan over the lower bound, mean of {SEEDS} rows", 1.0, 2.0)
    band = " ".join([speeds.at(0, 1 + WITHIN), speeds.at(RUNS, 1 + WITHIN), speeds.at(RUNS, 1 - WITHIN),
                     speeds.at(0, 1 - WITHIN)])  # fmt: skip
    parts = [f'<polygon points="{band}" fill="#e8f2e8"/>', *speeds.axes((0.5, 1.0, 1.5, 2.0))]
    first = relative(dict.fromkeys(TRUE, 1.0))
    true = relative(TRUE)
    for number, name in enumerate(TRUE):
        points = [(0.0, first[name] / true[name]), *((n + 1.0, off(run)[name]) for n, run in enumerate(learnt))]
        parts += speeds.line(points, COLOURS[number])
        parts.append(text(f"{WIDTH - 2 * MARGIN},{MARGIN + 14 * (number + 1)}", name, colour=COLOURS[number]))
    parts += ratios.axes((1.0, 1.25, 1.5, 1.75, 2.0))
    parts += ratios.line([(n + 1.0, value) for n, value in enumerate(without)], COLOURS[1], "as configured")
    parts += ratios.line([(n + 1.0, value) for n, value in enumerate(with_speeds)], COLOURS[0], "learnt")
    whole = 2 * WIDTH + 2 * MARGIN
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole} {HEIGHT}" font-family="sans-serif">',
        f'<rect width="{whole}" height="{HEIGHT}" fill="white"/>', *parts, "</svg>", "",
    ])  # fmt: skip


def main() -> None:
    learnt = [runs_in_a_row(RUNS, seed=seed) for seed in range(SEEDS)]
    without = [runs_in_a_row(RUNS, seed=seed, learn=False) for seed in range(SEEDS)]
    print(f"machines: {', '.join(f'{name} {CORES[name]} cores, speed {speed:g}' for name, speed in TRUE.items())};")
    print(f"configured as 1; runs differ by ±{TEST_NOISE:.0%} a test, ±{MACHINE_NOISE:.0%} a machine; {SEEDS} rows\n")
    print("| run | makespan / bound | p90 | speeds as configured | farthest speed after it | moved by |")
    print("|---:|---:|---:|---:|---:|---:|")
    for run in range(RUNS):
        ratios = sorted(row[run].ratio for row in learnt)
        plain = mean(row[run].ratio for row in without)
        far = max(abs(value - 1) for row in learnt for value in off(row[run]).values())
        moved = [abs(off(row[run])[n] / off(row[run - 1])[n] - 1) for row in learnt for n in TRUE] if run else [0.0]
        print(f"| {run + 1} | {mean(ratios):.2f} | {ratios[int(SEEDS * 0.9)]:.2f} | {plain:.2f} ", end="")
        print(f"| {far:.0%} | {max(moved):.0%} |" if run else f"| {far:.0%} | |")
    means = [[mean(row[run].ratio for row in rows) for run in range(RUNS)] for rows in (learnt, without)]
    PICTURE.write_text(picture(learnt[0], *means), encoding="utf-8")


if __name__ == "__main__":
    main()
