"""Slack's limits on a message, as its documentation and its users' bug reports have them.

Shapes are checked by the JSON Schema made from Slack's own types, lengths by hand and by slack-sdk's block classes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator
from slack_sdk.errors import SlackObjectFormationError
from slack_sdk.models.blocks import Block

BLOCKS = 50  # in a message: https://docs.slack.dev/reference/block-kit/blocks
ALL_CHARACTERS = 13_200  # undocumented: https://github.com/slackapi/bolt-js/issues/2509
TEXT = 40_000  # top-level text, then it is cut
LENGTHS = {  # (block type, path below it): characters
    ("header", "text"): 150,
    ("section", "text"): 3000,
    ("section", "fields"): 2000,
    ("button", "text"): 75,
    ("button", "url"): 3000,
    ("markdown", "text"): 12_000,
}
COUNTS = {("section", "fields"): 10, ("context", "elements"): 10, ("actions", "elements"): 25}

SCHEMA = Path(__file__).parents[1] / "data" / "slack" / "message.schema.json"


@cache
def validator() -> Draft7Validator:
    return Draft7Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))


def problems(text: str, blocks: list[dict[str, Any]]) -> tuple[str, list[str]]:
    """Slack's error word and its messages for a message it would refuse; two empties for one it takes."""
    word, found = _problems(text, json.dumps(blocks))
    return word, list(found)


@lru_cache(maxsize=1000)  # the messages of one run are often the same
def _problems(text: str, as_json: str) -> tuple[str, tuple[str, ...]]:
    blocks: list[dict[str, Any]] = json.loads(as_json)
    if not text and not blocks:
        return "no_text", ()
    if len(blocks) > BLOCKS:
        return "invalid_blocks", (f"[ERROR] no more than {BLOCKS} items allowed [json-pointer:/blocks]",)
    found = (*_shapes(text, blocks), *_lengths(blocks), *_models(blocks))
    if found:
        return "invalid_blocks", found
    if sum(len(one) for one in _texts(blocks)) > ALL_CHARACTERS:
        return "msg_blocks_too_long", ()
    return "", ()


def _shapes(text: str, blocks: list[dict[str, Any]]) -> Iterator[str]:
    for error in validator().iter_errors({"text": text, "blocks": blocks}):
        pointer = "/".join(str(part) for part in error.absolute_path)
        yield f"[ERROR] {error.message[:200]} [json-pointer:/{pointer}]"


def _lengths(blocks: list[dict[str, Any]]) -> Iterator[str]:
    for number, block in enumerate(blocks):
        for node in _nodes(block):
            for (kind, name), most in COUNTS.items():
                if node.get("type") == kind and len(node.get(name) or []) > most:
                    yield f"[ERROR] no more than {most} items allowed [json-pointer:/blocks/{number}/{name}]"
            for (kind, name), most in LENGTHS.items():
                value = node.get(name)
                for one in value if isinstance(value, list) else [value]:
                    inner = one.get("text") if isinstance(one, dict) else one
                    if node.get("type") == kind and isinstance(inner, str) and not 0 < len(inner) <= most:
                        what = f"must be more than 0 and less than {most + 1} characters"
                        yield f"[ERROR] {what} [json-pointer:/blocks/{number}/{name}]"
            if node.get("type") == "text" and not node.get("text"):
                yield f"[ERROR] must be more than 0 characters [json-pointer:/blocks/{number}]"


def _models(blocks: list[dict[str, Any]]) -> Iterator[str]:
    for number, block in enumerate(blocks):
        try:
            parsed = Block.parse(block)
            if parsed is not None:
                parsed.to_dict()
        except SlackObjectFormationError as error:
            yield f"[ERROR] {error} [json-pointer:/blocks/{number}]"


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from _nodes(item)
    elif isinstance(value, list):
        for item in value:
            yield from _nodes(item)


def _texts(value: Any) -> Iterator[str]:
    for node in _nodes(value):
        if isinstance(node.get("text"), str):
            yield node["text"]
