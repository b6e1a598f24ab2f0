"""The file that `ci-dispatch init` writes: every setting with its default, commented out, and what it means."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

from ci_dispatch.config.channels import SlackChannel
from ci_dispatch.config.document import literal
from ci_dispatch.config.sections import AUTO, SECTIONS, MachineKeys
from ci_dispatch.config.setting import Setting, settings_of

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
    return "\n".join(_lines({"suite.runner": runner, "suite.workdir": workdir}))


def _lines(recognised: dict[str, Any]) -> Iterator[str]:
    yield _HEAD
    for name, section in SECTIONS.items():
        yield from _prose(section.__doc__ or "")
        yield f"[{name}]"
        for setting in settings_of(section, name):
            yield from _setting(setting, recognised.get(setting.path, setting.default))
        yield ""
        if name == "slack":
            yield from _example("[[slack.channel]]", settings_of(SlackChannel), {"id": "#tests"})
    yield _MACHINES.rstrip("\n")
    yield from _example("[[machine]]", settings_of(MachineKeys), {"name": "moruk"})


def _setting(setting: Setting, value: Any) -> Iterator[str]:
    yield from _prose(setting.meaning)
    if setting.kind.name == "choice":
        yield from _prose(f"{setting.kind.allowed[0].upper()}{setting.kind.allowed[1:]}.")
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
            for line in _setting(setting, given.get(setting.name, setting.default))
        )
    yield ""


def _prose(text: str) -> list[str]:
    return textwrap.wrap(text, 100, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
