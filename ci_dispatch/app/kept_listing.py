"""A listing kept in a file: what executes a repository's code and what has tokens and keys are two processes then."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ci_dispatch.app.run_spec import RunSpec
from ci_dispatch.app.say import say
from ci_dispatch.app.settings import Settings
from ci_dispatch.core import codec
from ci_dispatch.core.errors import ExitCode, UsageError
from ci_dispatch.run.ports import Listing, Suite
from ci_dispatch.suites import open_suite
from report_merge.render.wording import count


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptListing:
    """A listing, and what was asked: another suite or other arguments have other tests."""

    runner: str
    arguments: tuple[str, ...]
    listing: Listing


def make(settings: Settings, file: Path, extra: tuple[str, ...]) -> ExitCode:
    """List the suite of `settings` into `file`, with the further arguments `extra`. Raises as `write` does."""
    config = settings.config
    spec = RunSpec(root=settings.root, config=config, arguments=(*config.suite.args, *extra))
    tests = write(file, spec, open_suite(config.suite, settings.root, spec.arguments))
    say(f"Listed in {file}: {count(tests, 'test')}.", err=True)
    return ExitCode.PASSED


def write(file: Path, spec: RunSpec, suite: Suite) -> int:
    """List the suite into `file`; returns how many tests there are.

    Raises NothingToRun or UsageError when the suite cannot be listed, or the file not be written.
    """
    listing = suite.list_tests(spec.config.suite.list_timeout)
    kept = KeptListing(runner=suite.name, arguments=spec.arguments, listing=listing)
    try:
        file.write_bytes(codec.encode(kept))
    except OSError as error:
        raise UsageError(f"{file} was not written", why=str(error.strerror), hint="name another file") from error
    return len(listing.tests)


def read(file: Path, spec: RunSpec, suite: Suite) -> Listing:
    """What `write` kept for the same suite. Raises UsageError for anything else."""
    try:
        kept = codec.decode(KeptListing, file.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} is no listing", why=str(error), hint="write one: --list-only") from error
    if (kept.runner, kept.arguments) != (suite.name, spec.arguments):
        raise UsageError(
            f"{file} is the listing of another suite",
            why=f"{kept.runner} was asked with {list(kept.arguments)}, and {suite.name} with {list(spec.arguments)}",
            hint="list it again with the same arguments: --list-only",
        )
    return kept.listing
