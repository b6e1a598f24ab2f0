"""Every figure of a run, read from its state: names, labels, meanings; and as Prometheus text and as JSON. Pure.

Units are in the names (https://prometheus.io/docs/practices/naming/). No label holds a test's name unless it was asked
for: ten thousand series a run are no metrics.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ci_dispatch import __version__
from ci_dispatch.core.model import Verdict
from ci_dispatch.reporters import BUILT_IN
from ci_dispatch.reporters.counts import name_of
from ci_dispatch.run.run_report import LookedBack, verdict_word
from ci_dispatch.run.state import MachineState, RunState
from report_merge import failures
from report_merge.model import Report
from report_merge.render.wording import title
from report_merge.sanitize import printable
from report_merge.triage.history import flaky_among

PREFIX = "ci_dispatch_"
TEST_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)  # seconds
WAIT_BUCKETS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
RESULTS = ("passed", "failed", "incomplete", "interrupted")

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


def figures(state: RunState, past: LookedBack, *, slowest: int = 0) -> list[Figure]:
    """All figures of a run, over or going on, and of its report beside earlier runs.

    `slowest`: that many tests get series of their own.
    """
    report = past.report
    found = [*_run(state, report), *_tests(state), *_machines(state), *_failures(state, report), *_past(past)]
    return found + ([*_slowest(state, slowest), _flaky_rates(report, slowest)] if slowest > 0 else [])


def _one(name: str, help_: str, value: float | Histogram, labels: Mapping[str, str] | None = None) -> Figure:
    return Figure(name, help_, ((tuple((labels or {}).items()), value),))


def _each(name: str, help_: str, label: str, values: Iterable[tuple[str, float]]) -> Figure:
    return Figure(name, help_, tuple((((label, key),), value) for key, value in values))


def _run(state: RunState, report: Report) -> list[Figure]:
    finished, context = state.finished, report.context
    info = {"version": __version__, "repository": context.repository, "workflow": context.title}
    found = [
        _one("run_info", "The run these figures are about.", 1, info),
        _one("run_duration_seconds", "Wall time of the run.", round(state.elapsed, 3)),
        _one("run_timestamp_seconds", "When the run ended, or its last event.", state.finished_at or state.now),
    ]
    if finished is None:
        return found
    word = verdict_word(state).lower()
    found.append(_each("run_result", "1 for how the run ended.", "result", [(r, float(r == word)) for r in RESULTS]))
    makespan = finished.makespan
    if makespan.efficiency:
        found.append(_one("schedule_imbalance_ratio", "Makespan over its lower bound.", round(makespan.efficiency, 4)))
    if makespan.planned:
        error = round(makespan.realised - makespan.planned, 3)
        found.append(_one("predicted_duration_error_seconds", "Makespan less what was planned.", error))
    parts = [(name.replace(" ", "_"), seconds) for name, seconds in report.spent_times]
    found.append(_each("time_use_seconds", "What the makespan went into; the parts add up to it.", "part", parts))
    return found


def _tests(state: RunState) -> list[Figure]:
    attempts: Counter[str] = Counter()
    seconds: list[float] = []
    for record in state.ledger.records.values():
        for _, _, result in record.history:
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
        _one("queue_wait_seconds", "From granting a shard's lease to its start.", histogram(waits, WAIT_BUCKETS)),
    ]


def _machines(state: RunState) -> list[Figure]:
    machines = list(state.machines.values())

    def column(name: str, text: str, read: Callable[[MachineState], float]) -> Figure:
        return _each(f"machine_{name}", text, "machine", [(str(m.spec.name), round(read(m), 3)) for m in machines])

    return [
        column("up", "1 while the machine can get work.", lambda m: float(m.usable)),
        column("tests", "Results the machine reported.", lambda m: m.done),
        column("busy_seconds", "Time its slots worked.", lambda m: m.busy_seconds),
        column("idle_seconds", "Time its slots had nothing to do.",
               lambda m: max(0.0, state.elapsed * m.spec.slots - m.busy_seconds)),
        column("lost", "How often it was lost.", lambda m: m.losses),
        column("retries", "Tests it ran again.", lambda m: m.retries),
    ]  # fmt: skip


def _failures(state: RunState, report: Report) -> list[Figure]:
    groups = failures.group(report.cases)
    categories: Counter[str] = Counter()
    for group in groups:
        if group.verdict is not failures.FailureVerdict.FLAKY:
            categories[group.finding.category] += len(group.cases)
    errors = Counter(warning.source for warning in state.warnings)
    return [
        _each("failures", "Failed tests by what broke them.", "category", sorted(categories.items())),
        _each(
            "notify_errors", "What a reporter could not deliver.", "channel", [(r, float(errors[r])) for r in BUILT_IN]
        ),
    ]


def _past(past: LookedBack) -> Iterator[Figure]:
    """This run beside earlier ones."""
    if past.since_green is not None:
        text = "How many runs ago the suite last passed on this branch; 0: in this one."
        yield _one("runs_since_green", text, past.since_green)
    rates: dict[Verdict, float] = {}
    for verdict in (Verdict.FAILED, Verdict.FLAKY):
        counts = [flaky_among(case.history) for case in past.report.cases if case.verdict is verdict]
        if executed := sum(runs for _, runs in counts):
            rates[verdict] = round(sum(flaky for flaky, _ in counts) / executed, 4)
    text = "Of the tests with this verdict: in which share of their earlier runs they were flaky."
    yield _each("flaky_rate", text, "result", [(_label(verdict), rate) for verdict, rate in rates.items()])


def _flaky_rates(report: Report, most: int) -> Figure:
    known = [(case.key, *flaky_among(case.history)) for case in report.cases if case.history]
    worst = sorted(
        ((flaky / runs, title(key)) for key, flaky, runs in known if runs), key=lambda one: (-one[0], one[1])
    )
    text = "In which share of its earlier runs a test that failed or was flaky in this one was flaky."
    return _each("test_flaky_rate", text, "test", [(name, round(rate, 4)) for rate, name in worst[:most]])


def _slowest(state: RunState, most: int) -> list[Figure]:
    records = state.ledger.records
    last = {test: record.history[-1][2].seconds or 0.0 for test, record in records.items() if record.history}
    slow = sorted(last, key=lambda test: (-last[test], test))[:most]
    flaky = [test for test, record in records.items() if record.verdict is Verdict.FLAKY][:most]
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


def prometheus(figures: Iterable[Figure]) -> str:
    """The text format 0.0.4, without timestamps: node_exporter's textfile collector refuses files that have any.

    https://github.com/prometheus/node_exporter#textfile-collector
    """
    lines: list[str] = []
    for figure in figures:
        if not figure.values:
            continue
        name = PREFIX + figure.name
        lines += [f"# HELP {name} {figure.help}", f"# TYPE {name} {figure.type}"]
        for labels, value in figure.values:
            if isinstance(value, Histogram):
                lines += _buckets(name, labels, value)
            else:
                lines.append(f"{name}{_braces(labels)} {value:.12g}")
    return "\n".join(lines) + "\n"


def _buckets(name: str, labels: Labels, value: Histogram) -> Iterable[str]:
    for bound, count in zip((*(f"{bound:g}" for bound in value.bounds), "+Inf"), value.counts, strict=True):
        yield f"{name}_bucket{_braces((*labels, ('le', bound)))} {count}"
    yield f"{name}_sum{_braces(labels)} {value.sum:.12g}"
    yield f"{name}_count{_braces(labels)} {value.counts[-1]}"


def prometheus_label(text: str) -> str:
    """A label's value between quotation marks (https://prometheus.io/docs/instrumenting/exposition_formats/)."""
    return printable(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _braces(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{prometheus_label(value)}"' for key, value in labels) + "}"


def json_values(figures: Iterable[Figure]) -> dict[str, Any]:
    """By name: a number, or a list of labelled values; histograms as bounds, cumulated counts and sum."""
    return {figure.name: _json_value(figure) for figure in figures}


def _json_value(figure: Figure) -> Any:
    if len(figure.values) == 1 and not figure.values[0][0]:
        return _plain(figure.values[0][1])
    return [{**dict(labels), "value": _plain(value)} for labels, value in figure.values]


def _plain(value: float | Histogram) -> Any:
    if isinstance(value, Histogram):
        return {"le": list(value.bounds), "counts": list(value.counts), "sum": value.sum}
    return value
