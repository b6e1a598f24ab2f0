"""The words all renderers share: how a run is summed up, how a test, a duration and a number are written."""

from __future__ import annotations

from enum import StrEnum

from report_merge.lighthouse_results import LighthouseReport
from report_merge.model import Case, CaseKey, Report, Verdict


class Status(StrEnum):
    """The one word on a run. When several apply the first one does."""

    INCOMPLETE = "INCOMPLETE"  # tests without a verdict, shards that never came: never green
    FAILED = "FAILED"
    UNREADABLE = "UNREADABLE"  # every test that could be read passed, but not every file could be read
    PASSED = "PASSED"


STATUS_SYMBOL = {Status.INCOMPLETE: "❌", Status.FAILED: "❌", Status.UNREADABLE: "⚠️", Status.PASSED: "✅"}
VERDICT_SYMBOL = {
    Verdict.PASSED: "✓",
    Verdict.FAILED: "✗",
    Verdict.FLAKY: "~",
    Verdict.SKIPPED: "-",
    Verdict.NOT_RUN: "?",
}


def status(report: Report) -> Status:
    if report.incomplete:
        return Status.INCOMPLETE
    if report.totals.failed:
        return Status.FAILED
    return Status.UNREADABLE if report.problems else Status.PASSED


def symbol(report: Report, lighthouse: LighthouseReport | None = None) -> str:
    """The status as one character; a Lighthouse gate that does not hold is never shown as green."""
    holds = lighthouse is None or lighthouse.gate_holds
    return STATUS_SYMBOL[status(report)] if holds or status(report) is not Status.PASSED else "❌"


def headline(report: Report) -> str:
    """One sentence: the verdict and the number that matters."""
    totals = report.totals
    also = [f"{totals.failed:,} failed"] if totals.failed else []
    also += [f"{totals.flaky:,} flaky"] if totals.flaky else []
    also += [f"{count(len(report.problems), 'file')} not wholly readable"] if report.problems else []
    match status(report):
        case Status.INCOMPLETE if totals.tests == 0:
            return ", ".join(["INCOMPLETE: no test has run", *also])
        case Status.INCOMPLETE:
            lacking = (
                [f"{totals.not_run:,} of {count(totals.tests, 'test')} without a verdict"] if totals.not_run else []
            )
            lacking += [f"{count(len(report.missing), 'expected part')} missing"] if report.missing else []
            return "INCOMPLETE: " + ", ".join(lacking + also)
        case Status.FAILED:
            return f"{totals.failed:,} of {count(totals.tests, 'test')} failed" + "".join(f", {a}" for a in also[1:])
        case Status.UNREADABLE:
            return f"{count(len(report.problems), 'report file')} not wholly readable; {passed(report)}"
        case Status.PASSED:
            return passed(report)


def passed(report: Report) -> str:
    totals = report.totals
    words = [f"{count(totals.passed + totals.flaky, 'test')} passed"]
    words += [f"{totals.flaky:,} of them flaky"] if totals.flaky else []
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


def history(case: Case) -> str:
    """One character an attempt, oldest first: `✗✗✓`."""
    return "".join(
        "✗" if attempt.outcome.bad else "-" if attempt.outcome == "skipped" else "✓" for attempt in case.attempts
    )


def bar(share: float, width: int = 10) -> str:
    """`████████░░`: a share of 1 as text, which every place can show."""
    full = round(max(0.0, min(1.0, share)) * width)
    return "█" * full + "░" * (width - full)
