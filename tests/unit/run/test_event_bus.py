"""Journal first, then the fold, then the reporters; one that fails is switched off, a failing journal ends the run."""

from __future__ import annotations

import io
from contextlib import suppress

import pytest

from ci_dispatch.core.events import AttemptOutput, RunFinished, Stamped, Warned
from ci_dispatch.core.model import LeaseNumber, MachineName, Makespan
from ci_dispatch.run.event_bus import EventBus
from ci_dispatch.run.journal import Journal, JournalError, loads, replay
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
    bus = EventBus(state, VirtualClock(), [reporter], Journal(disk))
    bus.publish(warned("kept"))
    bus.publish(AttemptOutput(lease=LeaseNumber(1), machine=MachineName("m"), text="shown"))
    bus.publish(warned("kept too"))
    assert [seq for seq, _ in reporter.events] == [1, 1, 2], "seq is dense over the journal"
    assert disk.getvalue().count(b"\n") == 2
    assert b"shown" not in disk.getvalue()


@pytest.mark.parametrize("room", [0, 10])
def test_a_full_disk_under_the_journal_ends_the_run_and_says_what_to_do(room: int) -> None:
    state = RunState()
    bus = EventBus(state, VirtualClock(), [], Journal(Full(room)))
    with pytest.raises(JournalError, match="journal could not be written") as error:
        bus.publish(warned("x"))
    assert "ci-dispatch resume" in str(error.value)
    assert state.warnings == [], "what is not in the journal has not happened"


def test_close_closes_everybody() -> None:
    reporters = [Fake("a"), Fake("b")]
    EventBus(RunState(), VirtualClock(), reporters).close()
    assert all(reporter.closed for reporter in reporters)


class Closing(io.BytesIO):
    """A journal's file that tells when it is closed."""

    def __init__(self, closed: list[str], fails: str = "") -> None:
        super().__init__()
        self._closed, self._fails = closed, fails

    def close(self) -> None:
        self._closed.append("journal")
        if self._fails:
            raise OSError(self._fails)


def test_the_journal_is_closed_last_so_that_it_has_everybodys_last_warning() -> None:
    closed: list[str] = []

    class Named(Fake):
        def close(self) -> None:
            closed.append(self.name)

    bus = EventBus(RunState(), VirtualClock(), [Named("terminal"), Named("slack")], Journal(Closing(closed)))
    bus.close("slack")
    assert closed == ["slack"], "the journal is open until all are closed"
    bus.close()
    assert closed == ["slack", "terminal", "journal"]


def test_a_journal_that_cannot_be_closed_is_no_warning() -> None:
    bus = EventBus(RunState(), VirtualClock(), [], Journal(Closing([], fails="disk")))
    with pytest.raises(OSError, match="disk"):
        bus.close()


def test_a_step_is_one_line_and_seen_by_reporters_when_the_journal_has_all_of_it() -> None:
    disk, state = io.BytesIO(), RunState()

    class Watching(Fake):
        def handle(self, stamped: Stamped, state: RunState) -> None:
            written = disk.getvalue().count(b'"Warned"')
            self.events.append((stamped.seq, f"{len(state.warnings)} of {written}"))

    reporter, clock = Watching("shown"), VirtualClock()
    bus = EventBus(state, clock, [reporter], Journal(disk))
    with bus.step():
        bus.publish(warned("one"))
        bus.publish(AttemptOutput(lease=LeaseNumber(1), machine=MachineName("m"), text="shown"))
        clock.at += 1.0
        bus.publish(warned("two"))
        assert [warning.text for warning in state.warnings] == ["one", "two"], "who decides sees what it said"
        assert disk.getvalue() == b""
        assert reporter.events == []
    assert reporter.events == [(1, "2 of 2"), (1, "2 of 2"), (2, "2 of 2")]
    [line] = disk.getvalue().splitlines()
    assert [stamped.at for stamped in loads(line)] == [clock.at - 1.0] * 2
    replayed, again = RunState(), Watching("shown")
    replay([loads(line)], replayed, [again])
    assert again.events == [(1, "2 of 2"), (2, "2 of 2")]


def test_a_step_that_does_not_come_to_its_end_has_not_happened() -> None:
    disk, reporter = io.BytesIO(), Fake("shown")
    bus = EventBus(RunState(), VirtualClock(), [reporter], Journal(disk))

    def half_a_step() -> None:
        with bus.step():
            bus.publish(warned("one"))
            raise KeyError("a bug")

    with pytest.raises(KeyError):
        half_a_step()
    assert disk.getvalue() == b""
    assert reporter.events == []


def test_a_step_in_which_nothing_happened_leaves_no_line() -> None:
    disk = io.BytesIO()
    with EventBus(RunState(), VirtualClock(), [], Journal(disk)).step():
        pass
    assert disk.getvalue() == b""


def test_a_reporter_that_fails_at_a_step_becomes_a_warning_after_it() -> None:
    disk, well = io.BytesIO(), Fake("well")
    well.handle = lambda stamped, state: well.events.append((stamped.seq, stamped.event.text))  # type: ignore[method-assign,union-attr]
    bus = EventBus(RunState(), VirtualClock(), [Fake("ill", fails="no route"), well], Journal(disk))
    with bus.step():
        bus.publish(warned("one"))
        bus.publish(warned("two"))
    assert [text.rpartition(": ")[2] for _, text in well.events] == ["one", "no route", "two"]
    assert [stamped.seq for line in disk.getvalue().splitlines() for stamped in loads(line)] == [1, 2, 3]


def test_an_end_that_the_journal_does_not_have_is_shown_to_nobody() -> None:
    """The disk fills with the last line: a reporter that is closed then must not say how the run ended."""

    class Closing(Fake):
        ends: bool | None = None

        def close(self) -> None:
            self.ends = bus.state.finished is not None

    reporter = Closing("terminal")
    bus = EventBus(RunState(), VirtualClock(), [reporter], Journal(Full(0)))
    end = RunFinished(exit_code=0, makespan=Makespan(planned=1.0, realised=1.0, lower_bound=1.0))

    def last_step() -> None:
        with bus.step():
            bus.publish(end)
            assert bus.state.finished is not None, "who decides sees what it said"

    with pytest.raises(JournalError):
        last_step()
    with suppress(OSError):
        bus.close()
    assert reporter.ends is False
