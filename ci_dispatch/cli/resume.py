"""`ci-dispatch resume`: finish a run whose controller died."""

from __future__ import annotations

import click

from ci_dispatch.app.settings import Settings
from ci_dispatch.cli.options import configured


@click.command()
@configured("progress.mode", "dashboard.enabled", "dashboard.host", "dashboard.port")
@click.option("--follow", default="", metavar="MACHINE|TEST", help="Show this machine's or test's output as it comes.")
@click.argument("run", default="", metavar="[RUN]")
def resume(settings: Settings, follow: str, run: str) -> int:
    """Finish a run whose controller died: what still runs is attached to, what is left is run.

    RUN is its id, the beginning of it, or its folder; the newest when not given. The run goes on under the
    configuration it began with.
    """

    from ci_dispatch.app.run import resume as resume_run

    base = settings.root / settings.config.run.folder
    return resume_run(base, run, environ=settings.environ, follow=follow, shown=settings.config)
