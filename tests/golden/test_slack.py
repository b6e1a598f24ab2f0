"""Recorded runs as Slack messages: what is shown, and that Slack would take it, by its types, classes and limits."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ci_dispatch.core.codec import replace
from ci_dispatch.core.model import MachineName
from ci_dispatch.demo.recording import demo_events
from ci_dispatch.reporters.slack import messages
from ci_dispatch.reporters.slack.blocks import MESSAGE_CHARACTERS, SlackMessage
from ci_dispatch.reporters.slack.transitions import LastNotified, MessagePlace, Transition, VerdictChange, compare
from ci_dispatch.run.run_report import report
from ci_dispatch.run.state import RunState
from report_merge import failures
from report_merge.model import RunContext
from tests.recorded_runs import play, recorded
from tests.slack_double.limits import problems

Golden = Callable[[str, str], None]
CONTEXT = RunContext(
    title="shop e2e", repository="acme/shop", branch="feature/<!here>_*x*", sha="a1b2c3d4e5", run_id="8123", attempt=2,
    url="https://github.com/acme/shop/actions/runs/8123", report_url="https://acme.example/report?a=1&b=2",
    reproduce="ci-dispatch run -- --last-failed",
)  # fmt: skip
BROKEN, FINE = (
    LastNotified(bad=True, since=1_799_990_000.0, fingerprints=("7f7279d1faaa",)),
    LastNotified(bad=False, since=1.0),
)


def final(state: RunState, change: VerdictChange, context: RunContext = CONTEXT) -> SlackMessage:
    ended = report(state, context)
    return messages.final(state, ended, failures.group(ended.cases), change)


def all_messages(state: RunState, context: RunContext = CONTEXT) -> list[SlackMessage]:
    """Every message that a run can lead to."""
    groups = failures.group(report(state, context).cases)
    whom = ("U0123", "S0456", "here")
    changes = [compare(None, bad=True), compare(FINE, bad=True), compare(BROKEN, bad=True), compare(BROKEN, bad=False)]
    found = [messages.live(state, state.now, context), messages.sample(context), messages.mention_reply(context, whom)]
    for change in changes:
        found += [final(state, change, context), *messages.replies(groups, context, change)]
        found.append(messages.with_mentions(found[-1], whom))
        if change.transition is Transition.FIXED:
            first = final(state, changes[0], context)
            place = MessagePlace(channel="C", ts="1.1")
            before = replace(BROKEN, place=place, text=first.text, blocks=first.blocks)
            marked = messages.marked_fixed(compare(before, bad=False), context, state.now)
            assert marked is not None
            found += [messages.fixed_reply(context, change, state.now), marked]
    return [*found, *(message.plainer() for message in found)]


def shown(*sent: SlackMessage) -> str:
    return "\n".join(json.dumps([m.text, *m.blocks], ensure_ascii=False, indent=1) for m in sent) + "\n"


def test_a_run_half_way(golden: Golden) -> None:
    state = play([event for event in demo_events() if event.at <= 9.0])
    golden("slack-live.json", shown(messages.live(state, 9.0, CONTEXT)))


def test_a_run_that_broke_what_had_passed(golden: Golden) -> None:
    state = play(recorded("troubled"))
    change = compare(FINE, bad=True)
    groups = failures.group(report(state, CONTEXT).cases)
    golden("slack-broken.json", shown(final(state, change), messages.mention_reply(CONTEXT, ("U1",)),
                                      *messages.replies(groups, CONTEXT, change)))  # fmt: skip


def test_still_failing_fixed_and_green(golden: Golden) -> None:
    golden("slack-still-failing.json", shown(final(play(recorded("troubled")), compare(BROKEN, bad=True))))
    green = play(recorded("green"))
    golden("slack-fixed.json", shown(final(green, compare(BROKEN, bad=False))))
    golden("slack-green.json", shown(final(green, compare(FINE, bad=False))))


@pytest.mark.parametrize("run", ["troubled", "green", "large"])
def test_slack_takes_every_message(run: str) -> None:
    state = large() if run == "large" else play(recorded(run))
    for message in all_messages(state):
        assert problems(message.text, list(message.blocks)) == ("", [])
        assert message.characters <= MESSAGE_CHARACTERS
        assert len(message.blocks) <= 12


def test_nothing_foreign_is_a_mention_a_link_or_markup() -> None:
    for message in all_messages(play(recorded("troubled"))):
        for text in _mrkdwn([message.text, *message.blocks]):
            assert "<" not in text.replace("&lt;", "")
    kinds = {node["type"] for m in all_messages(play(recorded("troubled"))) for node in _nodes(list(m.blocks))}
    assert kinds <= {
        "header", "context", "section", "actions", "button", "plain_text", "mrkdwn", "text", "rich_text",
        "rich_text_list", "rich_text_section", "rich_text_preformatted", "user", "usergroup", "broadcast",
    }  # fmt: skip


def large() -> RunState:
    """Two hundred machines, and as many failures as there are tests, each with a cause and a long name of its own."""
    state = play(recorded("troubled"))
    one = next(iter(state.machines.values()))
    for number in range(200):
        name = MachineName(f"machine-{number:03}-with-a-very-long-name-{'x' * 80}")
        state.machines[name] = replace(one, spec=replace(one.spec, name=name))
    entry = next(entry for entry in state.ledger.records.values() if entry.failures)
    for number in range(60):
        title = f"{'very ' * 60}long {number}"
        test = replace(entry.test, id=f"t{number}", title=(title,))
        words = f"Error{number}: {'word ' * 200}"
        history = [(lease, machine, replace(result, kind=f"Kind{number}Error", message=words, detail=words * 40))
                   for lease, machine, result in entry.history]  # fmt: skip
        state.ledger.records[test.id] = replace(entry, test=test, history=history)
    return state


def _nodes(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        return [value] * ("type" in value) + [node for item in value.values() for node in _nodes(item)]
    return [node for item in value for node in _nodes(item)] if isinstance(value, (list, tuple)) else []


def _mrkdwn(value: list[Any]) -> list[str]:
    return [str(value[0]), *(node["text"] for node in _nodes(value[1:]) if node["type"] == "mrkdwn")]
