"""What Slack shows of a run: pure functions from state and report to messages, bounded however large the run is."""

from __future__ import annotations

from collections.abc import Sequence

from ci_dispatch.reporters.counts import run_counts
from ci_dispatch.reporters.slack import blocks as b
from ci_dispatch.reporters.slack.blocks import Block, SlackMessage
from ci_dispatch.reporters.slack.transitions import Transition, VerdictChange
from ci_dispatch.reporters.terminal.cells import UNICODE, text_of
from ci_dispatch.reporters.terminal.view import render
from ci_dispatch.run.state import RunState
from report_merge.baseline import Comparison
from report_merge.failures import FailureGroup, FailureVerdict
from report_merge.model import Case, Report, RunContext
from report_merge.render.view import missing_groups
from report_merge.render.wording import (
    Status,
    changes,
    count,
    duration,
    headline,
    history,
    nothing_passed,
    past,
    status,
    title,
)
from report_merge.sanitize import one_line, printable

BAR_COLUMNS = 56  # fits a phone held sideways, and has a bar
BAR_ROWS = 24  # of an imagined terminal: fifteen machines and the total
GROUPS = 5  # causes in the message
REPLIES = 7  # causes with a reply of their own: at one message a second they fit into the end of a run
SAMPLE_LINES, SAMPLE_CHARACTERS = 20, 2500
TESTS_NAMED = 5
WARNINGS = 3  # the newest ones
REASONS = 3  # why tests have no verdict

_SIGNS = {
    Status.PASSED: "🟢",
    Status.FAILED: "🔴",
    Status.INTERRUPTED: "🟣",
    Status.INCOMPLETE: "🟣",
    Status.UNREADABLE: "🟠",
}


def live(state: RunState, now: float, context: RunContext) -> SlackMessage:
    """A run that goes on: how far, a bar for each machine."""
    counts = run_counts(state)
    left = state.remaining_seconds(now)
    parts = [f"{counts.done}/{counts.total}", f"{counts.percent}%"]
    parts += [f"{counts.failed} failed"] if counts.failed else []
    parts += [f"~{_rough(left)} left"] if left is not None and left >= 1 else []
    line = " · ".join(parts)
    shown = [b.header(line), b.context(_origin(context)), _machines(state, now)]
    shown += [block] if (block := b.links([("Run", context.url)])) else []
    return SlackMessage(b.sentence(f"{context.title}: {line}"), tuple(shown))


def final(
    state: RunState,
    report: Report,
    groups: Sequence[FailureGroup],
    change: VerdictChange,
    comparison: Comparison | None = None,
) -> SlackMessage:
    """How a run ended: the verdict, the numbers, what broke and whether that is new, against an earlier run too."""
    context = report.context
    doubtful = report.totals.flaky or nothing_passed(report.totals.tests, report.totals.skipped)
    sign = "🟡" if status(report) is Status.PASSED and doubtful else _SIGNS[status(report)]
    word = {Transition.BROKEN: "Broken: ", Transition.FIXED: "Fixed: "}.get(change.transition, "")
    if change.transition is Transition.STILL_FAILING:
        word = f"Still failing ({_ordinal(change.runs)} run): "
    shown = [
        b.header(f"{sign} {word}{headline(report)}"),
        b.context([*_origin(context), duration(report.wall_seconds)]),
        _machines(state, state.now),
        b.fields(_numbers(state, report)),
    ]
    if groups:
        shown.append(b.rich(b.bullets(_cause(group, change) for group in groups[:GROUPS])))
    notes = [f"and {count(len(groups) - GROUPS, 'more cause')}"] if len(groups) > GROUPS else []
    notes += [one_line(changed, 160)] if comparison and (changed := changes(comparison)) else []
    notes += _missing(report)
    notes += [f"{one_line(w.source, 40)}: {one_line(w.text, 160)}" for w in state.warnings[-WARNINGS:]]
    if len(state.warnings) > WARNINGS:
        notes.append(f"and {count(len(state.warnings) - WARNINGS, 'more warning')}")
    if notes:
        shown.append(b.context(notes))
    if buttons := b.links([("Run", context.url), ("Report", context.report_url)]):
        shown.append(buttons)
    return SlackMessage(b.sentence(_summary(report, groups, change)), tuple(shown))


