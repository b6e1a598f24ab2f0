"""What every page about a run shows and in which order, before it is written for one target.

The verdict, then what needs a person grouped by cause, then what does not come from this change, then where it ran.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter, defaultdict
from dataclasses import dataclass

from report_merge import failures
from report_merge.baseline import Comparison
from report_merge.failures import FailureGroup, FailureRules, FailureVerdict
from report_merge.failures.values import Values, values
from report_merge.model import Attachment, Case, FileProblem, MachineUse, Missing, Report, Verdict
from report_merge.render.links import quoted
from report_merge.render.wording import count, duration, title
from report_merge.sanitize import one_line, printable

SLOWEST_SHOWN = 10
ATTACHING = 10  # tests of a cause whose attachments are shown
MACHINES = 5  # named where a cause struck
OUTPUT_LINES = 15  # of the end of a test's output
HEAD_LINES = 25
TAIL_LINES = 10  # long assertions say `expected ... but was ...` at their end (apache/ozone#10857)
LINE_CHARACTERS = 500
_MARKER_LINE = re.compile(r"^[ \t]{0,20}\[\[ATTACHMENT\|[^\n]{0,1000}\]\][ \t]*\n?", re.MULTILINE)

_BROKEN_SURROUNDINGS = (
    FailureVerdict.ENVIRONMENT, FailureVerdict.INFRASTRUCTURE, FailureVerdict.SETUP, FailureVerdict.CANCELLED,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ShownTest:
    """A test that failed, with where to look and what it says. Raw text."""

    case: Case
    place: str  # `tests/cart.py:41`, or empty
    url: str  # of that line in the repository, or empty
    values: Values | None
    attachments: tuple[Attachment, ...]


@dataclass(frozen=True, slots=True)
class ShownGroup:
    """A cause with the word on where it comes from."""

    group: FailureGroup
    new: int | None  # how many of its tests did not fail on the baseline; None: there is none to compare with
    baseline: str = ""
    files_url: str = ""

    def tests(self, limit: int) -> list[ShownTest]:
        return [shown_test(case, self.files_url) for case in self.group.cases[:limit]]

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        return tuple(one for test in self.tests(ATTACHING) for one in test.attachments)

    @property
    def where(self) -> str:
        """`failed 4 times: 3 on moruk, 1 on pi`; empty when it failed once and nobody knows where."""
        bad = [a.machine for case in self.group.cases for a in case.attempts if a.outcome.bad]
        machines = Counter(machine for machine in bad if machine).most_common()
        if len(bad) > 1 and len(set(bad)) == len(machines) == 1:
            return f"failed {len(bad):,} times on {one_line(machines[0][0], 60)}"
        named = [f"{number:,} on {one_line(machine, 60)}" for machine, number in machines[:MACHINES]]
        named += [f"and on {count(len(machines) - MACHINES, 'more machine')}"] if len(machines) > MACHINES else []
        if len(bad) > 1:
            return f"failed {len(bad):,} times" + (f": {', '.join(named)}" if named else "")
        return f"failed on {one_line(machines[0][0], 60)}" if machines else ""

    @property
    def elsewhere(self) -> bool:
        """Whether nothing of it can come from this change."""
        return self.group.verdict is FailureVerdict.FLAKY or self.new == 0 or self.known

    @property
    def known(self) -> bool:
        """Whether somebody has taken on every failure of it."""
        return all(case.known and not case.known.expired for case in self.group.cases)

    @property
    def symbol(self) -> str:
        if self.group.verdict is FailureVerdict.FLAKY:
            return "🟡"
        if self.new == 0 or self.known:
            return "🟠"
        return "⚙️" if self.group.verdict in _BROKEN_SURROUNDINGS else "🔴"

    @property
    def colour(self) -> str:
        """The same as a word, for places that draw it themselves."""
        return {"🟡": "flaky", "🟠": "old", "⚙️": "surroundings", "🔴": "failed"}[self.symbol]

    @property
    def blame(self) -> str:
        """Whose trouble it is, in one or two words."""
        if self.group.verdict is FailureVerdict.FLAKY:
            return "flaky"
        if self.known:
            return "known"
        if self.new == 0:
            return f"also fails on {self.baseline}"
        return f"new, {self.group.verdict}" if self.new else str(self.group.verdict)


@dataclass(frozen=True, slots=True)
class MachineRow:
    machine: MachineUse
    busy_share: float | None  # of its time; None when nothing is known about it


@dataclass(frozen=True, slots=True)
class MissingGroup:
    """What was expected and never came for one reason."""

    what: str  # "shard", "attempt" or "test"
    names: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    report: Report
    comparison: Comparison | None
    attention: tuple[ShownGroup, ...]
    elsewhere: tuple[ShownGroup, ...]
    missing: tuple[MissingGroup, ...]
    machines: tuple[MachineRow, ...]
    slowest: tuple[Case, ...]
    lossy: tuple[FileProblem, ...]  # files of which something is lost
    repaired: tuple[FileProblem, ...]  # files that were damaged and are whole again


def view(report: Report, comparison: Comparison | None, rules: FailureRules | None = None) -> View:
    new_keys = comparison.new_keys() if comparison else frozenset()
    label = comparison.label if comparison else ""
    shown = [
        ShownGroup(
            group,
            sum(case.key in new_keys for case in group.cases) if comparison else None,
            label,
            report.context.files_url,
        )
        for group in failures.group(report.eventful, rules=rules)
    ]
    attention = sorted((s for s in shown if not s.elsewhere), key=lambda s: s.new is None or s.new == 0)
    return View(
        report=report,
        comparison=comparison,
        attention=tuple(attention),
        elsewhere=tuple(s for s in shown if s.elsewhere),
        missing=missing_groups(report),
        machines=tuple(MachineRow(machine, _busy_share(machine)) for machine in report.machines),
        slowest=tuple(
            heapq.nlargest(SLOWEST_SHOWN, (c for c in report.eventful if c.attempts), key=lambda c: c.seconds)
        ),
        lossy=tuple(problem for problem in report.problems if not problem.lossless),
        repaired=tuple(problem for problem in report.problems if problem.lossless),
    )


def duplicates_sentence(report: Report) -> str:
    """How many tests stand in several files of one attempt; empty when none does."""
    if not report.duplicate_count:
        return ""
    stand = "stands" if report.duplicate_count == 1 else "stand"
    return (
        f"{count(report.duplicate_count, 'test')} {stand} in several files of one attempt; the worst outcome counts. "
        "Tests of their own need names of their own; retries need an attempt number in the path"
    )


def shown_test(case: Case, files_url: str) -> ShownTest:
    bad = next((attempt for attempt in reversed(case.attempts) if attempt.outcome.bad), None)
    place = case.source or (case.key.file if case.line else "")
    line = f"#L{case.line}" if case.line else ""
    return ShownTest(
        case=case,
        place=f"{place}:{case.line}" if place and case.line else place,
        url=f"{files_url}{quoted(case.source)}{line}" if files_url and case.source else "",
        values=values(bad.message, bad.text) if bad else None,
        attachments=tuple(attachment for attempt in case.attempts for attachment in attempt.attachments),
    )


def missing_groups(report: Report) -> tuple[MissingGroup, ...]:
    """Expected parts that never came and tests without a verdict: each reason once, however many it stopped."""
    not_run = (case for case in report.eventful if case.verdict is Verdict.NOT_RUN)
    missing = (*report.missing, *(Missing(what="test", name=title(c.key), reason=c.reason) for c in not_run))
    names: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for one in missing:
        names[one.what, one.reason].append(one.name)
    return tuple(MissingGroup(what, tuple(named), reason) for (what, reason), named in names.items())


def _busy_share(machine: MachineUse) -> float | None:
    if machine.idle_seconds <= 0 and not machine.spans:  # nobody has told when it had nothing to do
        return None
    total = machine.busy_seconds + machine.idle_seconds
    return machine.busy_seconds / total if total > 0 else None


def context_parts(report: Report, comparison: Comparison | None) -> list[str]:
    """Which run this is, in the order people look for it. Raw text."""
    context = report.context
    run = f"run {context.run_id}" if context.run_id else ""
    if context.attempt > 1:
        run = f"{run} attempt {context.attempt}".strip()
    machines = len(report.machines)
    wall = duration(report.wall_seconds) if report.wall_seconds is not None else ""
    if wall and comparison and comparison.wall_seconds is not None:
        wall += f" ({signed_duration((report.wall_seconds or 0) - comparison.wall_seconds)} vs {comparison.label})"
    fleet = f"{machines} machine{'s' if machines != 1 else ''}" if machines else ""
    parts = [context.title or context.repository, context.branch, context.sha[:7], run, fleet, wall]
    return [part for part in parts if part]


def signed_duration(seconds: float) -> str:
    if abs(seconds) < 0.05:
        return "±0s"
    return ("+" if seconds > 0 else "−") + duration(abs(seconds))


def balance(report: Report) -> str:
    """How well the work was spread: the time it took against others, such as the planned one; empty when unknown."""
    took = [] if report.wall_seconds is None else [("took", report.wall_seconds)]
    known = [f"{word} {duration(seconds)}" for word, seconds in (*took, *report.compared_times)]
    return ", ".join(known) if len(known) > 1 else ""


def spent(report: Report) -> str:
    """What the time went into: `1m10s tests, 12.0s runner overhead`; what is under a hundredth is left out."""
    least = max(0.05, sum(seconds for _, seconds in report.spent_times) / 100)
    parts = [f"{duration(seconds)} {one_line(name)}" for name, seconds in report.spent_times if seconds >= least]
    return ", ".join(parts)


def output_tail(case: Case) -> list[tuple[str, str]]:
    """The last lines that a failed test wrote, by the name of the stream."""
    bad = next((attempt for attempt in reversed(case.attempts) if attempt.outcome.bad), None)
    streams = (("stdout", bad.stdout), ("stderr", bad.stderr)) if bad else ()
    tails = ((name, excerpt(without_markers(printable(text))[-20_000:], 0, OUTPUT_LINES)) for name, text in streams)
    return [(name, text) for name, text in tails if text.strip()]


def without_markers(text: str) -> str:
    """`text` without the lines that only name attachments."""
    return _MARKER_LINE.sub("", text).strip("\n")


def excerpt(text: str, head: int = HEAD_LINES, tail: int = TAIL_LINES) -> str:
    """The first and last lines of `text`, each cut where nobody reads on; the gap says how many lines it stands for."""
    lines = text.strip("\n").split("\n")
    if len(lines) > head + tail + 1:
        gap = f"... {len(lines) - head - tail} more lines ..."
        lines = [*lines[:head], gap, *(lines[-tail:] if tail else [])]
    return "\n".join(line if len(line) <= LINE_CHARACTERS else line[:LINE_CHARACTERS] + "…" for line in lines)
