"""Events as lines that stay: failures at once, machines that come and go, warnings, followed output."""

from __future__ import annotations

from ci_dispatch.core.events import (
    AttemptFinished,
    AttemptOutput,
    Event,
    Interrupted,
    MachineChecked,
    MachineLost,
    MachineQuarantined,
    MachineReleased,
    RunResumed,
    RunStarted,
    Stamped,
    TestFinished,
    VerdictReached,
    Warned,
)
from ci_dispatch.core.model import Ended, FailureCause, LeaseNumber, MachineName, TestResult, Verdict
from ci_dispatch.reporters.counts import clock, name_of, what_failed
from ci_dispatch.reporters.terminal.cells import Glyphs, Line, Style
from ci_dispatch.run.ledger import TestRecord
from ci_dispatch.run.run_report import fails_without_attempt
from ci_dispatch.run.state import RunState
from report_merge.render.escape import terminal
from report_merge.render.wording import count
from report_merge.sanitize import one_line

_LINE_LIMIT = 4096  # characters of a followed line
_WHY_ENDED = {  # where the attempt itself gives no reason
    Ended.TIMED_OUT: "it took longer than --shard-timeout allows",
    Ended.LEASE_ENDED: "its lease ended, for no controller renewed it",
    Ended.LOST: "the machine cannot be reached, or does not know the job any more",
}


