"""What a setting is: one declaration, from which parser, schema, options, sample file and documentation are derived.

A section is a frozen dataclass whose fields are made by `setting`; its attributes are the values themselves, typed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from ci_dispatch.config.value_types import ValueType

T = TypeVar("T")

PREFIX = "CI_DISPATCH_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting. `section` is its table in the file, empty inside an array of tables."""

    section: str
    name: str
    value_type: ValueType[Any]
    default: Any
    meaning: str
    flag: str = ""  # of the command line: "--max-retries"
    formerly: str = ""  # an earlier key of the same section, or an earlier flag: still accepted, with a warning
    from_file: tuple[str, ...] | None = None  # all a file may say: it may come with a repository. None: anything

    @property
    def path(self) -> str:
        return self._path(self.name)

    @property
    def former_key(self) -> str:
        return "" if self.formerly.startswith("--") else self.formerly

    @property
    def former_path(self) -> str:
        return self._path(self.former_key) if self.former_key else ""

    @property
    def former_flag(self) -> str:
        return self.formerly if self.formerly.startswith("--") else ""

    @property
    def variable(self) -> str:
        """CI_DISPATCH_ and the option's name; without an option: section and key. Tables have none."""
        return "" if self.value_type.name == "table" else _variable(self.flag or self.path)

    @property
    def former_variable(self) -> str:
        return _variable(self.former_flag or self.former_path) if self.formerly and self.variable else ""

    @property
    def written_default(self) -> Any:
        """The default as TOML would hold it; None when there is none."""
        return self.write(self.default)

    def write(self, value: Any) -> Any:
        """A value as TOML would hold it; None, which TOML does not know, stays None."""
        return None if value is None else self.value_type.write(value)

    @property
    def where_else(self) -> str:
        """What may say what a file may not."""
        return " or ".join(name for name in (self.variable, self.flag) if name)

    def _path(self, name: str) -> str:
        return f"{self.section}.{name}" if self.section else name


def setting(
    default: T,
    value_type: ValueType[T],
    meaning: str,
    *,
    flag: str = "",
    formerly: str = "",
    from_file: tuple[str, ...] | None = None,
) -> T:
    """Declare a setting as a dataclass field; `meaning` is one or two sentences for people."""
    metadata = {
        "value_type": value_type,
        "meaning": meaning,
        "flag": flag,
        "formerly": formerly,
        "default": default,
        "from_file": from_file,
    }
    if isinstance(default, Mapping):
        return field(default_factory=lambda: default, metadata=metadata)
    return field(default=default, metadata=metadata)


def settings_of(section: type[Any], name: str = "") -> tuple[Setting, ...]:
    """The settings a section declares, in their order."""
    return tuple(
        Setting(section=name, name=declared.name, **declared.metadata)
        for declared in fields(section)
        if "value_type" in declared.metadata
    )


def _variable(name: str) -> str:
    return PREFIX + name.strip("-").upper().replace("-", "_").replace(".", "_")
