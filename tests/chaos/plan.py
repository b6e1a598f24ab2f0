"""A seed becomes a plan: the fleet, the suite, and what happens to them when. Pure, and the only place with dice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from tests.chaos.suite import ChaosCase, cases

LEASE = 5.0
PLAYWRIGHT = 100  # one seed of so many: each of its invocations starts node twice
FOREVER = float("inf")


class Kind(StrEnum):
    """What can happen. The words are those of the table in docs/reliability.md."""

    # to a machine
    POWER_OFF = "power off"
    HOLE = "black hole"
    HOLE_IN = "black hole, in"
    HOLE_OUT = "black hole, out"
    SSHD_KILLED = "sshd killed"
    CUT = "connections cut"
    SLOW_LINE = "slow line"
    HOST_KEY = "host key changed"
    MAX_SESSIONS = "MaxSessions 1"
    SUPERVISOR_KILLED = "supervisor killed"
    SUPERVISOR_STOPPED = "supervisor stopped"
    RUNNER_KILLED = "runner killed"
    JOBS_REMOVED = "jobs removed"
    JOBS_UNREADABLE = "jobs chmod 000"
    DISK_FULL = "disk full"
    MEMORY = "memory used up"
    # to the controller
    KILLED = "controller killed"
    STOPPED = "controller stopped"
    INTERRUPTED = "SIGINT"
    TERMINATED = "SIGTERM"
    RUNS_FULL = "controller's disk full"
    RUNS_READ_ONLY = "runs chmod 500"
    CLOCK = "clock step"
    # to the work tree
    EDIT = "edit during the run"
    SECOND = "second controller"


CONTROLLER = (Kind.KILLED, Kind.STOPPED, Kind.INTERRUPTED, Kind.TERMINATED, Kind.RUNS_FULL, Kind.RUNS_READ_ONLY,
              Kind.CLOCK, Kind.EDIT, Kind.SECOND)  # fmt: skip
MACHINE = tuple(kind for kind in Kind if kind not in CONTROLLER)
OF_LOCAL = (Kind.SUPERVISOR_KILLED, Kind.SUPERVISOR_STOPPED, Kind.RUNNER_KILLED, Kind.JOBS_REMOVED)
"""What can happen to the computer the controller runs on without ending the controller."""
MOMENTARY = (Kind.CUT, Kind.SUPERVISOR_KILLED, Kind.RUNNER_KILLED, Kind.JOBS_REMOVED, Kind.CLOCK,
             Kind.INTERRUPTED, Kind.TERMINATED, Kind.EDIT, Kind.SECOND)  # fmt: skip


class Tear(StrEnum):
    """What a crash leaves at the end of a journal."""

    NONE = ""
    NEWLINE = "the last newline is lost"
    HALF = "the last line is cut"
    DAMAGED = "the last line is damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    kind: Kind
    machine: str = ""  # "" for the controller and the work tree
    seconds: float = 0.0  # after the run's start, unless `lines`
    lines: int = 0  # when the journal has so many lines
    lasts: float = 0.0  # seconds until it is undone, or until the killed controller is resumed; a clock's step
    tear: Tear = Tear.NONE

    def __str__(self) -> str:
        if self.kind is Kind.CLOCK:
            return f"{self.kind} of {self.lasts:+g} s"
        where = f" {self.machine}" if self.machine else ""
        when = f" at line {self.lines}" if self.lines else f" at {self.seconds:g} s"
        lasts = "" if self.kind in MOMENTARY else " for ever" if self.lasts == FOREVER else f" for {self.lasts:g} s"
        return f"{self.kind}{where}{when}{lasts}{f', {self.tear}' if self.tear else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedMachine:
    name: str
    local: bool = False
    cores: int = 1
    round_trip: float = 2.0  # milliseconds
    max_sessions: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    seed: int
    runner: str
    machines: tuple[PlannedMachine, ...]
    cases: tuple[ChaosCase, ...]
    faults: tuple[Fault, ...]

    def has(self, *kinds: Kind) -> bool:
        return any(fault.kind in kinds for fault in self.faults)

    @property
    def well(self) -> tuple[str, ...]:
        """Machines that nothing happens to. An edit is one for the computer that tests the tree where it lies."""
        hit = {fault.machine for fault in self.faults}
        edited = self.has(Kind.EDIT)
        return tuple(each.name for each in self.machines if each.name not in hit and not (each.local and edited))

    @property
    def limit(self) -> float:
        """Seconds that the whole run may take, its resumes included: what its settings and faults add up to."""
        work = sum(case.seconds for case in self.cases)
        waits = sum(4 * LEASE + min(fault.lasts, 20.0) for fault in self.faults if fault.kind is not Kind.CLOCK)
        slow = 120.0 if self.runner == "playwright" else 0.0
        return 60.0 + slow + 4 * work + 2 * waits


def plan_of(seed: int) -> Plan:
    """The plan of a seed: always the same."""
    random = Random(seed)
    machines = _machines(random)
    suite = cases(random, random.randint(40, 70))
    runner = random.choice(["pytest", "command"])
    return Plan(
        seed=seed,
        runner="playwright" if seed % PLAYWRIGHT == 2 else runner,
        machines=machines,
        cases=suite,
        faults=tuple(_faults(random, machines, len(suite))),
    )


def _machines(random: Random) -> tuple[PlannedMachine, ...]:
    far = [
        PlannedMachine(
            name=f"m{number}",
            cores=random.choice([1, 1, 2]),
            round_trip=random.choice([1.0, 2.0, 10.0, 60.0]),
            max_sessions=100,
        )
        for number in range(random.choice([2, 2, 3]))
    ]
    return (*far, PlannedMachine(name="local", local=True)) if random.random() < 0.25 else tuple(far)


def _faults(random: Random, machines: Sequence[PlannedMachine], tests: int) -> list[Fault]:
    faults: list[Fault] = []
    luck = random.random()
    if luck < 0.03:
        return faults  # nothing at all
    # One machine stays well, but for a few seeds: then the run may end incomplete, and nothing else.
    hit = list(machines) if random.random() < 0.08 else random.sample(machines, len(machines) - 1)
    if luck < 0.7:
        for _ in range(random.choice([1, 1, 2, 3])):
            faults.append(_of_machine(random, random.choice(hit)))
    if luck >= 0.7 or random.random() < 0.5:
        faults += _of_controller(random, tests)
    return faults


def _of_machine(random: Random, machine: PlannedMachine) -> Fault:
    kind = random.choice(OF_LOCAL if machine.local else MACHINE)
    lasts = random.choice([0.5, 2.0, 5.0, 8.0, FOREVER])
    if kind is Kind.SUPERVISOR_STOPPED:
        lasts = random.choice([0.5, 2.0, 8.0])  # whoever never goes on cannot be expected to end anything
    if kind is Kind.SSHD_KILLED:
        lasts = random.choice([1.0, 5.0, FOREVER])
    return Fault(kind=kind, machine=machine.name, lasts=lasts, seconds=_moment(random))


def _moment(random: Random) -> float:
    return round(random.choice([random.uniform(0, 0.8), random.uniform(0, 4)]), 2)


def _of_controller(random: Random, tests: int) -> list[Fault]:
    kind = random.choice([Kind.KILLED] * 7 + [kind for kind in CONTROLLER if kind is not Kind.KILLED])
    match kind:
        case Kind.KILLED:
            clock = Fault(kind=Kind.CLOCK, lasts=random.choice([-3600.0, -5.0, 5.0, 3600.0]))
            return [*([clock] if random.random() < 0.1 else []), *_kills(random, tests)]
        case Kind.CLOCK:
            clock = Fault(kind=kind, lasts=random.choice([-3600.0, 3600.0]))
            return [clock, Fault(kind=Kind.KILLED, lines=random.randint(2, tests))]
        case Kind.SECOND:
            second = Fault(kind=kind, seconds=round(random.uniform(0.3, 2.5), 2))
            return [Fault(kind=Kind.EDIT, seconds=0.3), second]
        case _:
            return [Fault(kind=kind, lasts=random.choice([1.0, 4.0, 7.0]), seconds=_moment(random))]


def _kills(random: Random, tests: int) -> list[Fault]:
    """One to three, each at a line of the journal; the longest pause outlives every lease."""
    line, kills = 0, []
    for number in range(random.choice([1, 1, 2, 3])):
        line += random.randint(1, tests // 2 + 10 if number else tests + 30)  # about as many as a run has
        kills.append(
            Fault(
                kind=Kind.KILLED,
                lines=line,
                lasts=random.choice([0.0, 0.0, 0.5, 2.0, LEASE + 2.0]),
                tear=random.choice([Tear.NONE] * 6 + list(Tear)[1:]),
            )
        )
    return kills
