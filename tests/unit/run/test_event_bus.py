"""Journal first, then the fold, then the faces; a failing face is switched off, a failing journal ends the run."""

from __future__ import annotations

import io

import pytest

from ci_dispatch.core.events import AttemptOutput, Stamped, Warned
from ci_dispatch.core.model import LeaseNumber, MachineName
from ci_dispatch.run.event_bus import EventBus
from ci_dispatch.run.journal import Journal, JournalError
from ci_dispatch.run.state import RunState
from tests.simulation import VirtualClock


class Face:
    essential = False

    def __init__(self, name: str, trouble: str = "") -> None:
        self.name = name
        self.trouble = trouble
        self.heard: list[tuple[int, str]] = []
        self.closed = False

    def handle(self, stamped: Stamped, state: RunState) -> None:
        if self.trouble:
            raise RuntimeError(self.trouble)
        text = getattr(stamped.event, "text", "")
        self.heard.append((stamped.seq, text))
        assert state.seq == stamped.seq, "a face sees the state after the event"

    def tick(self, now: float, state: RunState) -> None:
        if self.trouble:
            raise RuntimeError(self.trouble)

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


def test_a_failing_face_becomes_a_warning_the_others_see() -> None:
    state, well, ill = RunState(), Face("well"), Face("ill", trouble="no route to Slack")
    bus = EventBus(state, VirtualClock(), [ill, well])
    bus.publish(warned("one"))
    bus.publish(warned("two"))
    switched_off = "switched off, the run goes on without it: no route to Slack"
    assert [text for _, text in well.heard] == ["one", switched_off, "two"], "in order"
    assert [warning.source for warning in state.warnings] == ["test", "ill", "test"]


def test_a_face_that_fails_at_its_clock_is_switched_off_too() -> None:
    ill = Face("ill")
    bus = EventBus(RunState(), VirtualClock(), [ill])
    ill.trouble = "late"
    bus.tick(0.0)
    ill.trouble = ""
    bus.publish(warned("x"))
    assert ill.heard == []


def test_output_is_shown_and_never_written() -> None:
    disk, face, state = io.BytesIO(), Face("face"), RunState()
    bus = EventBus(state, VirtualClock(), [Journal(disk), face])
    bus.publish(warned("kept"))
    bus.publish(AttemptOutput(lease=LeaseNumber(1), machine=MachineName("m"), text="shown"))
    bus.publish(warned("kept too"))
    assert [seq for seq, _ in face.heard] == [1, 1, 2], "seq is dense over the journal"
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
    faces = [Face("a"), Face("b")]
    EventBus(RunState(), VirtualClock(), faces).close()
    assert all(face.closed for face in faces)


def test_the_journal_is_closed_last_so_that_it_has_everybodys_last_word() -> None:
    closed: list[str] = []

    class Named(Face):
        def close(self) -> None:
            closed.append(self.name)

    journal = Named("journal")
    journal.essential = True
    EventBus(RunState(), VirtualClock(), [journal, Named("terminal"), Named("slack")]).close()
    assert closed == ["terminal", "slack", "journal"]


@pytest.mark.parametrize("moment", ["tick", "close"])
def test_a_journal_is_never_switched_off(moment: str) -> None:
    class Broken(Face):
        essential = True

        def close(self) -> None:
            raise OSError("disk")

    bus = EventBus(RunState(), VirtualClock(), [Broken("journal", trouble="disk" if moment == "tick" else "")])
    with pytest.raises((RuntimeError, OSError), match="disk"):
        bus.tick(0.0) if moment == "tick" else bus.close()
