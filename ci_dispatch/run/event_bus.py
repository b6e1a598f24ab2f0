"""Stamps each event, writes it to the journal, folds it, then tells every reporter: in this order, always.

The journal is the run: when it cannot be written the run ends (JournalError). Any other reporter that fails is
switched off and the failure becomes a warning that everybody else sees.
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
        self._sinks = list(reporters)

    def publish(self, event: Event) -> None:
        transient = isinstance(event, TRANSIENT)
        seq = self.state.seq if transient else self.state.seq + 1
        stamped = Stamped(seq=seq, at=self._clock.now(), event=event)
        if not transient:
            for reporter in [reporter for reporter in self._sinks if reporter.essential]:
                reporter.handle(stamped, self.state)
            self.state.apply(stamped)
        self._tell(
            [reporter for reporter in self._sinks if not reporter.essential],
            lambda reporter: reporter.handle(stamped, self.state),
        )

    def tick(self, now: float) -> None:
        """Let the faces move their clocks."""
        self._tell(self._sinks, lambda reporter: reporter.tick(now, self.state))

    def close(self, *names: str) -> None:
        """Close the reporters of these names, or all, the journal last; a failure is a warning to those still open."""
        for reporter in sorted(self._sinks, key=lambda reporter: reporter.essential):
            if not names or reporter.name in names:
                self._tell([reporter], lambda reporter: reporter.close(), failed="")
                if reporter in self._sinks:
                    self._sinks.remove(reporter)

    def _tell(
        self,
        reporters: Sequence[Reporter],
        say: Callable[[Reporter], None],
        failed: str = "switched off, the run goes on without it: ",
    ) -> None:
        """Say something to each; those that fail are switched off after everybody has heard it."""
        deaf: list[tuple[Reporter, Exception]] = []
        for reporter in list(reporters):
            try:
                say(reporter)
            except Exception as error:
                if reporter.essential:
                    raise
                deaf.append((reporter, error))  # a face of the run must not change the run
        for reporter, reason in deaf:
            self._sinks.remove(reporter)
            why = str(reason) or type(reason).__name__
            self.publish(Warned(source=reporter.name, text=failed + why))
