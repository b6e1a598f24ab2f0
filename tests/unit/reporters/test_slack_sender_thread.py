"""What is sent to a channel, in which order and when, whatever Slack answers: without clock and network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest

from ci_dispatch.reporters.slack.blocks import SlackMessage, header
from ci_dispatch.reporters.slack.client import (
    BlocksRefused,
    CallOutcome,
    Delivered,
    Find,
    MessageGone,
    NotFound,
    Post,
    RetryLater,
    SlackCall,
    SlackRefused,
    Unanswered,
    Update,
)
from ci_dispatch.reporters.slack.sender_thread import (
    BETWEEN,
    ChannelMessages,
    FinalMessage,
    FollowUp,
    OutboxItem,
    ThreadReply,
)

OK = Delivered("C0CI", "1.1")


def message(text: str) -> SlackMessage:
    return SlackMessage(text, (header(text), {"type": "divider"}))


def texts(calls: Iterable[tuple[float, SlackCall]]) -> list[str]:
    return [f"{type(call).__name__} {call.message.text}" for _, call in calls if isinstance(call, (Post, Update))]


class Slack:
    """Answers calls from a script (then always OK) while a made-up clock jumps to when something is due."""

    def __init__(self, channel: ChannelMessages, *script: CallOutcome) -> None:
        self.channel = channel
        self.script = list(script)
        self.now = 100.0
        self.calls: list[tuple[float, SlackCall]] = []

    def until_quiet(self, meanwhile: Callable[[], None] | None = None) -> list[tuple[float, SlackCall]]:
        for _ in range(500):
            due = self.channel.next(self.now)
            if due is None:
                return self.calls
            if isinstance(due, float):
                self.now += due
                continue
            self.calls.append((self.now, due))
            if meanwhile:
                meanwhile()
            self.channel.done(due, self.script.pop(0) if self.script else OK, self.now)
        raise AssertionError("it never becomes quiet")


def channel(**kind: float) -> ChannelMessages:
    return ChannelMessages("C0CI", "run-1", interval=kind.get("interval", 5.0))


def test_one_message_edited_in_place_and_only_when_it_changed() -> None:
    sent = channel()
    slack = Slack(sent)
    sent.show(message("a"))
    slack.until_quiet()
    sent.show(message("a"))
    slack.until_quiet()
    sent.show(message("b"))
    assert texts(slack.until_quiet()) == ["Post a", "Update b"]
    assert slack.calls[1][0] - slack.calls[0][0] >= 5.0


def test_the_latest_wins_while_slack_is_busy() -> None:
    sent = channel()
    slack = Slack(sent, RetryLater(30, "rate"), OK)
    sent.show(message("a"))
    newer = iter(["b", "c"])
    calls = slack.until_quiet(lambda: sent.show(message(next(newer, "c"))))
    assert texts(calls) == ["Post a", "Post b", "Update c"]
    assert calls[1][0] - calls[0][0] == pytest.approx(30)


def test_the_end_is_an_edit_then_replies_one_a_second() -> None:
    sent = channel()
    slack = Slack(sent)
    sent.show(message("live"))
    slack.until_quiet()
    sent.show(message("never shown"))
    old = [FollowUp("C0OLD", "0.5", message("old")), FollowUp("C0OLD", "0.5", message("mark"), edit=True)]
    sent.finish([FinalMessage(message("end")), ThreadReply(message("r1")), ThreadReply(message("r2")), *old])
    calls = slack.until_quiet()
    assert texts(calls) == ["Post live", "Update end", "Post r1", "Post r2", "Post old", "Update mark"]
    assert [call.thread_ts for _, call in calls if isinstance(call, Post)] == ["", "1.1", "1.1", "0.5"]
    assert [round(b - a, 6) for (a, _), (b, _) in pairwise(calls)] == [BETWEEN] * 5
    assert sent.undelivered == ""
    assert sent.problems == []


def test_a_run_that_ends_while_the_live_message_is_on_its_way_edits_that_message() -> None:
    sent = channel()
    slack = Slack(sent)
    sent.show(message("live"))
    endings: list[list[OutboxItem]] = [[FinalMessage(message("end")), ThreadReply(message("r"))]]
    calls = slack.until_quiet(lambda: sent.finish(endings.pop() if endings else []))
    assert texts(calls) == ["Post live", "Update end", "Post r"]


def test_a_lost_answer_is_looked_for_and_not_posted_twice() -> None:
    sent = channel()
    slack = Slack(sent, Unanswered("cut"), Delivered("C0CI", "7.7"))
    sent.finish([FinalMessage(message("end")), ThreadReply(message("r"))])
    calls = slack.until_quiet()
    assert [type(call).__name__ for _, call in calls] == ["Post", "Find", "Post"]
    assert isinstance(calls[2][1], Post)
    assert calls[2][1].thread_ts == "7.7"
    assert sent.problems == []


def test_a_message_that_never_arrived_is_posted_again_under_its_key() -> None:
    sent = channel()
    slack = Slack(sent, Unanswered("cut"), NotFound())
    sent.finish([FinalMessage(message("end"))])
    calls = slack.until_quiet()
    assert texts(calls) == ["Post end", "Post end"]
    keys = [call.key for _, call in calls if isinstance(call, Post)]
    assert keys[0] == keys[1]


def test_where_nobody_can_look_it_is_not_sent_again_and_that_is_reported() -> None:
    sent = channel()
    slack = Slack(sent, Unanswered("cut"), Unanswered("missing_scope"))
    sent.finish([FinalMessage(message("end")), ThreadReply(message("r1")), ThreadReply(message("r2"))])
    assert texts(slack.until_quiet()) == ["Post end"]
    assert sent.problems == [
        "C0CI: 3 messages not delivered: no answer (cut); it was not sent again, or it might be there twice"
    ]


def test_an_edit_without_an_answer_is_sent_again() -> None:
    sent = channel()
    slack = Slack(sent, OK, Unanswered("cut"), OK)
    sent.show(message("live"))
    slack.until_quiet()
    sent.finish([FinalMessage(message("end"))])
    assert texts(slack.until_quiet()) == ["Post live", "Update end", "Update end"]


def test_refused_blocks_are_sent_once_more_as_plain_text_and_so_is_the_rest() -> None:
    sent = channel()
    slack = Slack(sent, BlocksRefused("invalid_blocks ([json-pointer:/blocks/2])"))
    sent.finish([FinalMessage(message("end")), ThreadReply(message("r"))])
    calls = slack.until_quiet()
    assert texts(calls) == ["Post end", "Post end", "Post r"]
    assert [len(call.message.blocks) for _, call in calls if isinstance(call, Post)] == [2, 1, 1]
    assert len(sent.problems) == 1
    assert "json-pointer:/blocks/2" in sent.problems[0]


def test_plain_text_that_is_refused_too_is_given_up() -> None:
    sent = channel()
    slack = Slack(sent, BlocksRefused("one"), BlocksRefused("two"))
    sent.finish([FinalMessage(message("end")), ThreadReply(message("r"))])
    assert texts(slack.until_quiet()) == ["Post end", "Post end"]
    assert sent.problems[-1] == "C0CI: 2 messages not delivered: two"


def test_a_refusal_ends_the_channel_with_its_remedy() -> None:
    sent = channel()
    slack = Slack(sent, SlackRefused("not_in_channel: invite the app"))
    sent.show(message("live"))
    slack.until_quiet()
    sent.finish([FinalMessage(message("end"))])
    assert texts(slack.until_quiet()) == ["Post live"]
    assert sent.problems == ["C0CI: Slack refused the message: not_in_channel: invite the app"]
    assert sent.undelivered == ""  # it has been reported


def test_a_message_somebody_deleted_is_posted_anew() -> None:
    sent = channel()
    slack = Slack(sent, OK, MessageGone("message_not_found"), Delivered("C0CI", "2.2"))
    sent.show(message("live"))
    slack.until_quiet()
    sent.finish([FinalMessage(message("end")), ThreadReply(message("r"))])
    calls = slack.until_quiet()
    assert texts(calls) == ["Post live", "Update end", "Post end", "Post r"]
    assert isinstance(calls[-1][1], Post)
    assert calls[-1][1].thread_ts == "2.2"


def test_an_old_message_that_is_gone_is_only_left_out() -> None:
    sent = channel()
    slack = Slack(sent, OK, MessageGone("message_not_found"))
    sent.finish(
        [FinalMessage(message("end")), FollowUp("C0", "0.1", message("mark"), edit=True), ThreadReply(message("r"))]
    )
    assert texts(slack.until_quiet()) == ["Post end", "Update mark", "Post r"]
    assert sent.problems == ["C0CI: 1 message not delivered: message_not_found"]


def test_an_outage_is_one_warning_and_the_next_state_is_tried_again() -> None:
    sent = channel()
    slack = Slack(sent, *[RetryLater(2, "Slack cannot be reached: refused")] * 42)
    for number in range(4):
        sent.show(message(str(number)))
        slack.until_quiet()
    assert sent.problems == ["C0CI: 1 message not delivered: Slack cannot be reached: refused"]
    assert texts(slack.calls)[-1] == "Update 3"


def test_what_is_left_says_why() -> None:
    sent = channel()
    sent.finish([FinalMessage(message("end"))])
    assert sent.undelivered == "C0CI: 1 of the last messages were not delivered, or not confirmed: Slack took too long"
    call = sent.next(100.0)
    assert isinstance(call, Post)
    sent.done(call, RetryLater(30, "Slack limits the rate"), 100.0)
    assert sent.undelivered.endswith("Slack limits the rate")


def test_a_resumed_run_goes_on_in_its_message() -> None:
    sent = ChannelMessages("C0CI", "run-1", interval=5, head=Delivered("C0CI", "9.9"))
    slack = Slack(sent)
    sent.show(message("again"))
    (_, call), = slack.until_quiet()  # fmt: skip
    assert call == Update("C0CI", "9.9", message("again"))


def test_finding_is_about_the_message_that_was_lost() -> None:
    sent = channel()
    slack = Slack(sent, Unanswered("cut"), Delivered("C0CI", "1.1"))
    sent.show(message("live"))
    calls = slack.until_quiet()
    assert isinstance(calls[1][1], Find)
    assert calls[1][1].post == calls[0][1]
    sent.show(message("live"))  # the same: it is there
    assert len(slack.until_quiet()) == 2
