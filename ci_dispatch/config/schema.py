"""The JSON Schema of ci-dispatch.toml, for editors. schema.json beside this file is this, and a test compares them."""

from __future__ import annotations

from typing import Any

from ci_dispatch.config.channels import SlackChannel
from ci_dispatch.config.sections import SECTIONS, MachineKeys
from ci_dispatch.config.setting import Setting, settings_of


def json_schema() -> dict[str, Any]:
    """Accepts every file that the parser accepts; limits of durations written as text are the parser's alone.

    Draft 7, which TOML editors understand (https://taplo.tamasfe.dev/configuration/using-schemas.html).
    """
    properties = {name: _table(section, settings_of(section, name)) for name, section in SECTIONS.items()}
    properties["slack"]["properties"]["channel"] = {
        "type": "array", "minItems": 1, "items": _table(SlackChannel, settings_of(SlackChannel), required="id"),
    }  # fmt: skip
    properties["machine"] = {
        "type": "array", "minItems": 1, "items": _table(MachineKeys, settings_of(MachineKeys), required="name"),
    }  # fmt: skip
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "ci-dispatch.toml",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }


def _table(section: type[Any], settings: tuple[Setting, ...], required: str = "") -> dict[str, Any]:
    return {
        "type": "object",
        "description": section.__doc__,
        "additionalProperties": False,
        "properties": {setting.name: _value(setting) for setting in settings},
    } | ({"required": [required]} if required else {})


def _value(setting: Setting) -> dict[str, Any]:
    default = {} if setting.default is None else {"default": setting.written_default}
    return {"description": f"{setting.meaning} Allowed: {setting.kind.allowed}.", **setting.kind.schema, **default}
