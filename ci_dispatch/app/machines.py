"""The machines of a configuration, opened with the limits it sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ci_dispatch.config import Config
from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import UsageError
from ci_dispatch.core.job_environment import JobEnvironment
from ci_dispatch.core.masking import SHORTEST, secret_lines
from ci_dispatch.core.model import MachineName
from ci_dispatch.machines import open_machine
from ci_dispatch.run.health import HealthPolicy
from ci_dispatch.run.ports import Machine


def health_policy(config: Config, tools: Iterable[str] = ()) -> HealthPolicy:
    """The limits a machine must keep to get work; `tools` are the suite's own, the configuration's come on top."""
    return HealthPolicy(
        connect_timeout=config.health.connect_timeout,
        min_disk_free=config.health.min_disk_free,
        max_memory_used=config.health.max_memory_used,
        max_load_per_core=config.health.max_load_per_core,
        max_clock_skew=config.health.max_clock_skew,
        tools=tuple(dict.fromkeys((*tools, *config.suite.tools))),
    )


def open_machines(
    config: Config,
    tools: Iterable[str] = (),
    environment: JobEnvironment | None = None,
    *,
    through_github: bool = False,
) -> dict[MachineName, Machine]:
    """Every machine this run may use. Nothing is connected to yet; close them when done.

    `through_github`: GitHub's runners do the work. They have a PATH of their own, so SSH cannot tell which tools they
    find; and a machine with much load is slow, but its runner may be idle.
    """
    policy = health_policy(config, tools)
    if through_github:
        policy = replace(policy, tools=(), load_decides=False)
    return {spec.name: open_machine(spec, policy, environment) for spec in config.fleet}


def job_environment(config: Config, environ: Mapping[str, str]) -> JobEnvironment:
    """What jobs get of `environ`. Raises UsageError for a secret that it has not, or that could not be hidden."""
    names = config.suite.secrets
    if missing := [name for name in names if not environ.get(name)]:
        raise UsageError(
            "Nothing was run",
            why=f"`secrets` names {', '.join(missing)}, and the environment has no value for {_them(missing)}",
            hint="set it, or take it out of `secrets` in the section [suite]",
        )
    if short := [name for name in names if not secret_lines(environ[name])]:
        raise UsageError(
            "Nothing was run",
            why=f"the value of {', '.join(short)} has less than {SHORTEST} characters in each line: it would be hidden "
            "wherever these occur in an output",
            hint="use a longer one, or give it to the tests as `env` in the section [suite] if it is no secret",
        )
    return JobEnvironment(hidden=config.suite.hidden, secrets={name: environ[name] for name in names})


def _them(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"
