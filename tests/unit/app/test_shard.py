"""The exit code of a worker's job: red or incomplete before green, whoever reads the job alone."""

from __future__ import annotations

import pytest

from ci_dispatch.app.shard import exit_code
from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.model import (
    AttemptResult,
    Ended,
    FailureCause,
    Test,
    TestId,
    TestResult,
    UnitId,
    UnlistedResult,
    Verdict,
)

PASSED = TestResult(test=TestId("a"), verdict=Verdict.PASSED)
FAILED = TestResult(test=TestId("x"), verdict=Verdict.FAILED)
UNLISTED = UnlistedResult(test=Test(id=TestId("x"), unit=UnitId("x")), result=FAILED)


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (AttemptResult(ended=Ended.EXITED, results=(PASSED,)), ExitCode.PASSED),
        (AttemptResult(ended=Ended.EXITED, results=(PASSED, FAILED)), ExitCode.TESTS_FAILED),
        (AttemptResult(ended=Ended.EXITED, results=(PASSED,), unlisted=(UNLISTED,)), ExitCode.TESTS_FAILED),
        (AttemptResult(ended=Ended.EXITED, results=(PASSED,), cause=FailureCause.CRASH), ExitCode.INCOMPLETE),
        (AttemptResult(ended=Ended.LOST, results=(PASSED,)), ExitCode.INCOMPLETE),
        (AttemptResult(ended=Ended.CANCELLED, results=(PASSED,)), ExitCode.TERMINATED),
    ],
)
def test_a_job_is_green_only_when_everything_is(result: AttemptResult, code: ExitCode) -> None:
    assert exit_code(result) == code
