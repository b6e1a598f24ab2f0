"""Reads an attempt: what the runner reported, how it ended, and a reason for every test without a result.

No source is trusted alone: a JUnit file can be empty, cut or full of skips that never ran; exit code 0 can mean that
nothing was selected; a reporter's last line can be missing. Every expected test gets exactly one result.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ci_dispatch.core.codec import replace
from ci_dispatch.core.model import Ended, FailureCause, Test, TestId, TestResult, UnitId, UnlistedResult, Verdict
from ci_dispatch.run.ports import AttemptReading, JobEnd
from ci_dispatch.suites.live_events import LiveEvents, RunnerProblem
from report_merge.render.wording import title
from report_merge.sanitize import one_line

OUTPUT_END = 4096  # bytes
NOT_FOUND = {126: FailureCause.SETUP, 127: FailureCause.SETUP}  # a missing program, by the shell and our launchers
SHOWN_SUSPECTS = 3
DESELECTED = "the suite's own configuration deselects it on this machine"


def assemble(
    tests: Sequence[Test],
    events: LiveEvents,
    end: JobEnd,
    *,
    output: str = "",
    exits: Mapping[int, FailureCause] | None = None,
    others: Sequence[UnlistedResult] = (),
) -> AttemptReading:
    """One result for each of `tests`.

    `output` is the end of the runner's output, to be quoted where tests have no result; `exits` says what exit codes of
    this runner mean; `others` are results of tests that nobody asked for, besides those among the events.
    """
    others = (*_others(tests, events), *others)
    cause, reason = _cause(tests, events, end, output, {**NOT_FOUND, **(exits or {})}, others)
    why = reason or end.reason or _quoting(output, _how(end))
    ended = {test_id: result for test_id, result in events.ended.items() if test_id not in events.disturbed}
    results = tuple(ended.get(test.id) or _not_run(test, events, why) for test in tests)
    if _has_unexplained_failure(tests, events, end, others):
        results = tuple(without_pass(result, why) for result in results)
    return AttemptReading(
        results=results,
        cause=cause,
        reason=reason,
        suspects=_suspects(tests, events, end, cause),
        unexpected=tuple(title(other.test.key) for other in others),
        unlisted=tuple(other for other in others if other.result.verdict in (Verdict.FAILED, Verdict.FLAKY)),
    )


def output_end(attempt: Path) -> str:
    """The end of the runner's output, where programs say why they stop; `attempt` is the folder of its files."""
    try:
        with (attempt / "output.log").open("rb") as output:
            output.seek(0, os.SEEK_END)
            output.seek(max(0, output.tell() - OUTPUT_END))
            return output.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def _not_run(test: Test, events: LiveEvents, why: str) -> TestResult:
    if test.id in events.deselected:
        why = DESELECTED
    elif events.planned is not None and test.id not in events.planned:
        problem = next((problem for problem in events.problems if _is_about(problem, test)), None)
        if problem is not None:
            why = one_line(problem.message, 1000)
        elif events.planned or not events.problems:
            why = (
                "it was listed, but the runner does not know it: deleted or renamed since, or another configuration "
                "there"
            )
    elif test.id in events.begun:
        why = f"it had begun when {why}"
    return TestResult(test=test.id, verdict=Verdict.NOT_RUN, reason=why)


def _is_about(problem: RunnerProblem, test: Test) -> bool:
    """Whether the problem is of the test's file or of a folder it is in."""
    return bool(problem.file) and f"{test.file}/".startswith(f"{problem.file}/")


def _reported(tests: Sequence[Test], events: LiveEvents, others: Sequence[UnlistedResult]) -> set[Verdict]:
    """The runner's verdicts: on the tests, on what it runs with them in every invocation, on what nobody asked for."""
    ids = {test.id for test in tests} | events.setup
    told = [result for test, result in events.ended.items() if test in ids]
    return {result.verdict for result in (*told, *(other.result for other in others))}


def _unreported(tests: Sequence[Test], events: LiveEvents) -> list[Test]:
    """Tests the runner knew and reported nothing about."""
    return [test for test in tests if test.id not in events.ended and test.id in (events.planned or {test.id})]


def _has_unexplained_failure(
    tests: Sequence[Test], events: LiveEvents, end: JobEnd, others: Sequence[UnlistedResult]
) -> bool:
    """Whether the runner reports a failure that is none of its tests': of a hook, a worker, a plugin, a teardown."""
    exited = end.ended is Ended.EXITED
    if events.problems:  # a file that cannot be loaded explains the exit code and says nothing about the others
        return exited and any(problem.cause is FailureCause.CRASH for problem in events.problems)
    if not (exited and (end.exit_code or end.signal)) and end.ended is not Ended.TIMED_OUT:
        return False
    fine = {Verdict.PASSED, Verdict.SKIPPED, Verdict.FLAKY} - _failures(events)
    return not _unreported(tests, events) and _reported(tests, events, others) <= fine


