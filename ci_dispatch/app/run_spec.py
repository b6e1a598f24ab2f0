"""What a run is a run of: place, configuration, arguments, fleet. The journal keeps it, and a resume reads it back."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ci_dispatch.app.run_history import RunHistory
from ci_dispatch.config import Config
from ci_dispatch.config.kept import from_journal, public, to_journal
from ci_dispatch.core import codec
from ci_dispatch.core.errors import CiDispatchError, UsageError
from ci_dispatch.core.events import Event, RunResumed, RunStarted, Warned
from ci_dispatch.core.groups import TestGroup
from ci_dispatch.core.model import LONGEST_START_UP, SPEEDS, MachineName, MachineSpec, RunId, Test, TestId
from ci_dispatch.fleets.actions.run.dispatch_state import DispatchTarget
from ci_dispatch.planning import planner
from ci_dispatch.planning.durations import learn_durations
from ci_dispatch.planning.grouping import both, check_machines, group
from ci_dispatch.planning.selection import Selection
from ci_dispatch.planning.speeds import learn_speeds
from ci_dispatch.planning.start_up import invocations_of, learn_start_up
from ci_dispatch.planning.workers import REMEMBERED, tuned_workers
from ci_dispatch.run.journal import recover
from ci_dispatch.run.ports import Listing, Suite
from ci_dispatch.run.run_folder import RunFolder
from ci_dispatch.run.state import RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """Whoever goes on with a run reads this back from its journal: today's configuration may be another."""

    root: Path  # everything is relative to it
    config: Config
    arguments: tuple[str, ...] = ()  # for the test runner
    target: DispatchTarget | None = None  # None: the machines themselves
    notes: tuple[str, ...] = ()  # what of its environment could not be read back

    @property
    def runs_folder(self) -> Path:
        return self.root / self.config.run.folder

    def with_machines(
        self,
        most: int,
        speeds: Mapping[MachineName, float] | None = None,
        start_ups: Mapping[MachineName, float] | None = None,
        workers: Mapping[MachineName, int] | None = None,
    ) -> RunSpec:
        """The same with machines as the plan has them: as fast, and as quick to start a test runner, as they have shown
        to be in earlier runs (`speeds`, `start_ups`), and no wider than that runner, for cores that it cannot use are
        none. A configured start-up is not learnt. `workers` are the numbers that tuned machines try.

        `most` is how many tests it can run at once; 0: as many as it is told.
        """
        learnt = speeds or {}
        starts = start_ups or {}
        machines = tuple(
            codec.replace(
                _narrowed(_tuned(machine, workers or {}), most),
                speed=_allowed(learnt.get(machine.name, machine.speed)),
                start_up=starts.get(machine.name) if machine.start_up is None else machine.start_up,
            )
            for machine in self.config.machines
        )
        return codec.replace(self, config=codec.replace(self.config, machines=machines))

    def as_planned(self, expected: Expected) -> RunSpec:
        """The same with machines and head as they are planned, for whoever goes on with the run too."""
        spec = self.with_machines(expected.workers, expected.speeds, expected.start_ups, expected.machine_workers)
        return spec.with_head_for(expected, spec.config.fleet)

    def with_head_for(self, expected: Expected, fleet: Sequence[MachineSpec]) -> RunSpec:
        """The same with as large a head as is planned for these machines, where none is configured."""
        if self.config.run.head_share is not None:
            return self
        share = planned_share(expected, planner.units_of(expected.tests, expected.seconds), fleet)
        run = codec.replace(self.config.run, head_share=share)
        return codec.replace(self, config=codec.replace(self.config, run=run))

    def as_data(self) -> dict[str, Any]:
        data = {"root": str(self.root), "config": to_journal(self.config), "extra": list(self.arguments)}
        return data | ({"target": codec.to_data(self.target)} if self.target else {})


def _allowed(speed: float) -> float:
    least, most = SPEEDS
    return min(most, max(least, speed))


