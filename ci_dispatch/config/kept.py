"""What a journal keeps of a configuration, and what whoever goes on with its run says anew.

Others may read a journal, and it may come from others, as a repository does. So it has the names of environment
variables and never their values, and it says neither where tokens are sent nor which variables hold them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ci_dispatch.config.load import resolve
from ci_dispatch.config.sections import SETTINGS, Config, complete
from ci_dispatch.config.write import to_document
from ci_dispatch.core.codec import replace
from ci_dispatch.core.model import MachineSpec

OF_THE_USER = tuple(setting for setting in SETTINGS if setting.from_file is not None)
"""Settings that neither a file nor a journal decides alone: addresses, and names of variables with tokens."""


def to_journal(config: Config) -> dict[str, Any]:
    """The configuration as a document in which each `env` is a list of names."""
    document = _without(to_document(config))
    for table in (document.get("suite", {}), *document["machine"]):
        if "env" in table:
            table["env"] = sorted(table["env"])
    return document


def from_journal(document: Mapping[str, Any], today: Config) -> tuple[Config, tuple[str, ...]]:
    """What a run began with, completed by today's configuration; and what of its environment cannot be had again.

    Journals of 0.1 have the values themselves, and those count. Raises ConfigError for what is no configuration.
    """
    kept = _without(document)
    suite = kept.get("suite")
    secrets, notes = _secrets_again(suite.pop("secrets", []) if isinstance(suite, dict) else [], today.suite.secrets)
    now = {str(machine.name): machine.env for machine in today.machines}
    for name, table in _tables_with_env(kept):
        values = today.suite.env if name == "suite" else now.get(str(table.get("name")), {})
        if not isinstance(table.get("env"), dict):
            table["env"], different = _again(name, table.get("env"), values)
            notes += different
    config = resolve(kept, file="the journal").config
    config = replace(config, suite=replace(config.suite, secrets=secrets))
    for setting in OF_THE_USER:
        section = replace(getattr(config, setting.section), **{setting.name: _value(today, setting.path)})
        config = replace(config, **{setting.section: section})
    return complete(config), tuple(notes)


def public(machine: MachineSpec) -> MachineSpec:
    """The machine as a journal may show it: without the values of its environment."""
    return replace(machine, env={})


def _without(document: Mapping[str, Any]) -> dict[str, Any]:
    """A copy without the settings that are the user's own."""
    copy = {name: _copied(table) for name, table in document.items()}
    for setting in OF_THE_USER:
        if isinstance(table := copy.get(setting.section), dict):
            table.pop(setting.name, None)
    return copy


def _copied(value: Any) -> Any:
    if isinstance(value, list):
        return [_copied(one) for one in value]
    return dict(value) if isinstance(value, dict) else value


def _tables_with_env(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(suite := document.setdefault("suite", {}), dict):
        yield "suite", suite
    machines = document.get("machine")
    for table in machines if isinstance(machines, list) else []:
        if isinstance(table, dict):
            yield f"machine {table.get('name')}", table


def _again(name: str, names: Any, values: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The values of today for the names of then, and what is different."""
    then = [str(one) for one in names] if isinstance(names, list) else []
    gone, new = [one for one in then if one not in values], [one for one in values if one not in then]
    notes = [f"{name}: today's `env` has no {', '.join(gone)}, which the run began with: it goes on without"] * bool(
        gone
    )
    notes += [f"{name}: the run began without {', '.join(new)} of today's `env`, and goes on without"] * bool(new)
    return {one: values[one] for one in then if one in values}, notes


def _secrets_again(then: Any, today: tuple[str, ...]) -> tuple[tuple[str, ...], list[str]]:
    """The secrets of then that today's configuration allows too: a journal does not decide what is given away."""
    names = [str(one) for one in then] if isinstance(then, list) else []
    gone = [one for one in names if one not in today]
    note = f"suite: today's `secrets` have no {', '.join(gone)}, which the run began with: it goes on without"
    return tuple(one for one in names if one in today), [note] * bool(gone)


def _value(config: Config, path: str) -> Any:
    section, _, name = path.partition(".")
    return getattr(getattr(config, section), name)
