"""The commands that look at a run: `ci-dispatch replay, progress, logs, explain, simulate, dashboard, metrics` ..."""

from __future__ import annotations

import click

from ci_dispatch.app.say import say, say_json
from ci_dispatch.app.settings import Settings
from ci_dispatch.cli.options import configured
from ci_dispatch.core.errors import UsageError
from ci_dispatch.planning.policies import SHARING_POLICIES

_RUN = click.argument("run", default="", metavar="[RUN]")
_POSITIVE = click.FloatRange(min=0, min_open=True)


@click.command()
@_RUN
@click.option("--speed", type=_POSITIVE, metavar="FACTOR",
              help="1: as fast as it was; 10: ten times faster. Default: at once.")  # fmt: skip
@configured("progress.mode")
def replay(settings: Settings, run: str, speed: float | None) -> None:
    """Show a recorded run again from its events.

    RUN is its id, the beginning of it, its folder or its journal events.jsonl; the newest when not given.
    """
    from ci_dispatch.app import recorded

    if recorded.replay(settings, run, speed).finished is None:
        say("The recording ends here; the run did not: its controller died, or is still at work.", err=True)


@click.command()
@click.option("--demo", is_flag=True, help="Show a made-up run over four machines, one of which dies.")
@click.option("--speed", type=_POSITIVE, default=1.0, show_default=True, metavar="FACTOR", help="2: twice as fast.")
@configured("progress.mode")
def progress(settings: Settings, demo: bool, speed: float) -> None:
    """Show what progress looks like."""
    if not demo:
        raise UsageError(
            "There is no progress to show", why="only a run has progress",
            hint="ci-dispatch progress --demo, or ci-dispatch dashboard for a run that is going on",
        )  # fmt: skip
    from ci_dispatch.app.demo import show_progress

    show_progress(settings, speed)


@click.command()
@_RUN
@click.option("--machine", default="", metavar="NAME", help="Only what ran on this machine.")
@click.option(
    "--test", default="", metavar="ID", help="Only attempts that ran this test: its id, or a piece of its name."
)
@click.option("--follow", is_flag=True, help="Go on with what comes, until the run is over.")
@configured()
def logs(settings: Settings, run: str, machine: str, test: str, follow: bool) -> None:
    """Show the output of a run, a machine or a test.

    RUN is its id, the beginning of it, or its folder; the newest when not given. Escape sequences are left out.
    """
    from ci_dispatch.app import recorded

    silent = True
    for line in recorded.logs(settings, run, machine=machine, test=test, follow=follow):
        silent = False
        say(line)
    if silent:
        say("The attempts printed nothing.", err=True)


@click.command()
@click.argument("what", metavar="TEST|MACHINE")
@_RUN
@configured()
def explain(settings: Settings, what: str, run: str) -> None:
    """Say why a test or a machine had the run that it had.

    Where and when it ran, what it waited for, what was tried again and what not. TEST is a test's id, or a piece of its
    name; RUN is a run's id, the beginning of it, its folder or its journal; the newest when not given.
    """
    from ci_dispatch.app import recorded

    for line in recorded.explain(settings, what, run):
        say(line)


@click.command()
@_RUN
@click.option("--without", multiple=True, metavar="MACHINE", help="As if this machine were not there. Repeatable.")
@click.option(
    "--machine", "changes", multiple=True, metavar="MACHINE.KEY=VALUE",
    help="As if it were another: its cores, slots, workers or speed, as moruk.cores=48. Repeatable.",
)  # fmt: skip
@click.option(
    "--policy", default="", metavar="NAME",
    help=f"As another tool shares a suite: {', '.join(SHARING_POLICIES)}.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
@configured()
def simulate(
    settings: Settings, *, run: str, without: tuple[str, ...], changes: tuple[str, ...], policy: str, as_json: bool
) -> None:
    """Show a run as it would have been under another fleet or policy.

    Before that the run is simulated as it was, and the difference to what happened is said: no other figure is better
    than that. RUN is its id, the beginning of it, its folder or its journal; the newest when not given.
    """
    from ci_dispatch.app import simulate

    data = simulate.simulate(settings, run, without=without, changes=changes, policy=policy)
    if as_json:
        say_json(data)
    else:
        say(simulate.as_text(data))


@click.command()
@_RUN
@click.option(
    "--replay", default="", metavar="RUN", help="Show this run, or a journal events.jsonl from anywhere, again."
)
@click.option(
    "--speed", type=_POSITIVE, metavar="FACTOR",
    help="With --replay: 1 is as fast as it was, 10 is ten times faster. Default: at once.",
)  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default="any free one", help="Port.")
@click.option("--open", "open_browser", is_flag=True, help="Open the page in a browser.")
@configured()
def dashboard(
    settings: Settings,
    *,
    run: str,
    replay: str,
    speed: float | None,
    host: str,
    port: int,
    open_browser: bool,
) -> int:
    """Serve the web page of RUN until Ctrl-C.

    RUN is an id, the beginning of one, or a run's folder; the newest run when it is left out. The page follows a run
    of another process, and shows one that is over or died. It only shows, and only to who has the link.
    """
    from ci_dispatch.app.dashboard import serve

    return serve(settings, run=run, journal=replay, speed=speed, host=host, port=port, open_browser=open_browser)


@click.command()
@_RUN
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
@configured()
def metrics(settings: Settings, run: str, as_json: bool) -> None:
    """Show the figures of a run as Prometheus text.

    RUN is its id, the beginning of it, or its folder; the newest when not given. docs/metrics.md says what they mean.
    """
    from ci_dispatch.app import recorded

    recorded.metrics(settings, run, as_json=as_json)


@click.command()
@click.option("--test", is_flag=True, help="Send a sample message to every configured channel.")
@configured()
def notify(settings: Settings, test: bool) -> int:
    """Send a sample message to the channels of [[slack.channel]].

    Exits with 0 when all of them took it, else with 2.
    """
    if not test:
        raise UsageError(
            "Nothing was sent", why="messages about runs are sent by runs", hint="ci-dispatch notify --test"
        )
    from ci_dispatch.app.notify import send_samples

    return send_samples(settings)
