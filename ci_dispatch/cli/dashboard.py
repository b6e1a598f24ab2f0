"""`ci-dispatch dashboard`: the web page of a run that is over, goes on elsewhere, or died."""

from __future__ import annotations

import os
import re
import signal
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ci_dispatch.core.errors import UsageError

if TYPE_CHECKING:
    from ci_dispatch.reporters.dashboard.follow import JournalTail, Replay

TOKEN_VARIABLE = "CI_DISPATCH_DASHBOARD_TOKEN"  # noqa: S105  its name, not its value
TOKEN_LENGTH = 16


@click.command()
@click.argument("run", required=False, metavar="[RUN]")
@click.option(
    "--replay", type=click.Path(path_type=Path), metavar="EVENTS.jsonl", help="Show this journal instead of a run."
)
@click.option(
    "--pace", type=click.FloatRange(0, 10_000), default=0.0, show_default="at once",
    help="With --replay: 1 is as fast as it happened, 10 is ten times as fast.",
)  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default="any free one", help="Port.")
@click.option("--open", "open_browser", is_flag=True, help="Open the page in a browser.")
@click.pass_context
def dashboard(
    ctx: click.Context, *, run: str | None, replay: Path | None, pace: float, host: str, port: int, open_browser: bool
) -> int:
    """Serve the web page of RUN until Ctrl-C.

    RUN is an id, the beginning of one, or a run's folder; the newest run when it is left out. The page follows a run
    of another process, and shows one that is over or died. It only shows, and only to who has the link.
    """
    from ci_dispatch import runfolder
    from ci_dispatch.cli.settings import find
    from ci_dispatch.reporters.dashboard.follow import JournalTail
    from ci_dispatch.reporters.dashboard.service import Dashboard

    if run and replay:
        raise UsageError("The dashboard was not started", why="RUN and --replay are two runs", try_="give one of them")
    config_file: Path | None = ctx.obj["config_file"]
    root = config_file.resolve().parent if config_file else find(Path.cwd())[1]
    source = _replayed(replay, pace) if replay else JournalTail(runfolder.find(root, run or "").journal)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    served = Dashboard(source, host=host, port=port, token=fixed_token())
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


def _replayed(given: Path, pace: float) -> JournalTail | Replay:
    from ci_dispatch.reporters.dashboard.follow import JournalTail, Replay

    journal = given / "events.jsonl" if given.is_dir() else given
    return Replay(journal, pace) if pace else JournalTail(journal)


def fixed_token() -> str:
    """The token of CI_DISPATCH_DASHBOARD_TOKEN, with which a link outlives a restart; empty: make a new one."""
    token = os.environ.get(TOKEN_VARIABLE, "")
    if token and (len(token) < TOKEN_LENGTH or not re.fullmatch(r"[\w~-]+", token, re.ASCII)):
        raise UsageError(
            f"{TOKEN_VARIABLE} cannot be used as a token",
            why=f"it needs {TOKEN_LENGTH} or more of the characters A-Z a-z 0-9 _ ~ -",
            try_="`openssl rand -hex 16` makes a good one; without the variable a new token is made",
        )
    return token
