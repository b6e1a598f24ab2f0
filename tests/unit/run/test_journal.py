"""The journal's lines: every event survives the round trip, later versions do not break older readers."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_dispatch.core import events
from ci_dispatch.core.codec import Value
from ci_dispatch.core.errors import UsageError
from ci_dispatch.core.events import Stamped, Unrecognised, Warned
from ci_dispatch.core.model import FailureCause, MachineName, MachineSpec
from ci_dispatch.run.journal import CHUNK, JournalError, JournalReader, dumps, loads, recover
from ci_dispatch.run.state import RunState
from tests.recorded_runs import play, recorded
from tests.simulation import make_tests, run_started

KINDS = list(events.KINDS.values())
DATA = st.recursive(
    st.none() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.dictionaries(st.text(), inner),
    max_leaves=3,
)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)  # JSON has neither
st.register_type_strategy(float, FLOATS)
st.register_type_strategy(MachineSpec, st.builds(MachineSpec, env=st.dictionaries(st.text(), st.text())))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_every_event_survives_the_journal(kind: type, data: st.DataObject) -> None:
    of_the_run = {"settings": st.dictionaries(st.text(), DATA), "expected_seconds": st.dictionaries(st.text(), FLOATS)}
    event = data.draw(st.builds(kind, **(of_the_run if kind is events.RunStarted else {})))
    stamped = Stamped(seq=data.draw(st.integers(1, 10**9)), at=12.5, event=event)
    line = dumps(stamped)
    assert b"\n" not in line
    assert loads(line) == [stamped]


@given(texts=st.lists(st.text(), min_size=2, max_size=5), seq=st.integers(1, 10**9))
def test_events_that_belong_together_are_one_line(texts: list[str], seq: int) -> None:
    entry = [Stamped(seq=seq + n, at=2.5, event=Warned(source="a", text=text)) for n, text in enumerate(texts)]
    line = dumps(*entry)
    assert b"\n" not in line
    assert loads(line) == entry


def test_the_union_and_the_table_of_kinds_agree() -> None:
    union = {kind.__name__ for kind in events.Event.__args__}
    assert union == {kind.__name__ for kind in KINDS} | {"Unrecognised"}
    assert all(issubclass(kind, Value) for kind in KINDS)


def test_an_event_of_a_later_version_is_carried_and_written_back() -> None:
    line = b'{"v":2,"seq":3,"at":1.0,"kind":"MachineSang","data":{"song":"la"}}'
    [stamped] = loads(line)
    assert stamped.event == Unrecognised(kind="MachineSang", data={"song": "la"})
    assert json.loads(dumps(stamped)) == json.loads(line)


def test_a_field_of_a_later_version_is_ignored() -> None:
    line = b'{"v":2,"seq":3,"at":1.0,"kind":"Warned","data":{"source":"a","text":"b","mood":"good"}}'
    assert loads(line)[0].event == Warned(source="a", text="b")


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"[]", b"{}", b"null", b"\xff", b"[" * 100_000, b'{"v":3,"seq":1,"at":0,"kind":"Warned","data":{}}',
     b'{"v":2,"seq":1,"at":0,"kind":"Warned","data":{}}', b'{"v":2,"seq":1,"at":0,"kind":"Warned","data":[]}',
     b'{"v":2,"seq":1,"at":0,"kind":"Step","data":{}}', b'{"v":2,"seq":1,"at":0,"kind":"Step","data":[["Warned"]]}',
     b'{"v":2,"seq":"1","at":0,"kind":"Warned","data":{"source":"a","text":1}}'],
)  # fmt: skip
def test_what_is_no_journal_line_is_a_value_error(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        loads(line)


@given(st.binary() | st.text().map(str.encode))
def test_garbage_is_a_value_error_and_nothing_else(line: bytes) -> None:
    with suppress(ValueError):
        loads(line)


def journal(*texts: str) -> list[bytes]:
    return [
        dumps(Stamped(seq=n, at=0.0, event=Warned(source="s", text=text))) + b"\n" for n, text in enumerate(texts, 1)
    ]


def read(tmp_path: Path, *lines: bytes) -> list[Stamped]:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"".join(lines))
    return [stamped for entry in JournalReader(path).read_all() for stamped in entry]


def test_a_last_line_cut_by_a_kill_is_left_out(tmp_path: Path) -> None:
    lines = journal("a", "b", "c")
    for cut in range(1, len(lines[2]) - 1):
        assert len(read(tmp_path, *lines[:2], lines[2][:cut])) == 2


def test_damage_before_the_last_line_is_refused_with_its_place(tmp_path: Path) -> None:
    lines = journal("a", "b", "c")
    with pytest.raises(UsageError, match=r"events\.jsonl cannot be read") as refused:
        read(tmp_path, lines[0], lines[1][:20] + b"\n", lines[2])
    assert "line 2" in str(refused.value)
    with pytest.raises(UsageError, match="event 3 follows event 1"):
        read(tmp_path, lines[0], lines[2])
    with pytest.raises(UsageError, match="cannot be read"):
        read(tmp_path, b"<html>\n")


def test_what_is_good_before_the_damage_is_read_first(tmp_path: Path) -> None:
    lines = journal("a", "b")
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"".join(lines) + b"nonsense\n")
    reader = JournalReader(path)
    assert [stamped.seq for [stamped] in reader.read()] == [1, 2]
    with pytest.raises(UsageError, match="line 3"):
        reader.read()


def test_a_line_without_an_event_is_damage_and_several_events_are_counted(tmp_path: Path) -> None:
    empty = b'{"v":2,"seq":1,"at":0,"kind":"Step","data":[]}\n'
    with pytest.raises(UsageError, match="line 1"):
        read(tmp_path, empty)
    together = dumps(*[Stamped(seq=n, at=0.0, event=Warned(source="s", text="x")) for n in (1, 2)]) + b"\n"
    assert [stamped.seq for stamped in read(tmp_path, together, journal("a", "b", "c")[2])] == [1, 2, 3]
    with pytest.raises(UsageError, match="event 2 follows event 2"):
        read(tmp_path, together, journal("a", "b")[1])


RUN_STARTED = run_started(make_tests(2), [MachineSpec(name=MachineName("a"))], {})
STARTED = dumps(Stamped(seq=1, at=0.0, event=RUN_STARTED)) + b"\n"
DAMAGE = [b"nonsense\n", b"\0" * 5000, b"\0" * 5000 + b"\n", b'{"v":2,"seq":3', b"x\ny\nz", journal("a", "b", "c")[0]]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: repr(damage[:16]))
def test_damage_at_the_end_is_taken_off_once_and_kept_and_said(tmp_path: Path, damage: bytes) -> None:
    path, state = tmp_path / "events.jsonl", RunState()
    good = STARTED + journal("a", "b")[1]
    path.write_bytes(good + damage)
    lost = recover(path, state)
    assert f"{len(damage)} bytes" in lost
    assert (tmp_path / "events.jsonl.lost").read_bytes() == damage
    assert (path.read_bytes(), state.seq) == (good, 2)
    again = RunState()
    assert recover(path, again) == "", "once"
    assert again.seq == 2


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_cut_last_line_is_taken_off(tmp_path: Path, cut: int) -> None:
    path, state = tmp_path / "events.jsonl", RunState()
    last = journal("a", "b")[1]
    path.write_bytes(STARTED + last[:cut])
    assert "its last line was cut" in recover(path, state)
    assert path.read_bytes() == STARTED


def test_what_comes_after_damage_goes_with_it(tmp_path: Path) -> None:
    path, state = tmp_path / "events.jsonl", RunState()
    rest = b"nonsense\n" + journal("a", "b")[1]
    path.write_bytes(STARTED + rest)
    assert "line 2" in recover(path, state)
    assert path.read_bytes() == STARTED
    assert (tmp_path / "events.jsonl.lost").read_bytes() == rest


def test_damage_with_a_carriage_return_is_damage_and_not_the_end(tmp_path: Path) -> None:
    lines = journal("a", "b", "c")
    with pytest.raises(UsageError, match="line 2"):
        read(tmp_path, lines[0], lines[1].replace(b"Warned", b"War\rned"), lines[2])


def test_a_journal_that_cannot_be_mended_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(STARTED + b"half a li")
    (tmp_path / "events.jsonl.lost").mkdir()  # nothing can be written there
    with pytest.raises(JournalError, match="cannot be gone on with") as refused:
        recover(path, RunState())
    assert refused.value.hint
    assert path.read_bytes() == STARTED + b"half a li", "nothing is lost"


@pytest.mark.parametrize("content", [b"<html>\n", b"no journal at all", b""])
def test_what_is_no_journal_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(content)
    with suppress(UsageError):
        assert recover(path, RunState()) == ""
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_line_longer_than_a_chunk_is_read_whole(tmp_path: Path) -> None:
    lines = journal("x" * (3 * CHUNK), "b")
    assert [stamped.seq for stamped in read(tmp_path, *lines)] == [1, 2]


def test_a_journal_of_version_0_1_is_read_in_todays_words() -> None:
    """tests/data/runs/version-0.1.jsonl was written by ci-dispatch 0.1.0."""
    events = recorded("version-0.1")
    state = play(events)
    assert state.finished is not None
    assert state.finished.exit_code == 4
    said = {type(stamped.event).__name__ for stamped in events}
    assert "MachineQuarantined" in said
    assert "Unrecognised" not in said
    causes = {a.result.cause for a in state.ledger.attempts.values() if a.result}
    assert causes > {FailureCause.NONE}
    assert any(record.retries for record in state.ledger.records.values())
    assert any(record.reassignments for record in state.ledger.records.values())
    assert [loads(dumps(stamped)) for stamped in events] == [[stamped] for stamped in events]
