"""The settings of a group of tests: [[group]]."""
# ruff: noqa: RUF009, FBT003  (a setting's default is an argument of its declaration; `setting` gives a dataclass field)

from __future__ import annotations

from dataclasses import dataclass

from ci_dispatch.config.setting import setting
from ci_dispatch.config.value_types import boolean, choice, text, texts
from ci_dispatch.core.groups import Together

_WORD = r"[^\x00-\x1f\x7f-\x9f,]{1,100}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupConfig:
    """Tests for which something holds: those that match every selector given, and those whose marks name the group."""

    name: str = setting(
        "", text(_WORD, "a name without commas, at most 100 long"), "What other groups and marks call it."
    )
    files: tuple[str, ...] = setting((), texts(), "Patterns of files, in which * stands for any text.")
    titles: tuple[str, ...] = setting((), texts(), 'Patterns of names: titles of suites and test, joined by " › ".')
    projects: tuple[str, ...] = setting((), texts(), "Patterns of the test runner's projects.")
    tags: tuple[str, ...] = setting((), texts(), "Tags of tests (Playwright) and names of marks (pytest), any of them.")
    together: Together = setting(
        Together.NO,
        choice(Together),
        "machine: all on one machine; shard: all in one invocation of the runner; no: anywhere.",
    )
    exclusive: tuple[str, ...] = setting(
        (), texts(_WORD), "Resources that one test of the whole run holds at a time: an account, a licence."
    )
    exclusive_on_machine: tuple[str, ...] = setting(
        (), texts(_WORD), "Resources that one test on each machine holds at a time: a port, a device."
    )
    needs: tuple[str, ...] = setting((), texts(), "Labels that the machine must have, or its name.")
    after: tuple[str, ...] = setting((), texts(), "Groups that must have passed before; else they are not run.")
    side_effects: bool = setting(
        False, boolean(), "They change something outside (send mail, charge a card): never run twice at the same time."
    )
