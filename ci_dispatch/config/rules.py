"""What must hold between settings that are each right alone."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator

from ci_dispatch.config.amounts import in_words
from ci_dispatch.config.sections import COMMAND, Config
from ci_dispatch.core.errors import ConfigProblem
from ci_dispatch.core.model import Connection

Place = Callable[..., str]


def problems_between(config: Config, place: Place) -> list[ConfigProblem]:
    """All of them; `place` names file and line of a path."""
    return [*_machines(config, place), *_selection(config), *_suite(config, place), *_times(config, place)]


def _machines(config: Config, place: Place) -> Iterator[ConfigProblem]:
    first: dict[str, int] = {}
    for index, machine in enumerate(config.machines):
        where, key = place("machine", index), f"machine[{index + 1}]"
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
                        where=place("machine", index, word), key=f"{key}.{word}", given="a value", allowed=allowed
                    )


def _selection(config: Config) -> Iterator[ConfigProblem]:
    names = [machine.name for machine in config.machines]
    for wanted in config.run.machines:
        if wanted not in names:
            nearest = "".join(difflib.get_close_matches(wanted, names, n=1))
            yield ConfigProblem(
                where="--machine", key="no such machine", given=f'"{wanted}"', allowed=f"one of {', '.join(names)}",
                nearest=nearest,
            )  # fmt: skip


def _suite(config: Config, place: Place) -> Iterator[ConfigProblem]:
    suite = config.suite
    if suite.runner == COMMAND:
        if not suite.command:
            allowed = 'a command line, as runner = "command" needs one'
            yield ConfigProblem(where=place("suite", "runner"), key="suite.command", given="nothing", allowed=allowed)
        return
    for name in ("command", "list", "junit"):
        if getattr(suite, name):
            allowed = f'nothing with runner = "{suite.runner}"; it is for runner = "command"'
            yield ConfigProblem(where=place("suite", name), key=f"suite.{name}", given="a value", allowed=allowed)


def _times(config: Config, place: Place) -> Iterator[ConfigProblem]:
    if config.retry.max_backoff < config.retry.backoff:
        yield ConfigProblem(
            where=place("retry", "max_backoff"), key="retry.max_backoff", given=in_words(config.retry.max_backoff),
            allowed=f"at least retry.backoff, {in_words(config.retry.backoff)}",
        )  # fmt: skip
