"""Frozen dataclasses to JSON-able data and back, by their type hints; defaults are left out of what is written."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints


def encode(value: Any) -> Any:
    """`value` as dicts, lists, strings and numbers. A field that has its default is left out."""
    if isinstance(value, Enum):
        return value.value
    if hasattr(value, "__dataclass_fields__"):
        return {
            name: encode(given)
            for name, default in _defaults(value.__class__)
            if (given := getattr(value, name)) != default or default is dataclasses.MISSING
        }
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    return value


def decode(cls: Any, data: Any) -> Any:
    """An instance of the dataclass `cls` from what `encode` made; unknown fields are ignored (a later version's).

    Raises ValueError when the data cannot be one.
    """
    try:
        return _decoder(cls)(data)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a {cls.__name__}: {error}") from error


@cache
def _defaults(cls: Any) -> tuple[tuple[str, Any], ...]:
    return tuple(
        (field.name, field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default)
        for field in dataclasses.fields(cls)
    )


@cache
def _decoder(hint: Any) -> Callable[[Any], Any]:
    hint = getattr(hint, "__supertype__", hint)  # a NewType is its base
    origin, args = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _dataclass_decoder(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    if origin is tuple:
        item = _decoder(args[0])
        return lambda data: tuple(item(element) for element in data)
    if origin in (Union, types.UnionType):  # only ever `X | None`
        inner = _decoder(next(arg for arg in args if arg is not types.NoneType))
        return lambda data: None if data is None else inner(data)
    if hint is float:
        return float  # JSON writes 2.0 as 2
    return lambda data: data


def _dataclass_decoder(cls: Any) -> Callable[[Any], Any]:
    hints = get_type_hints(cls)
    fields = {field.name: _decoder(hints[field.name]) for field in dataclasses.fields(cls)}
    return lambda data: cls(**{name: fields[name](item) for name, item in data.items() if name in fields})
