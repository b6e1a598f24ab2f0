"""TOML text, environment and options in; a frozen Config with every value's origin out, or all problems at once."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ci_dispatch.config.reading import KeyPath, Origin, SettingsReader, ValueSource, lines_of
from ci_dispatch.config.sections import COMMAND, SECTIONS, Config, complete
from ci_dispatch.config.value_types import in_words
from ci_dispatch.core.errors import ConfigError, ConfigProblem, nearest
from ci_dispatch.core.job_environment import is_hidden
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
    lines: Mapping[KeyPath, int] | None = None,
    file: str = "ci-dispatch.toml",
    environ: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
    cores: int = 1,
    problems: Iterable[ConfigProblem] = (),
) -> Loaded:
    """The same from an already parsed document, such as `to_document` gives."""
    reader = SettingsReader(file=file, lines=lines or {}, problems=list(problems))
    values: dict[str, dict[str, Any]] = {}
    for name in SECTIONS:
        values[name] = reader.section(document, name)
    values["slack"]["channels"] = reader.channels(document)
    machines, groups = reader.machines(document), reader.groups(document)
    reader.unknown(document, [*SECTIONS, "machine", "group"], ())
    reader.environment(environ or {}, values)
    reader.options(options or {}, values)
    sections = {name: section(**values[name]) for name, section in SECTIONS.items()}
    if "machine" not in document:
        machines = (MachineSpec(name=MachineName(THIS_MACHINE), connection=Connection.LOCAL, cores=max(1, cores)),)
    config = complete(Config(**sections, machines=machines, groups=groups))
    if reader.complete:
        reader.problems += _problems_between(config, reader)
    if reader.problems:
        raise ConfigError(sorted(reader.problems, key=_line_of))
    return Loaded(config=config, origins=reader.origins, warnings=tuple(reader.warnings))


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


def _line_of(problem: ConfigProblem) -> int:
    """Problems are listed from top to bottom; variables and options, which have no line, come last."""
    at = re.search(r":(\d+)(?::\d+)?$", problem.where)
    return int(at[1]) if at else sys.maxsize


def _problems_between(config: Config, reader: SettingsReader) -> list[ConfigProblem]:
    """What must hold between settings that are each right alone."""
    return [*_machines(config, reader), *_selection(config, reader), *_suite(config, reader), *_times(config, reader)]


def _machines(config: Config, reader: SettingsReader) -> Iterator[ConfigProblem]:
    first: dict[str, int] = {}
    for index, machine in enumerate(config.machines):
        where, key = reader.place("machine", index), f"machine[{index + 1}]"
        name = machine.name.casefold()  # names become file names, and some file systems do not tell a from A
        if name in first:
            allowed = f"another name: machine[{first[name] + 1}] has it"
            yield ConfigProblem(where=where, key=f"{key}.name", given=f'"{machine.name}" again', allowed=allowed)
        first.setdefault(name, index)
        if machine.connection is Connection.LOCAL:
            for word in ("host", "user", "port", "key"):
                if getattr(machine, word):
                    allowed = 'nothing with connection = "local"'
                    yield ConfigProblem(
                        where=reader.place("machine", index, word),
                        key=f"{key}.{word}",
                        given="a value",
                        allowed=allowed,
                    )


def _selection(config: Config, reader: SettingsReader) -> Iterator[ConfigProblem]:
    names = [machine.name for machine in config.machines]
    for wanted in config.run.machines:
        if wanted not in names:
            yield ConfigProblem(
                where=str(reader.origins["run.machines"]),
                key="no such machine",
                given=f'"{wanted}"',
                allowed=f"one of {', '.join(names)}",
                nearest=nearest(wanted, names),
            )


def _suite(config: Config, reader: SettingsReader) -> Iterator[ConfigProblem]:
    suite = config.suite
    if reader.origins["suite.secrets"].source is ValueSource.FILE:
        for name in suite.secrets:
            if is_hidden(name, suite.hidden):
                where = reader.place("suite", "secrets")
                allowed = "no token of ours in a file, which may come with a repository; set CI_DISPATCH_SUITE_SECRETS"
                yield ConfigProblem(where=where, key="suite.secrets", given=f'"{name}"', allowed=allowed)
    if suite.runner == COMMAND:
        if not suite.command:
            allowed = 'a command line, as runner = "command" needs one'
            yield ConfigProblem(
                where=reader.place("suite", "runner"), key="suite.command", given="nothing", allowed=allowed
            )
        return
    for name in ("command", "list", "junit"):
        if getattr(suite, name):
            allowed = f'nothing with runner = "{suite.runner}"; it is for runner = "command"'
            yield ConfigProblem(
                where=reader.place("suite", name), key=f"suite.{name}", given="a value", allowed=allowed
            )


def _times(config: Config, reader: SettingsReader) -> Iterator[ConfigProblem]:
    if config.retry.max_backoff < config.retry.backoff:
        yield ConfigProblem(
            where=reader.place("retry", "max_backoff"),
            key="retry.max_backoff",
            given=in_words(config.retry.max_backoff),
            allowed=f"at least retry.backoff, {in_words(config.retry.backoff)}",
        )
