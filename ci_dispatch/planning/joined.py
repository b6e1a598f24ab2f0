"""Things that belong together because something joins them, directly or through others (disjoint sets). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Joined(Generic[T]):
    """Sets that only grow together; a thing that was never joined is alone."""

    def __init__(self) -> None:
        self._sets: dict[T, list[T]] = {}

    def join(self, things: Sequence[T]) -> None:
        for thing in things:
            mine, other = self._sets.setdefault(things[0], [things[0]]), self._sets.setdefault(thing, [thing])
            if mine is other:
                continue
            small, large = sorted((mine, other), key=len)
            large += small
            self._sets.update(dict.fromkeys(small, large))

    def of(self, thing: T) -> Sequence[T]:
        """The things that belong together with this one, it included."""
        return self._sets.get(thing, (thing,))
