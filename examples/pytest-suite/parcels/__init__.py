"""What a parcel costs and where it is."""

from __future__ import annotations

from dataclasses import dataclass, field

ZONES = {"home": 100, "europe": 180, "world": 320}


def postage(grams: int, zone: str = "home") -> int:
    """Cents for a parcel; every kilogram begun costs the zone's rate.

    Raises ValueError for a weight that no parcel has and KeyError for an unknown zone.
    """
    if not 0 < grams <= 30_000:
        raise ValueError(f"no parcel weighs {grams} g")
    return 290 + ZONES[zone] * -(-grams // 1000)


def label(street: str) -> str:
    """A street as it is printed: one line, at most 40 characters."""
    text = " ".join(street.split())
    return text if len(text) <= 40 else text[:39] + "…"


@dataclass
class Journey:
    """A parcel's stations, in order."""

    stations: list[str] = field(default_factory=list)

    def arrive(self, station: str) -> None:
        if self.stations and self.stations[-1] == station:
            raise ValueError(f"the parcel is in {station} already")
        self.stations.append(station)
