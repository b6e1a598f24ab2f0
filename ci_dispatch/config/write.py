"""What is written from the declarations: a configuration as a document or TOML, a sample file, the documentation's
tables, and the JSON Schema. Tests compare the last two with docs/configuration.md and schema.json."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from ci_dispatch.config.groups import GroupConfig
from ci_dispatch.config.machine_section import MachineConfig
from ci_dispatch.config.sections import AUTO, SECTIONS, Config
from ci_dispatch.config.setting import Setting, settings_of
from ci_dispatch.config.slack import SlackChannel

HIDDEN = "(not shown)"


def to_document(config: Config, *, defaults: bool = False) -> dict[str, Any]:
    """JSON-able: what a file may say; without values that are defaults unless `defaults`, machines always listed."""
    document: dict[str, Any] = {}
    for name, section in SECTIONS.items():
        table = _values(getattr(config, name), settings_of(section, name), defaults=defaults)
        if table:
            document[name] = table
    channels = [_values(c, settings_of(SlackChannel), defaults=defaults) for c in config.slack.channels]
    if channels:
        document.setdefault("slack", {})["channel"] = channels
    document["machine"] = [_values(m, settings_of(MachineConfig), defaults=defaults) for m in config.machines]
    groups = [_values(group, settings_of(GroupConfig), defaults=defaults) for group in config.groups]
    return document | ({"group": groups} if groups else {})


def without_values(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document for people's eyes: the names of environment variables, not their values, which may be secrets."""
    shown = dict(document)
    if env := document.get("suite", {}).get("env"):
        shown["suite"] = document["suite"] | {"env": dict.fromkeys(env, HIDDEN)}
    shown["machine"] = [
        table | {"env": dict.fromkeys(table["env"], HIDDEN)} if table.get("env") else table
        for table in document["machine"]
    ]
    return shown


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


