"""One test over all runs that had it: verdicts, durations, machines, how flaky it is. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from ci_dispatch.core import codec
from ci_dispatch.core.model import MachineName, RunId, TestId, Verdict
from ci_dispatch.history.values import KnownTest, PastAttempt, PastRun, PastTest
from ci_dispatch.planning.samples import DurationSample

_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePast:
    """What a test did on one machine."""

    name: str
    attempts: int
    failed: int
    median: float | None  # seconds of those that passed; None: none did


@dataclass(frozen=True, slots=True, kw_only=True)
class TestPast:
    """A test with what became of it, oldest run first."""

    __test__ = False  # for pytest: this is not a test class

    test: KnownTest
    runs: Sequence[tuple[PastRun, PastTest]]

    @property
    def verdicts(self) -> Counter[Verdict]:
        """Of the runs in which it has one."""
        return Counter(test.verdict for _, test in self.runs if test.verdict is not Verdict.NOT_RUN)

    @property
    def flaky_rate(self) -> float | None:
        """Share of the runs that executed it in which it failed and then passed, 0 to 1; None: there is none."""
        executed = sum(self.verdicts[verdict] for verdict in (Verdict.PASSED, Verdict.FAILED, Verdict.FLAKY))
        return self.verdicts[Verdict.FLAKY] / executed if executed else None

    @property
    def attempts(self) -> list[PastAttempt]:
        return [attempt for _, test in self.runs for attempt in test.attempts]

    @property
    def passes(self) -> list[float]:
        """Seconds of the attempts that passed, oldest first."""
        return [one.seconds for one in self.attempts if one.verdict is Verdict.PASSED and one.seconds is not None]

    @property
    def machines(self) -> list[MachinePast]:
        """Those that had it, by name; attempts of which no machine is known have the name "?"."""
        names = sorted({one.machine for one in self.attempts if one.at})
        return [_on(name, [one for one in self.attempts if one.machine == name]) for name in names]

    @property
    def failures(self) -> list[tuple[PastRun, PastAttempt]]:
        """Attempts that failed, or passed only when the runner itself tried again, oldest first."""
        bad = (Verdict.FAILED, Verdict.FLAKY)
        return [(run, one) for run, test in self.runs for one in test.attempts if one.verdict in bad]


def _on(name: str, attempts: Sequence[PastAttempt]) -> MachinePast:
    seconds = [one.seconds for one in attempts if one.verdict is Verdict.PASSED and one.seconds is not None]
    return MachinePast(
        name=name or "?",
        attempts=len(attempts),
        failed=sum(one.verdict is Verdict.FAILED for one in attempts),
        median=median(seconds) if seconds else None,
    )


def sample_of(test: KnownTest, run: RunId, attempt: PastAttempt) -> DurationSample:
    """What a timed attempt says about how long its test takes."""
    assert attempt.seconds is not None
    return DurationSample(
        test=test.id,
        file=test.file,
        project=test.project,
        machine=MachineName(attempt.machine),
        run=run,
        at=attempt.at,
        seconds=attempt.seconds,
        verdict=attempt.verdict,
        busy=attempt.busy,
        workers=attempt.workers,
        speed=attempt.speed,
    )


def newest(found: Iterable[DurationSample], each: int) -> list[DurationSample]:
    """Of samples that are the newest of each test first: `each` of every test and verdict, oldest first."""
    kept: list[DurationSample] = []
    seen: Counter[tuple[TestId, Verdict]] = Counter()
    places: dict[TestId, DurationSample] = {}
    for sample in sorted(found, key=lambda sample: sample.at, reverse=True):
        last = places.setdefault(sample.test, sample)
        seen[sample.test, sample.verdict] += 1
        if seen[sample.test, sample.verdict] <= each:
            same = (sample.file, sample.project) == (last.file, last.project)
            kept.append(sample if same else codec.replace(sample, file=last.file, project=last.project))
    return kept[::-1]


def matching(tests: Iterable[KnownTest], wanted: str) -> list[KnownTest]:
    """The test of this id; or else those of which `wanted` is a piece of id, name or file, whatever the case."""
    found = {test.id: test for test in tests}  # of a test that was renamed the latest name
    if exact := [test for test in found.values() if test.id == wanted]:
        return exact
    piece = wanted.casefold()
    return [test for test in found.values() if any(piece in one.casefold() for one in (test.id, test.name, test.file))]


def bars(values: Sequence[float]) -> str:
    """A line of bars, the highest value the highest bar; 0 is the lowest."""
    most = max(values, default=0.0)
    return "".join(_BARS[round(value / most * (len(_BARS) - 1)) if most > 0 else 0] for value in values)
