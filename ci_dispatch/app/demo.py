"""What `ci-dispatch demo` and `progress --demo` do: a sample run, and a made-up one, on this computer only."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

from ci_dispatch.app.drive import Machines
from ci_dispatch.app.playback import play
from ci_dispatch.app.run import begin
from ci_dispatch.app.run_spec import RunSpec
from ci_dispatch.app.say import say
from ci_dispatch.app.settings import Settings, read_settings
from ci_dispatch.config import Config
from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.model import Connection, MachineName, MachineSpec
from ci_dispatch.demo import FOLDER, SPEED, STATE
from ci_dispatch.demo.recording import demo_events
from ci_dispatch.demo.unreachable import UnreachableMachine

FLEET = {"local": (4, 1.0), "moruk": (6, 0.8), "ilko2": (1, 1.0), "pi": (1, 0.5)}  # cores, speed: pretended
DYING, DIES_AFTER = "moruk", 3.5  # seconds into its work
LEASE = 3.0  # shorter than usual, so that nobody waits long for a dead machine


def run_demo(settings: Settings) -> ExitCode:
    """Run the sample suite over `FLEET`, one machine of which dies; its one failing test counts as success."""
    root = Path(tempfile.mkdtemp(prefix="ci-dispatch-demo-"))
    shutil.copytree(FOLDER, root, dirs_exist_ok=True)

    def with_a_dying_one(machines: Machines) -> Machines:
        return {**machines, MachineName(DYING): UnreachableMachine(machines[MachineName(DYING)], DIES_AFTER)}

    say(f"A corner shop's tests over {len(FLEET)} machines; {DYING} will die. In {root}\n", err=True)
    spec = RunSpec(root=root, config=_config(settings, root))
    code = begin(spec, environ=settings.environ, arrange=with_a_dying_one)
    say("\nThe demo went as planned if this says FAILED (exit code 1): one test is wrong on purpose.", err=True)
    say(f"Look at {root}/.ci-dispatch/runs/: merged.xml, summary.md, run.json, events.jsonl", err=True)
    return ExitCode.PASSED if code is ExitCode.TESTS_FAILED else code


def show_progress(settings: Settings, speed: float) -> None:
    """Show a made-up run over the reference fleet in its own time divided by `speed`."""
    events = ([event] for event in demo_events(time.time()))
    play(events, mode=settings.config.progress.mode, environ=settings.environ, speed=speed)


def _config(settings: Settings, root: Path) -> Config:
    shop = read_settings(root / "ci-dispatch.toml", {}, {}, root).config
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
