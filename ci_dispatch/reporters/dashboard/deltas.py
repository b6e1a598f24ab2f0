"""A ring of what changed, so that a page that was away a moment need not fetch everything again."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

COUNT = 2_000
SIZE = 4 * 1024 * 1024  # characters, whichever limit comes first


class Deltas:
    """Deltas numbered from 1; ids are `EPOCH-NUMBER`, and an id of another epoch is always too old."""

    def __init__(self, epoch: str, count: int = COUNT, size: int = SIZE) -> None:
        self._epoch, self._count, self._limit = epoch, count, size
        self._ring: deque[tuple[int, str]] = deque()
        self._size = 0
        self.last = 0

    @property
    def last_id(self) -> str:
        return f"{self._epoch}-{self.last}"

    def add(self, delta: dict[str, Any]) -> None:
        self.last += 1
        text = json.dumps({"id": self.last_id, **delta}, ensure_ascii=False, separators=(",", ":"))
        self._ring.append((self.last, text))
        self._size += len(text)
        while len(self._ring) > self._count or self._size > self._limit:
            self._size -= len(self._ring.popleft()[1])

    def reset(self) -> None:
        """Forget everything: whoever looks must fetch the state anew."""
        self._ring.clear()
        self._size = 0
        self.last += 1

    def after(self, id_: str) -> list[tuple[str, str]] | None:
        """Ids and texts of the deltas after `id_`; None when some of them are no longer known."""
        epoch, _, number = id_.rpartition("-")
        if epoch != self._epoch or not number.isascii() or not number.isdigit():
            return None
        known = int(number)
        if known == self.last:
            return []
        first = self._ring[0][0] if self._ring else self.last + 1
        if not first - 1 <= known < self.last:
            return None
        return [(f"{self._epoch}-{n}", text) for n, text in self._ring if n > known]
