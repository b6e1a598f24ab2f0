"""Writes metrics.prom when a run is over: into its own folder, and where node_exporter looks for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ci_dispatch.core.events import Stamped
from ci_dispatch.reporters.metrics import text
from ci_dispatch.run.run_folder import write_whole
from ci_dispatch.run.state import RunState
from report_merge.model import RunContext


class MetricsReporter:
    """Close it after the other channels: what they could not tell is one of the figures."""

    name = "metrics"
    essential = False

    def __init__(self, files: Sequence[Path], *, context: Callable[[RunState], RunContext], slowest: int = 0) -> None:
        self._files = files
        self._context = context
        self._slowest = slowest
        self._state: RunState | None = None

    def handle(self, stamped: Stamped, state: RunState) -> None:  # noqa: ARG002
        self._state = state

    def tick(self, now: float, state: RunState) -> None:
        pass

    def close(self) -> None:
        """Each file whole or not at all; a run that did not end leaves none behind."""
        state = self._state
        if state is None or state.finished is None:
            return
        data = text(state, self._context(state), slowest=self._slowest).encode()
        for file in self._files:
            write_whole(file, data)
