"""What `ci-dispatch explain` says of each machine and of the tests that had the most trouble, byte for byte."""

from __future__ import annotations

from collections.abc import Callable

from ci_dispatch.core.events import TRANSIENT
from ci_dispatch.reporters.explanation import of_machine, of_test
from ci_dispatch.run.state import RunState
from tests.recorded_runs import recorded


def test_a_troubled_run(golden: Callable[[str, str], None]) -> None:
    events = [stamped for stamped in recorded("troubled") if not isinstance(stamped.event, TRANSIENT)]
    state = RunState()
    for stamped in events:
        state.apply(stamped)
    trouble = sorted(state.ledger.records.values(), key=lambda each: (-len(each.history), each.test.id))[:5]
    lines: list[str] = []
    for name in state.machines:
        lines += [*of_machine(events, name), ""]
    for record in trouble:
        lines += [*of_test(events, record.test.id), ""]
    golden("explain-troubled.txt", "\n".join(lines))
