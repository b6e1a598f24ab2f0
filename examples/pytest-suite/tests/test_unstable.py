"""Tests that pass, unless PARCELS_MODE wants otherwise: see mode.py."""

from __future__ import annotations

import os
import time

import pytest
from mode import SLOW_SECONDS, first_time, mode

if mode("unloadable"):
    raise ImportError("this test file cannot be imported")


@pytest.fixture
def bench() -> str:
    return "broken" if mode("failing") else "fine"


def test_may_fail(bench: str) -> None:
    assert bench == "fine"


def test_may_be_flaky() -> None:
    assert not (mode("flaky") and first_time("flaky"))


def test_may_be_slow() -> None:
    if mode("slow"):
        time.sleep(SLOW_SECONDS)


def test_may_crash() -> None:
    if mode("crashing"):
        os._exit(7)


if not mode("vanished"):

    def test_may_vanish() -> None:
        assert not mode("vanished")
