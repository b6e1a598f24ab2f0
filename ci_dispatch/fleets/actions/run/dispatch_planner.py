"""What is dispatched next: the whole plan at first, later the tests that came back. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ci_dispatch.config.choices import Strategy
from ci_dispatch.core.model import MachineName, MachineSpec, ShardKind, Test
from ci_dispatch.fleets.actions.run.batches import MAX_INPUTS, Batch, batches
from ci_dispatch.fleets.actions.run.constrained_jobs import Given, constrained_jobs, machines_for
from ci_dispatch.fleets.actions.run.matrix import MatrixJob, matrix_jobs, strategy_for
from ci_dispatch.planning import planner
from ci_dispatch.run.ledger import TestRecord
from ci_dispatch.run.placement import Placement
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

    def __init__(
        self, state: RunState, policy: ActionsPolicy, *, dispatches: int = 0, lingers: float | None = None
    ) -> None:
        """`dispatches`: how many there were before; their number is part of an id.

        A job that was lost may go on for `lingers` seconds. None: nothing follows soon, so that nothing may wait.
        """
        self._state, self._policy = state, policy
        self._placement = Placement(state, dict.fromkeys(state.machines, lingers or 0.0))
        self._most = math.inf if lingers is None else policy.shard_timeout / 2  # of a job that holds a lock
        self._dispatches = dispatches
        self._shards = 0

    def share(
        self,
        records: Sequence[TestRecord],
        mine: Sequence[MachineSpec],
        everybody: Sequence[MachineSpec],
        now: float = 0.0,
    ) -> Sequence[TestRecord]:
        """A dispatch takes all there is at once: where other fleets have machines too, no more than its share.

        Of what has constraints that is what may be sent now, and to no machine of others.
        """
        free, constrained = self._divided(records)
        given = self._given(constrained, everybody, (), now)
        ours = [record for spec in mine for record in given.get(spec.name, ())]
        if not free or not mine or len(mine) == len(everybody):
            return [*free, *ours] if constrained else records
        units = planner.units_of((record.test for record in free), expected_seconds(self._state))
        heads = planner.heads(units, everybody, planner.EVERYTHING)
        share = {test for spec in mine for unit in heads.get(spec.name, ()) for test in unit.tests}
        return [*(record for record in free if record.test.id in share), *ours]

    def _divided(self, records: Sequence[TestRecord]) -> tuple[list[TestRecord], list[TestRecord]]:
        """Those that may go anywhere at any time, and those that may not."""
        constrained = [record for record in records if self._placement.of_test(record.test.id).constrained]
        apart = {record.test.id for record in constrained}
        return [record for record in records if record.test.id not in apart], constrained

    def _given(
        self,
        constrained: Sequence[TestRecord],
        machines: Sequence[MachineSpec],
        silent: Collection[MachineName],
        now: float,
    ) -> Given:
        if not constrained:
            return {}
        expected = expected_seconds(self._state)
        return machines_for(constrained, machines, self._placement, expected, silent=silent, now=now)

    def batches(
        self,
        ready: Sequence[TestRecord],
        machines: Sequence[MachineSpec],
        *,
        first: bool,
        silent: Collection[MachineName] = (),
        now: float = 0.0,
    ) -> list[Batch]:
        """Dispatches for these tests on these machines; `first`: it is the whole plan."""
        jobs = self.jobs(ready, machines, first=first, silent=silent, now=now)
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
            groups=started.groups,
            max_inputs=MAX_INPUTS,
        )

    def jobs(
        self,
        ready: Sequence[TestRecord],
        machines: Sequence[MachineSpec],
        *,
        first: bool,
        silent: Collection[MachineName] = (),
        now: float = 0.0,
    ) -> list[MatrixJob]:
        """The jobs for these tests, numbered on from those before; `first`: it is the whole plan.

        `silent` machines do not take jobs: they get only what no other may have. There may be no job at all where
        everything has to wait for something.
        """
        free, constrained = self._divided(ready)
        working = [spec for spec in machines if spec.name not in silent] or machines
        jobs = self._whole_plan(free, working) if first and free else self._again(free, working)
        jobs += constrained_jobs(
            self._given(constrained, machines, silent, now),
            machines,
            self._placement,
            expected_seconds(self._state),
            first=self._shards + len(jobs) + 1,
            most=self._most,
        )
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
