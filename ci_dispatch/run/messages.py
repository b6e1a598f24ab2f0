"""The two vocabularies around the engine: what worker threads tell it, and what it asks them to do.

Unlike events these never leave the process. A message may come late, twice or not at all: the engine decides by the
ledger and its own clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ci_dispatch.core.events import MachineChecked
from ci_dispatch.core.model import AttemptResult, Lease, LeaseNumber, MachineName, Test, TestResult


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Checked:
    event: MachineChecked


@dataclass(frozen=True, slots=True)
class Started:
    lease: LeaseNumber


@dataclass(frozen=True, slots=True)
class Beat:
    """The job is alive and its lease was renewed on the machine."""

    lease: LeaseNumber


@dataclass(frozen=True, slots=True)
class Collecting:
    """The job has ended, so it beats no more; its reports are on their way."""

    lease: LeaseNumber


@dataclass(frozen=True, slots=True)
class Output:
    lease: LeaseNumber
    text: str


@dataclass(frozen=True, slots=True)
class Reported:
    lease: LeaseNumber
    result: TestResult


@dataclass(frozen=True, slots=True)
class Finished:
    lease: LeaseNumber
    result: AttemptResult


@dataclass(frozen=True, slots=True)
class Noticed:
    """Something a person should know."""

    source: str
    text: str


@dataclass(frozen=True, slots=True)
class Signalled:
    """SIGINT (2) or SIGTERM (15) reached the controller."""

    signal: int


Message: TypeAlias = Tick | Checked | Started | Beat | Collecting | Output | Reported | Finished | Noticed | Signalled


@dataclass(frozen=True, slots=True)
class Check:
    """Ask a machine how it is."""

    machine: MachineName


@dataclass(frozen=True, slots=True)
class Start:
    """Run a lease's shard; a job that exists already (an earlier controller's) is attached to."""

    lease: Lease
    tests: tuple[Test, ...]
    workers: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """End a lease's job: gently, or `now` without waiting for its reports."""

    lease: LeaseNumber
    machine: MachineName
    now: bool = False


Effect: TypeAlias = Check | Start | Cancel
