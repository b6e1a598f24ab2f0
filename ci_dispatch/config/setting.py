"""What a setting is: one declaration, from which parser, schema, options, sample file and documentation are derived.

A section is a frozen dataclass whose fields are made by `setting`; its attributes are the values themselves, typed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from ci_dispatch.config.kinds import Kind

T = TypeVar("T")

PREFIX = "CI_DISPATCH_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting. `section` is its table in the file, empty inside an array of tables."""

    section: str
    name: str
    kind: Kind[Any]
    default: Any
    meaning: str
    flag: str = ""  # of the command line: "--max-retries"

    @property
    def path(self) -> str:
        return f"{self.section}.{self.name}" if self.section else self.name

    @property
    def variable(self) -> str:
        """CI_DISPATCH_ and the option's name; without an option: section and key. Tables have none."""
        if self.kind.name == "table":
            return ""
        return PREFIX + (self.flag.strip("-") or self.path).upper().replace("-", "_").replace(".", "_")

    @property
    def written_default(self) -> Any:
        """The default as TOML would hold it; None when there is none."""
        return self.write(self.default)

    def write(self, value: Any) -> Any:
        """A value as TOML would hold it; None, which TOML does not know, stays None."""
        return None if value is None else self.kind.write(value)


def setting(default: T, kind: Kind[T], meaning: str, *, flag: str = "") -> T:
    """Declare a setting as a dataclass field; `meaning` is one or two sentences for people."""
    metadata = {"kind": kind, "meaning": meaning, "flag": flag, "default": default}
    if isinstance(default, Mapping):
        return field(default_factory=lambda: default, metadata=metadata)
    return field(default=default, metadata=metadata)


def settings_of(section: type[Any], name: str = "") -> tuple[Setting, ...]:
    """The settings a section declares, in their order."""
    return tuple(
        Setting(section=name, name=declared.name, **declared.metadata)
        for declared in fields(section)
        if "kind" in declared.metadata
    )
