"""Values as people write them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_dispatch.config import value_types as types
from ci_dispatch.config.value_types import InvalidValue, ValueType, in_words, shown
from ci_dispatch.core.model import Connection


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("500ms", 0.5), ("5s", 5.0), ("2m", 120.0), ("1h30m", 5400.0), ("1d", 86_400.0), ("1.5h", 5400.0),
        (" 1h 30m ", 5400.0), ("2 m", 120.0), ("5", 5.0), ("0.25", 0.25), (5, 5.0), (0.25, 0.25), ("1m500ms", 60.5),
        ("0s", 0.0), (0, 0.0),
    ],
)  # fmt: skip
def test_a_duration_is_read_as_people_write_it(written: object, seconds: float) -> None:
    assert types.duration().read(written) == seconds


@pytest.mark.parametrize(
    "written",
    ["", " ", "5 parsecs", "s", "-5s", "5s-", "1h30", "5,5s", "٥s", "1e3", "5S", True, None, [], {}, -1, float("nan"),
     float("inf"), "31d", 10**400, "9" * 5000],
)  # fmt: skip
def test_what_is_no_duration_is_refused(written: object) -> None:
    with pytest.raises(InvalidValue):
        types.duration().read(written)


@pytest.mark.parametrize(
    ("written", "part"),
    [("10%", 0.10), ("0%", 0.0), ("100%", 1.0), ("2.5 %", 0.025), (0.1, 0.1), (1, 1.0), ("0.1", 0.1)],
)
def test_a_percentage_is_read_as_people_write_it(written: object, part: float) -> None:
    assert types.share().read(written) == part


@pytest.mark.parametrize("written", [10, "10", "101%", "-1%", "%", "ten %", True, None, float("nan"), ["10%"]])
def test_what_is_no_percentage_is_refused(written: object) -> None:
    """A bare 10 could mean 10 % or 1000 %: it is refused and not guessed."""
    with pytest.raises(InvalidValue):
        types.share().read(written)


@pytest.mark.parametrize(
    ("value_type", "given", "value"),
    [
        (types.boolean(), "yes", True), (types.boolean(), "0", False), (types.boolean(), " TRUE ", True),
        (types.integer(0, 9), " 3 ", 3), (types.number(0, 9), "2.5", 2.5), (types.duration(), "5s", 5.0),
        (types.texts(), "a, b,,c", ("a", "b", "c")), (types.arguments(), "--grep 'a b' -x", ("--grep", "a b", "-x")),
        (types.choice(Connection), "local", Connection.LOCAL),
    ],
)  # fmt: skip
def test_a_variable_holds_the_same_values_as_text(value_type: ValueType[Any], given: str, value: object) -> None:
    assert value_type.read(value_type.from_text(given)) == value


@pytest.mark.parametrize(
    ("value_type", "given"),
    [
        (types.boolean(), "maybe"), (types.integer(0, 9), "3.0"), (types.integer(0, 9), "9" * 5000),
        (types.integer(0, 9), "1_0"), (types.number(0, 9), "nan"), (types.number(0, 9), "inf"),
        (types.arguments(), "'no end"), (types.choice(Connection), "LOCAL"),
    ],
)  # fmt: skip
def test_text_that_is_no_value_is_refused(value_type: ValueType[Any], given: str) -> None:
    with pytest.raises(InvalidValue):
        value_type.read(value_type.from_text(given))


@pytest.mark.parametrize("raw", ["a\nb", "a\x00", "\x1b[31m", "\x85", "\u2028", "\udcff", 3, None, ["a"]])
def test_a_text_has_no_control_characters(raw: object) -> None:
    with pytest.raises(InvalidValue):
        types.text().read(raw)


@pytest.mark.parametrize("raw", [["a", ""], "a", [1], {"a": "b"}, [["a"]]])
def test_a_list_holds_texts_only(raw: object) -> None:
    with pytest.raises(InvalidValue):
        types.texts().read(raw)


@pytest.mark.parametrize("raw", [{"A B": "x"}, {"A": 1}, {"": "x"}, {"A": "a\nb"}, "A=1", []])
def test_a_table_holds_variables_with_texts(raw: object) -> None:
    with pytest.raises(InvalidValue):
        types.table().read(raw)


def test_a_secret_where_its_variable_belongs_is_not_shown() -> None:
    with pytest.raises(InvalidValue) as refused:
        types.variable().read("xoxb-hush")
    assert refused.value.given
    assert "hush" not in refused.value.given


@given(st.floats(min_value=0, max_value=2_592_000))
def test_a_duration_survives_being_written_and_read(seconds: float) -> None:
    value_type = types.duration()
    assert value_type.read(value_type.write(seconds)) == seconds


@given(st.floats(min_value=0, max_value=1))
def test_a_percentage_survives_being_written_and_read(part: float) -> None:
    value_type = types.share()
    assert value_type.read(value_type.write(part)) == part


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0s"), (0.5, "500ms"), (5, "5s"), (90, "1m30s"), (5400, "1h30m"), (2_592_000, "30d")]
)
def test_durations_are_written_as_people_would(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


@given(st.from_type(object))
def test_any_refused_value_can_be_shown_on_one_short_line(raw: object) -> None:
    line = shown(raw)
    assert len(line) < 100
    assert "\n" not in line


def test_a_refused_value_is_shown_with_its_type() -> None:
    assert shown("3") == 'the text "3"'
    assert shown(3) == "the number 3"
    assert shown(True) == "true"
    assert shown({}) == "a table"
    assert shown([1, 2]) == "a list of 2"
    assert shown(10**5000) == "the number with very many digits"
    assert shown("x" * 200).endswith("…")
