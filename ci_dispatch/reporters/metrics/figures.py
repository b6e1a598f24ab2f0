"""Every figure of a run, read off its state: names, labels, meanings. Pure; the formats are made of these.

Units are in the names (https://prometheus.io/docs/practices/naming/). No label holds a test's name unless it was asked
for: ten thousand series a run are no metrics.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ci_dispatch import __version__
from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.model import Verdict
from ci_dispatch.reporters.tally import name_of
from ci_dispatch.run.run_report import report
from ci_dispatch.run.state import MachineState, RunState
from report_merge import failures
from report_merge.model import RunContext

TEST_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)  # seconds
WAIT_BUCKETS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
RESULTS = ("passed", "failed", "incomplete", "interrupted")
CHANNELS = ("slack", "dashboard", "terminal", "metrics", "otel")  # whose trouble counts as a notification that failed

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts up to each bound, cumulated; the last one is all of them."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric: its name without prefix, what it means, and its values by labels."""

    name: str
    help: str
    values: tuple[tuple[Labels, float | Histogram], ...]

    @property
    def type(self) -> str:
        return "histogram" if any(isinstance(value, Histogram) for _, value in self.values) else "gauge"


def figures(state: RunState, context: RunContext, *, slowest: int = 0) -> list[Figure]:
    """All figures of a run, over or going on. `slowest`: that many tests get series of their own."""
    found = [*_run(state, context), *_tests(state), *_machines(state), *_failures(state, context)]
    return found + (_slowest(state, slowest) if slowest > 0 else [])


def _one(name: str, help_: str, value: float | Histogram, labels: Mapping[str, str] | None = None) -> Figure:
    return Figure(name, help_, ((tuple((labels or {}).items()), value),))


def _each(name: str, help_: str, label: str, values: Iterable[tuple[str, float]]) -> Figure:
    return Figure(name, help_, tuple((((label, key),), value) for key, value in values))


def _run(state: RunState, context: RunContext) -> list[Figure]:
    finished = state.finished
    info = {"version": __version__, "repository": context.repository, "workflow": context.title}
    found = [
        _one("run_info", "The run these figures are about.", 1, info),
        _one("run_duration_seconds", "Wall time of the run.", round(state.elapsed, 3)),
        _one("run_timestamp_seconds", "When the run ended, or was last heard of.", state.finished_at or state.now),
    ]
    if finished is None:
        return found
    word = result_word(state)
    found.append(_each("run_result", "1 for how the run ended.", "result", [(r, float(r == word)) for r in RESULTS]))
    makespan = finished.makespan
    if makespan.efficiency:
        found.append(_one("schedule_imbalance_ratio", "Makespan over its lower bound.", round(makespan.efficiency, 4)))
    if makespan.planned:
        error = round(makespan.realised - makespan.planned, 3)
        found.append(_one("predicted_duration_error_seconds", "Makespan less what was planned.", error))
    return found


def result_word(state: RunState) -> str:
    """How a finished run ended: one of RESULTS."""
    assert state.finished is not None
    match state.finished.exit_code:
        case ExitCode.PASSED:
            return "passed"
        case ExitCode.TESTS_FAILED:
            return "failed"
        case ExitCode.INTERRUPTED | ExitCode.TERMINATED:
            return "interrupted"
        case _:
            return "incomplete"


def _tests(state: RunState) -> list[Figure]:
    attempts: Counter[str] = Counter()
    seconds: list[float] = []
    for entry in state.ledger.records.values():
        for _, _, result in entry.history:
            attempts[result.verdict] += 1
            if result.seconds is not None and result.verdict is not Verdict.SKIPPED:
                seconds.append(result.seconds)
    waits = [a.started - a.lease.granted for a in state.ledger.attempts.values() if a.started is not None]
    verdicts = [(_label(verdict), float(state.verdicts[verdict])) for verdict in Verdict]
    outcomes = [(_label(v), float(attempts[v])) for v in Verdict if v is not Verdict.NOT_RUN]
    return [
        _each("tests", "Tests by their verdict.", "result", verdicts),
        _each("test_attempts", "Executions of tests by how they ended.", "outcome", outcomes),
        _one("test_duration_seconds", "How long executions of tests took.", histogram(seconds, TEST_BUCKETS)),
        _one("queue_wait_seconds", "From handing out a shard to its start.", histogram(waits, WAIT_BUCKETS)),
    ]


def _machines(state: RunState) -> list[Figure]:
    machines = list(state.machines.values())

    def column(name: str, text: str, read: Callable[[MachineState], float]) -> Figure:
        return _each(f"machine_{name}", text, "machine", [(str(m.spec.name), round(read(m), 3)) for m in machines])

    return [
        column("up", "1 while the machine can get work.", lambda m: float(m.usable)),
        column("tests", "Results the machine brought.", lambda m: m.done),
        column("busy_seconds", "Time its slots worked.", lambda m: m.busy_seconds),
        column("idle_seconds", "Time its slots had nothing to do.",
               lambda m: max(0.0, state.elapsed * m.spec.slots - m.busy_seconds)),
        column("lost", "How often it was lost.", lambda m: m.losses),
        column("retries", "Tests it ran again.", lambda m: m.retries),
    ]  # fmt: skip


def _failures(state: RunState, context: RunContext) -> list[Figure]:
    groups = failures.group(report(state, context).cases)
    categories: Counter[str] = Counter()
    for group in groups:
        if group.verdict is not failures.FailureVerdict.FLAKY:
            categories[group.finding.category] += len(group.cases)
    troubles = Counter(warning.source for warning in state.warnings if warning.source in CHANNELS)
    return [
        _each("failures", "Failed tests by what broke them.", "category", sorted(categories.items())),
        _each("notify_errors", "What could not be told.", "channel", [(c, float(troubles[c])) for c in CHANNELS]),
    ]


def _slowest(state: RunState, most: int) -> list[Figure]:
    last = {test: entry.history[-1][2].seconds or 0.0 for test, entry in state.ledger.records.items() if entry.history}
    slow = sorted(last, key=lambda test: (-last[test], test))[:most]
    flaky = [test for test, entry in state.ledger.records.items() if entry.verdict is Verdict.FLAKY][:most]
    return [
        _each("slow_test_seconds", "The slowest tests.", "test", [(name_of(state, t), last[t]) for t in slow]),
        _each("flaky_test", "Tests that failed and then passed.", "test", [(name_of(state, t), 1.0) for t in flaky]),
    ]


def histogram(values: Iterable[float], bounds: tuple[float, ...]) -> Histogram:
    kept = [max(0.0, value) for value in values]
    counts = tuple(sum(value <= bound for value in kept) for bound in bounds)
    return Histogram(bounds, (*counts, len(kept)), round(sum(kept), 3))


def _label(verdict: Verdict) -> str:
    return verdict.value.replace(" ", "_")
