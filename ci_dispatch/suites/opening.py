"""From the section [suite] of the configuration to the suite itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ci_dispatch.config.sections import Runner, SuiteConfig
from ci_dispatch.run.ports import Suite
from ci_dispatch.suites.command import CommandSuite
from ci_dispatch.suites.detect import Recognised, recognise
from ci_dispatch.suites.playwright import PlaywrightSuite
from ci_dispatch.suites.pytest import PytestSuite


def open_suite(settings: SuiteConfig, root: Path, arguments: Sequence[str] | None = None) -> Suite:
    """The suite that `settings` describe, in the work tree `root`; a runner `auto` is recognised from its files.

    `arguments` are what every call of the runner gets, the listing included, so that a filter among them filters both;
    by default the configuration's. Raises UsageError for a suite that cannot be told or that is not there.
    """
    suite = Recognised(settings.runner, settings.workdir)
    if settings.runner is Runner.AUTO:
        suite = recognise(root, settings.workdir)
    common: dict[str, Any] = {
        "root": root,
        "workdir": suite.workdir,
        "title": settings.title or root.absolute().name,
        "env": settings.env,
        "split": settings.split,
    }
    selecting = settings.args if arguments is None else arguments
    match suite.runner:
        case Runner.PLAYWRIGHT:
            return PlaywrightSuite(arguments=selecting, **common)
        case Runner.PYTEST:
            return PytestSuite(arguments=selecting, **common)
        case _:
            return CommandSuite(command=settings.command, list_command=settings.list, junit=settings.junit, **common)
