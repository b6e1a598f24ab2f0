"""What is said to a channel, in which order and when, whatever Slack answers: without clock and network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest

from ci_dispatch.reporters.slack.blocks import Message, header
from ci_dispatch.reporters.slack.calls import (
    Absent,
    Call,
    Delivered,
    Find,
    Gone,
    Outcome,
    Post,
    Refused,
    Unanswered,
    Unshowable,
    Update,
    Wait,
)
from ci_dispatch.reporters.slack.conversation import BETWEEN, Conversation, Elsewhere, Last, Letter, Reply

OK = Delivered("C0CI", "1.1")


def message(text: str) -> Message:
    return Message(text, (header(text), {"type": "divider"}))


def texts(calls: Iterable[tuple[float, Call]]) -> list[str]:
    return [f"{type(call).__name__} {call.message.text}" for _, call in calls if isinstance(call, (Post, Update))]


class Slack:
    """Answers calls from a script (then always OK) while a made-up clock jumps to when something is due."""

    def __init__(self, talk: Conversation, *script: Outcome) -> None:
        self.talk = talk
        self.script = list(script)
        self.now = 100.0
        self.calls: list[tuple[float, Call]] = []

    def until_quiet(self, meanwhile: Callable[[], None] | None = None) -> list[tuple[float, Call]]:
        for _ in range(500):
            due = self.talk.next(self.now)
            if due is None:
                return self.calls
            if isinstance(due, float):
                self.now += due
                continue
            self.calls.append((self.now, due))
            if meanwhile:
                meanwhile()
            self.talk.done(due, self.script.pop(0) if self.script else OK, self.now)
        raise AssertionError("it never becomes quiet")


def talk(**kind: float) -> Conversation:
    return Conversation("C0CI", "run-1", interval=kind.get("interval", 5.0))


def test_one_message_edited_in_place_and_only_when_it_changed() -> None:
    chat = talk()
    slack = Slack(chat)
    chat.show(message("a"))
    slack.until_quiet()
    chat.show(message("a"))
    slack.until_quiet()
    chat.show(message("b"))
    assert texts(slack.until_quiet()) == ["Post a", "Update b"]
    assert slack.calls[1][0] - slack.calls[0][0] >= 5.0


def test_the_latest_wins_while_slack_is_busy() -> None:
    chat = talk()
    slack = Slack(chat, Wait(30, "rate"), OK)
    chat.show(message("a"))
    newer = iter(["b", "c"])
    calls = slack.until_quiet(lambda: chat.show(message(next(newer, "c"))))
    assert texts(calls) == ["Post a", "Post b", "Update c"]
    assert calls[1][0] - calls[0][0] == pytest.approx(30)


def test_the_end_is_an_edit_then_replies_one_a_second() -> None:
    chat = talk()
    slack = Slack(chat)
    chat.show(message("live"))
    slack.until_quiet()
    chat.show(message("never shown"))
    old = [Elsewhere("C0OLD", "0.5", message("old")), Elsewhere("C0OLD", "0.5", message("mark"), edit=True)]
    chat.finish([Last(message("end")), Reply(message("r1")), Reply(message("r2")), *old])
    calls = slack.until_quiet()
    assert texts(calls) == ["Post live", "Update end", "Post r1", "Post r2", "Post old", "Update mark"]
    assert [call.thread_ts for _, call in calls if isinstance(call, Post)] == ["", "1.1", "1.1", "0.5"]
    assert [round(b - a, 6) for (a, _), (b, _) in pairwise(calls)] == [BETWEEN] * 5
    assert chat.undelivered == ""
    assert chat.problems == []


def test_a_run_that_ends_while_the_live_message_is_on_its_way_edits_that_message() -> None:
    chat = talk()
    slack = Slack(chat)
    chat.show(message("live"))
    endings: list[list[Letter]] = [[Last(message("end")), Reply(message("r"))]]
    calls = slack.until_quiet(lambda: chat.finish(endings.pop() if endings else []))
    assert texts(calls) == ["Post live", "Update end", "Post r"]


def test_a_lost_answer_is_looked_for_and_not_posted_twice() -> None:
    chat = talk()
    slack = Slack(chat, Unanswered("cut"), Delivered("C0CI", "7.7"))
    chat.finish([Last(message("end")), Reply(message("r"))])
    calls = slack.until_quiet()
    assert [type(call).__name__ for _, call in calls] == ["Post", "Find", "Post"]
    assert isinstance(calls[2][1], Post)
    assert calls[2][1].thread_ts == "7.7"
    assert chat.problems == []


def test_a_message_that_never_arrived_is_posted_again_under_its_key() -> None:
    chat = talk()
    slack = Slack(chat, Unanswered("cut"), Absent())
    chat.finish([Last(message("end"))])
    calls = slack.until_quiet()
    assert texts(calls) == ["Post end", "Post end"]
    keys = [call.key for _, call in calls if isinstance(call, Post)]
    assert keys[0] == keys[1]


def test_where_nobody_can_look_it_is_not_sent_again_and_said_so() -> None:
    chat = talk()
    slack = Slack(chat, Unanswered("cut"), Unanswered("missing_scope"))
    chat.finish([Last(message("end")), Reply(message("r1")), Reply(message("r2"))])
    assert texts(slack.until_quiet()) == ["Post end"]
    assert chat.problems == [
        "C0CI: 3 messages not delivered: no answer (cut); it was not sent again, or it might be there twice"
    ]


def test_an_edit_without_an_answer_is_sent_again() -> None:
    chat = talk()
    slack = Slack(chat, OK, Unanswered("cut"), OK)
    chat.show(message("live"))
    slack.until_quiet()
    chat.finish([Last(message("end"))])
    assert texts(slack.until_quiet()) == ["Post live", "Update end", "Update end"]


def test_refused_blocks_are_sent_once_more_as_plain_text_and_so_is_the_rest() -> None:
    chat = talk()
    slack = Slack(chat, Unshowable("invalid_blocks ([json-pointer:/blocks/2])"))
    chat.finish([Last(message("end")), Reply(message("r"))])
    calls = slack.until_quiet()
    assert texts(calls) == ["Post end", "Post end", "Post r"]
    assert [len(call.message.blocks) for _, call in calls if isinstance(call, Post)] == [2, 1, 1]
    assert len(chat.problems) == 1
    assert "json-pointer:/blocks/2" in chat.problems[0]


def test_plain_text_that_is_refused_too_is_given_up() -> None:
    chat = talk()
    slack = Slack(chat, Unshowable("one"), Unshowable("two"))
    chat.finish([Last(message("end")), Reply(message("r"))])
    assert texts(slack.until_quiet()) == ["Post end", "Post end"]
    assert chat.problems[-1] == "C0CI: 2 messages not delivered: two"


def test_a_refusal_ends_the_conversation_with_its_remedy() -> None:
    chat = talk()
    slack = Slack(chat, Refused("not_in_channel: invite the app"))
    chat.show(message("live"))
    slack.until_quiet()
    chat.finish([Last(message("end"))])
    assert texts(slack.until_quiet()) == ["Post live"]
    assert chat.problems == ["C0CI: Slack refused the message: not_in_channel: invite the app"]
    assert chat.undelivered == ""  # it has been said


def test_a_message_somebody_deleted_is_posted_anew() -> None:
    chat = talk()
    slack = Slack(chat, OK, Gone("message_not_found"), Delivered("C0CI", "2.2"))
    chat.show(message("live"))
    slack.until_quiet()
    chat.finish([Last(message("end")), Reply(message("r"))])
    calls = slack.until_quiet()
    assert texts(calls) == ["Post live", "Update end", "Post end", "Post r"]
    assert isinstance(calls[-1][1], Post)
    assert calls[-1][1].thread_ts == "2.2"


def test_an_old_message_that_is_gone_is_only_left_out() -> None:
    chat = talk()
    slack = Slack(chat, OK, Gone("message_not_found"))
    chat.finish([Last(message("end")), Elsewhere("C0", "0.1", message("mark"), edit=True), Reply(message("r"))])
    assert texts(slack.until_quiet()) == ["Post end", "Update mark", "Post r"]
    assert chat.problems == ["C0CI: 1 message not delivered: message_not_found"]


def test_an_outage_is_one_piece_of_news_and_the_next_state_is_tried_again() -> None:
    chat = talk()
    slack = Slack(chat, *[Wait(2, "Slack cannot be reached: refused")] * 42)
    for number in range(4):
        chat.show(message(str(number)))
        slack.until_quiet()
    assert chat.problems == ["C0CI: 1 message not delivered: Slack cannot be reached: refused"]
    assert texts(slack.calls)[-1] == "Update 3"


def test_what_is_left_says_why() -> None:
    chat = talk()
    chat.finish([Last(message("end"))])
    assert chat.undelivered == "C0CI: 1 of the last messages were not delivered, or not confirmed: Slack took too long"
    call = chat.next(100.0)
    assert isinstance(call, Post)
    chat.done(call, Wait(30, "Slack limits the rate"), 100.0)
    assert chat.undelivered.endswith("Slack limits the rate")


def test_a_resumed_run_goes_on_in_its_message() -> None:
    chat = Conversation("C0CI", "run-1", interval=5, head=Delivered("C0CI", "9.9"))
    slack = Slack(chat)
    chat.show(message("again"))
    (_, call), = slack.until_quiet()  # fmt: skip
    assert call == Update("C0CI", "9.9", message("again"))


def test_finding_is_about_the_message_that_was_lost() -> None:
    chat = talk()
    slack = Slack(chat, Unanswered("cut"), Delivered("C0CI", "1.1"))
    chat.show(message("live"))
    calls = slack.until_quiet()
    assert isinstance(calls[1][1], Find)
    assert calls[1][1].post == calls[0][1]
    chat.show(message("live"))  # the same: it is there
    assert len(slack.until_quiet()) == 2
