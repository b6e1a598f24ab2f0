"""Asks a test runner on this machine which tests it has: the expected tests, or an error that says what is wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ci_dispatch.config.choices import Split
from ci_dispatch.config.sections import SuiteConfig
from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import NothingToRun, UsageError
from ci_dispatch.core.groups import GroupSpec, TestMarks
from ci_dispatch.core.job_environment import without_hidden
from ci_dispatch.core.masking import SecretMask
from ci_dispatch.core.model import FailureCause, Test, TestId, UnitId
from ci_dispatch.run.ports import Listing
from ci_dispatch.suites.live_events import ListedTest, LiveEvents, read_live_file
from report_merge.sanitize import one_line, printable

KILL_GRACE = 5.0  # seconds after KILL for the operating system
SHOWN_PROBLEMS = 5
NO_RUNNER = 127  # our launchers' exit code
NOT_LISTED = "The tests cannot be listed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingOutput:
    """What a runner in list mode left behind."""

    exit_code: int
    output: str
    errors: str
    events: LiveEvents  # what our reporter wrote
    masked: bool = False  # its output had a secret in it


def suite_folder(root: Path, workdir: str) -> Path:
    """The suite's folder. Raises UsageError when there is none."""
    path = root / workdir
    if not path.is_dir():
        raise UsageError(
            NOT_LISTED,
            why=f"the suite's folder {workdir} does not exist in {root}",
            hint="correct `workdir` in the section [suite] of ci-dispatch.toml",
        )
    return path


def run_listing(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    deadline: float,
    settings: SuiteConfig | None = None,
) -> ListingOutput:
    """Run `argv` to its end, `deadline` seconds at most, with CI_DISPATCH_LIVE naming a fresh file.

    It gets this environment without what `settings` hide, and with their secrets and `env`; the secrets are masked in
    what it leaves behind. Raises UsageError when the program does not exist or does not end in time; then nothing of it
    is left running. Also for names of tests that hold a secret: everybody sees those.
    """
    settings = settings or SuiteConfig()
    with tempfile.TemporaryDirectory(prefix="ci-dispatch-list-") as scratch:
        live = Path(scratch) / "live.jsonl"
        inherited = without_hidden(os.environ, (*settings.hidden, "CI_DISPATCH_TESTS"))  # that one is of an attempt
        given = {name: os.environ[name] for name in settings.secrets if name in os.environ}
        mask = SecretMask(given.values())
        process = _start(argv, cwd=cwd, env={**inherited, **given, **env, "CI_DISPATCH_LIVE": str(live)})
        try:
            output, errors = process.communicate(timeout=deadline)
        except subprocess.TimeoutExpired as error:
            raise UsageError(
                NOT_LISTED,
                why=f"`{' '.join(argv[:3])} ...` did not end within {deadline:g} s",
                hint="run it by hand and see what it waits for, or raise `list_timeout` in the section [suite]",
            ) from error
        finally:
            _end(process)
        return ListingOutput(
            exit_code=process.returncode,
            output=mask.data(output).decode("utf-8", "replace"),
            errors=mask.data(errors).decode("utf-8", "replace"),
            events=_masked_events(Path(scratch), mask),
            masked=mask.data(output) != output,
        )


def _masked_events(folder: Path, mask: SecretMask) -> LiveEvents:
    """What the live file says, masked. Raises UsageError when that changes which tests there are."""
    events, live = read_live_file(folder), folder / "live.jsonl"
    if not mask or not live.exists():
        return events
    live.write_bytes(mask.data(live.read_bytes()))
    masked = read_live_file(folder)
    if (masked.planned or {}).keys() != (events.planned or {}).keys():
        raise secret_name()
    return masked


def secret_name() -> UsageError:
    return UsageError(
        NOT_LISTED,
        why="the name of a test holds the value of one of `secrets`, and names are shown to everybody",
        hint="give the test a name of its own: pytest.param(..., id=...)",
    )


