"""TOML text, environment and options in; a frozen Config with every value's origin out, or all problems at once."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ci_dispatch.config.positions import Path, lines_of
from ci_dispatch.config.reading import Origin, Reading
from ci_dispatch.config.rules import problems_between
from ci_dispatch.config.sections import SECTIONS, Config
from ci_dispatch.core.errors import ConfigError, ConfigProblem
from ci_dispatch.core.model import Connection, MachineName, MachineSpec

THIS_MACHINE = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A configuration that can be used.

    `origins` has every setting by its path, machines as "machine[1]", "machine[2]" ...
    """

    config: Config
    origins: Mapping[str, Origin]
    warnings: tuple[str, ...] = ()


def load(
    toml: str = "",
    *,
    file: str = "ci-dispatch.toml",
    environ: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
    cores: int = 1,
) -> Loaded:
    """Read all three; later ones win: default < file < environment < command line.

    `file` names the text in messages. `options` holds command-line texts (or true, or lists of texts) by setting path.
    `cores` are this computer's, for the fleet of one that is used when the file lists no machine.
    Raises ConfigError with every problem, and nothing else, whatever it is given.
    """
    problems: list[ConfigProblem] = []
    document = _document(toml, file, problems)
    return resolve(document, lines=lines_of(toml), file=file, environ=environ, options=options, cores=cores,
                   problems=problems)  # fmt: skip


def resolve(
    document: Mapping[str, Any],
    *,
    lines: Mapping[Path, int] | None = None,
    file: str = "ci-dispatch.toml",
    environ: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
    cores: int = 1,
    problems: Iterable[ConfigProblem] = (),
) -> Loaded:
    """The same from an already parsed document, such as `to_document` gives."""
    reading = Reading(file=file, lines=lines or {}, problems=list(problems))
    values: dict[str, dict[str, Any]] = {}
    for name in SECTIONS:
        values[name] = reading.section(document, name)
    values["slack"]["channels"] = reading.channels(document)
    machines = reading.machines(document)
    reading.unknown(document, [*SECTIONS, "machine"], ())
    reading.environment(environ or {}, values)
    reading.options(options or {}, values)
    sections = {name: section(**values[name]) for name, section in SECTIONS.items()}
    if "machine" not in document:
        machines = (MachineSpec(name=MachineName(THIS_MACHINE), connection=Connection.LOCAL, cores=max(1, cores)),)
    config = Config(**sections, machines=machines)
    if reading.complete:
        reading.problems += problems_between(config, reading.place)
    if reading.problems:
        raise ConfigError(sorted(reading.problems, key=_line))
    return Loaded(config=config, origins=reading.origins, warnings=tuple(reading.warnings))


def _document(toml: str, file: str, problems: list[ConfigProblem]) -> Mapping[str, Any]:
    try:
        return tomllib.loads(toml)
    except (ValueError, RecursionError) as error:  # besides TOMLDecodeError: numbers and nesting beyond Python's limits
        said = str(error) if isinstance(error, ValueError) else "lists nested too deeply"
        at = re.search(r" \(at line (\d+), column (\d+)\)$", said)
        where = f"{file}:{at[1]}:{at[2]}" if at else file
        given = said[: at.start()] if at else said
        problems.append(ConfigProblem(where=where, key="not TOML", given=given, allowed="TOML 1.0 (https://toml.io)"))
        return {}


def _line(problem: ConfigProblem) -> int:
    """For mending from top to bottom: variables and options, which have no line, come last."""
    at = re.search(r":(\d+)(?::\d+)?$", problem.where)
    return int(at[1]) if at else sys.maxsize
