"""A configuration written back: as a document that `resolve` reads to an equal one, and as TOML."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ci_dispatch.config.channels import SlackChannel
from ci_dispatch.config.sections import SECTIONS, Config, MachineKeys
from ci_dispatch.config.setting import Setting, settings_of


def to_document(config: Config, *, defaults: bool = False) -> dict[str, Any]:
    """JSON-able; without the values that are defaults unless `defaults`. Machines are always listed."""
    document: dict[str, Any] = {}
    for name, section in SECTIONS.items():
        table = _table(getattr(config, name), settings_of(section, name), defaults=defaults)
        if table:
            document[name] = table
    channels = [_table(c, settings_of(SlackChannel), defaults=defaults) for c in config.slack.channels]
    if channels:
        document.setdefault("slack", {})["channel"] = channels
    document["machine"] = [_table(m, settings_of(MachineKeys), defaults=defaults) for m in config.machines]
    return document


def to_toml(document: Mapping[str, Any]) -> str:
    """The document of `to_document` as a file a person could have written."""
    return "\n".join(_lines(document, "")).strip() + "\n"


def literal(value: Any) -> str:
    """One value on one line."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False)  # every escape of JSON is one of TOML's basic strings
        case list() | tuple():
            return f"[{', '.join(literal(part) for part in value)}]"
        case Mapping():
            pairs = (f"{_bare(name)} = {literal(part)}" for name, part in value.items())
            return f"{{ {', '.join(pairs)} }}" if value else "{}"
        case _:
            return repr(value)


def _table(section: Any, settings: tuple[Setting, ...], *, defaults: bool) -> dict[str, Any]:
    values = ((setting, getattr(section, setting.name)) for setting in settings)
    return {
        setting.name: setting.write(value)
        for setting, value in values
        if value is not None and (defaults or value != setting.default)
    }


def _lines(table: Mapping[str, Any], name: str) -> Iterator[str]:
    """Values first, then tables: what comes after a header belongs to it."""
    inner = {key: value for key, value in table.items() if not _is_value(value, name)}
    for key, value in table.items():
        if key not in inner:
            yield f"{key} = {literal(value)}"
    for key, value in inner.items():
        path = f"{name}.{key}" if name else key
        for entry in value if isinstance(value, list) else [value]:
            yield from ("", f"[[{path}]]" if isinstance(value, list) else f"[{path}]")
            yield from _lines(entry, path)


def _is_value(value: Any, name: str) -> bool:
    if isinstance(value, list):
        return not value or not isinstance(value[0], dict)
    return not isinstance(value, dict) or name != ""  # tables below the first level are written on one line


def _bare(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else literal(key)
