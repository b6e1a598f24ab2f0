"""Files that run on machines, beside the test runner: they import nothing of ci-dispatch."""

from __future__ import annotations

from pathlib import Path


def path(name: str) -> Path:
    """Where one of them lies on this machine."""
    return Path(__file__).parent / name


def content(name: str) -> bytes:
    return path(name).read_bytes()
