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
from ci_dispatch.config.groups import GroupConfig
from ci_dispatch.config.machine_section import MachineConfig
from ci_dispatch.config.sections import SECTIONS, SETTINGS
from ci_dispatch.config.setting import Setting, settings_of
from ci_dispatch.config.slack import SlackChannel
from ci_dispatch.config.value_types import InvalidValue
from ci_dispatch.config.write import json_schema, to_document, to_toml
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


ALL = (*SETTINGS, *settings_of(MachineConfig), *settings_of(SlackChannel), *settings_of(GroupConfig))
VALUES = {id(setting.value_type): allowed_values(dict(setting.value_type.schema)) for setting in ALL}


def good_values(setting: Setting) -> st.SearchStrategy[Any]:
    """Values within their limits, which a schema cannot know of a duration written as text, and installed names."""
    value_type = setting.value_type
    if "anyOf" in value_type.schema:
        return allowed_values(value_type.schema["anyOf"][1]).map(value_type.write)
    return VALUES[id(value_type)]


def tables(settings: tuple[Setting, ...], *, wild: bool) -> st.SearchStrategy[dict[str, Any]]:
    names = [setting.name for setting in settings]
    one = st.one_of([st.tuples(st.just(setting.name), good_values(setting)) for setting in settings])
    good = st.lists(one, unique_by=lambda pair: pair[0], max_size=4).map(dict)
    if not wild:
        return good
    more = st.dictionaries(st.sampled_from(names) | st.text(max_size=5), ANYTHING, max_size=2)
    return st.builds(lambda table, added: table | added, good, more)


def documents(*, wild: bool) -> st.SearchStrategy[dict[str, Any]]:
    """Strategies are made once: making them again for each example takes longer than what is tested."""
    sections = {name: tables(settings_of(section, name), wild=wild) for name, section in SECTIONS.items()}
    channels = st.lists(tables(settings_of(SlackChannel), wild=wild), min_size=1, max_size=2)
    machines = st.lists(tables(settings_of(MachineConfig), wild=wild), min_size=1, max_size=2)
    groups = st.lists(tables(settings_of(GroupConfig), wild=wild), min_size=1, max_size=2)
    anything = st.dictionaries(
        st.sampled_from([*SECTIONS, "machine", "group"]) | st.text(max_size=5), ANYTHING, max_size=1
    )
    chosen = st.lists(st.sampled_from(sorted(SECTIONS)), unique=True, max_size=3)

    @st.composite
    def made(draw: st.DrawFn) -> dict[str, Any]:
        document: dict[str, Any] = {name: draw(sections[name]) for name in draw(chosen)}
        if "slack" in document and draw(st.booleans()):
            document["slack"]["channel"] = draw(channels)
            document["slack"]["channel"][0]["id"] = "#tests"
        if draw(st.booleans()):
            document["machine"] = [{**machine, "name": f"m{index}"} for index, machine in enumerate(draw(machines))]
        if draw(st.booleans()):
            document["group"] = [{**group, "name": f"g{index}"} for index, group in enumerate(draw(groups))]
        return document | draw(anything) if wild else document

    return made()


WILD, GOOD = documents(wild=True), documents(wild=False)
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


@given(WILD, VARIABLES)
def test_any_document_is_read_or_refused_with_its_problems(document: dict[str, Any], environ: dict[str, str]) -> None:
    problems_of(lambda: resolve(document, environ=environ))


@given(WILD | GOOD)
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
    value = data.draw(VALUES[id(setting.value_type)])
    try:
        setting.value_type.read(value)
    except InvalidValue:
        assert isinstance(value, str)
        assert setting.value_type.name in ("duration", "percentage", "name")


@given(GOOD)
def test_a_configuration_survives_being_written_as_toml(document: dict[str, Any]) -> None:
    try:
        config = resolve(document).config
    except ConfigError:
        assume(False)
    written = to_document(config)
    assert load(to_toml(written)).config == config
    assert resolve(json.loads(json.dumps(written))).config == config
    assert load(to_toml(to_document(config, defaults=True))).config == config
