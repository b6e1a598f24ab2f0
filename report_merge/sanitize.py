"""Foreign text made plain: what is left is what a reader would see, one character at a time, left to right.

Standard library only, so that readers, rules and renderers can all use it.
"""

from __future__ import annotations

import re

# ECMA-48 (CSI, two-byte escapes), and the string sequences OSC, DCS, SOS, PM, APC with their terminators.
# No alternative can start inside another one's repetition, so the time is linear in the text.
_ANSI = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)?"
    r"|\x1b[PX^_][^\x1b\n]*(?:\x1b\\)?"
    r"|\x1b[ -/]*[0-~]"
)
_LINE_ENDS = re.compile(r"\r\n?|[\u0085\u2028\u2029]")
# C0 without tab and newline, DEL, C1; bidirectional controls (https://trojansource.codes); byte order mark.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")


def strip_ansi(text: str) -> str:
    """`text` without terminal escape sequences; everything else stays, line for line."""
    return _ANSI.sub("", text) if "\x1b" in text or "\x9b" in text else text


def printable(text: str) -> str:
    """`text` without escape sequences, control characters and bidirectional controls; tabs and newlines stay.

    Every kind of line end becomes a newline; a lone surrogate, which no encoder accepts, becomes U+FFFD.
    """
    if text.isprintable():  # most names are: nothing of what is replaced below is printable
        return text
    if text.replace("\n", "").replace("\t", "").isprintable():  # most traces are
        return text
    text = _LINE_ENDS.sub("\n", strip_ansi(text))
    return _SURROGATES.sub("\ufffd", _CONTROLS.sub("", text))


def one_line(text: str, limit: int = 300) -> str:
    """`text` made plain, on one line, at most `limit` code points: the last one is … when something was cut."""
    if len(text) <= limit and text.isprintable() and "  " not in text and text == text.strip():
        return text  # as most names are
    if len(text) > 40 * limit:
        text = text[: 40 * limit]
    line = " ".join(printable(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def first_line(text: str, limit: int = 300) -> str:
    """The first line of `text` that is not blank, as `one_line`."""
    return next((one_line(line, limit) for line in text[:20_000].splitlines() if line.strip()), "")
