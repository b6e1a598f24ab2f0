"""The tests of a corner shop: what each is called, how long it takes, and the few in which something is wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

FEATURES = {
    "catalogue": "shows every item; shows every price; is ordered by name; is ordered by price; shows drinks only; "
    "shows food only; says what is sold out; has a page for every item; remembers the filter; loads in one request",
    "search": "finds by name; ignores case; ignores blanks; finds parts of words; says when nothing is found; "
    "survives <script>; finds größe; finds 価格; keeps its text; can be cleared",
    "cart": "starts empty; counts; adds up; survives a reload; never holds more than there is; changes an amount; "
    "removes a line; applies a voucher; refuses a stolen voucher; forgets after a week",
    "checkout": "asks for a name; asks for a town; asks for a card; shows postage; is free above 30; says thank you; "
    "sends a letter; empties the cart; refuses an expired card; survives a double click",
    "account": "greets; refuses a wrong password; logs out; shows orders; changes the address; shows hostile names as "
    "text; forgets the password; locks after five tries; can be closed; exports its data",
    "delivery": "counts two days; skips sundays; knows islands; prints a label; tracks a parcel; takes it back; "
    "refunds it; rounds to cents; knows 12 countries; refuses the moon",
}
PACE = (0.3, 0.9, 0.5, 1.4, 0.4, 0.7, 1.1, 0.2, 0.8, 0.6)  # seconds, in turn

FAILING = "delivery::rounds to cents"
FLAKY = "search::finds parts of words"
SLOW = "checkout::survives a double click"
CRASHING = "account::exports its data"  # its process, once


def tests() -> dict[str, float]:
    """Every test's name and how long it takes on a machine of speed 1."""
    names = [f"{feature}::{title}" for feature, titles in FEATURES.items() for title in titles.split("; ")]
    return {name: 4.0 if name == SLOW else PACE[number % len(PACE)] for number, name in enumerate(names)}


def body(name: str) -> Callable[[], None]:
    """What the test does at its end; it raises AssertionError to fail."""
    return {FAILING: _rounds_wrongly, FLAKY: _comes_too_early, CRASHING: _breaks_its_process}.get(name, _is_fine)


def _is_fine() -> None:
    pass


def _rounds_wrongly() -> None:
    total = sum([0.1] * 3)
    assert total == 0.3, f"3 stamps at 0.10 cost {total!r}, not 0.3"


def _comes_too_early() -> None:
    assert not _first_time("flaky"), "expected 4 results, found 0: the index was not ready"


def _breaks_its_process() -> None:
    if _first_time("crashing"):
        os.abort()


def _first_time(what: str) -> bool:
    """Whether this happens for the first time in this demo; DEMO_STATE names a folder with a file for each."""
    if "DEMO_STATE" not in os.environ:
        return False
    mark = Path(os.environ["DEMO_STATE"], what)
    mark.parent.mkdir(parents=True, exist_ok=True)
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
