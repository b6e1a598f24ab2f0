"""A run in Slack: one message edited in place, its failures in the thread, and notifications of what changed."""

from __future__ import annotations

from ci_dispatch.reporters import Reporter, ReporterContext


def open_reporter(context: ReporterContext) -> Reporter | None:
    """None where neither channels nor secrets are configured; half a configuration is a warning."""
    settings, environ = context.config.slack, context.environ
    if not (settings.channels or environ.get(settings.webhook_env) or environ.get(settings.token_env)):
        return None
    from ci_dispatch.reporters.slack.reporter import missing, open_slack  # noqa: PLC0415  (slack-sdk is slow to load)

    if half := missing(settings, environ):
        context.warn("slack", half)
    return open_slack(
        settings,
        environ,
        run=context.folder.id,
        kept=context.memory("slack"),
        reports=context.reports,
        before=context.before,
        warn=lambda text: context.warn("slack", text),
    )
