"""The shapes in which GitHub shows the end of a job, each from somebody's bug report, and what we make of them."""

from __future__ import annotations

import pytest

from ci_dispatch.core.model import ShardId
from ci_dispatch.fleets.actions.rest.models import JobView, StepView
from ci_dispatch.fleets.actions.run.job_outcome import JobOutcome, job_outcome, needs_annotations, shard_of
from ci_dispatch.fleets.actions.run.rerun import MAX_ATTEMPTS, EndedJob, Remedy, remedy

LOST = (
    "The self-hosted runner lost communication with the server. Verify the machine is running and has a healthy "
    "network connection."
)
SHUTDOWN = (
    "The runner has received a shutdown signal. This can happen when the runner service is stopped, or a manually "
    "started runner is canceled."
)
NOT_ACQUIRED = "The job was not acquired by Runner of type self-hosted even after multiple attempts"
TIMEOUT = "The job running on runner pi has exceeded the maximum execution time of 30 minutes."


def job(conclusion: str, *steps: tuple[str, str], runner: str = "pi-1", status: str = "completed") -> JobView:
    views = tuple(StepView(name=f"s{n}", status=s, conclusion=c) for n, (s, c) in enumerate(steps))
    return JobView(id=1, name="shard head-1", status=status, conclusion=conclusion, runner=runner, steps=views)


OK, BAD, CUT, OPEN = ("completed", "success"), ("completed", "failure"), ("completed", "cancelled"), ("in_progress", "")


@pytest.mark.parametrize(
    ("view", "notes", "expected"),
    [
        (job("", runner="", status="queued"), (), JobOutcome.WAITING),
        (job("", runner="", status="hibernating"), (), JobOutcome.WAITING),
        (job("", OK, OPEN, status="in_progress"), (), JobOutcome.RUNNING),
        (job("success", OK), (), JobOutcome.REPORTS),
        (
            job("success", OK),
            (LOST,),
            JobOutcome.REPORTS,
        ),  # ephemeral, it had finished (actions/runner#4309)
        (job("failure", OK, BAD), ("Process completed with exit code 1.",), JobOutcome.REPORTS),
        (job("failure", OK, OPEN), (LOST,), JobOutcome.LOST),
        (job("failure", OK, OPEN), (), JobOutcome.LOST),  # the same without permission to read annotations
        (job("failure", OK, CUT), (), JobOutcome.LOST),  # the newer shape (NVIDIA/NemoClaw#7399)
        (job("failure", OK, BAD), (SHUTDOWN,), JobOutcome.LOST),
        (job("cancelled", OK, CUT), (SHUTDOWN,), JobOutcome.LOST),
        (job("failure"), (), JobOutcome.REPORTS),  # nothing is known: its report must tell
        (job("cancelled", runner=""), (NOT_ACQUIRED,), JobOutcome.NEVER_STARTED),
        (job("failure", runner=""), (), JobOutcome.NEVER_STARTED),  # 24 hours in the queue
        (job("cancelled", runner=""), (), JobOutcome.CANCELLED),  # by whom, its run must tell
        (job("skipped", runner=""), (), JobOutcome.NEVER_STARTED),
        (job("cancelled", runner=""), ("The run was canceled by @octocat.",), JobOutcome.CANCELLED),
        (job("cancelled", OK, CUT), ("The operation was canceled.",), JobOutcome.CANCELLED),
        (job("cancelled", OK, CUT), (TIMEOUT,), JobOutcome.TIMED_OUT),
        (job("timed_out", OK, CUT), (), JobOutcome.TIMED_OUT),
        (job("failure", OK, BAD), ("The action 'run' has timed out after 5 minutes.",), JobOutcome.REPORTS),
        (job("evaporated", OK), (), JobOutcome.REPORTS),  # a word of tomorrow
    ],
)
def test_the_fate_of_a_job(view: JobView, notes: tuple[str, ...], expected: JobOutcome) -> None:
    assert job_outcome(view, notes) is expected


def test_annotations_are_asked_for_only_where_they_can_tell_more() -> None:
    assert not needs_annotations(job("success", OK))
    assert not needs_annotations(job("failure", BAD))
    assert not needs_annotations(job("", OPEN, status="in_progress"))
    assert needs_annotations(job("failure", OPEN))
    assert needs_annotations(job("cancelled", CUT))


def test_a_job_is_known_by_the_shard_in_its_name() -> None:
    shards = [ShardId("head-1"), ShardId("head-12"), ShardId("tail-3")]

    def named(name: str) -> ShardId | None:
        return shard_of(JobView(id=1, name=name, status="queued"), shards)

    assert named("shard head-12 on moruk") == "head-12"
    assert named("e2e / shard (head-1)") == "head-1"
    assert named("tail-3") == "tail-3"
    assert named("shard head-123") is None
    assert named("overhead-1") is None


def standing(
    *, passed: bool = False, owes: bool = True, usable: bool = True, how: JobOutcome = JobOutcome.REPORTS
) -> EndedJob:
    return EndedJob(outcome=how, passed=passed, owes=owes, usable=usable)


PASSED = standing(passed=True, owes=False)


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [
        ([PASSED, PASSED], Remedy.NOTHING),
        ([PASSED, standing(owes=False)], Remedy.NOTHING),  # failed for good, or a load error
        ([PASSED, standing()], Remedy.RERUN),
        ([standing(), standing()], Remedy.RERUN),
        ([standing(), standing(owes=False)], Remedy.DISPATCH),  # a re-run would repeat what cannot help
        ([standing(), standing(how=JobOutcome.LOST, owes=False)], Remedy.DISPATCH),
        ([standing(how=JobOutcome.LOST)], Remedy.DISPATCH),
        ([standing(usable=False)], Remedy.DISPATCH),  # fenced: a re-run goes to the same labels
        ([standing(passed=True)], Remedy.DISPATCH),  # GitHub would not repeat a job that passed
    ],
)
def test_a_rerun_only_when_it_repeats_exactly_what_helps(jobs: list[EndedJob], expected: Remedy) -> None:
    assert remedy(jobs, attempt=1, age=60, cancelled=False) is expected


def test_a_rerun_is_not_asked_for_when_github_would_refuse_it() -> None:
    jobs = [standing()]
    assert remedy(jobs, attempt=MAX_ATTEMPTS + 1, age=60, cancelled=False) is Remedy.DISPATCH
    assert remedy(jobs, attempt=1, age=40 * 86_400, cancelled=False) is Remedy.DISPATCH
    assert remedy(jobs, attempt=1, age=60, cancelled=True) is Remedy.DISPATCH
