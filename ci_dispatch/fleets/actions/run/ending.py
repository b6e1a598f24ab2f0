"""How a run through GitHub ends: deadline, signal, stand-down, refusal, or simply every verdict reached. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ci_dispatch.core.errors import ExitCode, GitHubRefused, worst
from ci_dispatch.core.events import Event, RunFinished
from ci_dispatch.core.model import Makespan
from ci_dispatch.fleets.actions import messages as g
from ci_dispatch.fleets.actions.run.dispatch_planner import Terms
from ci_dispatch.fleets.actions.run.matrix import ANY_MACHINE
from ci_dispatch.fleets.actions.run.workflow_run import Tracked
from ci_dispatch.run import run_end
from ci_dispatch.run.state import RunState


class Ending:
    def __init__(self, state: RunState, publish: Callable[[Event], None], terms: Terms) -> None:
        self._state, self._publish, self._terms = state, publish, terms
        self.stopping = ""  # why nothing more is handed out
        self.refusal: GitHubRefused | None = None
        self._until = 0.0  # when waiting for what was stopped ends
        self._stuck_since: float | None = None

    def stop(self, reason: str, now: float, *, grace: float) -> None:
        """Hand out nothing more; what runs is cancelled and may still report for `grace` seconds."""
        if not self.stopping or now + grace < self._until:
            self._until = now + grace
        self.stopping = self.stopping or reason

    def refuse(self, error: GitHubRefused, now: float) -> None:
        self.refusal = self.refusal or error
        self.stop(str(error), now, grace=0.0)

    def keep_deadline(self, now: float) -> None:
        deadline = self._terms.deadline
        if deadline and not self.stopping and now >= self._state.started_at + deadline:
            self.stop(f"the run's deadline of {deadline:g} s has passed", now, grace=self._terms.report_grace)

    def due(self, runs: Sequence[Tracked], now: float) -> bool:
        """Whether leases that are still open end now, without a report."""
        waiting = any(not track.settled for run in runs for track in run.tracks.values())
        return bool(self.stopping) and waiting and now >= self._until

    def wishes(self, runs: Sequence[Tracked], now: float) -> list[g.Asked]:
        """Cancel what goes on for nothing: everything when stopping, else runs that only have dead jobs left."""
        asked: list[g.Asked] = []
        for tracked in runs:
            needless = bool(self.stopping) or tracked.over or self._decided
            if tracked.run is None or tracked.cancelled or not needless or not tracked.open_jobs:
                continue
            tracked.cancelled = True
            asked.append(g.Cancel(tracked.run, force=tracked.over and now - tracked.sent_at > 600))
        return asked

    @property
    def _decided(self) -> bool:
        return self._state.ledger.undecided == 0

    def finish_when_done(self, runs: Sequence[Tracked], now: float, *, waiting: bool) -> None:
        if self._state.ledger.active or any(run.rerunning for run in runs):
            self._stuck_since = None
            return
        pooled = any(not track.settled for run in runs for track in run.tracks.values())
        reason = ""
        if not self._decided:
            reason = self.stopping or ("" if waiting or pooled else self._stuck(now))
            if not reason:
                return
            for verdict in run_end.give_up(self._state.ledger, reason):
                self._publish(verdict)
        self._publish(RunFinished(exit_code=self._exit_code(), makespan=self._makespan(now), reason=reason))

    def _stuck(self, now: float) -> str:
        """Why nothing will happen any more, or an empty string while something may."""
        names = [name for name in self._state.machines if name != ANY_MACHINE]
        if any(self._state.machines[name].usable for name in names):
            self._stuck_since = None
            return ""
        self._stuck_since = self._stuck_since or now
        nobody_ever = not self._state.ledger.attempts
        if not nobody_ever and now - self._stuck_since < self._terms.give_up_after:
            return ""
        return run_end.nobody_left(self._state.machines[name] for name in names)

    def _exit_code(self) -> ExitCode:
        refused = [ExitCode.GITHUB_REFUSED] if self.refusal else []
        return worst([run_end.exit_code(self._state), *refused])

    def _makespan(self, now: float) -> Makespan:
        started = self._state.started
        planned, bound = (started.planned, started.lower_bound) if started else (0.0, 0.0)
        return Makespan(planned=planned, realised=round(now - self._state.started_at, 3), lower_bound=bound)
