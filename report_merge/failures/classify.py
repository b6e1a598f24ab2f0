"""Text -> the Finding that decides, and failed tests -> one group for each cause."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import report_merge.failures.fingerprint as fingerprints
from report_merge.failures.rules import FailureRules, FailureVerdict, RetryAdvice, Rule, load_rules
from report_merge.model import Attempt, Case, Cause, Verdict
from report_merge.sanitize import first_line, one_line, strip_ansi

SCANNED_CHARACTERS = 256 * 1024  # of the end of a text: where programs say why they stop
EVIDENCE_CHARACTERS = 300
UNKNOWN_HINT = "No rule knows this text. If it comes again, give it a rule of its own (docs/failure-analysis.md)."

# Lines of source code that pytest and Playwright quote: `assert "ENOSPC" in log` is not a full disk.
_QUOTED_SOURCE = re.compile(r"^(?:>  |[ >]{0,4} {0,6}\d{1,6} \|)[^\n]*", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Why something failed, and the words that say so."""

    verdict: FailureVerdict
    category: str
    retry: RetryAdvice
    hint: str
    rule: str  # its id; empty when no rule matched
    evidence: str = ""  # the matched line, or the exit code or signal
    offset: int | None = None  # of the match in the text without escape sequences; None: nothing in it matched
    line: int | None = None  # the same as a line number, from 1


@dataclass(frozen=True, slots=True)
class _Scanned:
    text: str
    skipped: int  # characters before it
    skipped_lines: int


UNKNOWN = Finding(
    verdict=FailureVerdict.UNKNOWN, category="unknown", retry=RetryAdvice.ONCE, hint=UNKNOWN_HINT, rule=""
)


def classify(
    text: str,
    *,
    message: str = "",
    exit_code: int | None = None,
    signal: str | None = None,
    source: str = "",
    rules: FailureRules | None = None,
) -> Finding:
    """The first rule that matches `message` or the last 256 Ki characters of `text`; else one for how it ended.

    `signal` is a name such as "SIGKILL". `source` says where the text comes from ("test", "ssh", "runner", "cancel").
    Never raises: a text nobody knows is `unknown`, which is worth one more try.
    """
    return next(
        _findings(text, message=message, exit_code=exit_code, signal=signal, source=source, rules=rules), UNKNOWN
    )


def explain(
    text: str,
    *,
    message: str = "",
    exit_code: int | None = None,
    signal: str | None = None,
    source: str = "",
    rules: FailureRules | None = None,
) -> list[Finding]:
    """Every rule that matches, in the order they are asked: the first one is what `classify` says."""
    return list(_findings(text, message=message, exit_code=exit_code, signal=signal, source=source, rules=rules))


def _findings(
    text: str, *, message: str, exit_code: int | None, signal: str | None, source: str, rules: FailureRules | None
) -> Iterator[Finding]:
    rules = rules or load_rules()
    scanned = _scan(f"{message}\n{text}" if message and message not in text else text)
    for rule, match in rules.by_text(scanned.text, source):
        yield _finding(rule, scanned, match.start(), match.end())
    for rule in rules.by_ending(exit_code, signal or "", source):
        ending = signal if signal in rule.signal else f"exit code {exit_code}"
        yield replace(_finding(rule), evidence=str(ending))


def _scan(text: str) -> _Scanned:
    text = strip_ansi(text)
    skipped = max(0, len(text) - SCANNED_CHARACTERS)
    lines_before = text.count("\n", 0, skipped)
    text = text[skipped:]
    if ">  " in text or " |" in text:
        text = _QUOTED_SOURCE.sub(lambda match: " " * len(match[0]), text)
    return _Scanned(text, skipped, lines_before)


def _finding(rule: Rule, scanned: _Scanned | None = None, start: int = 0, end: int = 0) -> Finding:
    finding = Finding(verdict=rule.verdict, category=rule.category, retry=rule.retry, hint=rule.hint, rule=rule.id)
    if scanned is None:
        return finding
    line_start = scanned.text.rfind("\n", 0, start) + 1
    line_end = scanned.text.find("\n", end)
    line = scanned.text[line_start : line_end if line_end >= 0 else None]
    if start - line_start > EVIDENCE_CHARACTERS // 2:  # a long line: show it around the match
        line = scanned.text[start - 100 : start + EVIDENCE_CHARACTERS]
    return replace(
        finding,
        evidence=one_line(line, EVIDENCE_CHARACTERS),
        offset=scanned.skipped + start,
        line=scanned.skipped_lines + scanned.text.count("\n", 0, start) + 1,
    )


# One outage breaks tests in many files: where the trouble is not the code, the stack frame must not tell them apart.
_FRAME_MATTERS = (FailureVerdict.PRODUCT, FailureVerdict.TEST, FailureVerdict.UNKNOWN)


