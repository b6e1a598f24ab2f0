"""Values that travel as JSON: written without defaults, read back by their types. The one file that knows msgspec.

Whatever comes from outside (a journal, a plan, an artifact) is decoded by the type it claims to be: a number where a
text belongs is refused here, and nothing behind this file has to look again.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform

import msgspec

T = TypeVar("T")

field = msgspec.field

if TYPE_CHECKING:  # mypy does not pass a base's options on to its subclasses, so it is told the same in its own words

    @dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
    class Value: ...

else:

    class Value(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
        """A frozen value with keyword fields. Equal fields make equal values; one at its default is not written."""


def replace(value: T, **changes: Any) -> T:
    """A copy of a `Value`, or of a dataclass, with some of its fields changed."""
    copy: Any = msgspec.structs.replace if isinstance(value, msgspec.Struct) else dataclasses.replace
    changed: T = copy(value, **changes)
    return changed


def encode(value: Any) -> bytes:
    """`value` as one line of compact JSON."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:  # a lone surrogate in a foreign name: JSON has an escape for it, UTF-8 has not
        return json.dumps(msgspec.to_builtins(value), separators=(",", ":")).encode("ascii")


def to_data(value: Any) -> Any:
    """`value` as dicts, lists, strings and numbers."""
    return msgspec.to_builtins(value)


def decode(cls: type[T], data: bytes) -> T:
    """What `encode` wrote; fields that `cls` does not know are ignored (a later version wrote them).

    Raises:
        ValueError: for anything that is no JSON, or no `cls`.
    """
    try:
        return msgspec.json.decode(data, type=cls)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ValueError(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return from_data(cls, _strange(data))


def _strange(data: bytes) -> Any:
    """JSON that msgspec does not take: a lone surrogate's escape, or none at all."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no number of JSON")

    try:
        return json.loads(data, parse_constant=refuse)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def from_data(cls: type[T], data: Any) -> T:
    """What `to_data` made.

    Raises:
        ValueError: for anything that is no `cls`.
    """
    try:
        return msgspec.convert(data, cls)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ValueError(str(error)) from error
