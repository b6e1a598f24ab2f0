"""Files that options name: read and understood, or one clear message and exit code 2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

Parsed = TypeVar("Parsed")


def read_option(path: Path | None, parse: Callable[[str], Parsed], option: str) -> Parsed | None:
    """What the file holds; None when the option was not given. `parse` raises ValueError for what it cannot use."""
    if path is None:
        return None
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise click.UsageError(f"{option} {path} cannot be used: {reason}") from None