class LogLines:
    """The permanent lines of a run, event by event.

    It remembers what no state holds: each machine's health as last shown, and the unfinished line of a followed output.
    """

    def __init__(self, glyphs: Glyphs, follow: str = "") -> None:
        self._glyphs = glyphs
        self._follow = follow
        self._healthy: dict[MachineName, bool] = {}  # as last shown
        self._partial: dict[LeaseNumber, str] = {}

    def lines(self, stamped: Stamped, state: RunState) -> list[Line]:
        """The lines for one event, with the state after it."""
        match stamped.event:
            case TestFinished() | AttemptFinished() | VerdictReached() as event:
                return self._tests(event, state)
            case MachineChecked() | MachineLost() | MachineQuarantined() | MachineReleased() as event:
                return self._machine(event, state)
            case AttemptOutput() as event:
                return self._output(event, state)
            case event:
                return self._run(event)

    def _run(self, event: Event) -> list[Line]:
        match event:
            case RunStarted():
                return [_started(event)]
            case RunResumed(controller=controller):
                return [((f"resumed by {one_line(controller)}", Style.BOLD),)]
            case Interrupted():
                return [self._warning("interrupted: what runs is ended and reported; interrupt again to stop at once")]
            case Warned(source=source, text=text):
                return [self._warning(f"{one_line(source)}: {one_line(text, 500)}")]
            case _:
                return []

    def _warning(self, text: str, style: Style = Style.WARN) -> Line:
        return ((f"{self._glyphs.warning} ", style), (text, Style.PLAIN))

    # -- tests ------------------------------------------------------------------------------------------------------

    def _tests(self, event: TestFinished | AttemptFinished | VerdictReached, state: RunState) -> list[Line]:
        match event:
            case TestFinished(lease=lease, result=result) if result.verdict is Verdict.FAILED:
                return [self._failure(result, state.ledger.attempts[lease].lease.machine, state)]
            case AttemptFinished():
                return self._attempt_finished(event, state)
            case VerdictReached(test=test, verdict=Verdict.FLAKY):
                return [self._flaky(state.ledger.records[test], state)]
            case VerdictReached(test=test, verdict=Verdict.FAILED):
                return self._silent_failure(state.ledger.records[test], state)
            case _:
                return []

    def _failure(self, result: TestResult, machine: MachineName, state: RunState) -> Line:
        record = state.ledger.records.get(result.test)
        before = sum(1 for _, _, earlier in record.history if earlier is not result) if record else 0
        attempt = f" (attempt {before + 1})" if before else ""
        took = f"  {result.seconds:.1f}s" if result.seconds is not None else ""
        return (
            (f"{self._glyphs.failed}", Style.BAD),
            (f"{'' if self._glyphs.failed.endswith(' ') else ' '}{one_line(machine)}  ", Style.DIM),
            (name_of(state, result.test), Style.BOLD),
            (f"{attempt}{took}  ", Style.DIM),
            (what_failed(result), Style.PLAIN),
        )

    def _silent_failure(self, record: TestRecord, state: RunState) -> list[Line]:
        """A failure that no attempt told and no line has shown yet: the test took its runner down."""
        if not fails_without_attempt(record):
            return []
        sign = self._glyphs.failed
        name = name_of(state, record.test.id)
        return [((sign if sign.endswith(" ") else sign + " ", Style.BAD), (name, Style.BOLD),
                 (f"  {one_line(record.reason, 500)}", Style.PLAIN))]  # fmt: skip

    def _flaky(self, record: TestRecord, state: RunState) -> Line:
        tries = ", ".join(f"{result.verdict} on {one_line(machine)}" for _, machine, result in record.history)
        sign = self._glyphs.flaky
        return (
            (sign if sign.endswith(" ") else sign + " ", Style.WARN),
            (name_of(state, record.test.id), Style.PLAIN),
            (f"  flaky: {tries}", Style.DIM),
        )

    def _attempt_finished(self, event: AttemptFinished, state: RunState) -> list[Line]:
        """Failures that were not shown while it ran, then why the attempt as a whole went wrong."""
        lines = self._flush(event)
        if event.stale:
            return lines
        live = state.ledger.attempts[event.lease].live
        for result in event.result.results:
            shown = result.test in live and live[result.test].verdict is Verdict.FAILED
            if result.verdict is Verdict.FAILED and not shown:
                lines.append(self._failure(result, event.machine, state))
        attempt = event.result
        shown_lost = attempt.cause is FailureCause.MACHINE and state.machines[event.machine].lost
        trouble = attempt.cause is not FailureCause.NONE or attempt.ended in _WHY_ENDED
        if trouble and not shown_lost:
            lines.append(self._cause(event, state))
        return lines

    def _cause(self, event: AttemptFinished, state: RunState) -> Line:
        shard, result = one_line(state.ledger.attempts[event.lease].lease.shard.id), event.result
        reason = one_line(result.reason) or _WHY_ENDED.get(result.ended, "")
        text = (
            f"{one_line(event.machine)}: shard {shard}, {result.cause or result.ended}{': ' if reason else ''}{reason}"
        )
        left = sum(one.verdict is Verdict.NOT_RUN for one in result.results)
        return self._warning(text + (f"; {count(left, 'test')} to run again or elsewhere" if left else ""))

    # -- machines ---------------------------------------------------------------------------------------------------

    def _machine(
        self, event: MachineChecked | MachineLost | MachineQuarantined | MachineReleased, state: RunState
    ) -> list[Line]:
        name = one_line(event.machine)
        match event:
            case MachineLost(reason=reason):
                self._healthy[event.machine] = False
                held = sum(len(lease.shard.tests) for lease in state.ledger.of_machine(event.machine))
                goes = f"; {count(held, 'test')} to run elsewhere" if held else ""
                return [self._warning(f"{name} lost: {one_line(reason)}{goes}", Style.BAD)]
            case MachineQuarantined(reason=reason):
                return [self._warning(f"{name} quarantined, gets no more work: {one_line(reason)}", Style.BAD)]
            case MachineReleased():
                return [((f"{name} gets work again: what it had under way went well", Style.GOOD),)]
            case MachineChecked():
                return self._checked(event, state)

    def _checked(self, event: MachineChecked, state: RunState) -> list[Line]:
        name, first = one_line(event.machine), event.machine not in self._healthy
        before, self._healthy[event.machine] = self._healthy.get(event.machine, True), event.healthy
        if first and event.healthy and event.problems and not state.resumed:  # later it may be our own load
            return [self._warning(f"{name}: {one_line('; '.join(event.problems))}")]
        if before == event.healthy:
            return []
        if event.healthy:
            return [((f"{name} is back", Style.GOOD),)]
        why = one_line(state.machines[event.machine].why_unusable)
        return [self._warning(f"{name} unhealthy, gets no work: {why}", Style.BAD)]

    # -- followed output --------------------------------------------------------------------------------------------

    def _output(self, event: AttemptOutput, state: RunState) -> list[Line]:
        if not follows(self._follow, event, state):
            return []
        *whole, rest = (self._partial.pop(event.lease, "") + event.text).split("\n")
        if len(rest) > _LINE_LIMIT:
            whole, rest = [*whole, rest], ""
        if rest:
            self._partial[event.lease] = rest
        return [self._followed(event.machine, text) for text in whole]

    def _flush(self, event: AttemptFinished) -> list[Line]:
        rest = self._partial.pop(event.lease, "")
        return [self._followed(event.machine, rest)] if rest else []

    def _followed(self, machine: MachineName, text: str) -> Line:
        shown = terminal(text[:_LINE_LIMIT].rstrip())  # as it was indented, tabs as spaces
        return ((f"{one_line(machine)} {self._glyphs.rule} ", Style.DIM), (shown.replace("\n", " "), Style.PLAIN))


def follows(target: str, event: AttemptOutput, state: RunState) -> bool:
    """Whether `target` (a machine, a test's id, or a piece of a test's name) means this output."""
    if not target:
        return False
    if target == event.machine:
        return True
    attempt = state.ledger.attempts.get(event.lease)
    tests = attempt.lease.shard.tests if attempt else ()
    return target in tests or (target not in state.machines and any(target in name_of(state, test) for test in tests))


def _started(event: RunStarted) -> Line:
    tests, machines = count(len(event.tests), "test"), count(len(event.machines), "machine")
    plan = f", planned {clock(event.planned)}" if event.planned else ""
    title = one_line(event.title) or one_line(event.runner)
    return ((title, Style.BOLD), (f": {tests} on {machines}{plan}, run {one_line(event.run)}", Style.DIM))
