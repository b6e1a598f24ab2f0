"""What `ci-dispatch init` and `ci-dispatch config` do: write a file to start from, show what counts and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ci_dispatch.app.settings import FILE, Settings
from ci_dispatch.config.sections import SETTINGS
from ci_dispatch.config.write import HIDDEN, literal, sample, to_document, to_toml, without_values
from ci_dispatch.core.errors import UsageError


def sample_for(root: Path) -> tuple[str, str]:
    """The sample file for the repository at `root`, and what was recognised there in words."""
    from ci_dispatch.suites.discovery import recognise

    try:
        suite = recognise(root)
    except UsageError as unclear:
        return sample(), f"{unclear.what[0].lower()}{unclear.what[1:]} ({unclear.why})"
    where = "in this folder" if suite.workdir == "." else f"in {suite.workdir}"
    return sample(suite.runner, suite.workdir), f"{suite.runner} {where}"


def write_sample(root: Path, *, force: bool) -> str:
    """Write the sample file into `root` and say so. Raises UsageError when there is one already, unless `force`."""
    text, recognised = sample_for(root)
    file = root / FILE
    try:
        with file.open("w" if force else "x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise UsageError(
            f"{file} was not written", why="it exists", hint="edit it, or replace it with: ci-dispatch init --force"
        ) from None
    except OSError as error:
        raise UsageError(f"{file} was not written", why=str(error.strerror), hint="look at the folder") from None
    return f"Wrote {file}: {recognised}. What counts now: ci-dispatch config --explain"


def as_toml(settings: Settings) -> str:
    """The whole configuration as a file, but for the values of environment variables, which may be secrets."""
    return to_toml(without_values(to_document(settings.config, defaults=True)))


def as_json(settings: Settings) -> dict[str, Any]:
    """The whole configuration with every value's origin."""
    document = without_values(to_document(settings.config, defaults=True))
    origins = {path: {"source": origin.source, "where": origin.where} for path, origin in settings.origins.items()}
    file = str(settings.file) if settings.file else None
    return {"file": file, "config": document, "origins": origins}


def explained(settings: Settings) -> str:
    """Three columns: setting, value, origin; a machine only with what was given for it."""
    rows: list[tuple[str, str, str]] = []
    for setting in SETTINGS:
        value = setting.write(getattr(getattr(settings.config, setting.section), setting.name))
        value = dict.fromkeys(value, HIDDEN) if setting.value_type.name == "table" else value
        written = "not set" if value is None else literal(value)
        rows.append((setting.path, written, str(settings.origins[setting.path])))
    given = without_values(to_document(settings.config))
    lists = {
        "slack.channel": given.get("slack", {}).get("channel", []),
        "machine": given["machine"],
        "group": given.get("group", []),
    }
    for name, tables in lists.items():
        for number, table in enumerate(tables, 1):
            for key, value in table.items():
                path = f"{name}[{number}].{key}"
                origin = settings.origins.get(path)
                rows.append((path, literal(value), str(origin) if origin else "no [[machine]] given: this computer"))
    wide = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(f"{path:{wide[0]}}  {value:{min(wide[1], 40)}}  {origin}" for path, value, origin in rows)
