"""Which faces a run has, by configuration: terminal, Slack, dashboard, metrics; the journal is not one of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from ci_dispatch.app import result_files
from ci_dispatch.app.channels import Warn, open_channels
from ci_dispatch.app.say import say
from ci_dispatch.config import Config
from ci_dispatch.reporters.terminal import closing_lines, progress
from ci_dispatch.run.ports import Reporter
from ci_dispatch.run.run_folder import RunFolder
from ci_dispatch.run.state import RunState


def open_faces(
    config: Config, folder: RunFolder, *, environ: Mapping[str, str], follow: str = "", warn: Warn | None = None
) -> list[Reporter]:
    """The faces in the order in which they hear of an event; the bus closes them, the terminal last.

    `warn` hears of a face's trouble that does not switch it off: source and text.
    """
    faces: list[Reporter] = open_channels(config, folder, environ=environ, warn=warn)
    if config.dashboard.enabled:
        from ci_dispatch.app.dashboard import fixed_token, live_metrics
        from ci_dispatch.reporters.dashboard.reporter import DashboardReporter

        dashboard = DashboardReporter(
            config.dashboard.host, config.dashboard.port, token=fixed_token(environ), journal=folder.journal,
            metrics=live_metrics(environ),
        )  # fmt: skip
        say(f"dashboard: {dashboard.url}", err=True)
        faces.append(dashboard)

    def closing(state: RunState) -> list[str]:
        return closing_lines(state, result_files.context(state, environ), report_path=str(folder.merged_xml))

    faces.append(
        progress(
            config.progress.mode,
            stream=sys.stdout,
            aside=sys.stderr,
            environ=environ,
            closing=closing,
            follow=follow,
        )
    )
    return faces
