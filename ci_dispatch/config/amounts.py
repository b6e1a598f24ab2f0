"""How people write durations and percentages, and how a refused value is shown to them."""

from __future__ import annotations

import json
import math
import re
from typing import Any

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # surrogates: bytes that are not UTF-8

DAY = 86_400.0
DURATION = r"^( *[0-9]+(\.[0-9]+)? *(ms|d|h|m|s))+ *$"
BARE = r"^ *[0-9]+(\.[0-9]+)? *$"
PERCENT = r"^ *[0-9]+(\.[0-9]+)? *% *$"

_UNITS = {"d": DAY, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_AMOUNT = re.compile(r" *([0-9]+(?:\.[0-9]+)?) *(ms|d|h|m|s)")


def seconds_in(written: str) -> float:
    """Seconds of a text that matches DURATION: "1h30m" is 5400.0."""
    return math.fsum(float(amount) * _UNITS[unit] for amount, unit in _AMOUNT.findall(written))


def write_duration(seconds: float) -> str | float:
    """The shortest way a person would write it; exact, so that reading it gives the same number."""
    if seconds == int(seconds):
        return in_words(seconds)
    milliseconds = f"{seconds * 1000:g}ms"
    return milliseconds if "e" not in milliseconds and seconds_in(milliseconds) == seconds else seconds


def in_words(seconds: float) -> str:
    """Seconds as "500ms", "5s", "1h30m", "30d"."""
    if seconds != int(seconds):
        return f"{seconds * 1000:g}ms"
    rest, parts = int(seconds), []
    for unit in ("d", "h", "m", "s"):
        amount, rest = divmod(rest, int(_UNITS[unit]))
        if amount:
            parts.append(f"{amount}{unit}")
    return "".join(parts) or "0s"


def write_share(value: float) -> str | float:
    percent = f"{value * 100:g}%"
    return percent if "e" not in percent and float(percent[:-1]) / 100 == value else value


def shown(raw: Any, most: int = 60) -> str:
    """A refused value with its type, for the message, on one line."""
    match raw:
        case bool():
            return "true" if raw else "false"
        case str():
            return f"the text {quoted(raw, most)}"
        case int() | float():
            return f"the number {_cut(f'{raw:.12g}' if isinstance(raw, float) else _digits(raw), most)}"
        case dict():
            return "a table"
        case list() | tuple():
            return f"a list of {len(raw)}" if raw else "an empty list"
        case _:
            return f"the {type(raw).__name__} {_cut(str(raw), most)}"


def named(key: str) -> str:
    """A key of the user's as TOML writes it, on one line: bare where it can be."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]{1,100}", key) else quoted(key)


def quoted(raw: str, most: int = 60) -> str:
    """Text in quotation marks, on one line, without anything that a terminal or a file cannot show."""
    return _cut(json.dumps(raw, ensure_ascii=False), most)


def _digits(value: int) -> str:
    """Python refuses to write very long integers in decimal (CVE-2020-10735)."""
    return str(value) if value.bit_length() < 200 else "with very many digits"


def _cut(written: str, most: int) -> str:
    written = UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", written)
    return written if len(written) <= most else f"{written[: most - 1]}…"
