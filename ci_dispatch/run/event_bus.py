"""Stamps each event, writes it to the journal, folds it, then passes it to every reporter: in this order, always.

The journal is the run: when it cannot be written the run ends (JournalError). Any other reporter that fails is
switched off and the failure becomes a warning that all others show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ci_dispatch.core.events import TRANSIENT, Event, Stamped, Warned
from ci_dispatch.run.ports import Clock, Reporter
from ci_dispatch.run.state import RunState


class EventBus:
    """`publish` is the only way into a run's state."""

    def __init__(self, state: RunState, clock: Clock, reporters: Sequence[Reporter]) -> None:
        self.state = state
        self._clock = clock
        self._reporters = list(reporters)

    def publish(self, event: Event) -> None:
        transient = isinstance(event, TRANSIENT)
        seq = self.state.seq if transient else self.state.seq + 1
        stamped = Stamped(seq=seq, at=self._clock.now(), event=event)
        if not transient:
            for reporter in [reporter for reporter in self._reporters if reporter.essential]:
                reporter.handle(stamped, self.state)
            self.state.apply(stamped)
        self._call(
            [reporter for reporter in self._reporters if not reporter.essential],
            lambda reporter: reporter.handle(stamped, self.state),
        )

    def tick(self, now: float) -> None:
        """Let the reporters move their clocks."""
        self._call(self._reporters, lambda reporter: reporter.tick(now, self.state))

    def close(self, *names: str) -> None:
        """Close the reporters of these names, or all, the journal last; a failure is a warning to those still open."""
        for reporter in sorted(self._reporters, key=lambda reporter: reporter.essential):
            if reporter in self._reporters and (not names or reporter.name in names):
                self._call([reporter], lambda reporter: reporter.close(), failed="")
                self._remove([reporter])

    def _call(
        self,
        reporters: Sequence[Reporter],
        call: Callable[[Reporter], None],
        failed: str = "switched off, the run goes on without it: ",
    ) -> None:
        """Call each; those that fail are switched off, all of them before the first warning about it is published."""
        failures: list[tuple[Reporter, Exception]] = []
        for reporter in list(reporters):
            try:
                call(reporter)
            except Exception as error:
                if reporter.essential:
                    raise
                failures.append((reporter, error))  # a reporter must not change the run
        self._remove([reporter for reporter, _ in failures])
        for reporter, reason in failures:
            why = str(reason) or type(reason).__name__
            self.publish(Warned(source=reporter.name, text=failed + why))

    def _remove(self, reporters: Sequence[Reporter]) -> None:
        self._reporters = [reporter for reporter in self._reporters if reporter not in reporters]
