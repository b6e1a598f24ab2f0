"""What the JUnit dialects agree on and where they differ: pure facts about tags, attributes, times and names.

There is no standard: https://github.com/testmoapp/junitxml and the surefire schema
(https://maven.apache.org/surefire/maven-surefire-plugin/xsd/surefire-test-report.xsd) describe the common ground.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath, PureWindowsPath

from report_merge.model import Outcome

# What a <testcase> may hold that decides its outcome. Surefire's rerun elements are earlier or later tries of the same
# test: flaky* when it passed in the end, rerun* when it never did.
FINAL = {"failure": Outcome.FAILED, "error": Outcome.ERROR, "skipped": Outcome.SKIPPED}
RERUN = {
    "flakyFailure": Outcome.FAILED,
    "flakyError": Outcome.ERROR,
    "rerunFailure": Outcome.FAILED,
    "rerunError": Outcome.ERROR,
}

# Some dialects say it in an attribute (googletest, NUnit and Bazel converters) and write no child element.
STATUS_BAD = frozenset({"failed", "failure", "fail", "error", "errored", "broken", "notrunnable"})
STATUS_SKIPPED = frozenset({"skipped", "ignored", "disabled", "notrun", "suppressed", "inconclusive", "pending"})

# Names this tool writes into its own reports, and reads back.
HISTORY = "report-merge.attempts"  # a test's outcomes, oldest first, where the surefire elements cannot say it
WALL = "report-merge.wall"  # the time a suite said it took, where that is not the sum of its tests
PROJECT = "report-merge.project"  # the project of all tests of a suite
STARTED, ENDED = "report-merge.started", "report-merge.ended"  # of the whole run
BROKEN_TYPE = "report-merge.broken"
SUITE_LEVEL = "(suite)"  # the name of the test that stands for an <error> directly in a suite

# Tests in another format: leaving them out would make a run greener than it was.
FOREIGN_TESTS = {
    "test-results": "NUnit 2",
    "test-suite": "NUnit",
    "Tests": "Visual Studio MSTest",
    "TestLog": "Boost.Test log",
    "TestResult": "Boost.Test result",
    "TestCase": "QtTest",
    "TestRunResults": "CppUnit",
    "TestRunReport": "TUnit",
    "Site": "CTest",
    "Catch": "Catch2",
    "Catch2TestRun": "Catch2",
    "doctest": "doctest",
    "testng-results": "TestNG",
    "robot": "Robot Framework",
    "unittest-results": "UnitTest++",
    "stream": "FPCUnit",
    "html": "HTML",
    "Error": "a storage service's error",
    "testExecutions": "SonarQube generic test data",
    "testsummary": "TestComplete",
}


# Well-known XML without tests, which often lies beside reports.
NO_TESTS = {
    "coverage": "Cobertura coverage",
    "report": "JaCoCo coverage",
    "checkstyle": "Checkstyle",
    "pmd": "PMD",
    "plist": "an Apple property list",
}


def outcome_in_status(attributes: Mapping[str, str]) -> Outcome | None:
    """The outcome that `status` or `result` names when no child element does; None when they name none."""
    for name in ("status", "result"):
        word = attributes.get(name, "").lower()
        if word in STATUS_BAD:
            return Outcome.FAILED
        if word in STATUS_SKIPPED:
            return Outcome.SKIPPED
    return None


def microseconds(text: str | None) -> int | None:
    """A `time` attribute in whole microseconds; None when it is missing, negative or no number.

    Whole numbers, so that sums are exact in any order. "1,234.5" is surefire's 1234.5; a lone comma is a thousands
    separator when exactly three digits follow a number that does not start with 0, else a decimal comma.
    """
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        try:
            value = float(_without_commas(text.strip()))
        except ValueError:
            return None
    return round(value * 1e6) if 0 <= value < 1e10 else None


def _without_commas(text: str) -> str:
    if "." in text or re.fullmatch(r"[1-9]\d{0,2}(,\d{3})+", text):
        return text.replace(",", "")
    return text.replace(",", ".")


def seconds_text(value: int) -> str:
    """Microseconds as a `time` attribute: at least milliseconds, no exponent, no comma."""
    whole, part = divmod(value, 1_000_000)
    digits = f"{part:06d}"
    return f"{whole}.{digits[:3]}{digits[3:].rstrip('0')}"


def instant(timestamp: str) -> datetime | None:
    """A `timestamp` attribute as a moment; without a zone it is taken for UTC; None when it is not ISO 8601.

    Years outside 1980 to 2200 are placeholders (0001-01-01 of .NET converters, the epoch): they count as not given.
    """
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        return None
    if not 1980 <= moment.year <= 2200:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


# Where GitHub's runners check out: .../_work/REPOSITORY/REPOSITORY/ (docs.github.com, GITHUB_WORKSPACE).
_GITHUB_CHECKOUT = re.compile(r"^.*/_?work/([^/]+)/\1/")


def portable_file(path: str) -> str:
    """A test's file as every machine names it: below GitHub's checkout from the repository's name on, else whole.

    Nothing else says where a checkout begins: parts left out by guess would make one test of two.
    """
    if "\\" in path:
        path = PureWindowsPath(path).as_posix()
    return _GITHUB_CHECKOUT.sub(r"\1/", PurePosixPath(path).as_posix() if path else "")


def is_playwright_root(attributes: Mapping[str, str]) -> bool:
    """Whether <testsuites> may be Playwright's: it always writes `id` and `name`, and never a timestamp.

    Others do so too (gdUnit4); `is_playwright_suite` tells.
    Source: https://github.com/microsoft/playwright/blob/main/packages/playwright/src/reporters/junit.ts
    """
    return {"id", "name"} <= attributes.keys() <= _PLAYWRIGHT_ROOT


def is_playwright_suite(attributes: Mapping[str, str], classname: str) -> bool:
    """Whether a suite of such a root is Playwright's, whose `hostname` is the project.

    Its suites have just these attributes, and each is a file of JavaScript, which is the class of its tests.
    """
    known = {"name", "hostname"} <= attributes.keys() <= _PLAYWRIGHT_SUITE
    return known and _JAVASCRIPT.search(classname) is not None


_JAVASCRIPT = re.compile(r"\.[cm]?[jt]sx?$")
_PLAYWRIGHT_ROOT = frozenset({"id", "name", "tests", "failures", "skipped", "errors", "time"})
_PLAYWRIGHT_SUITE = frozenset({"name", "timestamp", "hostname", "tests", "failures", "skipped", "time", "errors"})
