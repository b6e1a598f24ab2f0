"""The end of each attempt's output, within a fixed budget of memory."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from ci_dispatch.core.model import LeaseNumber

EACH = 64 * 1024  # characters of one attempt
ALL = 16 * 1024 * 1024  # of all attempts together


@dataclass(slots=True)
class _Tail:
    text: str = ""
    start: int = 0  # how many characters came before `text`


@dataclass(frozen=True, slots=True)
class Piece:
    """Output from `start` to `end`, counted in characters since the attempt began."""

    text: str
    start: int
    end: int


class Tails:
    """Keeps the last characters of every attempt; forgets the attempt that was silent longest when all are too many."""

    def __init__(self, each: int = EACH, in_all: int = ALL) -> None:
        self._each, self._in_all = each, in_all
        self._tails: OrderedDict[LeaseNumber, _Tail] = OrderedDict()
        self.size = 0

    def add(self, lease: LeaseNumber, text: str) -> None:
        tail = self._tails.setdefault(lease, _Tail())
        self._tails.move_to_end(lease)
        before = len(tail.text)
        joined = tail.text + text
        tail.text = joined[-self._each :]
        tail.start += len(joined) - len(tail.text)
        self.size += len(tail.text) - before
        while self.size > self._in_all:
            _, gone = self._tails.popitem(last=False)
            self.size -= len(gone.text)

    def read(self, lease: LeaseNumber, since: int = 0) -> Piece | None:
        """What came after the first `since` characters and is still known; None when nothing is known at all."""
        tail = self._tails.get(lease)
        if tail is None:
            return None
        end = tail.start + len(tail.text)
        start = tail.start if since > end else max(since, tail.start)  # beyond the end: it was forgotten and began anew
        return Piece(tail.text[start - tail.start :], start, end)
