"""The journal's lines: every event survives the round trip, later versions do not break older readers."""

from __future__ import annotations

import dataclasses
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_dispatch.core import events
from ci_dispatch.core.errors import UsageError
from ci_dispatch.core.events import Stamped, Unrecognised, Warned, dumps, loads
from ci_dispatch.run.event_bus import read_journal

KINDS = list(events._KINDS.values())
DATA = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner), max_leaves=3
)
st.register_type_strategy(float, st.floats(allow_nan=False))  # NaN equals nothing, not even itself


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_every_event_survives_the_journal(kind: type, data: st.DataObject) -> None:
    given_settings = {"settings": st.dictionaries(st.text(), DATA)} if kind is events.RunStarted else {}
    event = data.draw(st.builds(kind, **given_settings))
    stamped = Stamped(seq=data.draw(st.integers(1, 10**9)), at=12.5, event=event)
    line = dumps(stamped)
    assert "\n" not in line
    assert line.isascii()
    assert loads(line) == stamped


def test_the_union_and_the_table_of_kinds_agree() -> None:
    union = {kind.__name__ for kind in events.Event.__args__}
    assert union == {kind.__name__ for kind in KINDS} | {"Unrecognised"}
    assert all(dataclasses.is_dataclass(kind) for kind in KINDS)


def test_an_event_of_a_later_version_is_carried_and_written_back() -> None:
    line = '{"v":1,"seq":3,"at":1.0,"kind":"MachineSang","data":{"song":"la"}}'
    stamped = loads(line)
    assert stamped.event == Unrecognised(kind="MachineSang", data={"song": "la"})
    assert json.loads(dumps(stamped)) == json.loads(line)


def test_a_field_of_a_later_version_is_ignored() -> None:
    line = '{"v":1,"seq":3,"at":1.0,"kind":"Warned","data":{"source":"a","text":"b","mood":"good"}}'
    assert loads(line).event == Warned(source="a", text="b")


@pytest.mark.parametrize(
    "line",
    ["", "{", "[]", "{}", "null", '{"v":2,"seq":1,"at":0,"kind":"Warned","data":{}}',
     '{"v":1,"seq":1,"at":0,"kind":"Warned","data":{}}', '{"v":1,"seq":1,"at":0,"kind":"Warned","data":[]}'],
)  # fmt: skip
def test_what_is_no_journal_line_is_a_value_error(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        loads(line)


@given(st.text())
def test_garbage_is_a_value_error_and_nothing_else(line: str) -> None:
    with suppress(ValueError):
        loads(line)


def journal(*texts: str) -> list[bytes]:
    return [
        dumps(Stamped(seq=n, at=0.0, event=Warned(source="s", text=text))).encode() + b"\n"
        for n, text in enumerate(texts, 1)
    ]


def test_a_last_line_cut_by_a_kill_is_left_out() -> None:
    lines = journal("a", "b", "c")
    for cut in range(1, len(lines[2]) - 1):
        assert len(list(read_journal([*lines[:2], lines[2][:cut]], "j"))) == 2


def test_damage_before_the_last_line_is_refused_with_its_place() -> None:
    lines = journal("a", "b", "c")
    with pytest.raises(UsageError, match="j cannot be read") as refused:
        list(read_journal([lines[0], lines[1][:20], lines[2]], "j"))
    assert "line 2" in str(refused.value)
    with pytest.raises(UsageError, match="cannot be read"):
        list(read_journal([lines[0], lines[2]], "j"))
    with pytest.raises(UsageError, match="cannot be read"):
        list(read_journal([b"<html>\n"], "j"))
