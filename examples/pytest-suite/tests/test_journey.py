"""A journey in steps: each needs the one before, so that the group must stay in one process and in order."""

from __future__ import annotations

import pytest
from parcels import Journey

PARCEL = Journey()


@pytest.mark.xdist_group("journey")
class TestJourney:
    def test_begins_at_the_sender(self) -> None:
        PARCEL.arrive("Leeds")
        assert PARCEL.stations == ["Leeds"]

    def test_goes_through_the_depot(self) -> None:
        PARCEL.arrive("Hull")
        assert PARCEL.stations == ["Leeds", "Hull"]

    def test_ends_at_the_addressee(self) -> None:
        PARCEL.arrive("Bergen")
        assert len(PARCEL.stations) == 3


def test_a_parcel_cannot_arrive_twice() -> None:
    parcel = Journey(["Leeds"])
    with pytest.raises(ValueError, match="already"):
        parcel.arrive("Leeds")