def _missing(report: Report) -> list[str]:
    """Why there is no verdict, the first reasons."""
    missing = missing_groups(report)
    notes = [
        f"{count(len(group.names), group.what)} not run: {one_line(group.reason, 300)}" for group in missing[:REASONS]
    ]
    more = sum(len(group.names) for group in missing[REASONS:])
    return [*notes, f"and {more:,} more not run for other reasons"] if more else notes


def with_mentions(message: SlackMessage, mentioned: Sequence[str]) -> SlackMessage:
    """The same, with the people of the configuration mentioned first: only a new message notifies, an edit does not."""
    if not mentioned:
        return message
    first, *rest = message.blocks
    return SlackMessage(message.text, (first, b.rich(b.mentions(mentioned)), *rest))


def mention_reply(context: RunContext, mentioned: Sequence[str]) -> SlackMessage:
    """The reply that mentions people when a run broke what had passed before."""
    where = " on " + context.branch if context.branch else ""
    text = f"{context.title} broke{where}."
    return SlackMessage(b.sentence(text), (b.rich(b.mentions(mentioned), b.section(b.text_of(one_line(text)))),))


def replies(groups: Sequence[FailureGroup], context: RunContext, change: VerdictChange) -> list[SlackMessage]:
    """One reply for each cause, the most needed first; what is left out is counted."""
    found = [_reply(group, context, change) for group in groups[:REPLIES]]
    if len(groups) > REPLIES:
        text = f"… and {count(len(groups) - REPLIES, 'more cause')}: see the report"
        found.append(SlackMessage(b.sentence(text), (b.context([text]),)))
    return found


def fixed_reply(context: RunContext, change: VerdictChange, now: float) -> SlackMessage:
    """Sent in the thread of the message about the break."""
    text = f"🟢 {_fixed(context, change, now)}"
    return SlackMessage(b.sentence(text), (b.rich(b.section(b.text_of(text))),))


def marked_fixed(change: VerdictChange, context: RunContext, now: float) -> SlackMessage | None:
    """The message about the break, with the repair on top; None when it is not known any more."""
    before = change.before
    if before is None or before.place is None:
        return None
    text = f"🟢 {_fixed(context, change, now)}"
    return SlackMessage(
        b.sentence(f"{text} Before: {before.text}"), (b.context([text]), *(dict(block) for block in before.blocks))
    )


def sample(context: RunContext) -> SlackMessage:
    """What `ci-dispatch notify --test` sends."""
    text = "This is a test of ci-dispatch: messages about runs will arrive here."
    return SlackMessage(
        b.sentence(text), (b.header("ci-dispatch can post to this channel"), b.context([text, *_origin(context)]))
    )


# -- parts ----------------------------------------------------------------------------------------------------------


def _origin(context: RunContext) -> list[str]:
    attempt = f"attempt {context.attempt}" if context.attempt > 1 else ""
    return [context.repository, context.title, context.branch, context.sha[:7], attempt]


def _machines(state: RunState, now: float) -> Block:
    lines = render(state, now, BAR_COLUMNS, BAR_ROWS, UNICODE)
    return b.rich(b.preformatted("\n".join(text_of(line) for line in lines)))


def _numbers(state: RunState, report: Report) -> list[tuple[str, str]]:
    totals, lost = report.totals, sum(machine.losses for machine in state.machines.values())
    numbers = [("Passed", str(totals.passed)), ("Failed", str(totals.failed)), ("Flaky", str(totals.flaky))]
    numbers += [("Skipped", str(totals.skipped))] if totals.skipped else []
    numbers += [("Not run", str(totals.not_run))] if totals.not_run else []
    makespan = state.finished.makespan if state.finished else None
    planned = f" (planned {duration(makespan.planned)})" if makespan and makespan.planned else ""
    numbers.append(("Took", f"{duration(report.wall_seconds)}{planned}"))
    numbers.append(("Machines", f"{len(state.machines)}" + (f", lost {count(lost, 'time')}" if lost else "")))
    numbers += [("Retried", count(len(state.retried), "test"))] if state.retried else []
    return numbers


