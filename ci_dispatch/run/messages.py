"""What worker threads tell the loop (messages), and what it asks them to do (commands).

Unlike events these never leave the process. A message may come late, twice or not at all: the run decides by its ledger
and its own clock. Each fleet adds messages and commands of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from ci_dispatch.core.errors import CiDispatchError, ControllerError
from ci_dispatch.core.events import MachineChecked
from ci_dispatch.core.model import AttemptResult, Lease, LeaseNumber, MachineName, TestResult


class Message:
    """Something the loop takes from its inbox."""

    __slots__ = ()


class Command:
    """Something an executor is to do. Each ends in exactly one message."""

    __slots__ = ()


# -- of every run -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tick(Message):
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class StoodStill(Message):
    """The controller itself was stopped, or its computer slept: nobody renewed a lease or heard an answer."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Checked(Message):
    """The answer to a health check."""

    event: MachineChecked


@dataclass(frozen=True, slots=True)
class Signalled(Message):
    """SIGINT (2) or SIGTERM (15) reached the controller."""

    signal: int


@dataclass(frozen=True, slots=True)
class Noticed(Message):
    """Something a person should know; it becomes a warning."""

    source: str
    text: str


@dataclass(frozen=True, slots=True)
class ControllerFailed(Message):
    """A thread could not go on, and no machine is to blame: it ends the run, which can be gone on with."""

    error: ControllerError


# -- what a fleet tells about its leases ------------------------------------------------------------------------------


class LeaseNews(Message):
    """News of a lease or of the fleet itself. `RunControl` decides what it means."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Granted(LeaseNews):
    """A shard was handed out, or somebody took one from a shared queue."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Started(LeaseNews):
    lease: LeaseNumber


@dataclass(frozen=True, slots=True)
class Beat(LeaseNews):
    """A heartbeat: the job is alive and its lease was renewed on the machine."""

    lease: LeaseNumber


@dataclass(frozen=True, slots=True)
class Output(LeaseNews):
    lease: LeaseNumber
    text: str


@dataclass(frozen=True, slots=True)
class Reported(LeaseNews):
    """The live result of one test; the end of the attempt decides."""

    lease: LeaseNumber
    result: TestResult


@dataclass(frozen=True, slots=True)
class LeaseEnded(LeaseNews):
    lease: LeaseNumber
    result: AttemptResult
    machine_lost: bool = False  # the machine is gone with it


@dataclass(frozen=True, slots=True)
class Unreachable(LeaseNews):
    """A machine is gone: no more work for it until a health check says that it is well."""

    machine: MachineName
    reason: str


@dataclass(frozen=True, slots=True)
class CancelledExternally(LeaseNews):
    """Somebody ended the fleet's work, and it was not us: the whole run stands down."""

    reason: str


@dataclass(frozen=True, slots=True)
class NothingMore(LeaseNews):
    """The fleet hands out nothing more: a test without a verdict gets none from it."""

    reason: str


@dataclass(frozen=True, slots=True)
class FleetRefused(LeaseNews):
    """The fleet cannot be used any more."""

    error: CiDispatchError


# -- commands of every run --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CheckMachine(Command):
    """Ask a machine how it is. `busy`: our own work may be what loads it, so its load is no reason to refuse it."""

    machine: MachineName
    busy: bool = False