def _values(section: Any, settings: tuple[Setting, ...], *, defaults: bool) -> dict[str, Any]:
    values = ((setting, getattr(section, setting.name)) for setting in settings)
    return {
        setting.name: setting.write(value)
        for setting, value in values
        if value is not None and (defaults or value != setting.default)
        if setting.from_file is None or value in setting.from_file
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


# -- the sample file ---------------------------------------------------------------------------------------------------

_HEAD = """\
# ci-dispatch: one test suite over the machines you own.
#
# Lines that begin with "#" and a key are defaults: take the "#" away to change one.
# Durations: "500ms", "5s", "1h30m". Percentages: "10%". Which value counts, and why: ci-dispatch config --explain
"""

_MACHINES = """\
# The fleet. Without any [[machine]] it is this computer alone.
[[machine]]
name = "local"
connection = "local"

# Another machine, reached by SSH. Host, user, port, key and jump host come from ~/.ssh/config unless given here.
"""


def sample(runner: str = AUTO, workdir: str = ".") -> str:
    """The whole file; `runner` and `workdir` are what was recognised in the repository."""
    return "\n".join(_sample_lines({"suite.runner": runner, "suite.workdir": workdir}))


def _sample_lines(recognised: dict[str, Any]) -> Iterator[str]:
    yield _HEAD
    for name, section in SECTIONS.items():
        yield from _prose(section.__doc__ or "")
        yield f"[{name}]"
        for setting in settings_of(section, name):
            if setting.from_file != ():
                yield from _sample_setting(setting, recognised.get(setting.path, setting.default))
        yield ""
        if name == "slack":
            yield from _example("[[slack.channel]]", settings_of(SlackChannel), {"id": "#tests"})
    yield _MACHINES.rstrip("\n")
    yield from _example("[[machine]]", settings_of(MachineConfig), {"name": "moruk"})
    yield from _prose("Tests that must stay together or apart, need something of their machine, or come after others.")
    yield from _example("[[group]]", settings_of(GroupConfig), {"name": "database"})


def _sample_setting(setting: Setting, value: Any) -> Iterator[str]:
    yield from _prose(setting.meaning)
    if setting.value_type.name == "choice":
        yield from _prose(f"{setting.value_type.allowed[0].upper()}{setting.value_type.allowed[1:]}.")
    if value is None:
        yield f"#{setting.name} ="
        return
    mark = "" if value != setting.default else "#"
    yield f"{mark}{setting.name} = {literal(setting.write(value))}"


def _example(header: str, settings: tuple[Setting, ...], given: dict[str, Any]) -> Iterator[str]:
    yield f"#{header}"
    for setting in settings:
        yield from (
            f"#{line}" if not line.startswith("#") else line
            for line in _sample_setting(setting, given.get(setting.name, setting.default))
        )
    yield ""


def _prose(text: str) -> list[str]:
    return textwrap.wrap(text, 100, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


# -- the reference -----------------------------------------------------------------------------------------------------


def reference() -> str:
    """Markdown: a heading and a table for each section."""
    parts: list[str] = []
    for name, section in SECTIONS.items():
        parts += _reference_section(f"[{name}]", section.__doc__ or "", settings_of(section, name))
        if name == "slack":
            parts += _reference_section("[[slack.channel]]", SlackChannel.__doc__ or "", settings_of(SlackChannel))
    parts += _reference_section("[[machine]]", MachineConfig.__doc__ or "", settings_of(MachineConfig))
    parts += _reference_section("[[group]]", GroupConfig.__doc__ or "", settings_of(GroupConfig))
    return "\n".join(parts)


def _reference_section(title: str, text: str, settings: tuple[Setting, ...]) -> Iterator[str]:
    overridable = bool(settings[0].section)
    yield from (f"### `{title}`", "", text, "")
    yield "| key | default | meaning | allowed |" + (" variable, option |" if overridable else "")
    yield "|---|---|---|---|" + ("---|" if overridable else "")
    for setting in settings:
        default = "" if setting.default is None else f"`{literal(setting.written_default)}`"
        former = f"<br>formerly `{setting.former_key}`" if setting.former_key else ""
        cells = [f"`{setting.name}`{former}", default, setting.meaning, _allowed(setting)]
        if overridable:
            cells.append("<br>".join(f"`{name}`" for name in (setting.variable, setting.flag) if name))
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"
    yield ""


def _allowed(setting: Setting) -> str:
    match setting.from_file:
        case None:
            return setting.value_type.allowed
        case ():
            return f"{setting.value_type.allowed}; **never in the file**"
        case names:
            return f"{setting.value_type.allowed}; in the file one of {', '.join(names)}"


# -- the JSON Schema ---------------------------------------------------------------------------------------------------


def json_schema() -> dict[str, Any]:
    """Accepts every file that the parser accepts; limits of durations written as text are the parser's alone.

    Draft 7, which TOML editors understand (https://taplo.tamasfe.dev/configuration/using-schemas.html).
    """
    properties = {name: _table_schema(section) for name, section in SECTIONS.items()}
    channel, machine = _table_schema(SlackChannel, required="id"), _table_schema(MachineConfig, required="name")
    properties["slack"]["properties"]["channel"] = {"type": "array", "minItems": 1, "items": channel}
    properties["machine"] = {"type": "array", "minItems": 1, "items": machine}
    group = _table_schema(GroupConfig, required="name")
    properties["group"] = {"type": "array", "minItems": 1, "items": group}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "ci-dispatch.toml",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }


def _table_schema(section: type[Any], required: str = "") -> dict[str, Any]:
    settings = [setting for setting in settings_of(section) if setting.from_file != ()]
    properties = {setting.name: _value_schema(setting) for setting in settings}
    for setting in settings:
        if setting.former_key:
            former = {"description": f"Now called {setting.name}.", "deprecated": True}
            properties[setting.former_key] = former | dict(setting.value_type.schema)
    table = {"type": "object", "description": section.__doc__, "additionalProperties": False, "properties": properties}
    return table | ({"required": [required]} if required else {})


def _value_schema(setting: Setting) -> dict[str, Any]:
    description = f"{setting.meaning} Allowed: {setting.value_type.allowed}."
    default = {} if setting.default is None else {"default": setting.written_default}
    allowed = setting.value_type.schema if setting.from_file is None else {"enum": list(setting.from_file)}
    return {"description": description, **allowed, **default}