def _cause(group: FailureGroup, change: VerdictChange) -> Block:
    first = group.cases[0]
    more = f" and {count(len(group.cases) - 1, 'more test')}" if len(group.cases) > 1 else ""
    return b.section(
        b.text_of(_label(group, change), bold=True),
        b.text_of("\n"),
        b.name(group.title or group.fingerprint, 200),
        b.text_of("\n"),
        b.name(title(first.key)),
        b.text_of(more or " "),
        *_past(first),
    )


def _past(case: Case) -> list[Block]:
    """Since when it fails and how flaky it was, where that is known."""
    return [b.text_of(f" {one_line(past(case), 120)}")] if past(case) else []


def blame(group: FailureGroup, change: VerdictChange) -> str:
    """Flaky, not the code at all, or of the code: new, or as before."""
    if group.verdict in (FailureVerdict.FLAKY, FailureVerdict.ENVIRONMENT, FailureVerdict.INFRASTRUCTURE):
        return str(group.verdict)
    if change.before is None:
        return str(group.verdict)
    return "as before" if group.fingerprint in change.before.fingerprints else "new"


def _label(group: FailureGroup, change: VerdictChange) -> str:
    word, category = blame(group, change), group.finding.category
    return category if category.startswith(word) else f"{word} · {category}"


def _reply(group: FailureGroup, context: RunContext, change: VerdictChange) -> SlackMessage:
    tests: list[Block] = []
    for case in group.cases[:TESTS_NAMED]:
        ran = case.attempts[-1].machine if case.attempts else ""
        tests.append(
            b.section(
                b.text_of(f"{history(case)[:40]} "),
                b.name(title(case.key)),
                b.text_of(f" {one_line(ran, 60)} "),
                *_past(case),
            )
        )
    elements = [
        b.section(b.text_of(f"{_label(group, change)}: ", bold=True), b.name(group.title, 300)),
        b.bullets(tests),
    ]
    if len(group.cases) > TESTS_NAMED:
        elements.append(b.section(b.text_of(f"and {count(len(group.cases) - TESTS_NAMED, 'more test')}")))
    if sample := _sample(group):
        elements.append(b.preformatted(sample))
    if group.finding.hint:
        elements.append(b.section(b.text_of(one_line(group.finding.hint, 500))))
    if context.reproduce:
        elements.append(b.section(b.text_of("again: "), b.name(context.reproduce, 300)))
    text = f"{group.verdict}: {count(len(group.cases), 'test')}: {group.title}"
    return SlackMessage(b.sentence(text), (b.rich(*elements),))


def _sample(group: FailureGroup) -> str:
    """The first whole lines of what one of its tests reported, within the limits; what is left out is counted."""
    lines = printable(group.sample.text or group.sample.message).strip("\n").splitlines()
    shown = [one_line(line, 200) if len(line) > 200 else line for line in lines[:SAMPLE_LINES]]
    while sum(len(line) + 1 for line in shown) > SAMPLE_CHARACTERS:
        shown.pop()
    if len(shown) < len(lines):
        shown.append(f"… {count(len(lines) - len(shown), 'more line')}")
    return "\n".join(shown)


def _summary(report: Report, groups: Sequence[FailureGroup], change: VerdictChange) -> str:
    """One sentence that is enough: `FAILED shop: 2 of 88 tests failed (1 new), 4 machines, 3m12s (main a1b2c3d)`."""
    new = sum(blame(group, change) == "new" for group in groups)
    where = " ".join(part for part in (report.context.branch, report.context.sha[:7]) if part)
    short = headline(report).removeprefix(f"{status(report)}: ")
    parts = [short + (f" ({new} new)" if new else ""), count(len(report.machines), "machine")]
    parts.append(duration(report.wall_seconds))
    transition = f" ({change.transition})" if change.transition else ""
    return f"{status(report)}{transition} {report.context.title}: {', '.join(parts)}" + (f" ({where})" if where else "")


def _fixed(context: RunContext, change: VerdictChange, now: float) -> str:
    by = f" by {context.sha[:7]}" if context.sha else ""
    took = _rough(now - change.before.since) if change.before else ""
    return f"Fixed{by} after {took}." if took else f"Fixed{by}."


def _rough(seconds: float) -> str:
    """`48 s`, `3 min`, `2 h`, `5 days`: no more than it is known."""
    for unit, size in (("days", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * size:
            return f"{round(seconds / size)} {unit}"
    return f"{max(1, round(seconds))} s"


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
