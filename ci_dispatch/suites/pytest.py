"""pytest: lists and runs with a plugin of our own, in the suite's own Python, with xdist where a machine has it.

The plugin drops every test that is not wanted after pytest has collected as it always does. Node ids as arguments would
be less exact: one unknown id makes pytest exit 4 and run nothing, and arguments move its root and its conftest files.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Sequence
from pathlib import Path

from ci_dispatch.config.choices import StartAhead
from ci_dispatch.config.sections import SuiteConfig
from ci_dispatch.core.codec import replace
from ci_dispatch.core.model import FailureCause, Test, TestResult
from ci_dispatch.run.ports import AttemptPaths, AttemptReading, Invocation, JobEnd, Listing
from ci_dispatch.suites import runner_files
from ci_dispatch.suites.attempts import assemble, output_end
from ci_dispatch.suites.listing import listing_of, refuse_reserved, run_listing, suite_folder
from ci_dispatch.suites.live_events import live_result, read_live_file

# https://docs.pytest.org/en/stable/reference/exit-codes.html; for 5 (nothing collected) the plan says more.
EXITS = {3: FailureCause.CRASH, 4: FailureCause.USAGE}

# What decides which tests run where or where their results go: ours to say, or the count of the tests would be wrong.
RESERVED = (
    "--collect-only", "--co", "-n", "--numprocesses", "--dist", "--tx", "--looponfail", "-f", "--junitxml",
    "--junit-xml", "--lf", "--last-failed", "--ff", "--failed-first", "--sw", "--stepwise", "--stepwise-skip",
    "--setup-only", "--setup-plan",
)  # fmt: skip

ONE_AT_A_TIME = (
    "without pytest-xdist pytest runs one test at a time, and one core of each machine counts: "
    "install it in the suite's Python to use all"
)
INSTALL = "install it for the suite's Python, or name that Python with CI_DISPATCH_PYTHON in `env` of [suite]"
# Names and order of tests that come out of a set are the same in the listing, on every machine and in every process of
# xdist, which refuses to run where they differ. Whoever wants another seed sets it in `env`.
SAME_HASHES = {"PYTHONHASHSEED": "0"}
RUNNER_FILES = ("pytest_launcher.py", "pytest_marks.py", "pytest_plugin.py", "pytest_reports.py", "suite_python.py")


class PytestSuite:
    """The pytest suite in `workdir`, a folder of the work tree `root`."""

    name = "pytest"

    def __init__(self, settings: SuiteConfig, root: Path) -> None:
        """`args` are for the listing, and what `invocation` gets as `extra`: `-k`, `-m` and paths select.

        CI_DISPATCH_PYTHON in `env` names the suite's Python where no place that runner_files/suite_python.py knows has
        it. Raises UsageError for arguments that only ci-dispatch may give.
        """
        refuse_reserved(settings.args, RESERVED)
        self.title = settings.title
        self._settings = settings
        self._root = root

    def tools(self) -> tuple[str, ...]:
        return ("python3",)

    def list_tests(self, deadline: float) -> Listing:
        cwd = suite_folder(self._root, self._settings.workdir)
        launcher = str(runner_files.path("pytest_launcher.py"))
        env = {**SAME_HASHES, **self._settings.env, "CI_DISPATCH_TREE": str(self._root.absolute())}
        argv = ("python3", launcher, "--collect-only", "-q", *self._settings.args)
        listing = listing_of(
            run_listing(argv, cwd=cwd, env=env, deadline=deadline, settings=self._settings),
            self._settings.split,
            runner="pytest",
            workdir=self._settings.workdir,
            install=INSTALL,
        )
        return replace(listing, notes=(*listing.notes, ONE_AT_A_TIME)) if listing.workers == 1 else listing

    def invocation(
        self, tests: Sequence[Test], place: AttemptPaths, *, workers: int, shard: int, extra: Sequence[str]
    ) -> Invocation:
        del shard  # pytest knows no shards
        refuse_reserved(extra, RESERVED)
        ahead = self._settings.start_ahead
        units = {test.runner_id: str(test.unit) if test.unit != str(test.id) else "" for test in tests}
        return Invocation(
            argv=(
                "python3",
                posixpath.join(place.attempt, "pytest_launcher.py"),
                *extra,
            ),
            cwd=posixpath.normpath(posixpath.join(place.tree, self._settings.workdir)),
            env={
                "PYTHONUNBUFFERED": "1",
                **SAME_HASHES,
                **self._settings.env,
                "CI_DISPATCH_LIVE": posixpath.join(place.attempt, "live.jsonl"),
                "CI_DISPATCH_TESTS": posixpath.join(place.attempt, "tests.json"),
                "CI_DISPATCH_TREE": place.tree,
                "CI_DISPATCH_WORKERS": str(workers),
                "CI_DISPATCH_AHEAD": str(ahead),
            },
            files={
                **{name: runner_files.content(name) for name in RUNNER_FILES},
                "tests.json": json.dumps(units).encode(),
            },
            late=() if ahead is StartAhead.OFF else ("tests.json",),
        )

    def live_result(self, line: bytes) -> TestResult | None:
        return live_result(line)

    def read(self, tests: Sequence[Test], folder: Path, end: JobEnd) -> AttemptReading:
        events = read_live_file(folder, end.undisturbed_lines)
        return assemble(tests, events, end, output=output_end(folder), exits=EXITS)
