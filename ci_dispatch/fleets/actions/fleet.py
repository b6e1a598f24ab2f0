"""A run through GitHub Actions: messages in, events and commands out.

Same ledger, same retry policy, same events as the direct engine; what differs is how work is handed out: not shard by
shard but as a matrix, and again as a re-run or as another matrix. `step(message, now)` is deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random

from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import GitHubRefused
from ci_dispatch.core.events import (
    Event,
    Interrupted,
    MachineLost,
    Warned,
)
from ci_dispatch.core.model import (
    AttemptResult,
    Ended,
    FailureCause,
    MachineName,
    TestId,
)
from ci_dispatch.fleets.actions import messages as g
from ci_dispatch.fleets.actions.run.dispatch_planner import Outgoing, Terms
from ci_dispatch.fleets.actions.run.dispatch_state import Past, narrowed, unsent
from ci_dispatch.fleets.actions.run.ending import Ending
from ci_dispatch.fleets.actions.run.leases import Leases
from ci_dispatch.fleets.actions.run.matrix import ANY_MACHINE
from ci_dispatch.fleets.actions.run.polling import Following
from ci_dispatch.fleets.actions.run.workflow_run import CalledOff, News, Over, Took, Track, Tracked
from ci_dispatch.run import messages as m
from ci_dispatch.run.settle import Classify
from ci_dispatch.run.state import RunState

UNREACHABLE_CHECKS = 3  # failed checks in a row, until a machine that holds shards counts as lost


class Dispatcher:
    """Plans, dispatches, settles; ends when every test has a verdict or nobody is left to give one."""

    def __init__(
        self,
        state: RunState,
        publish: Callable[[Event], None],
        *,
        terms: Terms,
        classify: Classify,
        random: Random,
        restored: Sequence[Tracked] = (),
        past: Sequence[Past] = (),
    ) -> None:
        self.state, self.ledger = state, state.ledger
        self._publish, self._terms = publish, terms
        self._leases = Leases(state, publish, terms, classify, random)
        self.runs: list[Tracked] = list(restored)
        self._outgoing = Outgoing(state, terms, numbers=len(self.runs))
        self._following = Following(terms)
        self._ending = Ending(state, publish, terms)
        self._check_due: dict[MachineName, float] = {}
        self._checking: set[MachineName] = set()
        self._first_checks: set[MachineName] = set()
        self._unreachable: dict[MachineName, int] = {}
        self._past = past
        self._silent: set[MachineName] = set()  # healthy or not, GitHub's runners there do not work
        self._changed = False  # something the next controller must know

    @property
    def finished(self) -> bool:
        return self.state.finished is not None

    @property
    def refusal(self) -> GitHubRefused | None:
        """Why GitHub would not do it, when that ended the run."""
        return self._ending.refusal

    # -- in ---------------------------------------------------------------------------------------------------------

    def begin(self, now: float) -> list[g.Asked]:
        """The first wishes: of a new run, or of one whose journal was folded into the state (`watch`)."""
        asked: list[g.Asked] = []
        for number in unsent(self.runs, self.ledger):
            self._leases.never_sent(number, now)
        for tracked in self.runs if self._past else ():
            self._relive(tracked, now)
        for tracked in self.runs:
            tracked.look_due = now
            if tracked.run is None:
                asked.append(g.Send(tracked.batch, known=True))
        if self._terms.checks:
            self._check_due = dict.fromkeys((name for name in self.state.machines if name != ANY_MACHINE), now)
            self._first_checks = set() if self.runs else set(self._check_due)
        return asked + self._go_on(now)

    def _relive(self, tracked: Tracked, now: float) -> None:
        """Tell the ledger what the attempts before the adopted one said, oldest first."""
        for told in self._past:
            track = tracked.tracks.get(told.shard)
            if track is not None:
                tests = tuple(t for t in track.entry.shard.tests if self.ledger.records[t].verdict is None)
                shard = replace(track.entry.shard, tests=tests)
                self._leases.end(Track(replace(track.entry, shard=shard), now), told.result, now)
        narrowed(tracked, self.ledger)

    def step(self, message: g.Heard, now: float) -> list[g.Asked]:
        """Take one message; returns what is to be done now."""
        match message:
            case m.Checked(event=event):
                self._checked(event.machine, reachable=event.reachable, now=now)
                self._publish(event)
            case m.Noticed(source=source, text=text):
                self._publish(Warned(source=source, text=text))
            case m.Signalled(signal=signal):
                if self.state.interrupted is None:
                    self._publish(Interrupted(signal=signal))
                self._ending.stop("the run was interrupted", now, grace=self._terms.signal_grace)
            case g.Sent(batch=batch) | g.NotSent(batch=batch) | g.Brought(batch=batch):
                if tracked := next((run for run in self.runs if run.batch.id == batch), None):
                    self._of_batch(tracked, message, now)
            case (
                g.Looked(run=run) | g.NotLooked(run=run) | g.Fetched(run=run) | g.Rerun(run=run) | g.CancelTold(run=run)
            ):
                if tracked := next((tracked for tracked in self.runs if tracked.run == run), None):
                    self._of_run(tracked, message, now)
            case _:
                pass
        return self._go_on(now)

    def _of_batch(self, tracked: Tracked, message: g.Sent | g.NotSent | g.Brought, now: float) -> None:
        match message:
            case g.Sent(run=run):
                self._following.sent(tracked, run, now)
                self._changed = True
            case g.NotSent(error=error):
                self._not_sent(tracked, error, now)
            case g.Brought(shard=shard, attempt=attempt, result=result):
                track = tracked.tracks.get(shard)
                if track is not None and attempt == tracked.attempt and not track.settled:
                    self._leases.end(track, result, now)

    def _of_run(
        self, tracked: Tracked, message: g.Looked | g.NotLooked | g.Fetched | g.Rerun | g.CancelTold, now: float
    ) -> None:
        match message:
            case g.Looked():
                limits = {"queue_timeout": self._terms.queue_timeout, "shard_timeout": self._terms.shard_timeout}
                self._tell(tracked, tracked.see(message, now, **limits), now)
                self._following.looked(self.runs, tracked, message, now)
            case g.NotLooked(error=error):
                self._troubled(tracked, error, now)
            case g.Fetched(error=error):
                self._fetched(tracked, error, now)
            case g.Rerun(error=error):
                self._rerun_answered(tracked, error, now)
            case g.CancelTold(error=error):
                if error is not None:
                    self._publish(Warned(source="github", text=str(error)))

    # -- what every step ends with ----------------------------------------------------------------------------------

    def _go_on(self, now: float) -> list[g.Asked]:
        if self.finished:
            return []
        self._ending.keep_deadline(now)
        asked = self._checks(now)
        if not self._ending.stopping and not self._first_checks:
            asked += self._send(now)
            asked += self._remedies(now)
        asked += self._following.wishes(self.runs, now)
        if self._ending.due(self.runs, now):
            for track in self._open_tracks():
                reason = self._ending.stopping or "the run is over"
                self._leases.end(track, AttemptResult(ended=Ended.CANCELLED, reason=reason), now)
        asked += self._ending.wishes(self.runs, now)
        self._ending.finish_when_done(self.runs, now, waiting=bool(self._first_checks))
        if self._changed:  # written down before it is done
            self._changed = False
            asked.insert(0, self.saved())
        return asked

    def _send(self, now: float) -> list[g.Asked]:
        """Hand out everything nobody has: the whole plan at first, later what came back."""
        held = {test for tracked in self.runs for track in tracked.tracks.values() for test in _held(track)}
        batches = self._outgoing.batches(now, held, self._silent)
        for batch in batches:
            tracked = Tracked.of(batch, now)
            self.runs.append(tracked)
            for track in tracked.tracks.values():
                self._leases.hand_out(track, now)
        self._changed = self._changed or bool(batches)
        return [g.Send(batch) for batch in batches]

    def _remedies(self, now: float) -> list[g.Asked]:
        return self._following.remedies(self.runs, self._usable_track, self._not_before, now)

    def saved(self) -> g.Save:
        return g.Save(
            tuple(
                g.Saved(
                    batch=tracked.batch,
                    run=tracked.run,
                    attempt=tracked.attempt,
                    leases={s: t.lease for s, t in tracked.tracks.items() if t.lease is not None},
                )
                for tracked in self.runs
            )
        )

    # -- machines ---------------------------------------------------------------------------------------------------

    def _checks(self, now: float) -> list[g.Asked]:
        due = [name for name, at in self._check_due.items() if at <= now and name not in self._checking]
        self._checking.update(due)
        return [m.Check(name) for name in due]

    def _checked(self, name: MachineName, *, reachable: bool, now: float) -> None:
        self._checking.discard(name)
        self._first_checks.discard(name)
        self._check_due[name] = now + self._terms.check_interval
        self._unreachable[name] = 0 if reachable else self._unreachable.get(name, 0) + 1
        if self._unreachable[name] >= UNREACHABLE_CHECKS:
            self._lose(name, f"it did not answer {UNREACHABLE_CHECKS} health checks in a row", now)

    def _lose(self, name: MachineName, reason: str, now: float) -> None:
        """A machine is gone: its shards go elsewhere at once, though GitHub shows it alive for ten minutes more."""
        if name == ANY_MACHINE or self.state.machines[name].lost:
            return
        self._publish(MachineLost(machine=name, reason=reason))
        for track in self._open_tracks():
            machine = self._leases.machine_of(track)
            if machine == name and track.fate.open:
                ended = Ended.LOST if track.started is not None else Ended.NOT_STARTED
                why = f"{name} is lost: {reason}"
                self._leases.end(track, AttemptResult(ended=ended, cause=FailureCause.MACHINE, reason=why), now)

    # -- what GitHub told -------------------------------------------------------------------------------------------

    def _tell(self, tracked: Tracked, news: Iterable[News], now: float) -> None:
        for item in news:
            match item:
                case Took(shard=shard, runner=runner):
                    self._changed = self._changed or tracked.tracks[shard].lease is None
                    self._leases.taken(tracked.tracks[shard], runner, now)
                    self._silent.discard(self._leases.machine_of(tracked.tracks[shard]))
                case Over(shard=shard, result=result):
                    track = tracked.tracks[shard]
                    if not track.settled:
                        self._leases.end(track, result, now)
                        self._maybe_lost(track, result, now)
                case CalledOff(reason=reason):
                    self._ending.stop(f"{reason}: standing down", now, grace=self._terms.report_grace)

    def _maybe_lost(self, track: Track, result: AttemptResult, now: float) -> None:
        """A machine without a single running shard of ours, that has just lost one, is lost."""
        machine = self._leases.machine_of(track)
        if result.ended in (Ended.LOST, Ended.NOT_STARTED) and result.cause is FailureCause.MACHINE:
            self._silent.add(machine)
        others = (t for t in self._open_tracks() if self._leases.machine_of(t) == machine)
        if result.ended is Ended.LOST and not any(t.started is not None for t in others):
            self._lose(machine, result.reason, now)

    def _fetched(self, tracked: Tracked, error: GitHubRefused | None, now: float) -> None:
        tracked.fetching = False
        if error is not None:
            self._troubled(tracked, error, now)
            tracked.fetch_due = tracked.look_due
            return
        self._tell(tracked, tracked.not_brought(), now)
        tracked.fetch_due = now + self._following.fetch_interval(tracked)

    def _rerun_answered(self, tracked: Tracked, error: GitHubRefused | None, now: float) -> None:
        if error is None:
            self._changed = True
            for track in self._following.rerun_accepted(tracked, self.ledger, now):
                self._leases.hand_out(track, now)
        elif self._following.rerun_refused(tracked, error, now):
            text = f"{error}; their tests are dispatched anew"
            self._publish(Warned(source="github", text=text))

    def _not_sent(self, tracked: Tracked, error: GitHubRefused, now: float) -> None:
        tracked.over = True
        self._ending.refuse(error, now)
        for track in tracked.tracks.values():
            reason = f"it could not be dispatched: {error.why or error.what}"
            self._leases.end(
                track, AttemptResult(ended=Ended.NOT_STARTED, cause=FailureCause.USAGE, reason=reason), now
            )

    def _troubled(self, tracked: Tracked, error: GitHubRefused, now: float) -> None:
        if self._following.troubled(self.runs, tracked, error, now):
            self._ending.refuse(error, now)

    # -- small questions --------------------------------------------------------------------------------------------

    def _open_tracks(self) -> list[Track]:
        return [t for r in self.runs if not r.over for t in r.tracks.values() if not t.settled]

    def _usable_track(self, track: Track) -> bool:
        machine = self.state.machines.get(track.entry.machine)
        return track.entry.machine == ANY_MACHINE or (machine is not None and machine.usable)

    def _not_before(self, test: TestId) -> float:
        return self.ledger.records[test].not_before


def _held(track: Track) -> Iterable[TestId]:
    """Tests that are spoken for: on their way to a runner, or waiting for a re-run of their job."""
    return track.owed if track.settled else track.entry.shard.tests
