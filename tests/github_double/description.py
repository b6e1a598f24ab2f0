"""Recorded exchanges against GitHub's official description: what was sent, and what the double answered."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

from jsonschema import Draft4Validator, FormatChecker
from jsonschema import validators as making
from referencing import Registry
from referencing.jsonschema import DRAFT4

from tests.github_double.shapes import DATA

# Statuses that GitHub sends though the description leaves them out (tests/data/github-openapi/README.md).
UNDESCRIBED = frozenset({304, 400, 401, 403, 404, 409, 410, 415, 422, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    method: str
    url: str  # path and query
    request_headers: Mapping[str, str]  # names in lower case, the token replaced
    request_body: bytes
    status: int  # 0: no answer was given
    answer_headers: Mapping[str, str]
    answer: bytes
    moment: float  # on the double's clock
    scripted: bool = False  # the answer is a fault: GitHub's description says nothing about it

    @property
    def answer_type(self) -> str:
        return self.answer_headers.get("Content-Type", "")

    @property
    def sent(self) -> Any:
        return json.loads(self.request_body)


def _nullable(check: Any) -> Any:
    """OpenAPI 3.0 writes `nullable: true` where JSON Schema would allow the type null."""

    def checked(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        if instance is None and schema.get("nullable"):
            return
        yield from check(validator, value, instance, schema)

    return checked


_extend: Any = making.extend  # not typed
_Validator: Any = _extend(
    Draft4Validator,
    {name: _nullable(Draft4Validator.VALIDATORS[name]) for name in ("type", "enum", "allOf", "anyOf", "oneOf")},
)


class Description:
    def __init__(self, document: dict[str, Any], prefix: str = "") -> None:
        self._document, self._prefix = document, prefix
        contents = _absolute(document)
        self._registry: Any = Registry().with_resource("spec:", DRAFT4.create_resource(contents))
        routes = [
            (re.compile("^" + re.sub(r"\{[^}]+\}", "[^/]+", path.replace("{path}", ".+")) + "$"), ops)
            for path, ops in document["paths"].items()
        ]
        self._routes = sorted(routes, key=lambda route: route[0].pattern.count("[^/]+"))

    def findings(self, exchange: Exchange) -> list[str]:
        """What the official description objects to; empty when both directions are valid."""
        url = urlsplit(exchange.url)
        operation = self._operation(exchange)
        if operation is None:
            return [f"no such operation: {exchange.method} {url.path}"]
        asked = [*self._query(operation, url.query), *self._request(operation, exchange)]
        return asked if exchange.scripted else [*asked, *self.answer(exchange, operation)]

    def _operation(self, exchange: Exchange) -> dict[str, Any] | None:
        path, method = urlsplit(exchange.url).path.removeprefix(self._prefix), exchange.method.lower()
        return next((ops[method] for pattern, ops in self._routes if pattern.match(path) and method in ops), None)

    def _query(self, operation: dict[str, Any], query: str) -> Iterator[str]:
        parameters = (self._follow(p) for p in operation.get("parameters", []))
        described = {p["name"]: p.get("schema", {}) for p in parameters if p["in"] == "query"}
        for name, values in parse_qs(query, keep_blank_values=True).items():
            if name not in described:
                yield f"query parameter {name} is not described"
                continue
            value: Any = values[0]
            match self._follow(described[name]).get("type"):
                case "integer" if value.isdigit():
                    value = int(value)
                case "boolean":
                    value = {"true": True, "false": False}.get(value, value)
            yield from (f"query {name}: {problem}" for problem in self._problems(described[name], value))

    def _request(self, operation: dict[str, Any], exchange: Exchange) -> Iterator[str]:
        if "requestBody" not in operation:
            if exchange.request_body not in (b"", b"null", b"{}"):
                yield f"a request body is not described: {exchange.request_body[:60]!r}"
            return
        body = self._follow(operation["requestBody"])
        if not exchange.request_body or exchange.request_body == b"null":
            if body.get("required"):
                yield "the request body is missing"
            return
        schema = body["content"]["application/json"]["schema"]
        given = json.loads(exchange.request_body)
        yield from (f"request {problem}" for problem in self._problems(schema, given))
        known = self._follow(schema).get("properties", {})
        yield from (f"request field {name} is not described" for name in given if name not in known)

    def answer(self, exchange: Exchange, operation: dict[str, Any] | None = None) -> Iterator[str]:
        """What it objects to in the answer alone."""
        operation = operation or self._operation(exchange) or {"responses": {}}
        described = operation["responses"].get(str(exchange.status))
        is_json = exchange.answer_type.startswith("application/json")
        if described is None:
            if exchange.status not in UNDESCRIBED:
                yield f"status {exchange.status} is not described"
            elif is_json and exchange.status >= 400:
                schema = {"$ref": "#/components/schemas/basic-error"}
                yield from (f"error {problem}" for problem in self._problems(schema, json.loads(exchange.answer)))
            return
        schema = self._follow(described).get("content", {}).get("application/json", {}).get("schema")
        if schema and is_json:
            yield from (
                f"answer {problem}" for problem in self._problems(schema, json.loads(exchange.answer or b"null"))
            )

    def _problems(self, schema: dict[str, Any], value: Any) -> Iterator[str]:
        validator = _Validator(_absolute(schema), registry=self._registry, format_checker=FormatChecker())
        for error in validator.iter_errors(value):
            yield f"{'/'.join(map(str, error.absolute_path)) or '(top)'}: {error.message[:160]}"

    def _follow(self, part: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in part:
            found: Any = self._document
            for name in part["$ref"].removeprefix("#/").split("/"):
                found = found[name]
            part = found
        return part


def _absolute(part: Any) -> Any:
    """References name the document, so that the registry finds them from any schema cut out of it."""
    if isinstance(part, dict):
        return {
            key: f"spec:{value}"
            if key == "$ref" and isinstance(value, str) and value.startswith("#")
            else _absolute(value)
            for key, value in part.items()
        }
    return [_absolute(item) for item in part] if isinstance(part, list) else part


@cache
def described(name: str = "github-actions.slim.json", prefix: str = "") -> Description:
    """A description in tests/data/github-openapi, of a server whose API lies below `prefix`."""
    document = json.loads((DATA / name).read_text(encoding="utf-8"))
    if name == "github-actions.slim.json":  # the settings of a repository are described in a file of their own
        more = json.loads((DATA / "github-settings.slim.json").read_text(encoding="utf-8"))
        document["paths"] |= more["paths"]
        for kind, parts in more["components"].items():
            document["components"].setdefault(kind, {}).update(parts)
    return Description(document, prefix)
