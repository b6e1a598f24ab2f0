"""The words all renderers share: how a run is summed up, how a test, a duration and a number are written."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from report_merge.baseline import Comparison
from report_merge.lighthouse.results import LighthouseReport
from report_merge.model import Case, CaseKey, Report
from report_merge.sanitize import one_line
from report_merge.triage.history import flaky_among


class Status(StrEnum):
    """The one word on a run. When several apply the first one does."""

    INTERRUPTED = "INTERRUPTED"  # by a signal: only whoever ran it can say so
    INCOMPLETE = "INCOMPLETE"  # tests without a verdict, shards that never came, nothing that ran: never green
    FAILED = "FAILED"
    UNREADABLE = "UNREADABLE"  # every test that could be read passed, but not every file could be read
    PASSED = "PASSED"


STATUS_SYMBOL = {
    Status.INTERRUPTED: "❌",
    Status.INCOMPLETE: "❌",
    Status.FAILED: "❌",
    Status.UNREADABLE: "⚠️",
    Status.PASSED: "✅",
}


def status(report: Report, lighthouse: LighthouseReport | None = None) -> Status:
    """The word of whoever ran it, where there is one; else what cases, files and Lighthouse results say."""
    if report.verdict and (lighthouse is None or report.verdict != Status.PASSED):
        return Status(report.verdict)
    if report.incomplete:
        return Status.INCOMPLETE
    if report.totals.failed > report.totals.known or not gate_holds(lighthouse):
        return Status.FAILED
    return Status.UNREADABLE if report.problems or (lighthouse and lighthouse.problems) else Status.PASSED


def gate_holds(lighthouse: LighthouseReport | None) -> bool:
    return lighthouse is None or lighthouse.gate_holds


def symbol(report: Report, lighthouse: LighthouseReport | None = None) -> str:
    """The status as one character; what proves nothing and a Lighthouse gate that does not hold are never green."""
    if (word := status(report, lighthouse)) is not Status.PASSED:
        return STATUS_SYMBOL[word]
    return "⚠️" if nothing_passed(report.totals.tests, report.totals.skipped) else STATUS_SYMBOL[Status.PASSED]


def headline(report: Report) -> str:
    """One sentence: the verdict and the number that matters."""
    totals = report.totals
    flaky = [f"{totals.flaky:,} flaky"] if totals.flaky else []
    known = [count(totals.known, "known failure")] if totals.known else []
    unread = [f"{count(len(report.problems), 'file')} not wholly readable"] if report.problems else []
    match status(report):
        case Status.INTERRUPTED | Status.INCOMPLETE as word:
            failed = [f"{totals.failed - totals.known:,} failed"] if totals.failed > totals.known else []
            return f"{word}: " + ", ".join([*_lacking(report), *failed, *known, *flaky, *unread])
        case Status.FAILED if not totals.failed:
            return ", ".join([f"FAILED: {totals.flaky:,} of {count(totals.tests, 'test')} flaky", *unread])
        case Status.FAILED:
            failed = [f"{totals.failed - totals.known:,} of {count(totals.tests, 'test')} failed"]
            return ", ".join([*failed, *known, *flaky, *unread])
        case Status.UNREADABLE:
            return f"{count(len(report.problems), 'report file')} not wholly readable; {passed(report)}"
        case Status.PASSED:
            return passed(report)


def _lacking(report: Report) -> list[str]:
    """What keeps a run from a verdict; when that is nothing, how far it came."""
    totals = report.totals
    if totals.tests == 0:
        return ["no test has run"]
    lacking = [f"{totals.not_run:,} of {count(totals.tests, 'test')} without a verdict"] if totals.not_run else []
    lacking += [f"{count(len(report.missing), 'expected part')} missing"] if report.missing else []
    nothing = nothing_passed(totals.tests, totals.skipped)
    return lacking or [nothing or one_line(report.reason, 200) or f"{count(totals.tests, 'test')} with a verdict"]


def nothing_passed(tests: int, skipped: int) -> str:
    """That every test was skipped, which proves nothing; empty when any of them ran, or none was expected."""
    if not tests or skipped < tests:
        return ""
    all_of_them = f"all {tests:,} tests were" if tests > 1 else "the only test was"
    return f"nothing passed: {all_of_them} skipped"


def passed(report: Report) -> str:
    totals = report.totals
    if nothing := nothing_passed(totals.tests, totals.skipped):
        return nothing
    words = [f"{count(totals.passed + totals.flaky, 'test')} passed"]
    words += [f"{totals.flaky:,} of them flaky"] if totals.flaky else []
    words += [count(totals.known, "known failure")] if totals.known else []
    words += [f"{totals.skipped:,} skipped"] if totals.skipped else []
    return ", ".join(words)


def counts(report: Report) -> str:
    """Every number, in the order and words that scripts may rely on."""
    t = report.totals
    return (
        f"{t.tests} test{'' if t.tests == 1 else 's'}: {t.passed} passed, {t.failed} failed, {t.flaky} flaky, "
        f"{t.skipped} skipped, {t.not_run} not run"
    )


def count(number: int, noun: str) -> str:
    """`1 test`, `1,234 tests`."""
    plural = noun if number == 1 else noun[:-1] + "ies" if noun.endswith("ry") else noun + "s"
    return f"{number:,} {plural}"


def some(names: Sequence[str], most: int) -> str:
    """The first of many: `a, b and 3 more`."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def signed(number: int) -> str:
    """`+3`, `−3`, `±0`."""
    return f"+{number:,}" if number > 0 else f"−{-number:,}" if number < 0 else "±0"


