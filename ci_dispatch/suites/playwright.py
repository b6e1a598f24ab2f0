"""Playwright: lists with a reporter of our own, selects by test id, runs the suite's own installation without npx.

The selection is exact for any title and project: the ids go into a last-run file and `--last-failed` runs those, since
1.44 and in every version after (`--test-list` is not: titles with ` › ` or blanks at their ends do not round-trip, and
a list that matches nothing exits 0). `--last-failed` filters after sharding, so that there is one shard only.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Sequence
from pathlib import Path

from ci_dispatch.config.sections import SuiteConfig
from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import UsageError
from ci_dispatch.core.model import FailureCause, Test, TestResult, Verdict
from ci_dispatch.run.ports import AttemptPaths, AttemptReading, Invocation, JobEnd, Listing
from ci_dispatch.suites import runner_files
from ci_dispatch.suites.attempts import assemble, output_end
from ci_dispatch.suites.listing import listing_of, refuse_reserved, run_listing, suite_folder
from ci_dispatch.suites.live_events import live_result, read_live_file
from report_merge.failures import classify

OLDEST = (1, 44)  # the first with --last-failed
MAX_FILE_ARGUMENTS = 60_000  # characters; beyond it every file is loaded, which costs time and changes nothing
BROWSER = "infra.config.browser"  # the failure category of a browser that is not there or may not start

# What would keep expected tests from running, wherever it comes from: `shard` and `maxFailures` of the configuration, a
# `test.only` that was left behind, variables that change the sharding or wait for keys.
WHOLE = ("--shard=1/1", "--max-failures=0", "--forbid-only")
SWITCHED_OFF = {"PWTEST_SHARD_WEIGHTS": "", "PWTEST_WATCH": ""}
FLAKY_FAILS = "--fail-on-flaky-tests"

# What decides which tests run or where their results go: ours to say, or the count of the tests would be wrong.
RESERVED = (
    "--list", "--reporter", "--add-reporter", "--shard", "--last-failed", "--last-failed-file", "--output",
    "--test-list", "--test-list-invert", "--only-changed", "--ui", "--ui-host", "--ui-port", "--debug",
)  # fmt: skip


class PlaywrightSuite:
    """The Playwright project in `workdir`, a folder of the work tree `root`."""

    name = "playwright"

    def __init__(self, settings: SuiteConfig, root: Path) -> None:
        """`args` are for the listing, and what `invocation` gets as `extra`: `--project`, `--grep` and files select.

        Raises UsageError for arguments that only ci-dispatch may give.
        """
        refuse_reserved(settings.args, RESERVED)
        self.title = settings.title
        self._settings = settings
        self._root = root

    def tools(self) -> tuple[str, ...]:
        return ("node",)

    def list_tests(self, deadline: float) -> Listing:
        cwd = suite_folder(self._root, self._settings.workdir)
        argv = (
            "node",
            str(runner_files.path("playwright_launcher.cjs")),
            "test",
            "--list",
            f"--reporter={runner_files.path('playwright_reporter.cjs')}",
            *self._settings.args,
            *WHOLE,
        )
        env = {**self._settings.env, **SWITCHED_OFF}
        output = run_listing(argv, cwd=cwd, env=env, deadline=deadline, settings=self._settings)
        _check_version(output.events.version)
        listing = listing_of(
            output, self._settings.split, runner="Playwright", workdir=self._settings.workdir, install="npm ci"
        )
        return replace(listing, flaky_is_failure=listing.flaky_is_failure or FLAKY_FAILS in self._settings.args)

    def invocation(
        self, tests: Sequence[Test], place: AttemptPaths, *, workers: int, shard: int, extra: Sequence[str]
    ) -> Invocation:
        del shard  # Playwright's own sharding would cut what is cut already
        refuse_reserved(extra, RESERVED)
        selection = {"status": "failed", "failedTests": [test.runner_id for test in tests]}
        output = posixpath.join(place.attempt, "output")
        return Invocation(
            argv=(
                "node",
                posixpath.join(place.attempt, "playwright_launcher.cjs"),
                "test",
                "--last-failed",
                f"--output={output}",
                f"--reporter=line,junit,{place.attempt}/playwright_reporter.cjs",
                f"--workers={workers}",
                *_file_arguments(tests),  # before the others: `--project` takes every word that follows it
                *extra,
                *WHOLE,
            ),
            cwd=posixpath.normpath(posixpath.join(place.tree, self._settings.workdir)),
            env={
                **self._settings.env,
                **SWITCHED_OFF,
                "CI_DISPATCH_LIVE": posixpath.join(place.attempt, "live.jsonl"),
                # Since 1.61 the file may lie anywhere; before, it is in the folder of --output. Both mean this one.
                "PLAYWRIGHT_LAST_RUN_OUTPUT_FILE": posixpath.join(output, ".last-run.json"),
                "PLAYWRIGHT_JUNIT_OUTPUT_FILE": posixpath.join(place.attempt, "junit.xml"),
                "PLAYWRIGHT_JUNIT_INCLUDE_RETRIES": "1",
            },
            files={
                "playwright_launcher.cjs": runner_files.content("playwright_launcher.cjs"),
                "playwright_reporter.cjs": runner_files.content("playwright_reporter.cjs"),
                "output/.last-run.json": json.dumps(selection).encode(),
            },
        )

    def live_result(self, line: bytes) -> TestResult | None:
        result = live_result(line)
        return _without_browser(result) if result else None

    def read(self, tests: Sequence[Test], folder: Path, end: JobEnd) -> AttemptReading:
        reading = assemble(tests, read_live_file(folder, end.undisturbed_lines), end, output=output_end(folder))
        results = tuple(_without_browser(result) for result in reading.results)
        changed = [new for new, old in zip(results, reading.results, strict=True) if new is not old]
        if not changed:
            return reading
        return replace(reading, results=results, cause=FailureCause.SETUP, reason=changed[0].reason)


def _check_version(version: str) -> None:
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if numbers and numbers < OLDEST:
        raise UsageError(
            "The tests cannot be selected exactly",
            why=f"this suite's Playwright is {version}, and --last-failed came with {'.'.join(map(str, OLDEST))}",
            hint="npm install --save-dev @playwright/test@latest",
        )


def _file_arguments(tests: Sequence[Test]) -> tuple[str, ...]:
    """The files to load, as the regular expressions over absolute paths that Playwright takes: too many is harmless."""
    files = sorted({re.sub(r"^(\.\./)+", "", test.file) for test in tests})
    patterns = tuple("/" + re.sub(r"[\\^$.*+?()\[\]{}|]", r"\\\g<0>", file) + "$" for file in files)
    return patterns if sum(map(len, patterns)) <= MAX_FILE_ARGUMENTS else ()


def _without_browser(result: TestResult) -> TestResult:
    """A test whose browser is missing was not run: its machine lacks something, and that is no verdict on the test."""
    if result.verdict is not Verdict.FAILED:
        return result
    finding = classify(result.detail, message=result.message)
    if finding.category != BROWSER:
        return result
    return replace(result, verdict=Verdict.NOT_RUN, reason=f"{finding.evidence}: {finding.hint}")
