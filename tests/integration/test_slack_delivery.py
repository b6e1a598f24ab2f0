"""Runs told to a Slack over real HTTP: well, slow, rate-limited, refused, cut off; the verdict is always the same."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from ci_dispatch.config.choices import When
from ci_dispatch.config.slack import SlackChannel, SlackConfig
from ci_dispatch.core.codec import replace
from ci_dispatch.core.events import AttemptOutput, RunStarted, Stamped
from ci_dispatch.core.model import RunId
from ci_dispatch.demo.recording import demo_events
from ci_dispatch.reporters import EarlierRun
from ci_dispatch.reporters.slack import client, sender_thread
from ci_dispatch.reporters.slack import reporter as reporter_module
from ci_dispatch.reporters.slack.reporter import CLOSE_DEADLINE, SlackReporter, Warn, missing, open_slack
from ci_dispatch.run.event_bus import EventBus
from ci_dispatch.run.run_report import ReportCache
from ci_dispatch.run.state import RunState
from report_merge.model import RunContext
from tests.recorded_runs import recorded
from tests.slack_double import (
    DropAfter,
    DropBefore,
    Fault,
    Html,
    RateLimited,
    Refuse,
    ServerError,
    SlackDouble,
    Slow,
)

CONTEXT = RunContext(title="shop e2e", repository="acme/shop", branch="main", sha="a1b2c3d4")
OWN_WARNING = "slack: not_in_channel: invite the app with /invite @ci-dispatch"  # of the recorded run
CHANNEL = SlackChannel(id="#ci", mention=("U7777",))


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlackDouble]:
    """A Slack whose seconds are shorter, and ours with it; the pace itself has a test of its own."""
    monkeypatch.setattr(sender_thread, "BETWEEN", 0.06)
    with SlackDouble() as double:
        double.workspace.seconds_between_posts = 0.05
        double.workspace.updates_per_minute = 10_000
        yield double


class Clock:
    at = 0.0

    def now(self) -> float:
        return self.at


def reporter(
    slack: SlackDouble,
    kept: dict[str, bytes],
    *channels: SlackChannel,
    run: str = "run-1",
    token: str = "xoxb-good",
    warn: Warn | None = None,
    before: EarlierRun | None = None,
) -> SlackReporter:
    settings = SlackConfig(api_url=slack.api_url, channels=channels or (CHANNEL,), interval=0.05)
    made = open_slack(
        settings, {"SLACK_BOT_TOKEN": token}, run=RunId(run), kept=kept, reports=ReportCache(CONTEXT), warn=warn,
        before=lambda: before,
    )  # fmt: skip
    assert made is not None
    return made


def told(events: list[Stamped], slack_reporter: SlackReporter, *, pause: float = 0.0) -> RunState:
    """Publish a recorded run, as the engine would; `pause` is what half a second of it takes."""
    state, clock = RunState(), Clock()
    bus = EventBus(state, clock, [slack_reporter])
    ticked = events[0].at
    for stamped in events:
        if isinstance(stamped.event, AttemptOutput):
            continue
        while ticked + 0.5 <= stamped.at:
            ticked += 0.5
            bus.tick(ticked)
            time.sleep(pause)
        clock.at = stamped.at
        bus.publish(stamped.event)
    bus.close()
    return state


def red(seed: int = 48) -> list[Stamped]:
    return list(demo_events(1_800_000_000.0, seed))


def warnings(state: RunState) -> str:
    return "\n".join(f"{warning.source}: {warning.text}" for warning in state.warnings)


def test_one_message_is_edited_in_place_and_its_causes_stand_in_the_thread(slack: SlackDouble) -> None:
    state = told(red(), reporter(slack, {}), pause=0.03)
    (message,) = slack.workspace.parents()
    assert message.header == "🔴 Broken: 1 of 198 tests failed, 1 flaky"
    assert len(message.edits) >= 2
    assert "lost" in message.shown
    assert all(earlier != later for earlier, later in pairwise(message.edits))
    call, *replies = slack.workspace.thread(message)
    assert call.blocks[0]["elements"][0]["elements"][0] == {"type": "user", "user_id": "U7777"}
    assert [reply.text.split(":")[0] for reply in replies] == ["product", "flaky"]
    assert warnings(state) == ""
    assert dict(slack.workspace.refused) == {}


def test_a_repair_is_told_where_the_break_was_told(slack: SlackDouble) -> None:
    kept: dict[str, bytes] = {}
    told(recorded("troubled"), reporter(slack, kept, run="1"))
    told(recorded("troubled"), reporter(slack, kept, run="2"))
    told([replace(stamped, at=stamped.at + 86_400) for stamped in recorded("green")], reporter(slack, kept, run="3"))
    first, second, third = slack.workspace.parents()
    assert "Broken: " in first.edits[-1][1][0]["text"]["text"]
    assert first.blocks[0]["elements"][0]["text"] == "🟢 Fixed by a1b2c3d after 24 h."
    assert slack.workspace.thread(first)[-1].text == "🟢 Fixed by a1b2c3d after 24 h."
    assert second.header.startswith("🟣 Still failing (2nd run): ")
    assert "U7777" not in second.shown + str([reply.shown for reply in slack.workspace.thread(second)])
    assert third.header == "🟢 Fixed: 4 tests passed"
    told(recorded("green"), reporter(slack, kept, run="4"))
    assert slack.workspace.parents()[-1].header == "🟢 4 tests passed"


def test_a_channel_that_heard_of_nothing_yet_compares_with_the_last_run_of_the_branch(slack: SlackDouble) -> None:
    red_before, kept = EarlierRun(passed=False, at=1.0), dict[str, bytes]()
    told(recorded("troubled"), reporter(slack, kept, run="1", before=red_before))
    told(recorded("green"), reporter(slack, {}, run="1", before=red_before))
    told(recorded("green"), reporter(slack, kept, run="2", before=EarlierRun(passed=True, at=1.0)))
    still, fixed, own = slack.workspace.parents()
    assert still.header.startswith("🟣 Still failing (2nd run): ")
    assert fixed.header == "🟢 Fixed: 4 tests passed"
    assert own.header == "🟢 Fixed: 4 tests passed", "what the channel itself heard counts first"


def test_each_channel_has_its_own_rule_and_is_told_of_repairs_only_where_it_heard_of_the_break(
    slack: SlackDouble,
) -> None:
    kept: dict[str, bytes] = {}
    rules = (SlackChannel(id="C0CI", when=When.FAILURE, thread=False, mention=("here",)),
             SlackChannel(id="C0OTHER", branches=("release/*",)))  # fmt: skip
    told(recorded("green"), reporter(slack, kept, *rules, run="1"))
    assert slack.workspace.messages == []
    told(recorded("troubled"), reporter(slack, kept, *rules, run="2"))
    (message,) = slack.workspace.messages
    assert message.channel == "C0CI"
    assert {"type": "broadcast", "range": "here"} in message.blocks[1]["elements"][0]["elements"]
    told(recorded("green"), reporter(slack, kept, *rules, run="3"))
    assert [m.thread_ts for m in slack.workspace.messages] == ["", message.ts]


def test_a_webhook_gets_one_message_at_the_end(slack: SlackDouble) -> None:
    settings = SlackConfig(channels=(SlackChannel(mention=("U7777",)),))
    slack_reporter = open_slack(
        settings, {"SLACK_WEBHOOK_URL": slack.webhook_url}, run=RunId("1"), kept={},
        reports=ReportCache(CONTEXT),
    )  # fmt: skip
    assert slack_reporter is not None
    state = told(red(), slack_reporter)
    (message,) = slack.workspace.messages
    assert "1 of 198 tests failed" in message.header
    assert "U7777" in message.shown
    assert warnings(state) == ""


def test_a_resumed_run_edits_the_message_of_its_dead_controller(slack: SlackDouble) -> None:
    events = red()
    kept: dict[str, bytes] = {}
    half = [stamped for stamped in events if stamped.at < events[0].at + 6]
    state, dead = RunState(), reporter(slack, kept, run="demo")
    for stamped in half:
        if not isinstance(stamped.event, AttemptOutput):
            state.apply(stamped)
        dead.tick(stamped.at, state)
        time.sleep(0.002)
    time.sleep(0.3)
    dead.tick(state.now + 1, state)  # it learns where its message is, and is killed
    resumed = reporter(slack, kept, run="demo")
    told(events, resumed)
    (message,) = slack.workspace.parents()
    assert "1 of 198 tests failed" in message.header


FAULTS: dict[str, tuple[Fault, str]] = {
    "rate limited": (RateLimited(1), "Slack limits the rate"),
    "rate limited without end": (RateLimited("abc"), "Slack limits the rate"),
    "server errors": (ServerError(503), "HTTP 503"),
    "a proxy's page": (Html(407), "slack: "),
    "cut before": (DropBefore(), "slack: "),
    "not invited": (Refuse("not_in_channel"), "not_in_channel: invite the app to it: /invite @ci-dispatch"),
    "blocks refused": (Refuse("invalid_blocks", ("[ERROR] bad [json-pointer:/blocks/2]",)), "json-pointer:/blocks/2"),
    "token revoked": (Refuse("token_revoked"), "token_revoked: the token was revoked: install the app again"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_slack_does_the_verdict_stands_and_the_trouble_is_told(
    slack: SlackDouble, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(reporter_module, "CLOSE_DEADLINE", 1.0)
    undisturbed = told(red(), reporter(slack, {}))
    slack.always, words = FAULTS[fault]
    state = told(red(), reporter(slack, {}), pause=0.01)
    assert state.verdicts == undisturbed.verdicts
    assert state.finished == undisturbed.finished
    assert words in warnings(state)


def test_nobody_listens(slack: SlackDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporter_module, "CLOSE_DEADLINE", 1.0)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    settings = SlackConfig(api_url=f"http://127.0.0.1:{port}/api/", channels=(CHANNEL,))
    slack_reporter = open_slack(
        settings, {"SLACK_BOT_TOKEN": "x"}, run=RunId("1"), kept={}, reports=ReportCache(CONTEXT)
    )
    assert slack_reporter is not None
    state = told(red(), slack_reporter)
    assert state.finished is not None
    assert "Slack cannot be reached" in warnings(state)


def test_slack_takes_five_seconds_for_an_answer(slack: SlackDouble) -> None:
    """What was not confirmed ten seconds after the end is said; what it costs, benchmarks/terminal.py measures."""
    slack.always = Slow(5.0)
    state = told(red(), reporter(slack, {}), pause=0.001)
    assert state.finished is not None
    assert "of the last messages were not delivered, or not confirmed" in warnings(state)


@pytest.mark.parametrize("lost", [DropAfter(), ServerError(500, done=True), ServerError(502)])
def test_a_lost_answer_never_makes_a_second_message(slack: SlackDouble, lost: Fault) -> None:
    slack_reporter = reporter(slack, {}, replace(CHANNEL, id="C0CI", live=False))
    slack.faults.append(lost)
    state = told(red(), slack_reporter)
    assert len(slack.workspace.parents()) == 1
    assert warnings(state) == ""


def test_without_the_scope_to_look_a_lost_message_is_not_sent_again(slack: SlackDouble) -> None:
    slack.workspace.scopes.discard("channels:history")
    slack_reporter = reporter(slack, {}, replace(CHANNEL, id="C0CI", live=False))
    slack.faults.append(DropAfter())
    state = told(red(), slack_reporter)
    assert len(slack.workspace.messages) == 1
    assert "it was not sent again, or it might be there twice" in warnings(state)


def test_the_pace_keeps_slack_s_real_limits() -> None:
    with SlackDouble() as slack:
        state = told(recorded("troubled"), reporter(slack, {}))
        assert warnings(state) == OWN_WARNING
        assert len(slack.workspace.messages) >= 3
        answers = len(slack.requests)
        assert answers == len(slack.workspace.messages) + sum(len(m.edits) for m in slack.workspace.messages)


def test_refused_blocks_arrive_as_plain_text(slack: SlackDouble) -> None:
    slack.faults.append(Refuse("msg_blocks_too_long"))
    told(red(), reporter(slack, {}, replace(CHANNEL, live=False)))
    (message,) = slack.workspace.parents()
    assert [block["type"] for block in message.blocks] == ["header"]
    assert message.text.startswith("FAILED (broken) shop e2e: 1 of 198 tests failed")


def test_trouble_during_the_run_is_told_during_the_run(slack: SlackDouble) -> None:
    slack.always = Refuse("not_in_channel")
    heard: list[str] = []
    slack_reporter = reporter(slack, {}, warn=heard.append)
    state = told(red(), slack_reporter, pause=0.02)
    assert heard == ["#ci: Slack refused the message: not_in_channel: invite the app to it: /invite @ci-dispatch"]
    assert slack_reporter.problems == heard
    assert warnings(state) == ""  # whoever heard it puts it where it belongs


@pytest.mark.parametrize(
    ("settings", "environ", "words"),
    [
        (SlackConfig(), {}, ""),
        (SlackConfig(), {"SLACK_BOT_TOKEN": "x"}, "SLACK_BOT_TOKEN is set and no channel is"),
        (SlackConfig(channels=(CHANNEL,)), {}, "neither SLACK_BOT_TOKEN nor SLACK_WEBHOOK_URL is set"),
        (SlackConfig(channels=(CHANNEL,)), {"SLACK_WEBHOOK_URL": "https://x"}, ""),
        (
            SlackConfig(channels=(CHANNEL,)),
            {"SLACK_WEBHOOK_URL": "http://x"},
            "holds no address that begins with https://",
        ),
    ],
)
def test_half_a_configuration_is_said(settings: SlackConfig, environ: dict[str, str], words: str) -> None:
    assert words in missing(settings, environ)
    assert bool(words) == bool(missing(settings, environ))


def test_secrets_are_not_in_what_is_told(slack: SlackDouble) -> None:
    slack.workspace.token = "xoxb-other"
    state = told(red(), reporter(slack, {}, token="xoxb-secret"))
    assert "invalid_auth" in warnings(state)
    assert "xoxb" not in warnings(state)


def test_timeouts_are_shorter_than_a_run_s_patience() -> None:
    assert client.TIMEOUT <= CLOSE_DEADLINE
    assert isinstance(recorded("green")[0].event, RunStarted)
