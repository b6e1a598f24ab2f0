"""The numbers that every reporter shows, read from a `RunState`, and the few words and formats they share."""

from __future__ import annotations

from dataclasses import dataclass

from ci_dispatch.core.model import Test, TestId, TestResult, Verdict
from ci_dispatch.run.state import MachineState, RunState
from report_merge.render.wording import title
from report_merge.sanitize import one_line


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCounts:
    """How far a run is: verdicts, and the results so far of tests that have none yet."""

    total: int
    decided: int  # with a verdict; a result of a running attempt may still be retried
    passed: int
    failed: int  # those that are tried again included, until a later try says something else
    retrying: int  # how many of the failed ones wait for their next try, or are in it
    flaky: int
    skipped: int
    not_run: int  # decided without having run: never done

    @property
    def done(self) -> int:
        return self.passed + self.failed + self.flaky + self.skipped

    @property
    def percent(self) -> int:
        """Of tests that ran, rounded down; 100 means that all of them did and have their verdict."""
        if not self.total:
            return 0
        most = 100 if self.decided == self.total else 99
        return min(most, 100 * self.done // self.total)


def run_counts(state: RunState) -> RunCounts:
    """The counts of `state`.

    A test belongs to at most one running attempt and has no verdict before that ends, so nothing is counted twice.
    """
    seen = state.verdicts.copy()
    for machine in state.machines.values():
        seen.update(machine.live)
    retrying = _retrying(state)
    return RunCounts(
        total=state.total,
        decided=state.decided,
        passed=seen[Verdict.PASSED],
        failed=seen[Verdict.FAILED] + retrying,
        retrying=retrying,
        flaky=seen[Verdict.FLAKY],
        skipped=seen[Verdict.SKIPPED],
        not_run=seen[Verdict.NOT_RUN],
    )


def _retrying(state: RunState) -> int:
    """Tests whose last execution failed, and of whose next one nothing has been heard."""
    ledger = state.ledger
    leased = (t for n, lease in ledger.active.items() for t in lease.shard.tests if t not in ledger.attempts[n].live)
    histories = (ledger.records[test].history for test in (*ledger.pending, *leased))
    return sum(1 for history in histories if history and history[-1][2].verdict is Verdict.FAILED)


def failed_on(machine: MachineState) -> int:
    """Results that failed on this machine, running attempts included."""
    return machine.verdicts[Verdict.FAILED] + machine.live[Verdict.FAILED]


def working_seconds(machine: MachineState, now: float) -> float:
    """Wall time from this machine's first work to its last, or to now while it has work."""
    if machine.first_work is None:
        return 0.0
    end = now if machine.leases else machine.last_end or machine.first_work
    return max(0.0, end - machine.first_work)


def test_name(test: Test) -> str:
    """A test as every report calls it, on one line: `cart.spec.ts › applies discount [desktop]`."""
    return one_line(title(test.key))


def name_of(state: RunState, test: TestId) -> str:
    """The name of a test of this run; its id when the run does not know it."""
    record = state.ledger.records.get(test)
    return test_name(record.test) if record else one_line(test)


def what_failed(result: TestResult, limit: int = 200) -> str:
    """What went wrong in one line: the first lines of the message, with its type once.

    Three lines, because the first one alone often names the assertion and neither what was expected nor received.
    """
    lines = [line.strip() for line in result.message.splitlines() if line.strip()]
    message = one_line(" · ".join(lines[:3]), limit)
    kind = one_line(result.kind, 80)
    return message if not kind or message.startswith(kind) else f"{kind}: {message}" if message else kind


def clock(seconds: float) -> str:
    """`0:48`, `12:05`, `1:02:33`."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
