"""Test runners behind one port: each lists its tests, builds exact commands, and reads back what happened."""

from __future__ import annotations

from ci_dispatch.suites.discovery import open_suite

__all__ = ["open_suite"]