def duration(seconds: float | None) -> str:
    """`0.12s`, `12.3s`, `3m12s`, `1h02m`; `?` when unknown."""
    if seconds is None or seconds != seconds or seconds < 0:  # noqa: PLR0124  NaN is not itself
        return "?"
    if seconds < 9.995:
        return f"{seconds:.2f}s"
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    whole = round(min(seconds, 1e9))
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m"


def title(key: CaseKey) -> str:
    """How a test is called: where it is, its name, and the project that ran it. Raw: escape it."""
    where = key.classname or key.file
    name = f"{where} › {key.name}" if where and where != key.name else key.name or "(no name)"
    name += f" ({key.ordinal + 1})" if key.ordinal else ""
    return f"{name} [{key.project}]" if key.project else name


def failed_on(case: Case, most: int = 3) -> list[str]:
    """The machines on which it failed, each once, oldest first; of more than `most` the rest is counted."""
    machines = list(dict.fromkeys(a.machine for a in case.attempts if a.outcome.bad and a.machine))
    more = len(machines) - most
    return [*machines[:most], f"{more} more"] if more > 0 else machines


def history(case: Case) -> str:
    """One character an attempt, oldest first: `✗✗✓`."""
    return "".join(
        "✗" if attempt.outcome.bad else "-" if attempt.outcome == "skipped" else "✓" for attempt in case.attempts
    )


def sparkline(earlier: str) -> str:
    """How a test ended in earlier runs, oldest first, as a line of bars: high is bad."""
    return "".join({".": "▁", "F": "█", "~": "▅"}.get(one, "·") for one in earlier)


def past(case: Case) -> str:
    """Since when a test fails, and how often it was flaky in earlier runs; empty when neither is known. Raw text."""
    parts = [f"fails since {case.since}"] if case.since else []
    flaky, executed = flaky_among(case.history)
    parts += [f"flaky in {flaky} of {count(executed, 'run')}"] if flaky else []
    return ", ".join(parts)


def changes(comparison: Comparison) -> str:
    """`since main 1a2b3c4: 2 new failures, 1 still failing, 1 fixed`; empty when nothing changed. Raw text."""
    new, still = len(comparison.new_failures), len(comparison.still_failing)
    fixed, flaky = len(comparison.fixed), len(comparison.newly_flaky)
    parts = [count(new, "new failure")] if new else []
    parts += [f"{number:,} {word}" for number, word in ((still, "still failing"), (fixed, "fixed")) if number]
    parts += [f"{flaky:,} newly flaky"] if flaky else []
    return f"since {comparison.label}: {', '.join(parts)}" if parts else ""


def known_words(case: Case) -> str:
    """Who has taken the failure on, why and until when; empty when nobody has."""
    if case.known is None:
        return ""
    until = f"was known until {case.known.expires}" if case.known.expired else f"known until {case.known.expires}"
    return f"{until}: {case.known.reason} ({case.known.owner})"


def bar(share: float, width: int = 10) -> str:
    """`████████░░`: a share of 1 as text, which every place can show."""
    full = round(max(0.0, min(1.0, share)) * width)
    return "█" * full + "░" * (width - full)
