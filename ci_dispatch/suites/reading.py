"""Puts an attempt together: what the runner told, how it ended, and a reason for every test without news. Pure.

No source is believed alone: a JUnit file can be empty, cut or full of skips that never ran; exit code 0 can mean that
nothing was selected; a reporter's last line can be missing. Every expected test gets exactly one result.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence

from ci_dispatch.core.codec import replace
from ci_dispatch.core.model import Ended, FailureCause, Test, TestId, TestResult, Verdict
from ci_dispatch.run.ports import AttemptReading, JobEnd
from ci_dispatch.suites.live import News
from report_merge.plain import one_line

NOT_FOUND = {
    126: FailureCause.SETUP,
    127: FailureCause.SETUP,
}  # a missing program, by the shell and our launchers


def assemble(
    tests: Sequence[Test], news: News, end: JobEnd, *, note: str = "", exits: Mapping[int, FailureCause] | None = None
) -> AttemptReading:
    """One result for each of `tests`. `note` helps a person to see why some have none, `exits` are its exit codes."""
    trouble, reason = _trouble(tests, news, end, note, {**NOT_FOUND, **(exits or {})})
    why = reason or end.reason or _with(note, _how(end))
    results = tuple(news.ended.get(test.id) or _not_run(test, news, why) for test in tests)
    if _complains(tests, news, end):
        results = tuple(_doubted(result, why) for result in results)
    return AttemptReading(
        results=results,
        cause=trouble,
        reason=reason,
        suspects=_suspects(tests, news, end, trouble),
        unexpected=_unexpected(tests, news),
    )


def _not_run(test: Test, news: News, why: str) -> TestResult:
    if news.planned is not None and test.id not in news.planned:
        why = "it was listed, but the runner does not know it: deleted or renamed since, or another configuration there"
    elif test.id in news.begun:
        why = f"it had begun when {why}"
    return TestResult(test=test.id, verdict=Verdict.NOT_RUN, reason=why)


def _told(tests: Sequence[Test], news: News) -> set[Verdict]:
    """What the runner said about the tests and about what it runs beside them in every invocation."""
    ids = {test.id for test in tests} | news.helpers
    return {result.verdict for test, result in news.ended.items() if test in ids}


def _silent(tests: Sequence[Test], news: News) -> list[Test]:
    """Tests the runner knew and said nothing about."""
    return [test for test in tests if test.id not in news.ended and test.id in (news.planned or {test.id})]


def _complains(tests: Sequence[Test], news: News, end: JobEnd) -> bool:
    """Whether the runner says that something failed and none of its tests explains it: a hook, a worker, a plugin."""
    if end.ended is not Ended.EXITED or not end.exit_code:
        return False
    if news.problems:  # a file that cannot be loaded explains the exit code and says nothing about the others
        return any(problem.trouble is FailureCause.CRASH for problem in news.problems)
    return not _silent(tests, news) and _told(tests, news) <= {Verdict.PASSED, Verdict.SKIPPED}


def _doubted(result: TestResult, why: str) -> TestResult:
    """A pass that its own runner does not vouch for: run again, it must not make a run green."""
    if result.verdict is not Verdict.PASSED:
        return result
    return replace(result, verdict=Verdict.NOT_RUN, reason=f"it passed, but {why}")


def _trouble(
    tests: Sequence[Test], news: News, end: JobEnd, note: str, exits: Mapping[int, FailureCause]
) -> tuple[FailureCause, str]:
    """What stood in the way of the attempt as a whole, when the runner ended by itself."""
    code = end.exit_code or 0
    if end.ended is not Ended.EXITED:
        return FailureCause.NONE, ""
    if news.problems:
        problem = news.problems[0]
        return problem.trouble, one_line(problem.message, 1000)
    if end.signal or code > 128:
        return FailureCause.CRASH, _with(note, _how(end))
    if code in exits:
        return exits[code], _with(note, _how(end))
    return _by_its_tests(tests, news, end, note)


def _by_its_tests(tests: Sequence[Test], news: News, end: JobEnd, note: str) -> tuple[FailureCause, str]:
    """What the exit code and the news about the tests say when held against each other."""
    told, silent = _told(tests, news), _silent(tests, news)
    if not any(test.id in news.ended for test in tests):
        return _nothing(tests, news, end, note)
    if silent and end.exit_code:
        return FailureCause.CRASH, _with(note, f"{_how(end)} with {len(silent)} tests to go")
    if end.exit_code and not told & {Verdict.FAILED, Verdict.FLAKY}:
        return FailureCause.CRASH, _with(note, f"{_how(end)} although no test failed")
    return FailureCause.NONE, ""


def _nothing(tests: Sequence[Test], news: News, end: JobEnd, note: str) -> tuple[FailureCause, str]:
    """The runner ended by itself and not one of the tests has news."""
    if news.planned is not None and not news.planned.intersection(test.id for test in tests):
        return (
            FailureCause.LOAD,
            f"the runner knows none of the {len(tests)} tests: deleted or renamed since they were listed?",
        )
    if not end.exit_code:
        return FailureCause.USAGE, _with(note, f"{_how(end)} and reported none of the {len(tests)} tests")
    return FailureCause.CRASH, _with(note, f"{_how(end)} before the first test ended")


def _suspects(tests: Sequence[Test], news: News, end: JobEnd, trouble: FailureCause) -> tuple[TestId, ...]:
    """What was running when a runner or machine died; a cancelled runner did not die of its tests."""
    if end.ended is Ended.CANCELLED or (end.ended is Ended.EXITED and trouble is not FailureCause.CRASH):
        return ()
    return tuple(test.id for test in tests if test.id in news.begun and test.id not in news.ended)


def _unexpected(tests: Sequence[Test], news: News) -> tuple[str, ...]:
    expected = {test.id for test in tests} | news.helpers
    return tuple(news.names.get(test, test) for test in news.ended if test not in expected)


def _how(end: JobEnd) -> str:
    if end.ended is not Ended.EXITED:
        return f"the attempt was {end.ended}"
    number = end.signal or ((end.exit_code or 0) - 128)
    if number > 0:
        return f"the runner was ended by {_signal_name(number)}"
    return f"the runner exited {end.exit_code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _with(note: str, text: str) -> str:
    last = one_line("\n".join(note.strip().splitlines()[-5:]), 500)
    return f"{text}: {last}" if last else text
