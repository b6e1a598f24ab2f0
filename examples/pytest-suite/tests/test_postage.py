from __future__ import annotations

import pytest
from parcels import ZONES, postage


@pytest.mark.parametrize("grams", [1, 999, 1000, 1001, 30_000])
@pytest.mark.parametrize("zone", sorted(ZONES))
def test_every_kilogram_begun_counts(grams: int, zone: str) -> None:
    kilograms = (grams + 999) // 1000
    assert postage(grams, zone) == 290 + ZONES[zone] * kilograms


@pytest.mark.parametrize("grams", [0, -1, 30_001])
def test_impossible_weights_are_refused(grams: int) -> None:
    with pytest.raises(ValueError, match="no parcel weighs"):
        postage(grams)


class TestZones:
    def test_home_is_the_default(self) -> None:
        assert postage(500) == postage(500, "home")

    def test_an_unknown_zone_is_refused(self) -> None:
        with pytest.raises(KeyError):
            postage(500, "moon")

    class TestOrder:
        def test_farther_is_dearer(self) -> None:
            assert postage(500, "home") < postage(500, "europe") < postage(500, "world")
