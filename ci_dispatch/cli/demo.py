"""`ci-dispatch demo`: the main job in half a minute, on this computer only."""

from __future__ import annotations

from pathlib import Path

import click

from ci_dispatch.cli.settings import Settings, configured
from ci_dispatch.config import Config

FLEET = {"local": (4, 1.0), "moruk": (6, 0.8), "ilko2": (1, 1.0), "pi": (1, 0.5)}  # cores, speed: pretended
MORTAL, DIES_AFTER = "moruk", 3.5  # seconds into its work
LEASE = 3.0  # shorter than usual, so that nobody waits long for the dead


@click.command()
@configured("progress.mode", "dashboard.enabled")
def demo(settings: Settings) -> int:
    """See it work in half a minute: 60 tests over four pretended machines, one of which dies half way.

    Of the tests one fails, one is flaky, one is slow and one takes its runner down. Nothing is installed, nothing
    leaves this computer; the run is kept in a temporary folder.
    """
    import shutil
    import tempfile

    from ci_dispatch.app import run
    from ci_dispatch.demo import FOLDER
    from ci_dispatch.demo.unreachable import UnreachableMachine

    root = Path(tempfile.mkdtemp(prefix="ci-dispatch-demo-"))
    shutil.copytree(FOLDER, root, dirs_exist_ok=True)
    setting = run.RunSpec(root=root, config=_config(settings, root))

    def with_a_mortal(machines: run.Machines) -> run.Machines:
        return {
            name: UnreachableMachine(machine, DIES_AFTER) if name == MORTAL else machine
            for name, machine in machines.items()
        }

    click.echo(f"A corner shop's tests over {len(FLEET)} machines; {MORTAL} will die. In {root}\n", err=True)
    code = run.begin(setting, environ=settings.environ, arrange=with_a_mortal)
    click.echo("\nThe demo went as planned if this says FAILED (exit code 1): one test is wrong on purpose.", err=True)
    click.echo(f"Look at {root}/.ci-dispatch/runs/: merged.xml, summary.md, run.json, events.jsonl", err=True)
    return 0 if code == 1 else code


def _config(settings: Settings, root: Path) -> Config:
    from dataclasses import replace

    from ci_dispatch.cli.settings import read_settings
    from ci_dispatch.core.model import Connection, MachineName, MachineSpec
    from ci_dispatch.demo import SPEED, STATE

    shop = read_settings(root / "ci-dispatch.toml", {}, {}, root, None).config
    machines = tuple(
        MachineSpec(
            name=MachineName(name),
            connection=Connection.LOCAL,
            cores=cores,
            speed=speed,
            workdir=str(root / ".machines" / name),
            env={SPEED: str(speed), STATE: str(root / ".state")},
        )
        for name, (cores, speed) in FLEET.items()
    )
    return replace(
        shop,
        machines=machines,
        progress=settings.config.progress,
        dashboard=settings.config.dashboard,
        health=replace(shop.health, max_load_per_core=1000.0),
        run=replace(shop.run, lease=LEASE, give_up_after=10.0),
    )
