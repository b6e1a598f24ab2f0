"""`ci-dispatch dashboard`: the web page of a run that is over, goes on elsewhere, or died."""

from __future__ import annotations

import signal
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ci_dispatch.cli.settings import Settings, configured
from ci_dispatch.core.errors import UsageError

if TYPE_CHECKING:
    from ci_dispatch.reporters.dashboard.journal_source import JournalSource, ReplaySource


@click.command()
@click.argument("run", required=False, metavar="[RUN]")
@click.option(
    "--replay", type=click.Path(path_type=Path), metavar="EVENTS.jsonl", help="Show this journal instead of a run."
)
@click.option(
    "--speed", type=click.FloatRange(min=0, min_open=True), metavar="FACTOR",
    help="With --replay: 1 is as fast as it was, 10 is ten times faster. Default: at once.",
)  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default="any free one", help="Port.")
@click.option("--open", "open_browser", is_flag=True, help="Open the page in a browser.")
@configured()
def dashboard(
    settings: Settings,
    *,
    run: str | None,
    replay: Path | None,
    speed: float | None,
    host: str,
    port: int,
    open_browser: bool,
) -> int:
    """Serve the web page of RUN until Ctrl-C.

    RUN is an id, the beginning of one, or a run's folder; the newest run when it is left out. The page follows a run
    of another process, and shows one that is over or died. It only shows, and only to who has the link.
    """
    from ci_dispatch.app.result_files import run_context
    from ci_dispatch.reporters.dashboard.auth import fixed_token
    from ci_dispatch.reporters.dashboard.journal_source import JournalSource
    from ci_dispatch.reporters.dashboard.service import DashboardService
    from ci_dispatch.reporters.metrics.figures import figures, prometheus
    from ci_dispatch.run import run_folder
    from ci_dispatch.run.run_report import report
    from ci_dispatch.run.state import RunState

    if run and replay:
        raise UsageError("The dashboard was not started", why="RUN and --replay are two runs", hint="give one of them")
    runs = settings.root / settings.config.run.folder
    source = _replayed(replay, speed) if replay else JournalSource(run_folder.find(runs, run or "").journal)

    def metrics(state: RunState) -> str:
        return prometheus(figures(state, report(state, run_context(state.started, settings.environ))))

    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    served = DashboardService(source, host=host, port=port, token=fixed_token(settings.environ), metrics=metrics)
    served.start()
    try:
        click.echo(f"Dashboard: {served.url}\nCtrl-C ends it.")
        if open_browser:
            webbrowser.open(served.url)
        while not stopped.wait(0.5) and not served.failure:
            pass
    finally:
        served.stop()
    if served.failure:
        raise RuntimeError(served.failure)
    return 0


def _replayed(given: Path, speed: float | None) -> JournalSource | ReplaySource:
    from ci_dispatch.reporters.dashboard.journal_source import JournalSource, ReplaySource

    journal = given / "events.jsonl" if given.is_dir() else given
    return ReplaySource(journal, speed) if speed else JournalSource(journal)
