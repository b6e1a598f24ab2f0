"""The reporter: shows a run in every configured channel, notifies of its end, remembers the last notifications.

What Slack refuses is a warning with its remedy, never a verdict; a run waits for Slack at most ten seconds, at its end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass

from ci_dispatch.config.choices import When
from ci_dispatch.config.slack import SlackChannel, SlackConfig
from ci_dispatch.config.value_types import is_address
from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import CiDispatchError
from ci_dispatch.core.events import RunFinished, Stamped
from ci_dispatch.core.model import RunId
from ci_dispatch.reporters import BaseReporter, EarlierRun
from ci_dispatch.reporters.slack import messages, transitions
from ci_dispatch.reporters.slack.client import (
    BlocksRefused,
    BotClient,
    Delivered,
    Post,
    SlackClient,
    WebhookPoster,
)
from ci_dispatch.reporters.slack.sender_thread import (
    ChannelMessages,
    FinalMessage,
    FollowUp,
    OutboxItem,
    SenderThread,
    ThreadReply,
)
from ci_dispatch.reporters.slack.transitions import (
    LastNotified,
    MessagePlace,
    SlackMemory,
    Transition,
    VerdictChange,
)
from ci_dispatch.run.run_report import ReportCache
from ci_dispatch.run.state import RunState
from report_merge import failures
from report_merge.failures import FailureGroup
from report_merge.model import Report, RunContext
from report_merge.render.wording import Status, status

CLOSE_DEADLINE = 10.0  # seconds

Warn = Callable[[str], None]


class SlackUndelivered(CiDispatchError):
    """Something could not be sent to Slack, or not be remembered."""


@dataclass(slots=True)
class Destination:
    """One channel, or the webhook, and what it is notified of."""

    settings: SlackChannel
    sender: SenderThread
    can_edit: bool  # a webhook can only post
    key: str = ""  # of what is remembered
    notified: LastNotified | None = None  # what is to be remembered
    known_place: MessagePlace | None = None  # what is remembered

    @property
    def live(self) -> bool:
        return self.can_edit and self.settings.live and self.settings.when is When.ALWAYS

    @property
    def place(self) -> MessagePlace | None:
        """Where this run's message is, once Slack has answered."""
        head = self.sender.messages.head
        return MessagePlace(channel=head.channel, ts=head.ts) if head and head.ts else None


class SlackReporter(BaseReporter):
    """Gives the sender threads of all destinations something to send; `warn` is called while the run goes on."""

    name = "slack"

    def __init__(
        self,
        destinations: Sequence[Destination],
        memory: SlackMemory,
        *,
        reports: ReportCache,
        before: Callable[[], EarlierRun | None],
        interval: float,
        warn: Warn | None,
    ) -> None:
        self.problems: list[str] = []  # what could not be sent or remembered
        self._warned = 0
        self._destinations = destinations
        self._memory = memory
        self._reports = reports
        self._before = before
        self._interval = interval
        self._warn = warn
        self._shown: object = None
        self._shown_at = float("-inf")

    def handle(self, stamped: Stamped, state: RunState) -> None:
        if isinstance(stamped.event, RunFinished):
            self._finish(stamped.at, state)

    def tick(self, now: float, state: RunState) -> None:
        self._collect_problems()
        if state.started is None or state.finished is not None:
            return
        self._remember_places(state.started.run)
        if 0 <= now - self._shown_at < self._interval:
            return
        visible = [(machine.word, machine.done, machine.given) for machine in state.machines.values()]
        if visible != self._shown:  # a clock that moved is no reason to edit
            self._shown, self._shown_at = visible, now
            self._show(now, state)

    def close(self) -> None:
        """Wait for the last messages, remember them; raises SlackUndelivered with what `warn` was not called for."""
        until = time.monotonic() + CLOSE_DEADLINE
        for destination in self._destinations:
            left = destination.sender.join(until)
            self.problems += destination.sender.problems() + ([left] if left else [])
        self.problems += self._memory.problems()
        self._remember()
        if self._warned < len(self.problems):
            raise SlackUndelivered("; ".join(self.problems[self._warned :]))

    # -- while it runs ----------------------------------------------------------------------------------------------

    def _show(self, now: float, state: RunState) -> None:
        context = self._reports.context
        message = messages.live(state, now, context)
        for destination in self._destinations:
            if destination.live and transitions.on_branch(destination.settings, context.branch):
                destination.sender.show(message)

    def _collect_problems(self) -> None:
        self.problems += self._memory.problems()
        for destination in self._destinations:
            self.problems += destination.sender.problems()
        if self._warn is not None:
            for text in self.problems[self._warned :]:
                self._warn(text)
            self._warned = len(self.problems)

    def _remember_places(self, run: RunId) -> None:
        """So that a resumed run goes on in the same message."""
        for destination in self._destinations:
            place = destination.place
            if place is not None and place != destination.known_place:
                destination.known_place = place
                self._memory.remember_place(run, destination.settings.id, place)

    # -- at the end -------------------------------------------------------------------------------------------------

    def _finish(self, now: float, state: RunState) -> None:
        report = self._reports.of(state)
        groups = failures.group(report.cases)
        for destination in self._destinations:
            destination.sender.finish(self._outbox(destination, now, state, report, groups))
            if state.started is not None:
                self._memory.forget_place(state.started.run, destination.settings.id)

    def _outbox(
        self, to: Destination, now: float, state: RunState, report: Report, groups: Sequence[FailureGroup]
    ) -> list[OutboxItem]:
        context = report.context
        to.key = transitions.key(to.settings.id, context.repository, context.title, context.branch)
        before = self._memory.last(to.key) or transitions.of_history(self._before())
        change = transitions.compare(before, bad=status(report) is not Status.PASSED)
        if state.interrupted:  # it says nothing about the code: the next run compares with the one before
            change = VerdictChange(transition=Transition.NONE, bad=change.bad, before=before)
        else:
            to.notified = transitions.after(change, now, tuple(group.fingerprint for group in groups))
        repair = _repair(change, context, now) if to.can_edit else []
        if not transitions.wants(to.settings, change, context.branch):
            return repair
        message = messages.final(state, report, groups, change, self._reports.past(state).comparison)
        mentioned = to.settings.mention if change.transition is Transition.BROKEN else ()
        if to.notified is not None and change.transition is Transition.BROKEN:
            to.notified = replace(to.notified, text=message.text, blocks=message.blocks)
        if not to.live:
            message = messages.with_mentions(message, mentioned)  # a new message notifies
        outbox: list[OutboxItem] = [FinalMessage(message)]
        if mentioned and to.live:
            outbox.append(ThreadReply(messages.mention_reply(context, mentioned)))  # an edit does not, a reply does
        outbox += repair
        if to.settings.thread and to.can_edit:
            outbox += [ThreadReply(reply) for reply in messages.replies(groups, context, change)]
        return outbox

    def _remember(self) -> None:
        """The notification of each channel, and where a break was announced, so that its repair is announced there."""
        for destination in self._destinations:
            notified = destination.notified
            if notified is not None:
                place = destination.place if notified.blocks and notified.place is None else notified.place
                self._memory.remember(destination.key, replace(notified, place=place))