def _start(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise UsageError(
            NOT_LISTED,
            why=f"{argv[0]} cannot be started: {error.strerror}",
            hint=f"install {argv[0]} on this machine, or put it on the PATH",
        ) from error


def _end(process: subprocess.Popen[bytes]) -> None:
    """Nothing of it stays behind, not even children that outlive their parent."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=KILL_GRACE)


def listing_of(output: ListingOutput, split: Split, *, runner: str, workdir: str, install: str) -> Listing:
    """The expected tests, from what our reporter wrote in list mode; `install` is how the runner is installed.

    Raises UsageError when the runner is missing or the suite cannot be loaded, and NothingToRun when it has no tests:
    an empty selection is never a pass.
    """
    if output.exit_code == NO_RUNNER:
        raise UsageError(NOT_LISTED, why=one_line(output.errors), hint=f"{install} (in {workdir})")
    events = output.events
    if events.problems:
        problems = [printable(problem.message) for problem in events.problems]
        shown = "".join(f"\n  {one_line(problem, 500)}" for problem in problems[:SHOWN_PROBLEMS])
        more = len(problems) - SHOWN_PROBLEMS
        raise UsageError(
            "The suite cannot be loaded",
            why=shown + (f"\n  and {more} more" if more > 0 else ""),
            hint=f"run {runner} by hand in {workdir} and correct this: nothing was sent anywhere"
            + (f"; where a package is missing, {install}" if _lacks_something(events) else ""),
        )
    if events.planned is None:
        why = events.unreadable or one_line("\n".join((output.errors or output.output).strip().splitlines()[-5:]), 1000)
        raise UsageError(NOT_LISTED, why=f"{runner} exited {output.exit_code}: {why}")
    if not events.planned:
        raise NothingToRun(
            "There is nothing to run",
            why=": ".join(filter(None, (f"{runner} finds no tests in {workdir}", one_line(output.errors, 500)))),
            hint="look at the arguments that select tests, and at the runner's own configuration",
        )
    return Listing(
        tests=tuple(_test(test, split) for test in events.planned.values()),
        notes=(*same_names(events.copies), *events.notes),
        workers=events.workers,
        flaky_is_failure=events.flaky_is_failure,
        marks={
            test: TestMarks(tags=one.tags, groups=_marked(one))
            for test, one in events.planned.items()
            if one.tags or one.marks
        },
    )


def _marked(listed: ListedTest) -> tuple[GroupSpec, ...]:
    """A mark says of its own test what holds; it selects no others."""
    return tuple(replace(mark, files=(), titles=(), projects=(), tags=()) for mark in listed.marks)


def _lacks_something(events: LiveEvents) -> bool:
    return any(problem.cause is FailureCause.SETUP for problem in events.problems)


def same_names(copies: Mapping[TestId, int]) -> tuple[str, ...]:
    """A note that names the tests that share their name with others; `copies` says how many have each."""
    shared = [f"{one_line(test, 200)} ({number} times)" for test, number in copies.items() if number > 1]
    if not shared:
        return ()
    more = [f"{len(shared) - SHOWN_PROBLEMS} more"] if len(shared) > SHOWN_PROBLEMS else []
    names = ", ".join([*shared[:SHOWN_PROBLEMS], *more])
    return (f"tests of one name count once, with the worst of their results: {names}",)


def _test(listed: ListedTest, split: Split) -> Test:
    by_file = listed.group or " ".join(filter(None, (listed.project, listed.file)))
    units = {Split.AUTO: listed.unit, Split.TEST: listed.group, Split.FILE: by_file}
    return replace(listed.as_test(), unit=UnitId(units[split] or listed.id), atomic=bool(listed.group))


def refuse_reserved(arguments: Iterable[str], reserved: Sequence[str]) -> None:
    """Raise UsageError for arguments that only ci-dispatch may give: with them the count of tests would be wrong."""
    given = [argument for argument in arguments if argument.partition("=")[0] in reserved]
    if given:
        raise UsageError(
            f"The runner cannot be given {' '.join(given)}",
            why="ci-dispatch itself says which tests run, where, and where their results go",
            hint="leave it out; to select tests, give the runner's own filters, which the listing then uses too",
        )
