"""The machines of a configuration, opened with the limits it sets."""

from __future__ import annotations

from collections.abc import Iterable

from ci_dispatch.config import Config
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


def open_machines(config: Config, tools: Iterable[str] = ()) -> dict[MachineName, Machine]:
    """Every machine this run may use. Nothing is connected to yet; close them when done."""
    policy = health_policy(config, tools)
    return {spec.name: open_machine(spec, policy) for spec in config.fleet}