def fingerprint(finding: Finding, kind: str, message: str, text: str) -> str:
    """12 hexadecimal digits that are the same for one cause, whichever machine, worker or line it struck."""
    with_frame = finding.verdict in _FRAME_MATTERS
    return fingerprints.fingerprint(finding.category, kind, message, text, with_frame=with_frame)


def loose_fingerprint(finding: Finding, kind: str, message: str, text: str) -> str:
    """12 hexadecimal digits over category and exception type only: joins variations of one cause."""
    return fingerprints.loose_fingerprint(finding.category, kind, message, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """The tests that one cause broke."""

    fingerprint: str
    finding: Finding
    verdict: FailureVerdict  # FLAKY when every test of the group passed in the end; else the finding's
    title: str  # the first line of the message, or of the text
    sample: Attempt  # the failed attempt that stands for all
    cases: tuple[Case, ...]

    @property
    def machines(self) -> tuple[str, ...]:
        """Where it failed."""
        return tuple(sorted({a.machine for case in self.cases for a in case.attempts if a.outcome.bad and a.machine}))


# What needs a person first. Flaky tests come last: they are said, but they must not drown real failures.
_NEED = (
    FailureVerdict.PRODUCT,
    FailureVerdict.TEST,
    FailureVerdict.UNKNOWN,
    FailureVerdict.SETUP,
    FailureVerdict.ENVIRONMENT,
    FailureVerdict.INFRASTRUCTURE,
    FailureVerdict.CANCELLED,
    FailureVerdict.FLAKY,
)


def group(cases: Iterable[Case], *, rules: FailureRules | None = None) -> tuple[FailureGroup, ...]:
    """The failed and flaky ones among `cases`, one group for each cause: those that need a person most come first.

    The last failed attempt of a test says why. Flaky tests have groups of their own.
    """
    rules = rules or load_rules()
    members: defaultdict[tuple[bool, str], list[tuple[Case, Attempt, Finding]]] = defaultdict(list)
    for case in cases:
        if case.verdict not in (Verdict.FAILED, Verdict.FLAKY):
            continue
        attempt = next(attempt for attempt in reversed(case.attempts) if attempt.outcome.bad)
        finding, print_ = _known(attempt.cause, rules) or _cause(*_said(attempt), rules)
        members[case.verdict is Verdict.FLAKY, print_].append((case, attempt, finding))
    groups = [_failure_group(flaky, print_, found) for (flaky, print_), found in members.items()]
    return tuple(sorted(groups, key=lambda g: (_NEED.index(g.verdict), -len(g.cases))))


def cause_of(attempt: Attempt, rules: FailureRules) -> Cause:
    """Why a failed attempt failed, to be kept with it where its texts will be cut."""
    finding, print_ = _cause(*_said(attempt), rules)
    return Cause(
        fingerprint=print_, rule=finding.rule, evidence=finding.evidence, offset=finding.offset, line=finding.line
    )


def _said(attempt: Attempt) -> tuple[str, str, str]:
    return attempt.kind, attempt.message, attempt.text or attempt.stderr[-8000:]


# One cause breaks many tests, and one report is rendered several times. The texts themselves would be too much to keep.
_remembered: dict[tuple[FailureRules, int, int, int], tuple[Finding, str]] = {}
_MOST_REMEMBERED = 16_384


def _cause(kind: str, message: str, text: str, rules: FailureRules) -> tuple[Finding, str]:
    key = (rules, hash(kind), hash(message), hash(text))
    known = _remembered.get(key)
    if known is None:
        if len(_remembered) >= _MOST_REMEMBERED:
            _remembered.clear()
        known = _remembered[key] = _found_cause(kind, message, text, rules)
    return known


def _found_cause(kind: str, message: str, text: str, rules: FailureRules) -> tuple[Finding, str]:
    said = message if not kind or kind in message or kind in text else f"{kind}: {message}"
    finding = classify(text, message=said, source="test", rules=rules)
    return finding, fingerprint(finding, kind, message, text)


def _known(cause: Cause | None, rules: FailureRules) -> tuple[Finding, str] | None:
    """What a cause says, if these rules know its rule."""
    if cause is None:
        return None
    finding = UNKNOWN
    if cause.rule:
        rule = next((rule for rule in rules.rules if rule.id == cause.rule), None)
        if rule is None:
            return None
        finding = _finding(rule)
    return replace(finding, evidence=cause.evidence, offset=cause.offset, line=cause.line), cause.fingerprint


def _failure_group(flaky: bool, print_: str, found: list[tuple[Case, Attempt, Finding]]) -> FailureGroup:  # noqa: FBT001
    _, sample, finding = found[0]
    return FailureGroup(
        fingerprint=print_,
        finding=finding,
        verdict=FailureVerdict.FLAKY if flaky else finding.verdict,
        title=first_line(sample.message) or first_line(sample.text) or sample.kind or "no message",
        sample=sample,
        cases=tuple(case for case, _, _ in found),
    )
