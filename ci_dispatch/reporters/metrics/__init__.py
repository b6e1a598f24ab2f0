"""The figures of a run for programs: metrics.prom when it is over, and OpenTelemetry spans."""

from __future__ import annotations

from pathlib import Path

from ci_dispatch.core.errors import UsageError
from ci_dispatch.reporters import BaseReporter, Reporter, ReporterContext
from ci_dispatch.reporters.metrics.figures import figures, prometheus
from ci_dispatch.run.run_folder import write_whole
from ci_dispatch.run.run_report import ReportCache


def open_reporter(context: ReporterContext) -> Reporter:
    """Every run has its metrics.prom; the configuration may name a second place for it."""
    settings = context.config.metrics
    public = Path(settings.file) if settings.file else None
    return MetricsReporter(context.folder.metrics, context.reports, public=public, slowest=settings.slowest_tests)


def open_span_reporter(context: ReporterContext) -> Reporter | None:
    """Raises UsageError where spans are wanted and the extra is missing."""
    endpoint = context.config.metrics.otlp_endpoint
    if not endpoint:
        return None
    try:
        from ci_dispatch.reporters.metrics.otel import SpanReporter  # noqa: PLC0415  (an extra)
    except ModuleNotFoundError as error:
        raise UsageError(
            "metrics.otlp_endpoint is set and spans cannot be sent",
            why=f"{error.name} is not installed",
            hint="pip install 'ci-dispatch[otel]', or leave the setting out",
        ) from error
    return SpanReporter(endpoint, context.reports.context, traceparent=context.environ.get("TRACEPARENT", ""))


class MetricsReporter(BaseReporter):
    """Writes metrics.prom when a run is over: into its own folder, and where node_exporter looks for it.

    Close it after the other reporters: what they could not deliver is one of the figures.
    """

    name = "metrics"

    def __init__(self, file: Path, reports: ReportCache, *, public: Path | None = None, slowest: int = 0) -> None:
        """`public`: a second file, which everybody may read."""
        self._file = file
        self._public = public
        self._reports = reports
        self._slowest = slowest

    def close(self) -> None:
        """Each file whole or not at all; a run that did not end leaves none behind."""
        if self.state is None or self.state.finished is None:
            return
        data = prometheus(figures(self.state, self._reports.past(self.state), slowest=self._slowest)).encode()
        write_whole(self._file, data)
        if self._public is not None:
            write_whole(self._public, data, mode=0o644)
