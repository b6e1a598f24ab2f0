"""`ci-dispatch dashboard`: the web page of a run that is over, goes on elsewhere, or died."""

from __future__ import annotations

import re
import signal
import threading
import webbrowser
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ci_dispatch.app.settings import Settings
from ci_dispatch.cli.options import configured
from ci_dispatch.core.errors import UsageError

if TYPE_CHECKING:
    from ci_dispatch.reporters.dashboard.follow import JournalTail, Replay
    from ci_dispatch.run.state import RunState

TOKEN_VARIABLE = "CI_DISPATCH_DASHBOARD_TOKEN"  # noqa: S105  its name, not its value
TOKEN_LENGTH = 16


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
    from ci_dispatch.reporters.dashboard.follow import JournalTail
    from ci_dispatch.reporters.dashboard.service import Dashboard
    from ci_dispatch.run import run_folder

    if run and replay:
        raise UsageError("The dashboard was not started", why="RUN and --replay are two runs", hint="give one of them")
    runs = settings.root / settings.config.run.folder
    source = _replayed(replay, speed) if replay else JournalTail(run_folder.find(runs, run or "").journal)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    served = Dashboard(
        source, host=host, port=port, token=fixed_token(settings.environ), metrics=live_metrics(settings.environ)
    )
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


def _replayed(given: Path, speed: float | None) -> JournalTail | Replay:
    from ci_dispatch.reporters.dashboard.follow import JournalTail, Replay

    journal = given / "events.jsonl" if given.is_dir() else given
    return Replay(journal, speed) if speed else JournalTail(journal)


def live_metrics(environ: Mapping[str, str]) -> Callable[[RunState], str]:
    """What /metrics says about a run that goes on."""
    from ci_dispatch.app import result_files
    from ci_dispatch.reporters import metrics

    return lambda state: metrics.text(state, result_files.context(state, environ))


def fixed_token(environ: Mapping[str, str]) -> str:
    """The token of CI_DISPATCH_DASHBOARD_TOKEN, with which a link outlives a restart; empty: make a new one."""
    token = environ.get(TOKEN_VARIABLE, "")
    if token and (len(token) < TOKEN_LENGTH or not re.fullmatch(r"[\w~-]+", token, re.ASCII)):
        raise UsageError(
            f"{TOKEN_VARIABLE} cannot be used as a token",
            why=f"it needs {TOKEN_LENGTH} or more of the characters A-Z a-z 0-9 _ ~ -",
            hint="`openssl rand -hex 16` makes a good one; without the variable a new token is made",
        )
    return token
