"""One seed through GitHub: our control, fleet and client against the double over HTTP, in simulated time.

One runner stays well, GitHub comes back from every trouble, and each test behaves the same wherever it runs: so the run
must end complete, unless a person cancels it or it is interrupted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.events import LeaseGranted, MachineQuarantined, VerdictReached
from ci_dispatch.core.model import TestId, TestResult, Verdict
from ci_dispatch.run import messages as m
from ci_dispatch.run.retry import RetryPolicy
from tests.chaos.github_plan import ENDING, RUNNERS, SHOWN, WELL, GitHubFault, GitHubKind, GitHubPlan
from tests.github_double import Fault, Script, Stop
from tests.github_double.entities import Conflict, Job
from tests.github_double.faults import failed_cancel, message
from tests.integration.github_run import START, Clock, Simulation, World, double_of, suite

RETRIES = 2
LIMIT = 4 * 3600.0  # simulated seconds from the start; queues, dead runners and rate limits included


@dataclass
class Logged(World):
    """A world that remembers every execution: what `passed` may rest on."""

    executed: list[tuple[str, Verdict]] = field(default_factory=list)

    def _result(self, test: TestId) -> TestResult:
        result = super()._result(test)
        self.executed.append((test, result.verdict))
        return result


@dataclass
class GitHubEvidence:
    plan: GitHubPlan
    code: int = -1
    kills: int = 0
    seconds: float = 0.0  # simulated
    trouble: list[str] = field(default_factory=list)


def run(plan: GitHubPlan, folder: Path) -> tuple[GitHubEvidence, list[str]]:
    """The run and what it did not keep of the promises."""
    clock = Clock()
    world = Logged(seconds=plan.seconds, fails=plan.fails)
    evidence = GitHubEvidence(plan)
    with double_of(world, clock, RUNNERS) as double:
        simulation = Simulation(
            double,
            clock,
            folder,
            tests=suite(plan.tests),
            numbers={
                "strategy": plan.strategy,
                "shards": plan.shards,
                "pool": ("self-hosted", "e2e"),
                "queue_timeout": 300.0,
                "retry": RetryPolicy(max_retries=RETRIES),
            },
            fleet=RUNNERS,
        )
        try:
            _Faults(plan, simulation, world, evidence).arrange()
            evidence.code = _drive(simulation, evidence)
            evidence.seconds = clock.now() - START
            return evidence, [*evidence.trouble, *_wrong(plan, simulation, world, evidence)]
        finally:
            simulation.github.client.close()


def _drive(simulation: Simulation, evidence: GitHubEvidence) -> int:
    try:
        code = simulation.run(LIMIT)
        while code == -1 and not simulation.alive:
            evidence.kills += 1
            simulation.clock.moment += 20
            code = simulation.killed_and_watched(LIMIT)
    except Exception as error:  # whatever it is, the controller did not survive it
        evidence.trouble.append(f"the controller failed: {type(error).__name__}: {error}".splitlines()[0])
        return -1
    return code


class _Faults:
    """Arranges what a plan lets happen."""

    def __init__(self, plan: GitHubPlan, simulation: Simulation, world: Logged, evidence: GitHubEvidence) -> None:
        self.plan, self.simulation, self.world = plan, simulation, world
        self.once: set[GitHubFault] = set()

    def arrange(self) -> None:
        self.world.script = self._script
        self.world.archive = self._archive
        for fault in self.plan.faults:
            if fault.path:
                self.simulation.double.fault(self._of_requests(fault))
            elif fault.kind not in SHOWN or fault.kind is GitHubKind.UNREACHABLE:
                self.simulation.at.append((START + fault.at, self._at(fault)))

    def _of_requests(self, fault: GitHubFault) -> Fault:
        status: int | None = 502
        body, headers, before = message("Server Error"), {}, None
        match fault.kind:
            case GitHubKind.RATE_LIMIT:
                status, headers = 429, {"Retry-After": "20"}
            case GitHubKind.ANSWER_LOST:
                status = 0
            case GitHubKind.REPORT_LATE:
                status, body = 200, json.dumps({"total_count": 0, "artifacts": []})
            case GitHubKind.CANCEL_FAILS:
                return failed_cancel(times=fault.times)
            case GitHubKind.KILLED:
                status, before = 0, self._kill
            case _:
                pass
        return Fault(
            method=fault.method,
            path=fault.path,
            status=status,
            body=body,
            headers=headers,
            times=fault.times,
            skip=fault.skip,
            processed=fault.processed,
            before=before,
        )

    def _kill(self) -> None:
        self.simulation.alive = False

    def _at(self, fault: GitHubFault) -> Callable[[], None]:
        hub = self.simulation.double.hub

        def first_run(act: Callable[[int], None]) -> None:
            if hub.runs:
                with suppress(Conflict):
                    act(next(iter(hub.runs)))

        def happen() -> None:
            match fault.kind:
                case GitHubKind.KILLED:
                    self._kill()
                case GitHubKind.INTERRUPTED:
                    self.simulation.inbox.append(m.Signalled(2))
                case GitHubKind.UNREACHABLE:
                    self.simulation.unreachable.add(fault.machine)
                case GitHubKind.RUN_CANCELLED:
                    first_run(lambda run: hub.cancel(hub.runs[run], by="somebody"))
                case GitHubKind.RERUN_BY_HAND:
                    first_run(lambda run: hub.rerun(hub.runs[run], lambda job: job.conclusion != "success"))
                case GitHubKind.DUPLICATED:
                    first_run(lambda run: _again(self.simulation, run))
                case GitHubKind.LAG:
                    hub.lag.jobs, hub.lag.rerun, hub.lag.listing = 25.0, 25.0, 25.0
                case _:
                    raise AssertionError(fault)

        return happen

    def _hit(self, job: Job, *kinds: GitHubKind) -> GitHubFault | None:
        """The fault of these kinds that hits this job: the first on its machine after the fault's moment."""
        for fault in self.plan.faults:
            here = job.runner is not None and job.runner.name == fault.machine
            if fault.kind in kinds and here and fault not in self.once and (job.started or 0) >= START + fault.at:
                self.once.add(fault)
                return fault
        return None

    def _script(self, job: Job) -> Script | None:
        fault = self._hit(
            job, GitHubKind.RUNNER_LOST, GitHubKind.RUNNER_STOPPED, GitHubKind.TIME_LIMIT, GitHubKind.REPORT_MISSING
        )
        match fault.kind if fault else None:
            case GitHubKind.RUNNER_LOST:
                return Script(dies_after=min(5.0, self.plan.seconds))
            case GitHubKind.RUNNER_STOPPED:
                return Script(seconds=5, stop=Stop.RUNNER)
            case GitHubKind.TIME_LIMIT:
                return Script(seconds=5, stop=Stop.TIME_LIMIT)
            case GitHubKind.REPORT_MISSING:
                return Script(seconds=5)
            case _:
                return None

    def _archive(self, job: Job, data: bytes) -> bytes:
        return data[: len(data) // 2] if self._hit(job, GitHubKind.REPORT_CUT) else data


def _again(simulation: Simulation, run: int) -> None:
    """GitHub's gateway delivers a dispatch twice."""
    first = simulation.double.hub.runs[run]
    simulation.double.hub.dispatch(first.workflow, first.ref, first.inputs)


def _wrong(plan: GitHubPlan, simulation: Simulation, world: Logged, evidence: GitHubEvidence) -> Iterator[str]:
    if simulation.state.finished is None:
        yield "the run has no end"
        return
    yield from _wrong_verdicts(plan, simulation, world)
    yield from _wrong_events(simulation)
    state = simulation.state
    right = ExitCode.TESTS_FAILED if state.verdicts[Verdict.FAILED] else ExitCode.PASSED
    if state.interrupted:
        right = ExitCode.INTERRUPTED
    elif not state.ledger.complete:
        right = ExitCode.INCOMPLETE
    if evidence.code != right:
        yield f"the exit code was {evidence.code}, its verdicts say {int(right)}"
    running = [run.id for run in simulation.double.hub.runs.values() if run.status != "completed"]
    not_ours = (GitHubKind.DUPLICATED, GitHubKind.RERUN_BY_HAND, GitHubKind.RUNNER_LOST, GitHubKind.CANCEL_FAILS)
    if running and not plan.has(*ENDING, *not_ours):
        yield f"runs {running} still run on GitHub"
    if simulation.double.token_leaks:
        yield "the token was sent elsewhere"


def _wrong_verdicts(plan: GitHubPlan, simulation: Simulation, world: Logged) -> Iterator[str]:
    may_end = plan.has(*ENDING)
    executed = Counter(world.executed)
    for test, record in simulation.state.ledger.records.items():
        fails, verdict = plan.fails.get(test, 0), record.verdict
        allowed = (
            {Verdict.FAILED} if fails > RETRIES else {Verdict.FLAKY, Verdict.PASSED} if fails else {Verdict.PASSED}
        )
        if verdict in (None, Verdict.NOT_RUN):
            if not may_end:
                yield f"{test} was not run although a runner was well: {record.reason}"
        elif verdict not in allowed and not (may_end and fails and verdict is Verdict.FAILED):
            yield f"{test} is {verdict} ({record.reason}), right would be {' or '.join(sorted(allowed))}"
        if verdict in (Verdict.PASSED, Verdict.FLAKY) and not executed[test, Verdict.PASSED]:
            yield f"{test} is {verdict}, and no execution of it passed"
        if verdict is Verdict.PASSED and record.failures:
            yield f"{test} passed although a failure of it was reported"


def _wrong_events(simulation: Simulation) -> Iterator[str]:
    events = [stamped.event for stamped in simulation.journal.events]
    for test, count in Counter(event.test for event in events if isinstance(event, VerdictReached)).items():
        if count != 1:
            yield f"{test} got {count} verdicts"
    leases = [event.lease.number for event in events if isinstance(event, LeaseGranted)]
    if leases != sorted(set(leases)):
        yield f"lease numbers do not grow: {leases}"
    for event in events:
        if isinstance(event, MachineQuarantined) and event.machine == WELL:
            yield f"{WELL} was well and is in quarantine: {event.reason}"
