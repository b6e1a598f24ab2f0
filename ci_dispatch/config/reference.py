"""The tables of docs/configuration.md. A test compares them with the file."""

from __future__ import annotations

from collections.abc import Iterator

from ci_dispatch.config.channels import SlackChannel
from ci_dispatch.config.document import literal
from ci_dispatch.config.sections import SECTIONS, MachineKeys
from ci_dispatch.config.setting import Setting, settings_of


def reference() -> str:
    """Markdown: a heading and a table for each section."""
    parts: list[str] = []
    for name, section in SECTIONS.items():
        parts += _section(f"[{name}]", section.__doc__ or "", settings_of(section, name))
        if name == "slack":
            parts += _section("[[slack.channel]]", SlackChannel.__doc__ or "", settings_of(SlackChannel))
    parts += _section("[[machine]]", MachineKeys.__doc__ or "", settings_of(MachineKeys))
    return "\n".join(parts)


def _section(title: str, text: str, settings: tuple[Setting, ...]) -> Iterator[str]:
    overridable = bool(settings[0].section)
    yield from (f"### `{title}`", "", text, "")
    yield "| key | default | meaning | allowed |" + (" variable, option |" if overridable else "")
    yield "|---|---|---|---|" + ("---|" if overridable else "")
    for setting in settings:
        default = "" if setting.default is None else f"`{literal(setting.written_default)}`"
        cells = [f"`{setting.name}`", default, setting.meaning, setting.kind.allowed]
        if overridable:
            cells.append("<br>".join(f"`{name}`" for name in (setting.variable, setting.flag) if name))
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"
    yield ""
