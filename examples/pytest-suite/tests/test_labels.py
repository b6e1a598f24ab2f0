"""Parametrised ids that selection by pattern gets wrong."""

from __future__ import annotations

import pytest
from parcels import label

STREETS = {
    "with blanks": "12 High Street",
    " blanks around ": "  12   High Street  ",
    "a/slash": "12/14 High Street",
    "two::colons": "Scope::Street",
    "[brackets]": "[12] High Street",
    "größe und 価格": "Straße 12",
    "-k nothing": "-k Street",
    "@file": "@ the Mill",
    "quotes \"'`": 'O\'Hara "Way"',
    "$(touch owned);&": "$(echo) Street",
    "newline\nand\ttab": "12\nHigh\tStreet",
    "": "nameless",
}


@pytest.mark.parametrize("street", STREETS.values(), ids=STREETS.keys())
def test_a_label_is_one_short_line(street: str) -> None:
    printed = label(street)
    assert len(printed) <= 40
    assert "\n" not in printed


@pytest.mark.parametrize("length", range(38, 44))
def test_long_streets_are_cut(length: int) -> None:
    assert len(label("x" * length)) == min(length, 40)
