"""Machines that a plan left out: they get work as soon as another is in trouble, or the run takes longer than it may.

Once called they stay. All come at once: what they cost is less than a run that is late, or a machine that nobody
replaces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ci_dispatch.core.model import ANY_MACHINE
from ci_dispatch.run.state import MachineState, RunState

Lacking = Callable[[Iterable[MachineState]], Sequence[str]]

LOOKS = 5.0  # seconds between two looks at how far the run is: that of ten thousand tests takes its time
TELLING = 0.25  # of the work that is done, from which on its pace says something


class Reserves:
    """Which machines wait; asked with every step."""

    def __init__(self, state: RunState) -> None:
        self._state = state
        left_out = state.started.left_out if state.started else {}
        mine = (machine for machine in state.machines.values() if machine.spec.name in left_out)
        self._called = any(machine.first_work is not None for machine in mine)  # by an earlier controller
        self._looked = float("-inf")

    def waits(self, machine: MachineState) -> bool:
        started = self._state.started
        return not self._called and started is not None and machine.spec.name in started.left_out

    def call(self, now: float, lacking: Lacking) -> str:
        """Why they are needed from now on, in the moment in which they are; else an empty string.

        `lacking`: the labels that tests need and none of these machines has.
        """
        started = self._state.started
        if self._called or started is None or not started.left_out:
            return ""
        machines = [machine for name, machine in self._state.machines.items() if name != ANY_MACHINE]
        others = [machine for machine in machines if not self.waits(machine)]
        why = self._trouble(others) or self._late(now)
        if not why and (labels := lacking(others)):
            why = f"no other machine has {', '.join(labels)}"
        self._called = bool(why)
        names = ", ".join(started.left_out)
        return f"{names} join{'s' if len(started.left_out) == 1 else ''} the run: {why}" if why else ""

    @staticmethod
    def _trouble(others: Iterable[MachineState]) -> str:
        sick = next((machine for machine in others if not machine.usable or machine.losses), None)
        return f"{sick.spec.name} is in trouble ({sick.why_unusable or 'it was lost before'})" if sick else ""

    def _late(self, now: float) -> str:
        state, started = self._state, self._state.started
        if started is None or not started.target_time or now - self._looked < LOOKS:
            return ""
        self._looked = now
        gone = now - state.started_at - state.unattended
        end = self._expected_end(gone, now)
        if end <= started.target_time:
            return ""
        return f"it is expected to take {end:.0f} s, and {started.target_time:g} s is the target"

    def _expected_end(self, gone: float, now: float) -> float:
        """Seconds after the beginning, by the pace of the work until now; `gone` while that says nothing yet."""
        state = self._state
        expected = state.started.expected_seconds if state.started else {}
        began = min((a.started for a in state.ledger.attempts.values() if a.started is not None), default=now)
        told = {test for number in state.ledger.active for test in state.ledger.attempts[number].live}
        done = left = 0.0
        for test, record in state.ledger.records.items():
            if record.verdict is not None or test in told:
                done += expected.get(test, 1.0)
            else:
                left += expected.get(test, 1.0)
        return gone + (now - began) * left / done if done > TELLING * (done + left) else gone
