"""The files of an attempt on the controller: any of them may be missing, cut, or not what it says it is."""

from __future__ import annotations

import os
from pathlib import Path

from ci_dispatch.suites.live import News, read_news

TAIL = 4096  # bytes


def news_of(folder: Path) -> News:
    """What the live file says; no file, no news."""
    try:
        with (folder / "live.jsonl").open("rb") as lines:
            return read_news(lines)
    except FileNotFoundError:
        return News()


def tail_of(folder: Path) -> str:
    """The end of the runner's output, where programs say why they stop."""
    try:
        with (folder / "output.log").open("rb") as output:
            output.seek(0, os.SEEK_END)
            output.seek(max(0, output.tell() - TAIL))
            return output.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
