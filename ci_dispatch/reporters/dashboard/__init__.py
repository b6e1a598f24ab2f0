"""A run in a browser: one event stream folded in a thread of its own, one page, no build step, no outside request.

    events -> journal_source (any thread) -> view_model (fold, deltas) -> server (HTTP, server-sent events) -> page/

Starlette and uvicorn (the extra `dashboard`) are imported by server.py and service.py only.
"""

from __future__ import annotations

from ci_dispatch.reporters import Reporter, ReporterContext
from ci_dispatch.reporters.metrics.figures import figures, prometheus


def open_reporter(context: ReporterContext) -> Reporter | None:
    """The page of a run in this process (`ci-dispatch run --dashboard`); its link is printed first.

    Raises UsageError when the address cannot be listened on.
    """
    settings = context.config.dashboard
    if not settings.enabled:
        return None
    from ci_dispatch.reporters.dashboard.auth import fixed_token  # noqa: PLC0415  (only a dashboard needs all this)
    from ci_dispatch.reporters.dashboard.service import DashboardReporter  # noqa: PLC0415

    reporter = DashboardReporter(
        settings.host,
        settings.port,
        token=fixed_token(context.environ),
        journal=context.folder.journal,
        metrics=lambda state: prometheus(figures(state, context.reports.past(state))),
        earlier=lambda _state, test: context.earlier(test),
    )
    context.stderr.write(f"dashboard: {reporter.url}\n")
    context.stderr.flush()
    return reporter
