"""The output of a run's attempts, read from its folder; the journal says which attempt ran where.

So it can be read while another process drives the run, and after its controller died.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from ci_dispatch.core.errors import UsageError, did_you_mean
from ci_dispatch.core.model import LeaseNumber, MachineName, TestId
from ci_dispatch.reporters.counts import clock, name_of
from ci_dispatch.run.ledger import AttemptRecord
from ci_dispatch.run.run_folder import RunFolder
from ci_dispatch.run.state import RunState
from report_merge.render.escape import terminal
from report_merge.render.wording import count
from report_merge.sanitize import one_line

_PIECE = 64 * 1024  # bytes read at once; a line longer than this is shown in pieces


def chosen(state: RunState, machine: str, test: str) -> list[LeaseNumber]:
    """The attempts on a machine that ran a test (its id, or a piece of its name), in the order of their leases."""
    wanted = set(tests_called(state, test)) if test else set()
    return [
        number
        for number, attempt in state.ledger.attempts.items()
        if (not machine or attempt.lease.machine == machine)
        and (not test or wanted.intersection(attempt.lease.shard.tests))
    ]


def check(state: RunState, machine: str, test: str) -> None:
    """Raises UsageError for a machine or a test that the run does not know."""
    if machine and MachineName(machine) not in state.machines:
        raise UsageError(
            f"No machine of this run is called {machine}", hint=f"one of: {', '.join(state.machines) or 'none'}"
        )
    if test and not tests_called(state, test):
        names = {name_of(state, known): known for known in state.ledger.records}
        meant = did_you_mean(test, [*names, *state.ledger.records], cutoff=0.5)
        raise UsageError(f"No test of this run is called {test}", hint=meant)


def tests_called(state: RunState, test: str) -> list[TestId]:
    """The tests with this id, else those with this piece in their name."""
    if TestId(test) in state.ledger.records:
        return [TestId(test)]
    return [known for known in state.ledger.records if test in name_of(state, known)]


def heading(number: LeaseNumber, attempt: AttemptRecord) -> str:
    """`== attempt 3: head-3 on moruk, 24 tests, exited with code 1 after 1:42 ==`."""
    shard, result = attempt.lease.shard, attempt.result
    parts = [f"{one_line(shard.id)} on {one_line(attempt.lease.machine)}", count(len(shard.tests), "test")]
    if result is None:
        parts.append("still running" if attempt.started else "not started")
    else:
        code = f" with code {result.exit_code}" if result.exit_code is not None else ""
        begun = attempt.started or attempt.lease.granted
        parts.append(f"{result.ended}{code} after {clock((attempt.ended or begun) - begun)}")
    return f"== attempt {number}: {', '.join(parts)} =="


class OutputReader:
    """The lines of one attempt's output that are new since the last call, safe to print."""

    def __init__(self, folder: RunFolder, number: LeaseNumber) -> None:
        self._file = folder.attempts / str(number) / "output.log"
        self._offset = 0

    def lines(self, *, over: bool) -> Iterator[str]:
        """Whole lines; with `over` also a last one without an end. No file yet is no line."""
        try:
            stream = self._file.open("rb")
        except OSError:
            return
        with stream:
            stream.seek(self._offset)
            yield from self._read(stream, over=over)

    def _read(self, stream: IO[bytes], *, over: bool) -> Iterator[str]:
        while line := stream.readline(_PIECE):
            if not line.endswith(b"\n") and len(line) < _PIECE and not over:
                return
            self._offset += len(line)
            yield terminal(line.decode("utf-8", "replace").rstrip("\r\n")).replace("\n", " ")
