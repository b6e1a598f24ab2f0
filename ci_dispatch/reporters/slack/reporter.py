"""The reporter: shows a run in every channel that wants it, says how it ended, remembers what was told.

Slack's trouble is a warning with its remedy, never a verdict; the run waits for Slack at most ten seconds, at its end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ci_dispatch.config.sections import SlackChannel, When
from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import CiDispatchError
from ci_dispatch.core.events import RunFinished, Stamped
from ci_dispatch.core.model import RunId
from ci_dispatch.reporters.slack import edges, messages
from ci_dispatch.reporters.slack.conversation import Elsewhere, Last, Letter, Reply
from ci_dispatch.reporters.slack.courier import Courier
from ci_dispatch.reporters.slack.edges import Change, Edge, Memory, Place, Told
from ci_dispatch.run.run_report import report
from ci_dispatch.run.state import RunState
from report_merge import failures
from report_merge.failures import FailureGroup
from report_merge.model import Report, RunContext
from report_merge.render.wording import Status, status

CLOSE_DEADLINE = 10.0  # seconds

Context = Callable[[RunState], RunContext]
Warn = Callable[[str], None]


class SlackTrouble(CiDispatchError):
    """Something could not be said in Slack."""


@dataclass(slots=True)
class Destination:
    """One channel, or the webhook, and what was told there."""

    settings: SlackChannel
    courier: Courier
    can_edit: bool  # a webhook can only post
    key: str = ""  # of what is remembered
    told: Told | None = None  # what is to be remembered

    @property
    def live(self) -> bool:
        return self.can_edit and self.settings.live and self.settings.when is When.ALWAYS

    @property
    def place(self) -> Place | None:
        """Where this run's message is, once Slack has said so."""
        head = self.courier.conversation.head
        return Place(channel=head.channel, ts=head.ts) if head and head.ts else None


class SlackReporter:
    """Leaves word for the couriers of all destinations; `warn` hears of trouble while the run goes on."""

    name = "slack"
    essential = False

    def __init__(
        self,
        destinations: Sequence[Destination],
        memory: Memory,
        *,
        context: Context,
        interval: float,
        warn: Warn | None,
    ) -> None:
        self.trouble: list[str] = [memory.note] if memory.note else []  # everything that could not be said or kept
        self._told_trouble = 0
        self._destinations = destinations
        self._memory = memory
        self._context = context
        self._interval = interval
        self._warn = warn
        self._shown: object = None
        self._shown_at = float("-inf")

    def handle(self, stamped: Stamped, state: RunState) -> None:
        if isinstance(stamped.event, RunFinished):
            self._finish(stamped.at, state)

    def tick(self, now: float, state: RunState) -> None:
        self._hear_trouble()
        if state.started is None or state.finished is not None:
            return
        self._remember_places(state.started.run)
        if 0 <= now - self._shown_at < self._interval:
            return
        visible = [(machine.word, machine.done, machine.given) for machine in state.machines.values()]
        if visible != self._shown:  # a clock that moved is no news
            self._shown, self._shown_at = visible, now
            self._show(now, state)

    def close(self) -> None:
        """Wait for the last words, remember them; raises SlackTrouble with what `warn` has not heard."""
        until = time.monotonic() + CLOSE_DEADLINE
        for destination in self._destinations:
            left = destination.courier.join(until)
            self.trouble += destination.courier.problems() + ([left] if left else [])
        self._remember()
        if self._told_trouble < len(self.trouble):
            raise SlackTrouble("; ".join(self.trouble[self._told_trouble :]))

    # -- while it runs ----------------------------------------------------------------------------------------------

    def _show(self, now: float, state: RunState) -> None:
        context = self._context(state)
        message = messages.live(state, now, context)
        for destination in self._destinations:
            if destination.live and edges.on_branch(destination.settings, context.branch):
                destination.courier.show(message)

    def _hear_trouble(self) -> None:
        for destination in self._destinations:
            self.trouble += destination.courier.problems()
        if self._warn is not None:
            for text in self.trouble[self._told_trouble :]:
                self._warn(text)
            self._told_trouble = len(self.trouble)

    def _remember_places(self, run: RunId) -> None:
        """So that a resumed run goes on in the same message."""
        known = dict(self._memory.unfinished)
        for destination in self._destinations:
            if destination.place is not None:
                known[unfinished_key(run, destination.settings.id)] = destination.place
        if known != self._memory.unfinished:
            self._memory.unfinished = known
            self._memory.save()

    # -- at the end -------------------------------------------------------------------------------------------------

    def _finish(self, now: float, state: RunState) -> None:
        ended = report(state, self._context(state))
        groups = failures.group(ended.cases)
        for destination in self._destinations:
            destination.courier.finish(self._letters(destination, now, state, ended, groups))
            if state.started is not None:
                self._memory.unfinished.pop(unfinished_key(state.started.run, destination.settings.id), None)

    def _letters(
        self, to: Destination, now: float, state: RunState, ended: Report, groups: Sequence[FailureGroup]
    ) -> list[Letter]:
        context = ended.context
        to.key = edges.key(to.settings.id, context.repository, context.title, context.branch)
        before = self._memory.records.get(to.key)
        moved = edges.change(before, bad=status(ended) is not Status.PASSED)
        if state.interrupted:  # it says nothing about the code: the next run compares with the one before
            moved = Change(edge=Edge.NONE, bad=moved.bad, before=before)
        else:
            to.told = edges.after(moved, now, tuple(group.fingerprint for group in groups))
        repair = _repair(moved, context, now) if to.can_edit else []
        if not edges.wants(to.settings, moved, context.branch):
            return repair
        message = messages.final(state, ended, groups, moved)
        whom = to.settings.mention if moved.edge is Edge.BROKEN else ()
        if to.told is not None and moved.edge is Edge.BROKEN:
            to.told = replace(to.told, text=message.text, blocks=message.blocks)
        if not to.live:
            message = messages.with_mentions(message, whom)  # a new message notifies
        letters: list[Letter] = [Last(message)]
        if whom and to.live:
            letters.append(Reply(messages.call(context, whom)))  # an edit does not, a reply does
        letters += repair
        if to.settings.thread and to.can_edit:
            letters += [Reply(reply) for reply in messages.replies(groups, context, moved)]
        return letters

    def _remember(self) -> None:
        """What was told, and where a break was told, so that its repair is told there too."""
        for destination in self._destinations:
            told = destination.told
            if told is not None:
                place = destination.place if told.blocks and told.place is None else told.place
                self._memory.put(destination.key, replace(told, place=place))
        if any(destination.told for destination in self._destinations):
            self._memory.save()


def unfinished_key(run: str, channel: str) -> str:
    return f"{run} {channel}"


def _repair(moved: Change, context: RunContext, now: float) -> list[Letter]:
    """The repair, said where the break was said: a reply there, and an edit of that message."""
    place = moved.before.place if moved.before else None
    if moved.edge is not Edge.FIXED or place is None:
        return []
    letters: list[Letter] = [Elsewhere(place.channel, place.ts, messages.fixed_reply(context, moved, now))]
    marked = messages.marked_fixed(moved, context, now)
    return [*letters, Elsewhere(place.channel, place.ts, marked, edit=True)] if marked else letters
