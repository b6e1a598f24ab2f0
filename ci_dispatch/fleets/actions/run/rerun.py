"""Run the failed jobs again, or send their tests out anew? Pure.

A re-run is cheap and keeps the run in one place, but it cannot move a job to another machine, repeats every failed job,
and is refused while anything of the run still goes on
(https://docs.github.com/actions/how-tos/manage-workflow-runs/re-run-workflows-and-jobs).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from ci_dispatch.fleets.actions.run.job_outcome import JobOutcome

MAX_ATTEMPTS = 50  # re-runs of one run, full and partial together
MAX_AGE = 29 * 86_400.0  # GitHub refuses after 30 days


class Remedy(StrEnum):
    NOTHING = "nothing"  # nobody owes a test
    RERUN = "rerun-failed-jobs"
    DISPATCH = "a new dispatch"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedJob:
    """One job of a run whose attempt is over."""

    outcome: JobOutcome
    passed: bool  # GitHub would leave it alone in a re-run
    owes: bool  # tests of it are to be tried again
    usable: bool  # its machine may still get work


def remedy(jobs: Iterable[EndedJob], *, attempt: int, age: float, cancelled: bool) -> Remedy:
    """What to do for a run of which every job has ended; `age` is in seconds since it was dispatched.

    A re-run only when it repeats exactly what helps: every failed job owes a test, ended by itself, and has a machine.
    """
    jobs = list(jobs)
    if not any(job.owes for job in jobs):
        return Remedy.NOTHING
    if cancelled or attempt > MAX_ATTEMPTS or age > MAX_AGE:
        return Remedy.DISPATCH
    repeated = [job for job in jobs if not job.passed]
    exact = all(job.owes and job.usable and job.outcome is JobOutcome.REPORTS for job in repeated)
    complete = all(not job.owes for job in jobs if job.passed)
    return Remedy.RERUN if repeated and exact and complete else Remedy.DISPATCH
