"""The JSON Schema of the file that `--json` writes, made from the model itself; shipped as `report.schema.json`.

python -m report_merge.render.json_schema > report_merge/render/report.schema.json
"""

from __future__ import annotations

import json
import sys
import types
import typing
from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from typing import Any

from report_merge.failures import FailureVerdict
from report_merge.lighthouse.results import LighthouseReport
from report_merge.model import Report
from report_merge.render.json import FORMAT, VERSION

_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def schema() -> dict[str, Any]:
    """Draft 2020-12. Fields that are left out have their default; versions may add fields, never change one."""
    definitions: dict[str, Any] = {}
    text: dict[str, Any] = {"type": "string"}
    cause: dict[str, Any] = {
        "fingerprint": {"description": "The same for one cause, whichever machine or line it struck.", **text},
        "verdict": {"enum": [verdict.value for verdict in FailureVerdict]},
        **dict.fromkeys(("category", "rule", "title", "evidence", "hint"), text),
        "machines": {"type": "array", "items": text},
        "tests": {
            "description": "Places in report.cases, from 0.",
            "type": "array",
            "items": {"type": "integer", "minimum": 0},
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"{FORMAT} --json, version {VERSION}",
        "type": "object",
        "required": ["format", "version", "report", "causes"],
        "properties": {
            "format": {"const": FORMAT},
            "version": {"const": VERSION},
            "report": _schema(Report, definitions),
            "lighthouse": _schema(LighthouseReport, definitions),
            "causes": {"type": "array", "items": {"type": "object", "required": [*cause], "properties": cause}},
        },
        "$defs": definitions,
    }


def _schema(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """`kind` is one of the few kinds the model is made of; its dataclasses become definitions."""
    if kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"enum": [member.value for member in kind]}
    if is_dataclass(kind):
        name = typing.cast(type, kind).__name__
        if name not in definitions:
            definitions[name] = {}  # before its fields, which may hold it again
            definitions[name] = _object(typing.cast(type, kind), definitions)
        return {"$ref": f"#/$defs/{name}"}
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        return {"anyOf": [_schema(argument, definitions) for argument in arguments]}
    if origin is Sequence or arguments[-1] is Ellipsis:
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    several = [_schema(argument, definitions) for argument in arguments]
    return {"type": "array", "prefixItems": several, "minItems": len(several), "maxItems": len(several)}


def _object(kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    needed = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
    properties = {field.name: _schema(hints[field.name], definitions) for field in fields(kind)}
    return {"type": "object", "properties": properties, **({"required": needed} if needed else {})}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(schema(), indent=1) + "\n")
