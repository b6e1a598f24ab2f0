"""Who holds a shard, and what its end means: the ledger's side of a run through GitHub. Pure."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from ci_dispatch.core.events import AttemptFinished, AttemptStarted, Event, LeaseGranted, RetryScheduled
from ci_dispatch.core.model import AttemptResult, Charge, Ended, Lease, LeaseNumber, MachineName
from ci_dispatch.fleets.actions.rest.models import runner_is
from ci_dispatch.fleets.actions.run.dispatch_planner import Terms
from ci_dispatch.fleets.actions.run.matrix import ANY_MACHINE, MatrixJob
from ci_dispatch.fleets.actions.run.workflow_run import Track
from ci_dispatch.run import quarantine
from ci_dispatch.run.settle import Classify, one_result_each, settle
from ci_dispatch.run.state import RunState


class Leases:
    def __init__(
        self, state: RunState, publish: Callable[[Event], None], terms: Terms, classify: Classify, random: Random
    ) -> None:
        self._state, self._ledger, self._publish = state, state.ledger, publish
        self._terms, self._classify, self._random = terms, classify, random

    def hand_out(self, track: Track, now: float) -> None:
        """A pinned shard is leased when it is sent, a pooled one when somebody takes it."""
        if track.entry.machine != ANY_MACHINE:
            self._grant(track, track.entry.machine, now)

    def taken(self, track: Track, runner: str, now: float) -> None:
        if track.lease is None:
            self._grant(track, self._named(runner), now)
        assert track.lease is not None
        self._publish(AttemptStarted(lease=track.lease))

    def never_sent(self, number: LeaseNumber, now: float) -> None:
        """A lease of a controller that was killed before it dispatched: its tests are free again."""
        lease = self._ledger.attempts[number].lease
        entry = MatrixJob(shard=lease.shard, machine=lease.machine, labels=())
        result = AttemptResult(ended=Ended.NOT_STARTED, reason="the controller was killed before it dispatched this")
        self.end(Track(entry, now, lease=number), result, now)

    def machine_of(self, track: Track) -> MachineName:
        if track.lease is not None:
            return self._ledger.attempts[track.lease].lease.machine
        return track.entry.machine

    def _grant(self, track: Track, machine: MachineName, now: float) -> None:
        number = LeaseNumber(self._ledger.last_lease + 1)
        expires = now + self._terms.queue_timeout + self._terms.shard_timeout
        lease = Lease(number=number, shard=track.entry.shard, machine=machine, granted=now, expires=expires)
        track.lease = number
        self._publish(LeaseGranted(lease=lease))

    def _named(self, runner: str) -> MachineName:
        """The machine a runner belongs to, by its name; an unknown one is just "the pool"."""
        names = (name for name in self._state.machines if name != ANY_MACHINE)
        return next((name for name in names if runner_is(runner, name)), ANY_MACHINE)

    def end(self, track: Track, result: AttemptResult, now: float) -> None:
        """The end of an attempt; only the first under an active lease counts."""
        if track.lease is None:
            self._grant(track, ANY_MACHINE, now)
        assert track.lease is not None
        lease = self._ledger.attempts[track.lease].lease
        result = one_result_each(lease, result)
        stale = track.lease not in self._ledger.active
        self._publish(AttemptFinished(lease=track.lease, machine=lease.machine, result=result, stale=stale))
        track.settled = True
        if stale:
            return
        if lease.machine != ANY_MACHINE and (fenced := quarantine.trips(self._state, lease.machine)):
            self._publish(fenced)
        usable = [name for name, machine in self._state.machines.items() if machine.usable and name != ANY_MACHINE]
        for event in settle(
            self._ledger,
            lease,
            result,
            usable=usable,
            policy=self._terms.retry,
            classify=self._classify,
            random=self._random,
            now=now,
        ):
            self._publish(event)
            if (
                isinstance(event, RetryScheduled)
                and event.charged_to is Charge.TEST
                and event.avoid_machine is None
                and not event.isolate
            ):
                track.owed.update(event.tests)
