"""Stamps each event, writes it to the journal, folds it, then tells every face: in this order, always.

The journal is the run: when it cannot be written the run ends (JournalError). Any other reporter that fails is
switched off and the failure becomes a warning that everybody else sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO

from ci_dispatch.core.errors import CiDispatchError, ExitCode, UsageError
from ci_dispatch.core.events import TRANSIENT, Event, Stamped, Warned, dumps, loads
from ci_dispatch.run.ports import Clock, Reporter
from ci_dispatch.run.state import RunState


class JournalError(CiDispatchError):
    """The journal could not be written, so the run could not go on: nobody would know what had happened."""

    exit_code = ExitCode.INCOMPLETE


class Bus:
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


class Journal:
    """The essential reporter: one line an event, handed to the operating system before anything else happens."""

    name = "journal"
    essential = True

    def __init__(self, stream: IO[bytes]) -> None:
        """`stream` is open for appending and unbuffered: after `write` the line outlives the process."""
        self._stream = stream

    def handle(self, stamped: Stamped, state: RunState) -> None:  # noqa: ARG002
        line = dumps(stamped).encode() + b"\n"
        try:
            written = self._stream.write(line)
        except OSError as error:
            raise _cannot_write(str(error)) from error
        if written != len(line):
            raise _cannot_write(f"only {written} of {len(line)} bytes were taken")

    def tick(self, now: float, state: RunState) -> None:
        pass

    def close(self) -> None:
        self._stream.close()


def _cannot_write(why: str) -> JournalError:
    return JournalError(
        "The run was ended because its journal could not be written",
        why=why,
        hint="free space under .ci-dispatch, then `ci-dispatch resume`",
    )


def read_journal(lines: Iterable[bytes], name: str) -> Iterator[Stamped]:
    """The events of a journal. A last line that is cut (the controller was killed while writing) is left out.

    Raises UsageError for anything else that is no journal: `name` says which file.
    """
    pending: tuple[int, bytes] | None = None
    seq = 0
    for number, line in enumerate(lines, 1):
        if pending is not None:
            raise _not_a_journal(name, pending[0], "this line is damaged")
        try:
            stamped = loads(line.decode())
        except ValueError as error:
            if number == 1 or (b'"v":' in line and "journal version" in str(error)):
                raise _not_a_journal(name, number, str(error)) from error
            pending = (number, line)
            continue
        if stamped.seq != seq + 1:
            raise _not_a_journal(name, number, f"event {stamped.seq} follows event {seq}")
        seq = stamped.seq
        yield stamped


def _not_a_journal(name: str, number: int, why: str) -> UsageError:
    return UsageError(
        f"{name} cannot be read as a run's journal",
        why=f"line {number}: {why}",
        hint="give the events.jsonl of a run folder, written by this version of ci-dispatch",
    )


def replay(events: Iterable[Stamped], state: RunState, reporters: Sequence[Reporter] = ()) -> None:
    """Fold recorded events and show them: replay and run are the same to every face."""
    for stamped in events:
        state.apply(stamped)
        for reporter in reporters:
            reporter.handle(stamped, state)
