"""What is dispatched next: the whole plan at first, later the tests that came back, on machines that may have them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ci_dispatch.core.model import MachineName, MachineSpec, ShardKind, Test, TestId
from ci_dispatch.fleets.actions.run.batches import MAX_INPUTS, Batch, batches
from ci_dispatch.fleets.actions.run.matrix import ANY_MACHINE, MatrixJob, Strategy, matrix_jobs
from ci_dispatch.planning import planner
from ci_dispatch.run.ledger import TestRecord
from ci_dispatch.run.retry import RetryPolicy
from ci_dispatch.run.state import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The numbers a run through GitHub is held to; seconds."""

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    strategy: Strategy = Strategy.MIXED
    head_share: float = planner.HEAD_SHARE_UNKNOWN
    shards: int = 0
    pool: tuple[str, ...] = ("self-hosted",)
    extra: tuple[str, ...] = ()  # arguments for the test runner
    poll_interval: float = 15.0
    queue_timeout: float = 900.0
    shard_timeout: float = 1800.0 + 300.0  # what a worker may take, and what GitHub may take to notice
    check_interval: float = 30.0
    checks: bool = True  # False: --skip-health-checks
    deadline: float = 0.0  # of the whole run; 0: none
    patience: float = 900.0  # without an answer from GitHub
    signal_grace: float = 3.0  # after a signal: the runner gives us 7 s in all
    report_grace: float = 90.0  # after a cancellation, for reports on their way
    give_up_after: float = 300.0  # without any usable machine

    @property
    def timeout_minutes(self) -> int:
        """The worker job's own limit on GitHub."""
        return max(1, round(self.shard_timeout / 60))


class Outgoing:
    """Turns tests that nobody has into batches."""

    def __init__(self, state: RunState, terms: Terms, *, numbers: int = 0) -> None:
        self._state, self._terms = state, terms
        self._sends = numbers  # dispatches so far: part of their ids
        self._shards = 0

    def batches(self, now: float, held: Collection[TestId], silent: Collection[MachineName] = ()) -> list[Batch]:
        """What can be sent now; nothing when no test is ready or no machine usable.

        `silent` machines, whose runners take no jobs, get some only when there is nobody else.
        """
        ready = [entry for entry in self._state.ledger.ready(now) if entry.test.id not in held]
        everybody = self._usable()
        usable = [spec for spec in everybody if spec.name not in silent] or everybody
        if not ready or not usable:
            return []
        first = not self._state.ledger.attempts and not held
        jobs = self._whole_plan(ready, usable) if first else self._again(ready, usable)
        self._shards += len(jobs)
        started = self._state.started
        assert started is not None
        self._sends += 1
        return batches(
            jobs,
            self._tests(ready),
            name=f"{started.run}.{self._sends}",
            timeout_minutes=self._terms.timeout_minutes,
            extra=self._terms.extra,
            max_inputs=MAX_INPUTS,
        )

    def _usable(self) -> list[MachineSpec]:
        machines = (machine for name, machine in self._state.machines.items() if name != ANY_MACHINE)
        usable = [machine.spec for machine in machines if machine.usable]
        return sorted(usable, key=lambda spec: (-spec.power, spec.name))

    def _whole_plan(self, ready: Sequence[TestRecord], usable: Sequence[MachineSpec]) -> list[MatrixJob]:
        terms = self._terms
        return matrix_jobs(
            planner.units_of((entry.test for entry in ready), self._expected),
            usable,
            strategy=terms.strategy,
            pool=terms.pool,
            head_share=terms.head_share,
            shards=terms.shards,
        )

    def _again(self, ready: Sequence[TestRecord], usable: Sequence[MachineSpec]) -> list[MatrixJob]:
        """Tests that came back, by where they may not go; a suspect gets a job of its own."""
        strategy = Strategy.POOLED if self._terms.strategy is Strategy.POOLED else Strategy.PINNED
        groups: dict[tuple[MachineName | None, str, ShardKind], list[Test]] = {}
        for entry in ready:
            kind = ShardKind.RETRY if entry.retries else ShardKind.REASSIGNED
            key = (entry.avoid_machine, entry.test.unit if entry.isolate else "", kind)
            groups.setdefault(key, []).append(entry.test)
        jobs: list[MatrixJob] = []
        for (avoid, _, kind), tests in groups.items():
            elsewhere = [spec for spec in usable if spec.name != avoid] or list(usable)
            jobs += matrix_jobs(
                planner.units_of(tests, self._expected),
                elsewhere,
                strategy=strategy,
                pool=self._terms.pool,
                kind=kind,
                first=self._shards + len(jobs) + 1,
            )
        return jobs

    @staticmethod
    def _tests(ready: Sequence[TestRecord]) -> Mapping[TestId, Test]:
        return {entry.test.id: entry.test for entry in ready}

    @property
    def _expected(self) -> dict[TestId, float]:
        started = self._state.started
        return {TestId(test): seconds for test, seconds in (started.expected_seconds if started else {}).items()}
