"""The fixtures of this folder."""

from tests.integration.dashboard.room import browser, runs, show

__all__ = ["browser", "runs", "show"]
