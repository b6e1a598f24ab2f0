"""Stamps events, writes them to the journal, folds them, and shows reporters what the journal has: never anything else.

The journal is the run: when it cannot be written the run ends (JournalError). A reporter that fails is switched off and
the failure becomes a warning that all others show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ci_dispatch.core.events import TRANSIENT, Event, Stamped, Warned
from ci_dispatch.run.journal import Journal
from ci_dispatch.run.ports import Clock, Reporter
from ci_dispatch.run.state import RunState


class EventBus:
    """`publish` is the only way into a run's state."""

    def __init__(
        self, state: RunState, clock: Clock, reporters: Sequence[Reporter], journal: Journal | None = None
    ) -> None:
        """Without a journal nothing is kept: for what is only shown."""
        self.state = state
        self._clock = clock
        self._reporters = list(reporters)
        self._journal = journal
        self._step: list[Stamped] | None = None  # what has been published in the step that goes on
        self._step_at = 0.0

    @contextmanager
    def step(self) -> Iterator[None]:
        """All that is published inside is one entry of the journal, of one time: there is all of it, or nothing.

        The state has each event at once, the reporters see them when the journal has them all. Nothing that leaves the
        process may be done before the step is over.
        """
        entry: list[Stamped] = []
        self._step, self._step_at, was_over = entry, self._now(), self.state.finished is not None
        try:
            yield
            self._write(entry)
        except BaseException:
            if not was_over:
                self.state.take_back_end()  # reporters are closed next
            raise
        finally:
            self._step = None
        self._show(entry)

    def publish(self, event: Event) -> None:
        transient = isinstance(event, TRANSIENT)
        seq = self.state.seq if transient else self.state.seq + 1
        if self._step is not None:
            self._step.append(Stamped(seq=seq, at=self._step_at, event=event))
            self._fold(self._step[-1])
            return
        stamped = Stamped(seq=seq, at=self._now(), event=event)
        self._write([stamped])
        self._fold(stamped)
        self._show([stamped])

    def _now(self) -> float:
        """As the journal has it: a replayed run has the same times."""
        return round(self._clock.now(), 3)

    def _write(self, entry: Sequence[Stamped]) -> None:
        kept = [stamped for stamped in entry if not isinstance(stamped.event, TRANSIENT)]
        if kept and self._journal is not None:
            self._journal.write(kept)

    def _fold(self, stamped: Stamped) -> None:
        if not isinstance(stamped.event, TRANSIENT):
            self.state.apply(stamped)

    def _show(self, entry: Sequence[Stamped]) -> None:
        for stamped in entry:
            self._call(self._reporters, lambda reporter: reporter.handle(stamped, self.state))  # noqa: B023  # called at once

    def tick(self, now: float) -> None:
        """Let the reporters move their clocks."""
        self._call(self._reporters, lambda reporter: reporter.tick(now, self.state))

    def close(self, *names: str) -> None:
        """Close the reporters of these names, or all and then the journal; a failure is a warning to the others."""
        for reporter in list(self._reporters):
            if reporter in self._reporters and (not names or reporter.name in names):
                self._call([reporter], lambda reporter: reporter.close(), failed="")
                self._remove([reporter])
        if self._journal is not None and not names:
            self._journal.close()

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
            except Exception as error:  # noqa: BLE001  # a reporter must not change the run
                failures.append((reporter, error))
        self._remove([reporter for reporter, _ in failures])
        for reporter, reason in failures:
            why = str(reason) or type(reason).__name__
            self.publish(Warned(source=reporter.name, text=failed + why))

    def _remove(self, reporters: Sequence[Reporter]) -> None:
        self._reporters = [reporter for reporter in self._reporters if reporter not in reporters]
