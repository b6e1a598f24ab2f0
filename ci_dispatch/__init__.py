"""Run one test suite over the machines you own, and get one verdict you can trust.

For programs of your own: `from ci_dispatch import ProgressTracker` shows sharded work the way `ci-dispatch run` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ci_dispatch.reporters.terminal.tracker import ProgressTracker

__all__ = ["ProgressTracker", "__version__"]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    """The tracker is imported when it is asked for: `ci-dispatch --help` pays nothing for it."""
    if name == "ProgressTracker":
        from ci_dispatch.reporters.terminal.tracker import ProgressTracker  # noqa: PLC0415

        return ProgressTracker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
