"""The channels that tell about a run beyond the terminal and the dashboard: Slack, metrics, OpenTelemetry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ci_dispatch.app import result_files
from ci_dispatch.config import Config
from ci_dispatch.core.errors import ExitCode, UsageError
from ci_dispatch.run.ports import Reporter
from ci_dispatch.run.run_folder import RunFolder
from ci_dispatch.run.state import RunState
from report_merge.model import RunContext

SLACK_MEMORY = "slack.json"  # beside the runs: what was told before, so that a repair is told where the break was

Warn = Callable[[str, str], None]  # source, text

DELIVERED = ("slack", "otel", "metrics")  # these send their last word when they are closed


def open_channels(
    config: Config, folder: RunFolder, *, environ: Mapping[str, str], warn: Warn | None = None
) -> list[Reporter]:
    """In the order in which they are closed: metrics count what the others could not tell.

    `warn` hears of trouble while the run goes on. Raises UsageError where spans are wanted and the extra is missing.
    """

    def context(state: RunState) -> RunContext:
        return result_files.context(state, environ)

    found: list[Reporter] = []
    if config.slack.channels or environ.get(config.slack.webhook_env) or environ.get(config.slack.token_env):
        from ci_dispatch.reporters.slack import setup

        base = folder.path.parent.parent
        slack = setup.open_slack(
            config.slack,
            environ,
            run=folder.id,
            file=base / SLACK_MEMORY,
            context=context,
            warn=(lambda text: warn("slack", text)) if warn else None,
        )
        if slack is not None:
            found.append(slack)
        if warn and (half := setup.missing(config.slack, environ)):
            warn("slack", half)
    if config.metrics.otlp_endpoint:
        found.append(_spans(config.metrics.otlp_endpoint, context, environ))
    from ci_dispatch.reporters.metrics.reporter import MetricsReporter

    files = [folder.metrics, *([Path(config.metrics.file)] if config.metrics.file else [])]
    found.append(MetricsReporter(files, context=context, slowest=config.metrics.slowest_tests))
    return found


def exit_code(config: Config, state: RunState) -> ExitCode:
    """How the process ends: the run's own code; a message that had to be delivered and was not makes a green run 2."""
    assert state.finished is not None
    code = ExitCode(state.finished.exit_code)
    undelivered = config.slack.required and any(warning.source == "slack" for warning in state.warnings)
    return ExitCode.USAGE if undelivered and code is ExitCode.PASSED else code


def _spans(endpoint: str, context: Callable[[RunState], RunContext], environ: Mapping[str, str]) -> Reporter:
    try:
        from ci_dispatch.reporters.metrics.otel import SpanReporter
    except ModuleNotFoundError as error:
        raise UsageError(
            "metrics.otlp_endpoint is set and spans cannot be sent",
            why=f"{error.name} is not installed",
            hint="pip install 'ci-dispatch[otel]', or leave the setting out",
        ) from error
    return SpanReporter(endpoint, context=context, environ=environ)
