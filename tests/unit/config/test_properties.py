"""Whatever is thrown at it: a configuration or ConfigError, and what is written can be read again."""

from __future__ import annotations

import contextlib
import json
import re
import string
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ci_dispatch.config import Loaded, load, resolve
from ci_dispatch.config.channels import SlackChannel
from ci_dispatch.config.document import to_document, to_toml
from ci_dispatch.config.kinds import Refused
from ci_dispatch.config.reading import SETTINGS
from ci_dispatch.config.schema import json_schema
from ci_dispatch.config.sections import SECTIONS, MachineKeys
from ci_dispatch.config.setting import Setting, settings_of
from ci_dispatch.core.errors import ConfigError

SCHEMA = jsonschema.Draft7Validator(json_schema())

SCALARS = (
    st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates()
    | st.sampled_from(["5s", "10%", "auto", "pytest", "command", "local", "moruk", "#tests", "https://x"])
)  # fmt: skip
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


def fits(schema: dict[str, Any], text: str) -> bool:
    """The rest of a text's schema. Python's $ stands before a last newline too, JavaScript's does not."""
    no = schema.get("not", {}).get("pattern", "\n")
    return bool(text or not schema.get("minLength")) and not re.search(no, text)


def allowed_values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """What the JSON Schema of one setting lets through."""
    if "anyOf" in schema:
        return st.one_of([allowed_values(part) for part in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema["type"]:
        case "string":
            return st.from_regex(schema["pattern"], fullmatch=True).filter(lambda text: fits(schema, text))
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(schema["minimum"], schema["maximum"])
        case "number":
            return st.floats(schema["minimum"], schema["maximum"])
        case "array":
            return st.lists(allowed_values(schema["items"]), max_size=3)
        case "object":
            names = st.text(string.ascii_letters + "_", min_size=1, max_size=5)
            return st.dictionaries(names, allowed_values(schema["additionalProperties"]), max_size=3)
        case other:
            raise AssertionError(other)


ALL = (*SETTINGS, *settings_of(MachineKeys), *settings_of(SlackChannel))
VALUES = {id(setting.kind): allowed_values(dict(setting.kind.schema)) for setting in ALL}


def good_values(setting: Setting) -> st.SearchStrategy[Any]:
    """Values that a schema cannot know are left out: limits of a duration written as text, names that are installed."""
    kind = setting.kind
    if "anyOf" in kind.schema:
        return allowed_values(kind.schema["anyOf"][1]).map(kind.write)
    return VALUES[id(kind)]


@st.composite
def tables(draw: st.DrawFn, settings: tuple[Setting, ...], *, wild: bool) -> dict[str, Any]:
    chosen = draw(st.lists(st.sampled_from(settings), unique_by=lambda setting: setting.name, max_size=4))
    table = {setting.name: draw(good_values(setting)) for setting in chosen}
    if wild:
        table |= draw(
            st.dictionaries(st.sampled_from([s.name for s in settings]) | st.text(max_size=5), ANYTHING, max_size=2)
        )
    return table


@st.composite
def documents(draw: st.DrawFn, *, wild: bool) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(sorted(SECTIONS)), unique=True, max_size=3))
    document: dict[str, Any] = {name: draw(tables(settings_of(SECTIONS[name], name), wild=wild)) for name in names}
    if "slack" in document and draw(st.booleans()):
        document["slack"]["channel"] = draw(
            st.lists(tables(settings_of(SlackChannel), wild=wild), min_size=1, max_size=2)
        )
        document["slack"]["channel"][0]["id"] = "#tests"
    if draw(st.booleans()):
        machines = draw(st.lists(tables(settings_of(MachineKeys), wild=wild), min_size=1, max_size=2))
        document["machine"] = [{**machine, "name": f"m{index}"} for index, machine in enumerate(machines)]
    if wild:
        document |= draw(
            st.dictionaries(st.sampled_from([*SECTIONS, "machine"]) | st.text(max_size=5), ANYTHING, max_size=1)
        )
    return document


NAMES = [setting.variable for setting in SETTINGS if setting.variable]
VARIABLES = st.dictionaries(
    st.sampled_from(NAMES) | st.text(max_size=5).map(lambda rest: f"CI_DISPATCH_{rest}"),
    st.text(max_size=20),
    max_size=3,
)


def problems_of(read: Callable[[], Loaded]) -> None:
    """What is refused is refused with problems, each on a line of its own."""
    with contextlib.suppress(ConfigError):
        read()
        return
    with pytest.raises(ConfigError) as refused:
        read()
    assert len(str(refused.value).splitlines()) == 1 + len(refused.value.problems) > 1


@given(st.text(), VARIABLES)
@example("a = " + "9" * 5000, {})
@example("a = " + "[" * 2000, {})
@example("a = 1e999\nb = inf\nc = 1979-05-27T07:32:00Z", {})
def test_any_text_is_read_or_refused_with_its_problems(toml: str, environ: dict[str, str]) -> None:
    problems_of(lambda: load(toml, environ=environ))


@given(documents(wild=True), VARIABLES)
def test_any_document_is_read_or_refused_with_its_problems(document: dict[str, Any], environ: dict[str, str]) -> None:
    problems_of(lambda: resolve(document, environ=environ))


@given(documents(wild=True) | documents(wild=False))
def test_what_the_parser_accepts_the_schema_accepts(document: dict[str, Any]) -> None:
    """An editor never marks a file as wrong that works."""
    try:
        resolve(document)
    except ConfigError:
        assume(False)
    SCHEMA.validate(document)


@given(st.data())
def test_what_the_schema_allows_the_parser_takes(data: st.DataObject) -> None:
    """But for what a schema cannot know: the limits of a duration written as text, and which runners are installed."""
    setting = data.draw(st.sampled_from(ALL))
    value = data.draw(VALUES[id(setting.kind)])
    try:
        setting.kind.read(value)
    except Refused:
        assert isinstance(value, str)
        assert setting.kind.name in ("duration", "percentage", "name")


@given(documents(wild=False))
def test_a_configuration_survives_being_written_as_toml(document: dict[str, Any]) -> None:
    try:
        config = resolve(document).config
    except ConfigError:
        assume(False)
    written = to_document(config)
    assert load(to_toml(written)).config == config
    assert resolve(json.loads(json.dumps(written))).config == config
    assert load(to_toml(to_document(config, defaults=True))).config == config
