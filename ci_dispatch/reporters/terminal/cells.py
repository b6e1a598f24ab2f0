"""Lines of coloured text for a terminal, measured in cells, and the signs in them: the one file that knows rich.

A `Line` is plain data, so that what is shown can be computed and compared without a terminal. rich's own live display
is not used: it has no synchronised output, counts rows wrong after a resize, and costs ten times as much a frame.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import TypeAlias

from rich.cells import cell_len, set_cell_size
from rich.color import ColorSystem
from rich.style import Style as RichStyle

from report_merge.render.escape import terminal


class Style(Enum):
    """What a piece of text means; the sixteen colours of the user's own theme show it."""

    PLAIN = RichStyle()
    GOOD = RichStyle(color="green")
    BAD = RichStyle(color="red", bold=True)
    BAD_BAR = RichStyle(color="red")
    WARN = RichStyle(color="yellow")
    DIM = RichStyle(dim=True)
    BOLD = RichStyle(bold=True)


Piece: TypeAlias = tuple[str, Style]
Line: TypeAlias = tuple[Piece, ...]


@lru_cache(maxsize=4096)
def cells(text: str) -> int:
    """How many columns of a terminal `text` takes."""
    return cell_len(text)


def fit(text: str, width: int, ellipsis: str = "…") -> str:
    """`text` in at most `width` cells; the middle is left out, for names differ at their ends."""
    if cells(text) <= width:
        return text
    room = width - cells(ellipsis)
    if room <= 0:
        return set_cell_size(ellipsis, max(0, width))
    tail = room // 2
    end = ""
    for character in reversed(text):
        if cells(character + end) > tail:
            break
        end = character + end
    return set_cell_size(text, room - cells(end)).rstrip() + ellipsis + end


def pad(text: str, width: int) -> str:
    """`text` in exactly `width` cells, left-aligned."""
    return text + " " * (width - cells(text))


def clip(line: Line, width: int, ellipsis: str = "…") -> Line:
    """`line` in at most `width` cells: what does not fit at its end is left out, with a sign."""
    if line_cells(line) <= width:
        return line
    kept: list[Piece] = []
    room = width - cells(ellipsis)
    for text, style in line:
        if cells(text) > room:
            kept.append((set_cell_size(text, max(0, room)).rstrip() + ellipsis, style))
            break
        kept.append((text, style))
        room -= cells(text)
    return tuple(kept)


def text_of(line: Line) -> str:
    """`line` without its styles."""
    return terminal("".join(text for text, _ in line)).rstrip()


def line_cells(line: Line) -> int:
    return cells(text_of(line))


def ansi(line: Line) -> str:
    """`line` with SGR sequences for its styles, closed where they end; no other escape sequence survives."""
    return "".join(
        style.value.render(terminal(text), color_system=ColorSystem.STANDARD) for text, style in _joined(line)
    )


def _joined(line: Line) -> Iterable[Piece]:
    """Neighbours of one style together: fewer bytes over a slow connection."""
    waiting: Piece | None = None
    for text, style in line:
        if waiting and waiting[1] is style:
            waiting = (waiting[0] + text, style)
        else:
            if waiting and waiting[0]:
                yield waiting
            waiting = (text, style)
    if waiting and waiting[0]:
        yield waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Glyphs:
    """The characters a display is made of; the ASCII ones are words where no sign says it."""

    full: str
    empty: str
    passed: str
    failed: str
    flaky: str
    skipped: str
    not_run: str
    retried: str
    warning: str
    ellipsis: str
    rule: str


UNICODE = Glyphs(
    full="█", empty="░", passed="✓", failed="✗", flaky="≈", skipped="∅", not_run="?", retried="↻", warning="!",
    ellipsis="…", rule="│",
)  # fmt: skip
ASCII = Glyphs(
    full="#", empty="-", passed="ok ", failed="FAIL ", flaky="flaky ", skipped="skip ", not_run="notrun ",
    retried="retry ", warning="!", ellipsis="...", rule="|",
)  # fmt: skip


def glyphs_for(encoding: str | None) -> Glyphs:
    """The set that `encoding` can write."""
    try:
        "█░✓✗≈∅↻…│".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE
