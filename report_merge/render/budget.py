"""A byte budget spent in priority order: whole items, never a slice of one, and it is said what was left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


def size(text: str) -> int:
    """Bytes of `text` in UTF-8, which is what every limit counts."""
    return len(text) if text.isascii() else len(text.encode("utf-8"))


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to show, in one or more levels of detail, the most detailed first."""

    levels: tuple[str, ...]
    stands_for: int = 1  # how many tests, machines ... are left out when it is dropped


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Items between `before` and `after`; both are written only when at least one item is."""

    items: Sequence[Item]
    before: str = ""
    after: str = ""
    more: Callable[[int], str] = field(default=lambda _: "")  # what to say about this many things left out
    hidden: int = 0  # things that are not even among the items

    @property
    def everything(self) -> int:
        return self.hidden + sum(item.stands_for for item in self.items)


@dataclass(frozen=True, slots=True)
class Filled:
    text: str
    dropped: int  # things not shown at all
    shortened: int  # items shown with less detail than there is


def fill(sections: Sequence[Section], budget_bytes: int) -> Filled:
    """The sections in their order, in at most `budget_bytes` bytes.

    First every item gets its least detailed level, from the first section to the last, while there is room; then, in
    the same order, items get the most detailed level that still fits. So all names come before any stack.
    """
    left = budget_bytes
    chosen: list[list[int | None]] = []
    for section in sections:
        frame = size(section.before + section.after + section.more(section.everything))
        smallest = min((size(item.levels[-1]) for item in section.items), default=0)
        if not section.items or frame + smallest > left:
            chosen.append([None] * len(section.items))
            continue
        left -= frame
        picks: list[int | None] = []
        for item in section.items:
            need = size(item.levels[-1])
            fits = need <= left and (not picks or picks[-1] is not None)  # nothing after the first one dropped
            left -= need if fits else 0
            picks.append(len(item.levels) - 1 if fits else None)
        chosen.append(picks)
    left = _upgrade(sections, chosen, left)
    return _write(sections, chosen)


def _upgrade(sections: Sequence[Section], chosen: list[list[int | None]], left: int) -> int:
    for section, picks in zip(sections, chosen, strict=True):
        for index, (item, pick) in enumerate(zip(section.items, picks, strict=True)):
            if pick is None:
                continue
            room = left + size(item.levels[pick])
            better = next((level for level in range(pick) if size(item.levels[level]) <= room), pick)
            left = room - size(item.levels[better])
            picks[index] = better
    return left


def _write(sections: Sequence[Section], chosen: list[list[int | None]]) -> Filled:
    parts: list[str] = []
    dropped = shortened = 0
    for section, picks in zip(sections, chosen, strict=True):
        lost = section.hidden + sum(
            item.stands_for for item, pick in zip(section.items, picks, strict=True) if pick is None
        )
        dropped += lost
        shortened += sum(pick is not None and pick > 0 for pick in picks)
        if any(pick is not None for pick in picks):
            shown = (item.levels[pick] for item, pick in zip(section.items, picks, strict=True) if pick is not None)
            parts += [section.before, *shown, section.more(lost) if lost else "", section.after]
    return Filled("".join(parts), dropped, shortened)
