"""A trap: something keeps tests from running, or failures from being seen, while everything looks well."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ci_dispatch.core.errors import ExitCode

INCOMPLETE, RED = ExitCode.INCOMPLETE, ExitCode.TESTS_FAILED
USAGE, NOTHING = ExitCode.USAGE, ExitCode.NOTHING_TO_RUN


@dataclass(frozen=True, kw_only=True)
class Trap:
    """One whole run. Several traps share it where each has a test of its own to show it, or a word of `said`."""

    traps: Mapping[str, str]  # what is wrong, with what the runner alone makes of it
    code: ExitCode
    suite: Callable[[Path], Path]  # makes the repository
    arguments: tuple[str, ...] = ()  # for the runner
    environ: Mapping[str, str] = field(default_factory=dict)
    verdicts: Mapping[str, str] = field(default_factory=dict)  # by the test's own name
    said: tuple[str, ...] = ()  # in a reason or a warning, or in the error

    @property
    def runner(self) -> str:
        return self.suite.__qualname__.partition("_")[0]
