"""The figures of a run for machines: Prometheus text, JSON, OpenTelemetry spans."""

from __future__ import annotations

from ci_dispatch.reporters.metrics.figures import figures
from ci_dispatch.reporters.metrics.formats import prometheus
from ci_dispatch.run.state import RunState
from report_merge.model import RunContext


def text(state: RunState, context: RunContext, *, slowest: int = 0) -> str:
    """The figures of a run that is over or goes on, as metrics.prom and a live /metrics have them."""
    return prometheus(figures(state, context, slowest=slowest))
