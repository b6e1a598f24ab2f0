"""One pass over everything the user said: good values, where each comes from, and what is wrong."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ci_dispatch.config.groups import GroupConfig
from ci_dispatch.config.machine_section import MachineConfig
from ci_dispatch.config.sections import SECTIONS, SETTINGS
from ci_dispatch.config.setting import PREFIX, Setting, settings_of
from ci_dispatch.config.slack import SlackChannel
from ci_dispatch.config.value_types import InvalidValue, named, shown
from ci_dispatch.core.errors import ConfigProblem, did_you_mean, nearest
from ci_dispatch.core.groups import GroupSpec
from ci_dispatch.core.model import MachineSpec

OTHER_VARIABLES = {  # variables that are no settings of a run
    "CI_DISPATCH_CONFIG": "names the file.",
    "CI_DISPATCH_DEBUG": "shows a traceback with every error.",
    "CI_DISPATCH_SSH_CONFIG": "names a file that is read instead of `~/.ssh/config`.",
    "CI_DISPATCH_PYTHON": "names the Python of a pytest suite, where none of the usual places has it.",
    "CI_DISPATCH_DASHBOARD_TOKEN": "keeps the link of a dashboard the same when it is started again.",
}
# What a runner finds in its environment.
IN_JOBS = ("AHEAD", "BEGIN", "JOB", "LAUNCHED", "LIVE", "TESTS", "TREE", "WORKERS")
NOT_SETTINGS = {*OTHER_VARIABLES, *(PREFIX + name for name in IN_JOBS)}

KeyPath = tuple[str | int, ...]
"""The keys down to a value; the entries of an array of tables are numbered from 0."""

_HEADER = re.compile(r"""\s*(\[\[?)\s*((?:"[^"\n]*"|'[^'\n]*'|[A-Za-z0-9_.\s-])+?)\s*\]\]?\s*(?:#.*)?$""")
_KEY = re.compile(
    r"""\s*((?:"[^"\n]*"|'[^'\n]*'|[A-Za-z0-9_-]+)(?:\s*\.\s*(?:"[^"\n]*"|'[^'\n]*'|[A-Za-z0-9_-]+))*)\s*="""
)
_PART = re.compile(r""""([^"\n]*)"|'([^'\n]*)'|([A-Za-z0-9_-]+)""")


class ValueSource(StrEnum):
    """Who said it, from the weakest to the strongest."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    COMMAND_LINE = "command line"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a value comes from; `where` names it as the user wrote it: "ci-dispatch.toml:4", "--max-retries"."""

    source: ValueSource = ValueSource.DEFAULT
    where: str = ""

    def __str__(self) -> str:
        return self.where or str(self.source)


@dataclass(slots=True, kw_only=True)
class SettingsReader:
    """One pass over everything the user said; collects what is wrong and where each value comes from."""

    file: str
    lines: Mapping[KeyPath, int]
    problems: list[ConfigProblem]
    origins: dict[str, Origin] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return not self.problems

    def place(self, *path: str | int) -> str:
        """The file, with the line of the longest part of `path` that has one."""
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.file}:{self.lines[path]}" if path else self.file

    def problem(self, where: str, key: str, given: str, allowed: str, meant: str = "") -> None:
        self.problems.append(ConfigProblem(where=where, key=key, given=given, allowed=allowed, nearest=meant))

    def renamed(self, old: str, new: str, *, ignored: bool) -> None:
        """Warn of a former name: it counts unless the new one is given too."""
        so = "that is given too, so the old one was ignored" if ignored else "the old name still works"
        self.warnings.append(f"{old} is now called {new}; {so}")

    def value(self, setting: Setting, raw: Any, where: str, key: str) -> tuple[Any, ...]:
        """The value in a tuple, or an empty one when it was refused."""
        try:
            return (setting.value_type.read(raw),)
        except InvalidValue as invalid:
            words = invalid.words or (setting.value_type.schema.get("enum", ()) if isinstance(raw, str) else ())
            allowed = f"one of {', '.join(invalid.words)}" if invalid.words else setting.value_type.allowed
            self.problem(where, key, invalid.given or shown(raw), allowed, nearest(str(raw), words))
            return ()

    def of_file(self, setting: Setting, raw: Any, where: str, key: str) -> tuple[Any, ...]:
        """The same for a value in a file: it may come with a repository, which must not decide where tokens go."""
        if setting.from_file == ():
            only = f"nothing in a file, which may come with a repository; set {setting.where_else}"
            self.problem(where, key, "an address", only)
            return ()
        found = self.value(setting, raw, where, key)
        if not found or setting.from_file is None or found[0] in setting.from_file:
            return found
        listed = ", ".join(setting.from_file)
        given = "the name of another variable (not shown: it may be a secret)"
        self.problem(where, key, given, f"one of {listed} in a file; any other name in {setting.where_else}")
        return ()

    def section(self, document: Mapping[str, Any], name: str) -> dict[str, Any]:
        table = document.get(name, {})
        if not isinstance(table, dict):
            self.problem(self.place(name), name, shown(table), f"a table, [{name}]")
            return {}
        return self.table(table, settings_of(SECTIONS[name], name), (name,), name)

    def table(
        self, table: Mapping[str, Any], settings: tuple[Setting, ...], path: KeyPath, name: str
    ) -> dict[str, Any]:
        """The good values of one table by attribute; everything else becomes a problem."""
        values: dict[str, Any] = {}
        for setting in settings:
            full = f"{name}.{setting.name}"
            self.origins.setdefault(full, Origin())
            key, former = setting.name, setting.former_key
            if former and former in table:
                old = f"{self.place(*path, former)}: {name}.{former}"
                self.renamed(old, full, ignored=key in table)
                key = key if key in table else former
            if key in table:
                where = self.place(*path, key)
                for value in self.of_file(setting, table[key], where, f"{name}.{key}"):
                    values[setting.name] = value
                    self.origins[full] = Origin(source=ValueSource.FILE, where=where)
        former_keys = {setting.former_key for setting in settings if setting.former_key}
        extra = ["channel"] if path == ("slack",) else []
        named_now = {key: value for key, value in table.items() if key not in former_keys}
        self.unknown(named_now, [setting.name for setting in settings] + extra, path, name)
        return values

    def unknown(self, table: Mapping[str, Any], known: list[str], path: KeyPath, name: str = "") -> None:
        for key in table:
            if key not in known:
                self.problem(
                    self.place(*path, key), f"{name}.{named(key)}" if name else named(key), "an unknown key",
                    "one of " + ", ".join(known), _nearest(key, known, name),
                )  # fmt: skip

    def tables(self, raw: Any, name: str, path: KeyPath) -> list[Mapping[str, Any]]:
        if isinstance(raw, list) and raw and all(isinstance(entry, dict) for entry in raw):
            return raw
        given = "none" if raw == [] else shown(raw)
        self.problem(self.place(*path), name, given, f"one or more tables, [[{name}]]")
        return []

    def channels(self, document: Mapping[str, Any]) -> tuple[SlackChannel, ...]:
        slack = document.get("slack", {})
        if not isinstance(slack, dict) or "channel" not in slack:
            return ()
        found = []
        for index, entry in enumerate(self.tables(slack["channel"], "slack.channel", ("slack", "channel"))):
            path = ("slack", "channel", index)
            name = f"slack.channel[{index + 1}]"
            found.append(SlackChannel(**self.table(entry, settings_of(SlackChannel), path, name)))
            if not entry.get("id"):
                self.problem(self.place(*path), f"{name}.id", "nothing", "a channel's id (C0123456789) or #name")
        return tuple(found)

    def machines(self, document: Mapping[str, Any]) -> tuple[MachineSpec, ...]:
        if "machine" not in document:
            return ()
        found = []
        for index, entry in enumerate(self.tables(document["machine"], "machine", ("machine",))):
            path, name = ("machine", index), f"machine[{index + 1}]"
            if "name" not in entry:
                self.problem(self.place(*path), f"{name}.name", "nothing", "a name for the machine")
            values = self.table(entry, settings_of(MachineConfig), path, name)
            found.append(MachineSpec(**{"name": "", **values}))
            self.origins[name] = Origin(source=ValueSource.FILE, where=self.place(*path))
        return tuple(found)

    def groups(self, document: Mapping[str, Any]) -> tuple[GroupSpec, ...]:
        if "group" not in document:
            return ()
        found: dict[str, GroupSpec] = {}
        for index, entry in enumerate(self.tables(document["group"], "group", ("group",))):
            path, name = ("group", index), f"group[{index + 1}]"
            spec = GroupSpec(**self.table(entry, settings_of(GroupConfig), path, name))
            if not entry.get("name"):
                self.problem(self.place(*path), f"{name}.name", "nothing", "a name for the group")
            elif spec.name in found:
                self.problem(self.place(*path), f"{name}.name", f'"{spec.name}" again', "another name: a group has it")
            found[spec.name] = spec
            self.origins[name] = Origin(source=ValueSource.FILE, where=self.place(*path))
        return tuple(found.values())

    def environment(self, environ: Mapping[str, str], values: dict[str, dict[str, Any]]) -> None:
        """CI_DISPATCH_ variables; an empty one counts as not set: GitHub passes inputs that were not given that way."""
        by_name = {setting.variable: setting for setting in SETTINGS if setting.variable}
        by_former_name = {setting.former_variable: setting for setting in SETTINGS if setting.former_variable}
        for name in sorted(environ):
            if not name.startswith(PREFIX) or name in NOT_SETTINGS or environ[name] == "":
                continue
            setting = by_name.get(name) or by_former_name.get(name)
            if setting is None:
                meant = did_you_mean(name, by_name)
                hint = f"; {meant}" if meant else ""
                self.warnings.append(f"The variable {named(name)} is not a setting and was ignored{hint}")
                continue
            if name in by_former_name:
                ignored = bool(environ.get(setting.variable))
                self.renamed(f"The variable {name}", setting.variable, ignored=ignored)
                if ignored:
                    continue
            self.override(setting, environ[name], name, ValueSource.ENVIRONMENT, values)

    def options(self, options: Mapping[str, Any], values: dict[str, dict[str, Any]]) -> None:
        """By path, or by a former flag."""
        for setting in SETTINGS:
            former = setting.former_flag
            if former and former in options:
                self.renamed(f"The option {former}", setting.flag, ignored=setting.path in options)
                self.override(setting, options[former], former, ValueSource.COMMAND_LINE, values)
            if setting.path in options:
                self.override(setting, options[setting.path], setting.flag, ValueSource.COMMAND_LINE, values)

    def override(
        self, setting: Setting, given: Any, where: str, source: ValueSource, values: dict[str, dict[str, Any]]
    ) -> None:
        raw = setting.value_type.from_text(given) if isinstance(given, str) else given
        for value in self.value(setting, raw, where, setting.path):
            values[setting.section][setting.name] = value
            self.origins[setting.path] = Origin(source=source, where=where)


def _nearest(key: str, known: list[str], name: str) -> str:
    """The valid key the user may have meant: the same word in another section, or a similar one beside this."""
    elsewhere = [setting.path for setting in SETTINGS if setting.name == key]
    if elsewhere or not (beside := nearest(key, known)):
        return "".join(elsewhere[:1])
    return f"{name}.{beside}" if name else f"[{beside}]"


def lines_of(toml: str) -> Mapping[KeyPath, int]:
    """Line numbers (from 1) by path: good enough to name a line in a message (tomllib keeps no positions).

    A key inside a multi-line string may be taken for a real one: then a message names a wrong line, no more.
    """
    found: dict[KeyPath, int] = {}
    seen: Counter[KeyPath] = Counter()
    table: KeyPath = ()
    for number, line in enumerate(toml.split("\n"), 1):
        if header := _HEADER.match(line):
            table = _parts(header[2])
            if header[1] == "[[":
                seen[table] += 1
                found.setdefault(table, number)
                table = (*table, seen[table] - 1)
            found.setdefault(table, number)
        elif key := _KEY.match(line):
            found.setdefault((*table, *_parts(key[1])), number)
    return found


def _parts(dotted: str) -> KeyPath:
    return tuple(part[0] or part[1] or part[2] for part in _PART.findall(dotted))
