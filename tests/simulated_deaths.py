"""Controllers that die in virtual time, and the next one that resumes: machines and GitHub go on as if nothing were.

A death is a place in the journal: a line that is cut, or written as the last thing. What earlier steps asked for was
done; of what that line decided, so many commands are carried out.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from ci_dispatch.core.codec import replace
from ci_dispatch.core.events import RunResumed
from ci_dispatch.core.groups import TestGroup
from ci_dispatch.core.model import (
    ANY_MACHINE,
    AttemptResult,
    Ended,
    LeaseNumber,
    MachineName,
    MachineSpec,
    Test,
    TestId,
    TestResult,
    Verdict,
)
from ci_dispatch.fleets.actions import messages as g
from ci_dispatch.fleets.actions.executor import ActionsExecutor
from ci_dispatch.fleets.actions.fleet import ActionsFleet
from ci_dispatch.fleets.actions.run.dispatch_planner import ActionsPolicy
from ci_dispatch.fleets.actions.run.dispatch_state import restore
from ci_dispatch.fleets.machines.fleet import LeasePolicy, MachineFleet, StartJob
from ci_dispatch.run import messages as m
from ci_dispatch.run.control import RunControl, RunPolicy
from ci_dispatch.run.event_bus import EventBus
from ci_dispatch.run.journal import Journal, loads, replay
from ci_dispatch.run.ports import Fleet
from ci_dispatch.run.state import RunState
from report_merge.failures import UNKNOWN
from tests.simulated_actions import SimulatedActions
from tests.simulation import SimulatedFleet, VirtualClock, World, heard_by, run_started

LIMIT = 50_000.0  # virtual seconds


class ControllerDied(BaseException):
    """kill -9: nothing catches it."""


@dataclass(frozen=True, slots=True)
class Death:
    """A controller's: `line` counts from 0 over the whole journal."""

    line: int
    written: bool = True  # False: only half of the line is there
    commands: int = 0  # of what the line decided, carried out
    pause: float = 1.0  # seconds until the next controller
    lost: int = 0  # lines of the journal's end that the whole computer's crash takes with it


