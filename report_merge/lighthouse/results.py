"""What Lighthouse measured, what was asserted about it, and whether two measurements may be compared at all."""

from __future__ import annotations

from dataclasses import dataclass

from report_merge.model import FileProblem

BENCHMARK_TOLERANCE = 0.15  # two CPUs further apart than this are not comparable (kestra-io/docs#5707)
MIN_DELTA = 3  # points; smaller ones are noise


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The median of several runs with its extremes; `median` is None when no run measured it, which is not 0."""

    id: str
    title: str
    median: float | None  # a score in points of 100, or a metric in its unit
    low: float = 0.0
    high: float = 0.0
    runs: int = 0
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """What `lhci assert` found. It takes the best of all runs unless told otherwise, so the values are kept."""

    url: str
    name: str  # minScore, maxNumericValue, maxLength, auditRan
    audit: str
    title: str
    expected: float | str
    actual: float | None
    values: tuple[float, ...]
    operator: str
    level: str  # "error" fails the gate, "warn" does not
    passed: bool
    docs: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    url: str
    runs: int
    scores: tuple[Spread, ...]
    metrics: tuple[Spread, ...]
    error: str = ""  # why Lighthouse could not measure it
    warnings: tuple[str, ...] = ()
    link: str = ""
    versions: tuple[str, ...] = ()
    form_factor: str = ""
    throttling: str = ""
    benchmark: float | None = None  # the median benchmarkIndex: how fast the CPU was


@dataclass(frozen=True, slots=True, kw_only=True)
class LighthouseReport:
    pages: tuple[Page, ...] = ()
    assertions: tuple[Assertion, ...] = ()
    problems: tuple[FileProblem, ...] = ()  # what should have been a result and cannot be used
    notes: tuple[FileProblem, ...] = ()  # other files in the same folder
    baseline: tuple[Page, ...] = ()  # the pages of an earlier report, to show changes against

    @property
    def failed(self) -> tuple[Assertion, ...]:
        """Failed assertions, errors first."""
        failed = (assertion for assertion in self.assertions if not assertion.passed)
        return tuple(sorted(failed, key=lambda assertion: assertion.level != "error"))

    @property
    def broken(self) -> frozenset[tuple[str, str, str]]:
        """What keeps the gate from holding: failed assertions of level `error`, and pages nobody could measure."""
        failed = {(a.url, a.audit, a.name) for a in self.failed if a.level == "error"}
        return frozenset(failed | {(page.url, "", "measured") for page in self.pages if page.error})

    @property
    def gate_holds(self) -> bool:
        return not self.broken

    @property
    def not_measured_again(self) -> tuple[str, ...]:
        """The URLs of the baseline that this report says nothing about."""
        measured = {page.url for page in self.pages}
        return tuple(page.url for page in self.baseline if page.url not in measured)


@dataclass(frozen=True, slots=True)
class Delta:
    """The change of one score since the baseline, or why there is none to speak of."""

    points: float | None
    reason: str = ""


def delta(now: Page, before: Page | None, category: str) -> Delta:
    """The change of a category's median, if it can be told from noise.

    Not comparable: another version, form factor or throttling, CPUs more than 15 % apart. Noise: not more than 3 points
    or not more than the spread of the runs.
    """
    if reason := _not_comparable(now, before):
        return Delta(None, reason)
    one, other = (next((s for s in page.scores if s.id == category), None) for page in (now, before) if page)
    if one is None or other is None or one.median is None or other.median is None:
        return Delta(None, "not measured")
    points = one.median - other.median
    spread = max(one.high - one.low, other.high - other.low)
    return Delta(points) if abs(points) > max(MIN_DELTA, spread) else Delta(0.0, "within the noise")


def _not_comparable(now: Page, before: Page | None) -> str:
    if before is None:
        return "not on the baseline"
    if now.versions != before.versions:
        return "not comparable: another Lighthouse version"
    if (now.form_factor, now.throttling) != (before.form_factor, before.throttling):
        return "not comparable: other settings"
    if not now.benchmark or not before.benchmark:
        return "not comparable: the speed of the CPU is unknown"
    if abs(now.benchmark - before.benchmark) / max(now.benchmark, before.benchmark) > BENCHMARK_TOLERANCE:
        return "not comparable: another CPU"
    return ""
