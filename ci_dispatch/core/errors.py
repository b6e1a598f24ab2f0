"""Every way ci-dispatch can refuse, with its exit code: the one table of both.

    CiDispatchError (70)
    ├── UsageError (2)              the command line, the configuration, a machine that does not exist
    │   └── ConfigError (2)         all problems of a configuration at once
    ├── NothingToRun (3)            an empty selection is an error, never a pass
    ├── FleetError (4)              no healthy machine, a machine that cannot be used
    ├── ControllerError (4)         this computer is in the way: its disk, memory, open files
    ├── GitHubRefused (5)           permission, rate limit, a workflow that does not exist
    └── UnreadableReport (6)        a report that cannot be read

Tests that failed (1) and an incomplete run (4) are values (`ExitCode`), not exceptions.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from enum import IntEnum


class ExitCode(IntEnum):
    """What the process tells its caller."""

    PASSED = 0
    TESTS_FAILED = 1
    USAGE = 2
    NOTHING_TO_RUN = 3
    INCOMPLETE = 4
    GITHUB_REFUSED = 5
    UNREADABLE_REPORT = 6
    INTERNAL = 70
    INTERRUPTED = 130
    TERMINATED = 143


_PRECEDENCE = (
    ExitCode.INTERRUPTED,
    ExitCode.TERMINATED,
    ExitCode.INTERNAL,
    ExitCode.USAGE,
    ExitCode.NOTHING_TO_RUN,
    ExitCode.GITHUB_REFUSED,
    ExitCode.INCOMPLETE,
    ExitCode.UNREADABLE_REPORT,
    ExitCode.TESTS_FAILED,
    ExitCode.PASSED,
)


def worst(codes: Iterable[ExitCode]) -> ExitCode:
    """The code to end with when several apply: a lost test never reads as "tests failed"."""
    return min(codes, key=_PRECEDENCE.index, default=ExitCode.PASSED)


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """The known word that may have been meant by `word`, or an empty text; a higher `cutoff` (0 to 1) is stricter."""
    return "".join(get_close_matches(word, list(known), n=1, cutoff=cutoff))


def did_you_mean(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """The question to ask about a word that is not known, or an empty text when no known one is near."""
    meant = nearest(word, known, cutoff=cutoff)
    return f"did you mean {meant}?" if meant else ""


class CiDispatchError(Exception):
    """`what` did not happen, `why`, and what to `hint`: shown to the user as it stands, never as a traceback."""

    exit_code: ExitCode = ExitCode.INTERNAL

    def __init__(self, what: str, *, why: str = "", hint: str = "") -> None:
        self.what = what
        self.why = why
        self.hint = hint
        super().__init__(what)

    @property
    def without_hint(self) -> str:
        between = ":" if self.why.startswith("\n") else ": "
        return f"{self.what}{between}{self.why}" if self.why else self.what

    def __str__(self) -> str:
        return f"{self.without_hint}\n  try: {self.hint}" if self.hint else self.without_hint


class UsageError(CiDispatchError):
    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigProblem:
    """One thing wrong with one key, named as the user wrote it."""

    where: str  # "ci-dispatch.toml", "CI_DISPATCH_MAX_RETRIES", "--max-retries"
    key: str
    given: str
    allowed: str
    nearest: str = ""  # the valid key the user may have meant

    def __str__(self) -> str:
        hint = f"; did you mean {self.nearest}?" if self.nearest else ""
        return f"{self.where}: {self.key}: got {self.given}, allowed: {self.allowed}{hint}"


class ConfigError(UsageError):
    """All problems of a configuration together: a person mends them in one go."""

    def __init__(self, problems: Iterable[ConfigProblem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        what = f"The configuration cannot be used, {count} problem{'s' if count != 1 else ''}"
        super().__init__(what, why="".join(f"\n  {problem}" for problem in self.problems))


class NothingToRun(CiDispatchError):
    exit_code = ExitCode.NOTHING_TO_RUN


class FleetError(CiDispatchError):
    exit_code = ExitCode.INCOMPLETE


class ControllerError(CiDispatchError):
    """This computer itself is in the way, no machine and no test: the run ends, and can be gone on with."""

    exit_code = ExitCode.INCOMPLETE


_USED_UP = {
    errno.EMFILE: "raise the limit of open files, ulimit -n",
    errno.ENFILE: "close other programs, or raise fs.file-max",
    errno.ENOMEM: "free memory",
    errno.ENOSPC: "free space",
    errno.EDQUOT: "free space, the quota is used up",
    errno.EROFS: "mount it writable",
}


def of_this_computer(error: BaseException) -> ControllerError | None:
    """The error as one of this computer, when it says that it has no more of something; else None.

    Whatever a machine is asked with needs memory and open files here: their lack says nothing about the machine.
    """
    threads = isinstance(error, RuntimeError) and "start new thread" in str(error)
    if isinstance(error, MemoryError) or threads:
        return ControllerError("This computer could not go on", why=str(error) or "no memory left", hint="free memory")
    if isinstance(error, OSError) and error.errno in _USED_UP:
        return ControllerError("This computer could not go on", why=str(error), hint=_USED_UP[error.errno])
    return None


class GitHubRefused(CiDispatchError):
    exit_code = ExitCode.GITHUB_REFUSED


class UnreadableReport(CiDispatchError):
    exit_code = ExitCode.UNREADABLE_REPORT