def _tuned(machine: MachineSpec, workers: Mapping[MachineName, int]) -> MachineSpec:
    return codec.replace(machine, workers=workers.get(machine.name, machine.workers))


def _narrowed(machine: MachineSpec, most: int) -> MachineSpec:
    if not most:
        return machine
    cores = machine.slots * most
    return codec.replace(machine, cores=min(machine.cores, cores) or cores, workers=min(machine.workers, most) or most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The tests of a suite and how long each may take."""

    tests: tuple[Test, ...]
    seconds: Mapping[TestId, float]
    known: float  # share of tests that were measured before, 0 to 1
    speeds: Mapping[MachineName, float]  # of machines, as earlier runs have shown
    start_ups: Mapping[MachineName, float] = field(default_factory=dict)  # of test runners there, in seconds, as learnt
    machine_workers: Mapping[MachineName, int] = field(default_factory=dict)  # of machines that are tuned
    speed_error: float  # of the least certain one: standard deviation of its logarithm
    workers: int = 0  # how many of them the runner can run at once on one machine; 0: as many as it is told
    flaky_is_failure: bool = False  # by the configuration, or because the test runner itself was told so
    groups: tuple[TestGroup, ...] = ()
    notes: tuple[str, ...] = ()


def expect(spec: RunSpec, suite: Suite, listing: Listing | None = None) -> Expected:
    """List the suite, unless its `listing` is known, and look up how long its tests took before.

    Raises NothingToRun or UsageError when the suite cannot be listed.
    """
    listing = listing or suite.list_tests(spec.config.suite.list_timeout)
    grouped = group(listing.tests, listing.marks, spec.config.groups)
    notes = [*listing.notes, *grouped.notes]
    history = RunHistory(spec.runs_folder, spec.config, notes.append)
    measured = history.samples(listing.tests)
    fleet = spec.config.fleet
    learnt = learn_speeds(measured, fleet)
    durations = learn_durations(listing.tests, measured, learnt)
    tuned = any(machine.tune_workers for machine in fleet)
    for_workers = history.samples(listing.tests, REMEMBERED) if tuned else ()
    start_ups = learn_start_up(invocations_of(measured, fleet))
    known = {test: estimate.seconds for test, estimate in durations.items() if estimate.runs > 0}
    speeds = {machine.name: round(learnt.of(machine.name).speed, 4) for machine in fleet}
    as_fast = spec.with_machines(listing.workers, speeds).config
    check_machines(grouped, as_fast.fleet, known, as_fast.run.shard_timeout)
    return Expected(
        tests=grouped.tests,
        groups=grouped.groups,
        seconds={test: estimate.seconds for test, estimate in durations.items()},
        known=len(known) / max(1, len(durations)),
        speed_error=max(learnt.of(machine.name).error for machine in fleet),
        start_ups={name: min(LONGEST_START_UP, round(seconds, 2)) for name, seconds in start_ups.items()},
        speeds=speeds,
        workers=listing.workers,
        machine_workers=tuned_workers(for_workers, durations, fleet, listing.workers),
        flaky_is_failure=spec.config.retry.flaky_is_failure or listing.flaky_is_failure,
        notes=tuple(notes),
    )


def expect_more(spec: RunSpec, suite: Suite, first: Expected) -> Expected:
    """With what a second listing finds, for a work tree that changed during the first: neither may lose a test.

    One that cannot be listed any more has nothing to add: its tests will say so.
    """
    try:
        second = expect(spec, suite)
    except CiDispatchError:
        return first
    known = {test.id for test in first.tests}
    more = tuple(test for test in second.tests if test.id not in known)
    return codec.replace(
        first,
        tests=(*first.tests, *more),
        groups=both(first.groups, second.groups),
        seconds={**second.seconds, **first.seconds},
    )


def planned_share(expected: Expected, units: Sequence[planner.Unit], fleet: Sequence[MachineSpec]) -> float:
    """How much of all work the first shards of these machines take, by how certain what is expected is."""
    least = planner.lower_bound(units, fleet)
    return planner.head_share(expected.known, len(fleet), expected.speed_error, least)


def head_share(config: Config) -> float:
    """How much of all work the first shards take: as configured or planned, else as if everything were known."""
    given = config.run.head_share
    return planner.head_share(1.0, len(config.fleet)) if given is None else given


def first_events(
    spec: RunSpec,
    run: RunId,
    suite: Suite,
    expected: Expected,
    machines: tuple[MachineSpec, ...],
    *,
    tree: str = "",
    selection: Selection | None = None,
) -> list[Event]:
    """How a new run begins in its journal; `tree` identifies the content that is tested.

    `selection`: the machines it begins with; None: all.
    """
    selection = selection or Selection(spec.config.fleet)
    fleet = selection.machines
    units = planner.units_of(expected.tests, expected.seconds)
    started = RunStarted(
        run=run,
        title=suite.title,
        runner=suite.name,
        tests=expected.tests,
        groups=expected.groups,
        machines=tuple(map(public, machines)),
        expected_seconds={str(test): seconds for test, seconds in expected.seconds.items()},
        max_retries=spec.config.retry.max_retries,
        fail_if_all_skipped=spec.config.run.fail_if_all_skipped,
        flaky_is_failure=expected.flaky_is_failure,
        planned=planner.planned_makespan(units, fleet, head_share(spec.config)),
        lower_bound=planner.lower_bound(units, fleet),
        settings=spec.as_data(),
        target_time=spec.config.run.target_time or 0.0,
        left_out=selection.left_out,
        tree=tree,
    )
    notes = [Warned(source=suite.name, text=note) for note in expected.notes]
    return [started, *notes, *(Warned(source="plan", text=text) for text in selection.told)]


def first_events_of_resume(
    folder: RunFolder, lost: str, deadline: float = 0.0, notes: tuple[str, ...] = ()
) -> list[Event]:
    """How a new controller begins in the journal of a dead one; `lost` says what of it was damaged.

    `deadline` is a new one for the whole run, 0 leaves it as it was.
    """
    resumed = RunResumed(
        controller=f"{socket.gethostname()}, process {os.getpid()}",
        epoch=secrets.token_hex(3),
        last_lease=folder.last_attempt(),
        deadline=deadline,
    )
    warned = [Warned(source="journal", text=lost)] if lost else []
    return [resumed, *warned, *(Warned(source="configuration", text=note) for note in notes)]


def read_run(folder: RunFolder) -> tuple[RunState, str]:
    """The state of a run as its journal has it, and what of the journal was lost. Only for whoever holds the run.

    Raises UsageError when it cannot be gone on with.
    """
    state = RunState()
    lost = recover(folder.journal, state)
    if state.started is None:
        raise UsageError(
            f"Run {folder.id} cannot be resumed",
            why="its journal holds no whole event, so it ended before it began",
            hint="start a new one: ci-dispatch run",
        )
    return state, lost


def read_spec(state: RunState, shown: Config, deadline: float = 0.0) -> RunSpec:
    """What a run began with; how it is shown, and what no journal keeps, is of the one who goes on with it (`shown`).

    So is a new deadline.
    """
    data: Mapping[str, Any] = state.started.settings if state.started else {}
    try:
        config, notes = from_journal(data["config"], shown)
        config = codec.replace(config, progress=shown.progress, dashboard=shown.dashboard)
        if given := [seconds for seconds in [*(r.deadline for r in state.resumed), deadline] if seconds]:
            run, github = config.run, config.github
            config = codec.replace(
                config, run=codec.replace(run, deadline=given[-1]), github=codec.replace(github, deadline=given[-1])
            )
        target = codec.from_data(DispatchTarget, data["target"]) if "target" in data else None
        root, arguments = Path(data["root"]), tuple(data["extra"])
        return RunSpec(root=root, config=config, arguments=arguments, target=target, notes=notes)
    except (KeyError, ValueError) as error:
        raise UsageError(
            "The run cannot be resumed", why=f"its journal does not say {error}", hint="start a new one"
        ) from error


def new_id() -> RunId:
    return RunId(f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}")