class _Disk(io.BytesIO):
    """The journal's file, which outlives its writers."""

    def __init__(self) -> None:
        super().__init__()
        self.death: Death | None = None
        self.due = False  # the line is written

    @property
    def lines(self) -> list[bytes]:
        """Whole ones."""
        return [line for line in self.getvalue().splitlines(keepends=True) if line.endswith(b"\n")]

    def write(self, line: Any) -> int:
        if self.death is not None and len(self.lines) == self.death.line:
            if not self.death.written:
                super().write(line[: len(line) // 2])
                raise ControllerDied
            self.due = True
        return super().write(line)

    def repair(self, lost: int) -> None:
        """What the next controller finds of it; the first line at least."""
        lines = self.lines
        whole = b"".join(lines[: max(1, len(lines) - lost)])
        self.seek(0)
        self.truncate()
        super().write(whole)


class _Machines(SimulatedFleet):
    """Machines whose jobs go on without a controller, until their leases end."""

    def __init__(
        self, machines: Sequence[MachineSpec], world: World, clock: VirtualClock, heard: Any, lease: float
    ) -> None:
        super().__init__(machines, world, clock, heard)
        self._lease = lease
        self._jobs: dict[LeaseNumber, list[tuple[float, m.Message]]] = {}  # what each tells when, and when it ends
        self._left_alone: float | None = None  # since when

    def later(self, seconds: float, message: m.Message) -> None:
        number = getattr(message, "lease", None)
        if number is not None:
            self._jobs.setdefault(number, []).append((self.clock.at + seconds, message))
        super().later(seconds, message)

    @property
    def last_lease(self) -> LeaseNumber:
        """As the folders of attempts tell it."""
        return max(self._jobs, default=LeaseNumber(0))

    def left_alone(self) -> None:
        """Nobody hears what is on its way, and nobody renews a lease."""
        self._queue.clear()
        self._left_alone = self.clock.at

    def _interrupt(self, number: LeaseNumber) -> None:
        self._jobs[number] = [(at, message) for at, message in self._jobs[number] if at <= self.clock.at]
        super()._interrupt(number)

    def _run(self, start: StartJob) -> None:
        told = self._jobs.pop(start.lease.number, None)
        if told is None:
            super()._run(start)
            return
        assert self._left_alone is not None, "a lease number was given twice"
        assert {line.message.result.test for line in map(_Told, told) if isinstance(line.message, m.Reported)} <= {
            test.id for test in start.tests
        }, "a lease number was given to other tests"
        over = self._left_alone + self._lease
        for at, message in sorted(told, key=lambda pair: pair[0]):
            ended = message
            if at > over and self.clock.at > over:
                if not isinstance(message, m.LeaseEnded):
                    continue
                ended = m.LeaseEnded(start.lease.number, _lease_ended(start.tests, told, over))
            self.later(max(0.1, at - self.clock.at) if ended is message else 0.1, ended)


@dataclass(frozen=True, slots=True)
class _Told:
    pair: tuple[float, m.Message]

    @property
    def message(self) -> m.Message:
        return self.pair[1]


def _lease_ended(tests: Sequence[Test], told: Sequence[tuple[float, m.Message]], over: float) -> AttemptResult:
    """What a machine says of a job that it ended because nobody renewed its lease."""
    done = {
        message.result.test: message.result for at, message in told if isinstance(message, m.Reported) and at <= over
    }
    missing = [test.id for test in tests if test.id not in done]
    why = "nobody renewed the lease"
    lines = [done.get(test.id) or TestResult(test=test.id, verdict=Verdict.NOT_RUN, reason=why) for test in tests]
    return AttemptResult(ended=Ended.LEASE_ENDED, reason=why, results=tuple(lines), suspects=tuple(missing[:1]))


class _Actions(SimulatedActions):
    """GitHub, and the file of dispatches beside the journal."""

    saved: tuple[g.SavedDispatch, ...] = ()

    def carry_out(self, command: m.Command) -> None:
        if isinstance(command, g.SaveDispatches):
            self.saved = command.dispatches
        super().carry_out(command)


class MortalRun:
    """A run over machines, through GitHub or both, whose controllers die at the given places."""

    def __init__(
        self,
        tests: Sequence[Test],
        world: World,
        *,
        over_ssh: Sequence[MachineSpec] = (),
        through_github: Sequence[MachineSpec] = (),
        policy: RunPolicy,
        leases: LeasePolicy,
        actions: ActionsPolicy,
        groups: Sequence[TestGroup] = (),
        left_out: Mapping[MachineName, str] | None = None,
        target_time: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.clock, self.disk, self.state = VirtualClock(), _Disk(), RunState()
        self._tests, self._world, self._seed = tests, world, seed
        self._ssh, self._pool = tuple(over_ssh), tuple(through_github)
        self._policy, self._leases, self._actions, self._groups = policy, leases, actions, tuple(groups)
        self._left_out, self._target_time = left_out or {}, target_time

        def heard(test: TestId) -> int:
            return heard_by(self.state)(test)

        self._controllers = 1
        self._machines = _Machines([*over_ssh, *through_github], world, self.clock, heard, leases.lease)
        self.github = _Actions(through_github, world, self.clock, self._machines.later, heard, seed=seed)

    def run(self, deaths: Sequence[Death] = ()) -> RunState:
        """To the end, over as many controllers as it takes. Raises AssertionError when it does not end."""
        for death in deaths:
            self.disk.death, self.disk.due = death, False
            try:
                self._drive()
            except ControllerDied:
                self._machines.left_alone()
                self.clock.at += death.pause
                self.disk.repair(death.lost)
            else:
                return self.state
        self.disk.death, self.disk.due = None, False
        self._drive()
        return self.state

    def _drive(self) -> None:
        self.state = state = RunState()
        replay(map(loads, self.disk.lines), state)
        bus = EventBus(state, self.clock, [], Journal(self.disk))
        if state.finished is not None:
            return
        if state.started is None:
            pool = (MachineSpec(name=ANY_MACHINE),) if self._pool else ()
            machines = [*self._ssh, *self._pool, *pool]
            started = run_started(self._tests, machines, self._world.seconds, self._groups)
            bus.publish(replace(started, left_out=self._left_out, target_time=self._target_time))
        else:
            self._controllers += 1
            resumed = RunResumed(
                controller="the next", epoch=f"c{self._controllers}", last_lease=self._machines.last_lease
            )
            bus.publish(resumed)
        self._die_when_due()
        control = RunControl(
            state,
            bus.publish,
            fleets=self._fleets(state),
            policy=self._policy,
            classify=lambda _line: UNKNOWN,
            random=Random(self._seed),
        )
        with bus.step():
            commands = control.begin(self.clock.now())
        begun = ticked = self.clock.at
        while True:
            self._carry_out(commands)
            if control.done(self.clock.now()):
                return
            message = self._machines.next_message(1.0)
            with bus.step():
                commands = control.step(message, self.clock.now())
                if self.clock.at >= ticked + 1.0 and not control.finished:
                    ticked = self.clock.at
                    commands += control.step(m.Tick(), self.clock.now())
            assert self.clock.at - begun < LIMIT, "the run does not end"

    def _fleets(self, state: RunState) -> list[Fleet]:
        fleets: list[Fleet] = []
        if self._ssh:
            fleets.append(MachineFleet(state, [machine.name for machine in self._ssh], self._leases))
        if self._pool:
            names = [*(machine.name for machine in self._pool), ANY_MACHINE]
            restored = restore(self.github.saved, state.ledger, self.clock.now())
            fleets.append(ActionsFleet(state, names, self._actions, restored=restored))
        return fleets

    def _carry_out(self, commands: Sequence[m.Command]) -> None:
        left = self.disk.death.commands if self.disk.death is not None and self.disk.due else len(commands)
        for command in commands[:left]:
            executor = self.github if isinstance(command, ActionsExecutor.takes) else self._machines
            executor.carry_out(command)
        self._die_when_due()

    def _die_when_due(self) -> None:
        if self.disk.due:
            raise ControllerDied


def truths(state: RunState) -> Mapping[TestId, Verdict | None]:
    return {test: record.verdict for test, record in state.ledger.records.items()}
