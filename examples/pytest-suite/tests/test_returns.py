"""The older part of the suite, and what is not there yet."""

from __future__ import annotations

import sys
import unittest

import pytest
from parcels import Journey, postage


class ReturnsTest(unittest.TestCase):
    def test_a_return_costs_the_same(self) -> None:
        assert postage(700, "europe") == 470

    def test_a_return_goes_back(self) -> None:
        journey = Journey(["Leeds", "Hull"])
        journey.arrive("Leeds")
        assert journey.stations[0] == journey.stations[-1]


@pytest.mark.skipif(sys.platform != "win32", reason="only Windows prints return labels by itself")
def test_prints_a_return_label() -> None:
    raise AssertionError("nobody should come here")


@pytest.mark.xfail(reason="free returns are not built yet")
def test_free_returns() -> None:
    assert postage(500) == 0
