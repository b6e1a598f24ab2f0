"""The types of values in a configuration: what each allows, how TOML or a variable holds it, how it is written back.

Reading is total: `ValueType.read` returns the value or raises `InvalidValue`, and nothing else, whatever it is given.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar, cast

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # surrogates: bytes that are not UTF-8

DAY = 86_400.0
DURATION = r"^( *[0-9]+(\.[0-9]+)? *(ms|d|h|m|s))+ *$"
BARE = r"^ *[0-9]+(\.[0-9]+)? *$"
PERCENT = r"^ *[0-9]+(\.[0-9]+)? *% *$"

_UNITS = {"d": DAY, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_AMOUNT = re.compile(r" *([0-9]+(?:\.[0-9]+)?) *(ms|d|h|m|s)")

# Neither a name with a password before the host nor anything that another reader may take for the host.
ADDRESS = r"(?:https://[^\s/?#@\\]+|http://(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]+)?)(?:[/?#][^\s\\]*)?"

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

_NOT_ON_A_LINE = {"pattern": r"[\u0000-\u001f\u007f-\u009f\u2028\u2029]"}
_YES, _NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_VARIABLE = r"^[A-Z][A-Z0-9_]*$"


class InvalidValue(ValueError):
    """The value is not of this type.

    `given` replaces the value in the message where showing it would leak a secret; `words` are the allowed ones, where
    the kind's own description cannot know them.
    """

    def __init__(self, given: str = "", words: tuple[str, ...] = ()) -> None:
        super().__init__(given)
        self.given = given
        self.words = words


def _as_written(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueType(Generic[T]):
    """One type of values.

    `from_text` turns a variable's or option's text into what TOML would hold, `write` a value into what TOML holds.
    """

    name: str  # one or two words, for tables
    allowed: str  # ends the sentence "allowed: ..."
    schema: Mapping[str, Any]  # JSON Schema of what the file may hold
    read: Callable[[Any], T]
    from_text: Callable[[str], Any] = _as_written
    write: Callable[[T], Any] = _as_written
    many: bool = False  # an option may be given several times


def text(pattern: str = "", allowed: str = "a text on one line") -> ValueType[str]:
    """A text without control characters; `pattern` must match all of it."""
    whole = re.compile(pattern or r".*")

    def read(raw: Any) -> str:
        if not isinstance(raw, str) or UNPRINTABLE.search(raw) or not whole.fullmatch(raw):
            raise InvalidValue
        return raw

    schema = {"type": "string", "pattern": f"^(?:{pattern or '.*'})$", "not": _NOT_ON_A_LINE}
    return ValueType(name="text", allowed=allowed, schema=schema, read=read)


def is_address(written: str) -> bool:
    """Whether a token may be sent there: https to any host, http to this computer only."""
    return re.fullmatch(ADDRESS, written) is not None


def address() -> ValueType[str]:
    """Where something is sent to; empty: nowhere else than by default."""
    allowed = "an address beginning with https://, or with http:// on this computer (localhost, 127.0.0.1, [::1])"
    return text(f"{ADDRESS}|", allowed)


def variable() -> ValueType[str]:
    """The name of an environment variable. A value that is not one may be the secret itself, so it is never shown."""

    def read(raw: Any) -> str:
        if not isinstance(raw, str):
            raise InvalidValue
        if not re.fullmatch(_VARIABLE, raw):
            raise InvalidValue("a text that is no variable's name (not shown: it may be a secret)")
        return raw

    allowed = "the name of an environment variable (capitals, digits, _), never the secret itself"
    return ValueType(name="variable", allowed=allowed, schema={"type": "string", "pattern": _VARIABLE}, read=read)


def boolean() -> ValueType[bool]:
    def read(raw: Any) -> bool:
        if not isinstance(raw, bool):
            raise InvalidValue
        return raw

    def from_text(given: str) -> Any:
        word = given.strip().lower()
        return True if word in _YES else False if word in _NO else given

    return ValueType(
        name="yes or no", allowed="true or false", schema={"type": "boolean"}, read=read, from_text=from_text
    )


def integer(least: int, most: int) -> ValueType[int]:
    def read(raw: Any) -> int:
        if not isinstance(raw, int) or isinstance(raw, bool) or not least <= raw <= most:
            raise InvalidValue
        return raw

    def from_text(given: str) -> Any:
        return int(given) if re.fullmatch(r" *[+-]?[0-9]{1,18} *", given) else given

    schema = {"type": "integer", "minimum": least, "maximum": most}
    return ValueType(
        name="whole number", allowed=f"a whole number from {least} to {most}", schema=schema, read=read,
        from_text=from_text,
    )  # fmt: skip


def number(least: float, most: float) -> ValueType[float]:
    def read(raw: Any) -> float:
        return _between(raw, least, most)

    schema = {"type": "number", "minimum": least, "maximum": most}
    return ValueType(
        name="number", allowed=f"a number from {least:g} to {most:g}", schema=schema, read=read, from_text=_number
    )


def duration(least: float = 0.0, most: float = 30 * DAY) -> ValueType[float]:
    """Seconds, written as "500ms", "5s", "2m", "1h30m", "1d", or as a plain number of seconds."""

    def read(raw: Any) -> float:
        if isinstance(raw, str):
            raw = _number(raw) if re.fullmatch(BARE, raw) else _seconds(raw)
        return _between(raw, least, most)

    limits = f"from {in_words(least)} to {in_words(most)}"
    schema = {
        "anyOf": [
            {"type": "string", "pattern": f"{DURATION}|{BARE}"},
            {"type": "number", "minimum": least, "maximum": most},
        ]
    }
    allowed = f'a duration {limits} such as "500ms", "5s", "1h30m", or a number of seconds'
    return ValueType(name="duration", allowed=allowed, schema=schema, read=read, write=write_duration)


def share() -> ValueType[float]:
    """A part of a whole, written as "10%" or 0.1; the value is between 0 and 1."""

    def read(raw: Any) -> float:
        if isinstance(raw, str):
            if not re.fullmatch(f"{PERCENT}|{BARE}", raw):
                raise InvalidValue
            raw = float(raw.replace("%", "")) / 100 if "%" in raw else float(raw)
        return _between(raw, 0.0, 1.0)

    schema = {
        "anyOf": [
            {"type": "string", "pattern": f"{PERCENT}|{BARE}"},
            {"type": "number", "minimum": 0, "maximum": 1},
        ]
    }
    allowed = 'a percentage such as "10%" up to "100%", or a number from 0 to 1'
    return ValueType(name="percentage", allowed=allowed, schema=schema, read=read, write=write_share)


def choice(of: type[E]) -> ValueType[E]:
    words = [str(word) for word in of]

    def read(raw: Any) -> E:
        if not isinstance(raw, str) or raw not in words:
            raise InvalidValue
        return of(raw)

    allowed = "one of " + ", ".join(words)
    return ValueType(name="choice", allowed=allowed, schema={"enum": words}, read=read, write=str)


def plugin(group: str, own: tuple[str, ...]) -> ValueType[str]:
    """One of `own`, or the name of an entry point of `group`; installed packages are looked at only for the latter."""
    pattern = "[a-z][a-z0-9_-]+"

    def read(raw: Any) -> str:
        if isinstance(raw, str) and raw in own:
            return raw
        from importlib.metadata import entry_points  # noqa: PLC0415  it is slow to import, and rarely needed

        installed = {entry.name for entry in entry_points(group=group) if re.fullmatch(pattern, entry.name)}
        if not isinstance(raw, str) or raw not in installed:
            raise InvalidValue(words=(*own, *sorted(installed.difference(own))))
        return raw

    schema = {"anyOf": [{"type": "string", "pattern": f"^{pattern}$"}, {"enum": list(own)}]}
    allowed = f"one of {', '.join(own)}, or the name of another installed one"
    return ValueType(name="name", allowed=allowed, schema=schema, read=read)


def texts(pattern: str = "", allowed: str = "a list of texts") -> ValueType[tuple[str, ...]]:
    """A list; in a variable: separated by commas."""
    return _list(text(pattern), allowed, lambda given: [part.strip() for part in given.split(",") if part.strip()])


def arguments() -> ValueType[tuple[str, ...]]:
    """Arguments of a command; in a variable: as a POSIX shell would split them."""

    def from_text(given: str) -> Any:
        try:
            return shlex.split(given)
        except ValueError:  # a quotation without its end
            return given

    return _list(text(), "a list of texts, one for each argument", from_text)


def table() -> ValueType[Mapping[str, str]]:
    """Names of environment variables with their values."""
    item = text()

    def read(raw: Any) -> Mapping[str, str]:
        if not isinstance(raw, dict) or not all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) for name in raw):
            raise InvalidValue
        return {name: item.read(value) for name, value in raw.items()}

    schema = {"type": "object", "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
              "additionalProperties": item.schema}  # fmt: skip
    allowed = 'a table of variables with texts, { NAME = "value" }'
    return ValueType(name="table", allowed=allowed, schema=schema, read=read, write=dict)


def optional(value_type: ValueType[T]) -> ValueType[T | None]:
    """The same, for a setting whose default is None."""
    return cast("ValueType[T | None]", value_type)


def _list(item: ValueType[str], allowed: str, from_text: Callable[[str], Any]) -> ValueType[tuple[str, ...]]:
    def read(raw: Any) -> tuple[str, ...]:
        if not isinstance(raw, list | tuple) or "" in raw:
            raise InvalidValue
        return tuple(item.read(part) for part in raw)

    schema = {"type": "array", "items": {**item.schema, "minLength": 1}}
    return ValueType(name="list", allowed=allowed, schema=schema, read=read, from_text=from_text, write=list, many=True)


def _between(raw: Any, least: float, most: float) -> float:
    if not isinstance(raw, int | float) or isinstance(raw, bool) or not least <= raw <= most:  # refuses nan too
        raise InvalidValue
    return float(raw)


def _number(given: str) -> Any:
    try:
        value = float(given)
    except ValueError:
        return given
    return value if math.isfinite(value) else given


def _seconds(written: str) -> float:
    if not re.fullmatch(DURATION, written):
        raise InvalidValue
    return seconds_in(written)


# -- durations, percentages and refused values as people write them ---------------------------------------------------


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
