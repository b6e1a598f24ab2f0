"""What a fleet knows of the runners on its machines, by what became of its jobs. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from ci_dispatch.core.model import ANY_MACHINE, MachineName
from ci_dispatch.fleets.actions.rest.models import runner_is
from ci_dispatch.fleets.actions.run.job_outcome import JobOutcome
from ci_dispatch.fleets.actions.run.queue_waits import QueueWaits, Wait
from ci_dispatch.fleets.actions.run.workflow_run import ShardJob, WorkflowRun
from ci_dispatch.run.state import RunState

UNREACHABLE_CHECKS = 3  # failed checks in a row, until a machine that holds shards counts as lost


class Runners:
    """Of the machines of one fleet; seconds since the epoch."""

    def __init__(self, state: RunState, machines: Collection[MachineName], queue_timeout: float) -> None:
        self._state, self._machines = state, frozenset(machines)
        self.silent: set[MachineName] = set()  # healthy or not, their runners do not take our jobs
        self._waits = QueueWaits(queue_timeout)
        self._unreachable: dict[MachineName, int] = {}

    def gone(self, name: MachineName, *, reachable: bool) -> bool:
        """After a health check: whether the machine has answered none for too long, and nobody knows it yet."""
        self._unreachable[name] = 0 if reachable else self._unreachable.get(name, 0) + 1
        return self._unreachable[name] >= UNREACHABLE_CHECKS and not self._state.machines[name].lost

    def named(self, runner: str) -> MachineName:
        """The machine a runner belongs to, by its name; an unknown one is just "the pool"."""
        names = (name for name in self._state.machines if name != ANY_MACHINE)
        return next((name for name in names if runner_is(runner, name)), ANY_MACHINE)

    def usable(self, job: ShardJob) -> bool:
        """Whether the machine of a job may get work."""
        machine = self._state.machines.get(job.job.machine)
        return job.job.machine == ANY_MACHINE or (machine is not None and machine.usable)

    def machine_of(self, job: ShardJob) -> MachineName:
        return job.job.machine if job.lease is None else self._state.ledger.attempts[job.lease].lease.machine

    def idle_since(self, runs: Sequence[WorkflowRun], now: float) -> Callable[[MachineName], float]:
        """When each machine last did something for us, in any run; the shared queue, when any machine did."""
        since: dict[MachineName, float] = {}
        for run in runs:
            for job in run.jobs.values():
                running = job.outcome is JobOutcome.RUNNING and not job.settled
                for name in (job.job.machine, self.machine_of(job), ANY_MACHINE):
                    since[name] = max(since.get(name, 0.0), now if running else job.changed)
        return lambda name: since.get(name, 0.0)

    def saw(self, busy: Collection[str], now: float) -> None:
        """The names of runners that work for other runs of the repository now."""
        self._waits.saw({self.named(runner) for runner in busy}, now)

    def wait(self, job: ShardJob, seconds: float, runs: Sequence[WorkflowRun], now: float) -> Wait | None:
        """What becomes of a job that no runner took for so long; None: it goes on, and that was said."""
        machine = self.machine_of(job)
        others = self._machines - self.silent - {machine, ANY_MACHINE}
        demands = [self._state.constraints.of(test) for test in job.job.shard.tests]
        if any(demand.place for demand in demands):
            others = frozenset()
        queued = (each for run in runs for each in run.open_jobs if each.started is None)
        wait = self._waits.decide(
            machine,
            now - seconds,
            now,
            others=[
                name
                for name in others
                if self._state.machines[name].usable
                and all(demand.needs <= self._state.machines[name].spec.offers for demand in demands)
            ],
            waiting={each.job.machine for each in queued},
            worked=self.idle_since(runs, now),
        )
        if wait is Wait.GO_ON:
            return None if machine in self._waits.told else self._tell(machine)
        return wait

    def _tell(self, machine: MachineName) -> Wait:
        self._waits.told.add(machine)
        return Wait.GO_ON