def _repair(change: VerdictChange, context: RunContext, now: float) -> list[OutboxItem]:
    """The repair, announced where the break was: a reply there, and an edit of that message."""
    place = change.before.place if change.before else None
    if change.transition is not Transition.FIXED or place is None:
        return []
    reply: OutboxItem = FollowUp(place.channel, place.ts, messages.fixed_reply(context, change, now))
    marked = messages.marked_fixed(change, context, now)
    return [reply, FollowUp(place.channel, place.ts, marked, edit=True)] if marked else [reply]


# -- from settings and secrets to a reporter ------------------------------------------------------------------------


def clients(settings: SlackConfig, environ: Mapping[str, str]) -> list[tuple[SlackChannel, SlackClient]]:
    """Every channel that is configured and has its secret; a webhook knows its own channel."""
    found: list[tuple[SlackChannel, SlackClient]] = []
    if token := environ.get(settings.token_env, "").strip():
        found += [(channel, BotClient(token, settings.api_url)) for channel in settings.channels]
    url = environ.get(settings.webhook_env, "").strip()
    if not found and is_address(url):
        rules = settings.channels[0] if settings.channels else SlackChannel()
        found.append((rules, WebhookPoster(url)))
    return found


def missing(settings: SlackConfig, environ: Mapping[str, str]) -> str:
    """Why Slack gets nothing although it is configured; empty when it does, or was not asked for."""
    token = environ.get(settings.token_env, "").strip()
    if token and not settings.channels:
        return f"{settings.token_env} is set and no channel is: add [[slack.channel]] with its id to ci-dispatch.toml"
    if (url := environ.get(settings.webhook_env, "").strip()) and not token and not is_address(url):
        return f"{settings.webhook_env} holds no address that begins with https://, so nothing is sent there"
    if settings.channels and not clients(settings, environ):
        return f"Slack channels are configured and neither {settings.token_env} nor {settings.webhook_env} is set"
    return ""


def open_slack(
    settings: SlackConfig,
    environ: Mapping[str, str],
    *,
    run: RunId,
    kept: MutableMapping[str, bytes],
    reports: ReportCache,
    before: Callable[[], EarlierRun | None] = lambda: None,
    warn: Warn | None = None,
) -> SlackReporter | None:
    """The reporter for a run, or None where nothing is configured.

    `kept` has what it remembers from run to run, `before` says how the run before ended. `warn` is called with what
    goes wrong while the run goes on; without it, and after the end, `close` raises SlackUndelivered.
    """
    memory = SlackMemory(kept)
    destinations = []
    for channel, client in clients(settings, environ):
        can_edit = isinstance(client, BotClient)
        place = memory.place(run, channel.id)
        head = Delivered(place.channel, place.ts) if place else None
        to_send = ChannelMessages(channel.id if can_edit else "", run, interval=settings.interval, head=head)
        sender = SenderThread(to_send, client)
        destinations.append(Destination(settings=channel, sender=sender, can_edit=can_edit, known_place=place))
    if not destinations:
        return None
    return SlackReporter(destinations, memory, reports=reports, before=before, interval=settings.interval, warn=warn)


def send_sample(to: Iterable[tuple[SlackChannel, SlackClient]], title: str) -> Iterator[tuple[str, str]]:
    """Send a sample to each channel; yields its name and why it was not delivered, empty when it was."""
    message = messages.sample(RunContext(title=title))
    for channel, client in to:
        name = channel.id if isinstance(client, BotClient) else "webhook"
        outcome = client.do(Post(channel.id, message, key="sample"))
        if isinstance(outcome, BlocksRefused):
            yield name, f"Slack refused our layout, messages about runs will be plain text: {outcome.why}"
        else:
            yield name, getattr(outcome, "why", "")
