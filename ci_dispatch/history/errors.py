"""Why a history cannot be used."""

from __future__ import annotations

from ci_dispatch.core.errors import ControllerError, UnreadableReport

UNUSABLE = "nothing was changed; a run keeps a damaged history of its own aside and begins a new one"  # a hint


class HistoryDamaged(UnreadableReport):
    """The file is no history, or its content is damaged."""


class HistoryForeign(HistoryDamaged):
    """A database of another program."""


class HistoryNewer(UnreadableReport):
    """A later version wrote it: this one leaves it alone."""


class HistoryUnavailable(ControllerError):
    """Another process holds it for too long, or the disk does not take or give it."""