def _failures(events: LiveEvents) -> set[Verdict]:
    """What a test has to be to explain that its runner failed."""
    return {Verdict.FAILED, Verdict.FLAKY} if events.flaky_is_failure else {Verdict.FAILED}


def without_pass(result: TestResult, why: str) -> TestResult:
    """A pass is not trusted when its own runner reports a failure: the test runs again and cannot make a run green."""
    if result.verdict is Verdict.FLAKY:
        return replace(result, verdict=Verdict.FAILED, reason=f"it failed, then passed, but {why}")
    if result.verdict is not Verdict.PASSED:
        return result
    return replace(result, verdict=Verdict.NOT_RUN, reason=f"it passed, but {why}")


def _cause(
    tests: Sequence[Test],
    events: LiveEvents,
    end: JobEnd,
    output: str,
    exits: Mapping[int, FailureCause],
    others: Sequence[UnlistedResult],
) -> tuple[FailureCause, str]:
    """What stood in the way of the attempt as a whole, when the runner ended by itself."""
    code = end.exit_code or 0
    if end.ended is not Ended.EXITED:
        return FailureCause.NONE, ""
    if events.problems:
        problem = events.problems[0]
        return problem.cause, one_line(problem.message, 1000)
    left = [test for test in tests if test.id in events.begun and test.id not in events.ended]
    if end.signal or code > 128 or (left and code not in exits):
        return FailureCause.CRASH, _quoting(output, _how(end) + _while(left))
    if code in exits:
        return exits[code], _quoting(output, _how(end))
    return _cause_by_results(tests, events, end, output, others)


def _while(running: Sequence[Test]) -> str:
    """Which tests were running when it happened."""
    names = [title(test.key) for test in running[:SHOWN_SUSPECTS]]
    more = [f"{len(running) - SHOWN_SUSPECTS} more"] if len(running) > SHOWN_SUSPECTS else []
    return f" while it ran {' and '.join(one_line(name, 200) for name in [*names, *more])}" if running else ""


def _cause_by_results(
    tests: Sequence[Test], events: LiveEvents, end: JobEnd, output: str, others: Sequence[UnlistedResult]
) -> tuple[FailureCause, str]:
    """What follows from comparing the exit code with the results."""
    if not any(test.id in events.ended for test in tests):
        return _cause_without_results(tests, events, end, output)
    unreported = _unreported(tests, events)
    if unreported and end.exit_code:
        return FailureCause.CRASH, _quoting(output, f"{_how(end)} with {len(unreported)} tests to go")
    if end.exit_code and not _reported(tests, events, others) & _failures(events):
        return FailureCause.CRASH, _quoting(output, f"{_how(end)} although no test failed")
    return FailureCause.NONE, ""


def _cause_without_results(
    tests: Sequence[Test], events: LiveEvents, end: JobEnd, output: str
) -> tuple[FailureCause, str]:
    if events.planned is not None and not any(test.id in events.planned for test in tests):
        if events.deselected:
            return FailureCause.SETUP, DESELECTED  # another machine may keep them
        return (
            FailureCause.LOAD,
            f"the runner knows none of the {len(tests)} tests: deleted or renamed since they were listed?",
        )
    if not end.exit_code:
        return FailureCause.USAGE, _quoting(output, f"{_how(end)} and reported none of the {len(tests)} tests")
    return FailureCause.CRASH, _quoting(output, f"{_how(end)} before the first test ended")


def _suspects(tests: Sequence[Test], events: LiveEvents, end: JobEnd, cause: FailureCause) -> tuple[TestId, ...]:
    """What was running when a runner or machine failed; a cancelled runner did not fail because of its tests."""
    if end.ended is Ended.CANCELLED or (end.ended is Ended.EXITED and cause is not FailureCause.CRASH):
        return ()
    return tuple(test.id for test in tests if test.id in events.begun and test.id not in events.ended)


def _others(tests: Sequence[Test], events: LiveEvents) -> Iterator[UnlistedResult]:
    """What the runner says of tests that nobody asked for."""
    expected = {test.id for test in tests} | events.setup
    for test_id, result in events.ended.items():
        if test_id not in expected:
            known = (events.planned or {}).get(test_id)
            test = known.as_test() if known else Test(id=test_id, unit=UnitId(test_id), runner_id=test_id)
            yield UnlistedResult(test=test, result=result)


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


def _quoting(output: str, text: str) -> str:
    last = one_line("\n".join(output.strip().splitlines()[-5:]), 500)
    return f"{text}: {last}" if last else text
