"""Whether the machines can be asked how they are at all, from the job this runs in."""

from __future__ import annotations

from pathlib import Path

from ci_dispatch.app.say import say
from ci_dispatch.app.settings import Settings
from ci_dispatch.core.codec import replace
from ci_dispatch.core.model import Connection
from ci_dispatch.fleets.actions.environment import ActionsEnvironment
from ci_dispatch.machines.ssh.machine import CONFIG_VARIABLE

NOTHING_TO_LOG_IN_WITH = (
    "the machines are not asked how they are: this runner has neither a key nor an SSH configuration to log in with. "
    "Give the action ssh-key, ssh-known-hosts and ssh-config from secrets (docs/github-machines.md)"
)


def with_possible_checks(settings: Settings) -> Settings:
    """The settings, with health checks off in a job of GitHub Actions that has nothing to log in with; and says so.

    A fresh runner of GitHub's has no `~/.ssh`: every machine would count as unreachable, and nothing would be run.
    """
    config, here = settings.config, ActionsEnvironment(settings.environ)
    over_ssh = any(machine.connection is Connection.SSH for machine in config.fleet)
    if config.health.skip or not here.on_github or not over_ssh or _can_log_in(settings):
        return settings
    say(f"warning: {NOTHING_TO_LOG_IN_WITH}", err=True)
    here.annotate([f"::notice title=No health checks::{NOTHING_TO_LOG_IN_WITH}"])
    return replace(settings, config=replace(config, health=replace(config.health, skip=True)))


def _can_log_in(settings: Settings) -> bool:
    environ = settings.environ
    if environ.get(CONFIG_VARIABLE) or environ.get("SSH_AUTH_SOCK"):
        return True
    if any(machine.key for machine in settings.config.fleet):
        return True
    if not environ.get("HOME"):
        return False
    folder = Path(environ["HOME"]) / ".ssh"
    return (folder / "config").exists() or any(folder.glob("id_*"))
