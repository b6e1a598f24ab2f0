"""One pass over everything the user said: good values, where each comes from, and what is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ci_dispatch.config.amounts import named, shown
from ci_dispatch.config.channels import SlackChannel
from ci_dispatch.config.kinds import Refused
from ci_dispatch.config.positions import Path
from ci_dispatch.config.sections import SECTIONS, MachineKeys
from ci_dispatch.config.setting import PREFIX, Setting, settings_of
from ci_dispatch.core.errors import ConfigProblem
from ci_dispatch.core.model import MachineSpec

FOR_PEOPLE = {  # variables that are no settings of a run
    "CI_DISPATCH_CONFIG": "names the file.",
    "CI_DISPATCH_DEBUG": "shows a traceback with every error.",
    "CI_DISPATCH_SSH_CONFIG": "names a file that is read instead of `~/.ssh/config`.",
    "CI_DISPATCH_PYTHON": "names the Python of a pytest suite, where it is neither in `.venv` nor active.",
    "CI_DISPATCH_DASHBOARD_TOKEN": "keeps the link of a dashboard the same when it is started again.",
}
IN_JOBS = ("JOB", "LAUNCHED", "LIVE", "TESTS", "TREE", "WORKERS")  # what a runner finds in its environment
NOT_SETTINGS = {*FOR_PEOPLE, *(PREFIX + name for name in IN_JOBS)}
SETTINGS = tuple(setting for name, section in SECTIONS.items() for setting in settings_of(section, name))


class Source(StrEnum):
    """Who said it, from the weakest to the strongest."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    COMMAND_LINE = "command line"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a value comes from; `where` names it as the user wrote it: "ci-dispatch.toml:4", "--max-retries"."""

    source: Source = Source.DEFAULT
    where: str = ""

    def __str__(self) -> str:
        return self.where or str(self.source)


@dataclass(slots=True, kw_only=True)
class Reading:
    """One pass over everything the user said; collects what is wrong and where each value comes from."""

    file: str
    lines: Mapping[Path, int]
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

    def problem(self, where: str, key: str, given: str, allowed: str, nearest: str = "") -> None:
        self.problems.append(ConfigProblem(where=where, key=key, given=given, allowed=allowed, nearest=nearest))

    def value(self, setting: Setting, raw: Any, where: str, key: str) -> tuple[Any, ...]:
        """The value in a tuple, or an empty one when it was refused."""
        try:
            return (setting.kind.read(raw),)
        except Refused as refused:
            words = refused.words or setting.kind.schema.get("enum", ())
            nearest = difflib.get_close_matches(raw, words, n=1) if isinstance(raw, str) else ()
            allowed = f"one of {', '.join(refused.words)}" if refused.words else setting.kind.allowed
            self.problem(where, key, refused.given or shown(raw), allowed, "".join(nearest))
            return ()

    def section(self, document: Mapping[str, Any], name: str) -> dict[str, Any]:
        table = document.get(name, {})
        if not isinstance(table, dict):
            self.problem(self.place(name), name, shown(table), f"a table, [{name}]")
            return {}
        return self.table(table, settings_of(SECTIONS[name], name), (name,), name)

    def table(self, table: Mapping[str, Any], settings: tuple[Setting, ...], path: Path, name: str) -> dict[str, Any]:
        """The good values of one table by attribute; everything else becomes a problem."""
        values: dict[str, Any] = {}
        for setting in settings:
            self.origins.setdefault(f"{name}.{setting.name}", Origin())
            if setting.name in table:
                where = self.place(*path, setting.name)
                for value in self.value(setting, table[setting.name], where, f"{name}.{setting.name}"):
                    values[setting.name] = value
                    self.origins[f"{name}.{setting.name}"] = Origin(source=Source.FILE, where=where)
        extra = ["channel"] if path == ("slack",) else []
        self.unknown(table, [setting.name for setting in settings] + extra, path, name)
        return values

    def unknown(self, table: Mapping[str, Any], known: list[str], path: Path, name: str = "") -> None:
        for key in table:
            if key not in known:
                self.problem(
                    self.place(*path, key), f"{name}.{named(key)}" if name else named(key), "an unknown key",
                    "one of " + ", ".join(known), _nearest(key, known, name),
                )  # fmt: skip

    def tables(self, raw: Any, name: str, path: Path) -> list[Mapping[str, Any]]:
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
            values = self.table(entry, settings_of(MachineKeys), path, name)
            found.append(MachineSpec(**{"name": "", **values}))
            self.origins[name] = Origin(source=Source.FILE, where=self.place(*path))
        return tuple(found)

    def environment(self, environ: Mapping[str, str], values: dict[str, dict[str, Any]]) -> None:
        """CI_DISPATCH_ variables; an empty one counts as not set: GitHub passes inputs that were not given that way."""
        by_name = {setting.variable: setting for setting in SETTINGS if setting.variable}
        for name in sorted(environ):
            if not name.startswith(PREFIX) or name in NOT_SETTINGS or environ[name] == "":
                continue
            if name not in by_name:
                nearest = difflib.get_close_matches(name, by_name, n=1)
                hint = f"; did you mean {nearest[0]}?" if nearest else ""
                self.warnings.append(f"The variable {named(name)} is not a setting and was ignored{hint}")
                continue
            self.override(by_name[name], environ[name], name, Source.ENVIRONMENT, values)

    def options(self, options: Mapping[str, Any], values: dict[str, dict[str, Any]]) -> None:
        for setting in SETTINGS:
            if setting.path in options:
                self.override(setting, options[setting.path], setting.flag, Source.COMMAND_LINE, values)

    def override(
        self, setting: Setting, given: Any, where: str, source: Source, values: dict[str, dict[str, Any]]
    ) -> None:
        raw = setting.kind.from_text(given) if isinstance(given, str) else given
        for value in self.value(setting, raw, where, setting.path):
            values[setting.section][setting.name] = value
            self.origins[setting.path] = Origin(source=source, where=where)


def _nearest(key: str, known: list[str], name: str) -> str:
    """The valid key the user may have meant: the same word in another section, or a similar one beside this."""
    elsewhere = [setting.path for setting in SETTINGS if setting.name == key]
    close = [f"{name}.{word}" if name else f"[{word}]" for word in difflib.get_close_matches(key, known, n=1)]
    return next(iter(elsewhere + close), "")
