"""What is dispatched next: the whole plan at first, later the tests that came back. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ci_dispatch.config.choices import Strategy
from ci_dispatch.core.model import MachineName, MachineSpec, ShardKind, Test
from ci_dispatch.fleets.actions.run.batches import MAX_INPUTS, Batch, batches
from ci_dispatch.fleets.actions.run.matrix import MatrixJob, matrix_jobs, strategy_for
from ci_dispatch.planning import planner
from ci_dispatch.run.ledger import TestRecord
from ci_dispatch.run.run_end import expected_seconds
from ci_dispatch.run.state import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionsPolicy:
    """How shards are dispatched through GitHub and how long each part may take; seconds."""

    strategy: Strategy = Strategy.MIXED
    head_share: float = planner.HEAD_SHARE_UNKNOWN
    shards: int = 0  # about so many jobs; 0: one for each slot of a machine, and a tail
    pool: tuple[str, ...] = ("self-hosted",)
    pooled: frozenset[MachineName] = frozenset()  # machines whose runners have these labels
    extra: tuple[str, ...] = ()  # arguments for the test runner
    commit: str = ""  # that every job checks out
    poll_interval: float = 15.0
    queue_timeout: float = 900.0
    shard_timeout: float = 1800.0 + 300.0  # what a worker may take, and what GitHub may take to notice
    patience: float = 900.0  # without an answer from GitHub

    @property
    def timeout_minutes(self) -> int:
        """The worker job's own limit on GitHub."""
        return max(1, round(self.shard_timeout / 60))


class DispatchPlanner:
    """Turns tests that nobody has into batches."""

    def __init__(self, state: RunState, policy: ActionsPolicy, *, dispatches: int = 0) -> None:
        """`dispatches`: how many there were before; their number is part of an id."""
        self._state, self._policy = state, policy
        self._dispatches = dispatches
        self._shards = 0

    def share(
        self, records: Sequence[TestRecord], mine: Sequence[MachineSpec], everybody: Sequence[MachineSpec]
    ) -> Sequence[TestRecord]:
        """A dispatch takes all there is at once: where other fleets have machines too, no more than its share."""
        if not records or not mine or len(mine) == len(everybody):
            return records
        units = planner.units_of((record.test for record in records), expected_seconds(self._state))
        heads = planner.heads(units, everybody, planner.EVERYTHING)
        ours = {test for spec in mine for unit in heads.get(spec.name, ()) for test in unit.tests}
        return [record for record in records if record.test.id in ours]

    def batches(self, ready: Sequence[TestRecord], machines: Sequence[MachineSpec], *, first: bool) -> list[Batch]:
        """Dispatches for these tests on these machines; `first`: it is the whole plan."""
        jobs = self.jobs(ready, machines, first=first)
        self._dispatches += 1
        started = self._state.started
        assert started is not None
        return batches(
            jobs,
            {record.test.id: record.test for record in ready},
            name=f"{started.run}.{self._dispatches}",
            timeout_minutes=self._policy.timeout_minutes,
            commit=self._policy.commit,
            total=self._state.total,
            extra=self._policy.extra,
            max_inputs=MAX_INPUTS,
        )

    def jobs(self, ready: Sequence[TestRecord], machines: Sequence[MachineSpec], *, first: bool) -> list[MatrixJob]:
        """The jobs for these tests, numbered on from those before; `first`: it is the whole plan."""
        jobs = self._whole_plan(ready, machines) if first else self._again(ready, machines)
        self._shards += len(jobs)
        return jobs

    def _strategy(self, machines: Sequence[MachineSpec]) -> Strategy:
        return strategy_for(self._policy.strategy, [spec.name for spec in machines], self._policy.pooled)

    def _whole_plan(self, ready: Sequence[TestRecord], machines: Sequence[MachineSpec]) -> list[MatrixJob]:
        policy = self._policy
        return matrix_jobs(
            planner.units_of((record.test for record in ready), expected_seconds(self._state)),
            machines,
            strategy=self._strategy(machines),
            pool=policy.pool,
            head_share=policy.head_share,
            shards=policy.shards,
        )

    def _again(self, ready: Sequence[TestRecord], machines: Sequence[MachineSpec]) -> list[MatrixJob]:
        """Tests that came back, by where they may not go; a suspect gets a job of its own."""
        groups: dict[tuple[MachineName | None, str, ShardKind], list[Test]] = {}
        for record in ready:
            kind = ShardKind.RETRY if record.retries else ShardKind.REASSIGNED
            key = (record.avoid_machine, record.test.unit if record.isolate else "", kind)
            groups.setdefault(key, []).append(record.test)
        jobs: list[MatrixJob] = []
        for (avoid, _, kind), tests in groups.items():
            elsewhere = [spec for spec in machines if spec.name != avoid] or list(machines)
            strategy = self._strategy(elsewhere)
            jobs += matrix_jobs(
                planner.units_of(tests, expected_seconds(self._state)),
                elsewhere,
                strategy=Strategy.POOLED if strategy is Strategy.POOLED else Strategy.PINNED,
                pool=self._policy.pool,
                kind=kind,
                first=self._shards + len(jobs) + 1,
            )
        return jobs
