"""Journal first, then the fold, then the reporters; one that fails is switched off, a failing journal ends the run."""

from __future__ import annotations

import io

import pytest

from ci_dispatch.core.events import AttemptOutput, Stamped, Warned
from ci_dispatch.core.model import LeaseNumber, MachineName
from ci_dispatch.run.event_bus import EventBus
from ci_dispatch.run.journal import Journal, JournalError
from ci_dispatch.run.ports import BaseReporter
from ci_dispatch.run.state import RunState
from tests.simulation import VirtualClock


class Fake(BaseReporter):
    def __init__(self, name: str, fails: str = "") -> None:
        self.name = name
        self.fails = fails
        self.events: list[tuple[int, str]] = []
        self.closed = False

    def handle(self, stamped: Stamped, state: RunState) -> None:
        if self.fails:
            raise RuntimeError(self.fails)
        text = getattr(stamped.event, "text", "")
        self.events.append((stamped.seq, text))
        assert state.seq == stamped.seq, "a reporter sees the state after the event"

    def tick(self, now: float, state: RunState) -> None:
        if self.fails:
            raise RuntimeError(self.fails)

    def close(self) -> None:
        self.closed = True


class Full(io.BytesIO):
    """A disk that is full after `room` bytes."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def write(self, data: object) -> int:
        assert isinstance(data, bytes)
        taken = data[: self.room]
        self.room -= len(taken)
        return super().write(taken)


def warned(text: str) -> Warned:
    return Warned(source="test", text=text)


def test_a_failing_reporter_becomes_a_warning_the_others_see() -> None:
    state, well, ill = RunState(), Fake("well"), Fake("ill", fails="no route to Slack")
    bus = EventBus(state, VirtualClock(), [ill, well])
    bus.publish(warned("one"))
    bus.publish(warned("two"))
    switched_off = "switched off, the run goes on without it: no route to Slack"
    assert [text for _, text in well.events] == ["one", switched_off, "two"], "in order"
    assert [warning.source for warning in state.warnings] == ["test", "ill", "test"]


def test_a_reporter_that_fails_at_its_tick_is_switched_off_too() -> None:
    ill = Fake("ill")
    bus = EventBus(RunState(), VirtualClock(), [ill])
    ill.fails = "late"
    bus.tick(0.0)
    ill.fails = ""
    bus.publish(warned("x"))
    assert ill.events == []


def test_reporters_that_fail_at_the_same_event_are_all_switched_off_and_the_run_goes_on() -> None:
    state, well = RunState(), Fake("well")
    bus = EventBus(state, VirtualClock(), [Fake("one", fails="disk"), well, Fake("two", fails="disk")])
    bus.publish(warned("hello"))
    bus.publish(warned("again"))
    assert [warning.source for warning in state.warnings] == ["test", "one", "two", "test"]
    assert [text for _, text in well.events][-1] == "again"


def test_a_reporter_that_fails_while_another_is_closed_is_not_closed_again() -> None:
    class Unclosable(Fake):
        def close(self) -> None:
            raise OSError("gone")

    class Failing(Unclosable):
        def handle(self, stamped: Stamped, state: RunState) -> None:
            raise OSError("no room for a warning")

    state = RunState()
    EventBus(state, VirtualClock(), [Unclosable("first"), Failing("second"), Fake("last")]).close()
    assert [warning.source for warning in state.warnings] == ["first", "second"]


def test_output_is_shown_and_never_written() -> None:
    disk, reporter, state = io.BytesIO(), Fake("shown"), RunState()
    bus = EventBus(state, VirtualClock(), [Journal(disk), reporter])
    bus.publish(warned("kept"))
    bus.publish(AttemptOutput(lease=LeaseNumber(1), machine=MachineName("m"), text="shown"))
    bus.publish(warned("kept too"))
    assert [seq for seq, _ in reporter.events] == [1, 1, 2], "seq is dense over the journal"
    assert disk.getvalue().count(b"\n") == 2
    assert b"shown" not in disk.getvalue()


@pytest.mark.parametrize("room", [0, 10])
def test_a_full_disk_under_the_journal_ends_the_run_and_says_what_to_do(room: int) -> None:
    state = RunState()
    bus = EventBus(state, VirtualClock(), [Journal(Full(room))])
    with pytest.raises(JournalError, match="journal could not be written") as error:
        bus.publish(warned("x"))
    assert "ci-dispatch resume" in str(error.value)
    assert state.warnings == [], "what is not in the journal has not happened"


def test_close_closes_everybody() -> None:
    reporters = [Fake("a"), Fake("b")]
    EventBus(RunState(), VirtualClock(), reporters).close()
    assert all(reporter.closed for reporter in reporters)


def test_the_journal_is_closed_last_so_that_it_has_everybodys_last_warning() -> None:
    closed: list[str] = []

    class Named(Fake):
        def close(self) -> None:
            closed.append(self.name)

    journal = Named("journal")
    journal.essential = True
    EventBus(RunState(), VirtualClock(), [journal, Named("terminal"), Named("slack")]).close()
    assert closed == ["terminal", "slack", "journal"]


@pytest.mark.parametrize("moment", ["tick", "close"])
def test_a_journal_is_never_switched_off(moment: str) -> None:
    class Broken(Fake):
        essential = True

        def close(self) -> None:
            raise OSError("disk")

    bus = EventBus(RunState(), VirtualClock(), [Broken("journal", fails="disk" if moment == "tick" else "")])
    with pytest.raises((RuntimeError, OSError), match="disk"):
        bus.tick(0.0) if moment == "tick" else bus.close()
