"""Why a test or a machine had the run that it had: where and when, what was waited for, what was retried and what not.

Everything is read from the run's events; a decision is named by what it was made from. Times are since the run began.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ci_dispatch.core.events import (
    AttemptFinished,
    AttemptStarted,
    LeaseGranted,
    MachineChecked,
    MachineLost,
    MachineQuarantined,
    MachineReleased,
    RetryScheduled,
    RunFinished,
    RunResumed,
    Stamped,
    VerdictReached,
)
from ci_dispatch.core.model import (
    ANY_MACHINE,
    AttemptResult,
    Charge,
    Lease,
    MachineName,
    Shard,
    ShardKind,
    TestId,
    TestResult,
    Verdict,
)
from ci_dispatch.reporters.counts import clock, name_of, what_failed
from ci_dispatch.run.ledger import AttemptRecord
from ci_dispatch.run.state import RunState
from report_merge.render.wording import count, duration, some
from report_merge.sanitize import one_line

WORTH_SAYING = 1.0  # seconds that somebody waited
SHOWN_MACHINES = 5
SHOWN_SHARDS = 3

_WHY = {
    ShardKind.HEAD: "the machine's first shard, weighted by cores and speed",
    ShardKind.TAIL: "pulled when a slot was free, longest tests first",
    ShardKind.RETRY: "tried again after a failure",
    ShardKind.REASSIGNED: "taken over from a machine that did not finish it",
    ShardKind.COPY: "a copy of what still ran elsewhere, whose first result counts",
}


def of_test(events: Iterable[Stamped], test: TestId) -> Iterator[str]:
    """The lines about a test, which the run must know."""
    state, ready = RunState(), 0.0
    for stamped in events:
        event, at = stamped.event, stamped.at
        if isinstance(event, LeaseGranted) and test in event.lease.shard.tests:
            yield from _waited(state, test, ready, at)
        state.apply(stamped)
        if state.started is None:
            continue
        if state.started is event:
            ready = at
            yield name_of(state, test)
            yield f"expected to take {duration(state.started.expected_seconds.get(test))} on a core of speed 1"
            machines = (machine.spec for name, machine in state.machines.items() if name != ANY_MACHINE)
            yield from map(one_line, state.constraints.words(test, machines))
        ready = max(ready, event.not_before) if isinstance(event, RetryScheduled) and test in event.tests else ready
        for text in _about_test(state, stamped, test):
            yield _line(state, at, text)
    record = state.ledger.records[test]
    if record.verdict is None:
        yield "it has no verdict: the run is not over, or its controller died"


def of_machine(events: Iterable[Stamped], name: MachineName) -> Iterator[str]:
    """The lines about a machine, which the run must know."""
    state, free_since, why_free = RunState(), None, ""
    healthy: bool | None = None
    for stamped in events:
        event, at = stamped.event, stamped.at
        if free_since is not None and not why_free and at > free_since:
            why_free = _why_free(state, name)
        if isinstance(event, LeaseGranted) and event.lease.machine == name and free_since is not None:
            if at - free_since >= WORTH_SAYING:
                yield _line(state, free_since, f"without work for {duration(at - free_since)}: {why_free}")
            free_since, why_free = None, ""
        state.apply(stamped)
        if state.started is None:
            continue
        machine = state.machines[name]
        if state.started is event:
            yield _machine_heading(state, name)
            if name in event.left_out:
                yield f"the run began without it: {event.left_out[name]}"
        if isinstance(event, MachineChecked) and event.machine == name and event.healthy is not healthy:
            healthy = event.healthy
            problems = one_line("; ".join(event.problems)) or "no answer"
            yield _line(state, at, "healthy" if healthy else f"not healthy, so it gets no work: {problems}")
        for text in _about_machine(state, stamped, name):
            yield _line(state, at, text)
        if isinstance(event, AttemptFinished) and event.machine == name and not machine.leases:
            free_since = at
    yield from _end_of_machine(state, name, free_since)


def _about_test(state: RunState, stamped: Stamped, test: TestId) -> Iterator[str]:
    record = state.ledger.records[test]
    match stamped.event:
        case LeaseGranted(lease=lease) if test in lease.shard.tests:
            others = len(lease.shard.tests) - 1
            beside = f" with {count(others, 'other test')}" if others else " alone"
            yield f"given to {_place(lease)} in shard {one_line(lease.shard.id)}{beside}: {_WHY[lease.shard.kind]}"
        case AttemptStarted(lease=number) if record.lease == number:
            late = stamped.at - state.ledger.attempts[number].lease.granted
            if late >= WORTH_SAYING:
                yield f"its shard began, {duration(late)} after it was given away"
        case AttemptFinished(lease=number, machine=machine, result=result, stale=stale):
            if test in state.ledger.attempts[number].lease.shard.tests:
                said = next((each for each in result.results if each.test == test), None)
                late_report = "told too late, under a lease that had ended, so it counts for nothing: " if stale else ""
                yield f"{late_report}{_outcome(said, result, machine)}"
        case RetryScheduled(tests=tests) as again if test in tests:
            yield _again(state, again, test)
        case VerdictReached(test=decided, verdict=verdict, reason=reason) if decided == test:
            yield f"verdict: {verdict}{': ' if reason else ''}{one_line(reason)}"
            if verdict is Verdict.FAILED and state.started is not None:
                yield f"{record.retries} of {count(state.started.max_retries, 'retry')} used"
        case RunResumed(controller=controller):
            yield f"another controller goes on with the run: {one_line(controller)}"
        case _:
            pass


def _again(state: RunState, again: RetryScheduled, test: TestId) -> str:
    record = state.ledger.records[test]
    most = state.started.max_retries if state.started else 0
    words = {
        Charge.TEST: f"to be tried again, retry {record.retries} of {most}",
        Charge.MACHINE: f"to be run again, which counts against the machine (number {record.reassignments})",
        Charge.NOBODY: "to be run elsewhere, which counts against nobody",
    }[again.charged_to]
    parts = [words]
    if again.not_before > state.now:
        parts.append(f"after a pause of {duration(again.not_before - state.now)}")
    if again.avoid_machine:
        parts.append(f"on another machine than {one_line(again.avoid_machine)} if there is one")
    if again.isolate:
        parts.append("alone, for it may have ended its runner")
    return f"{', '.join(parts)}: {one_line(again.reason)}"


def _waited(state: RunState, test: TestId, ready: float, now: float) -> Iterator[str]:
    """What was in the way of a test from when it could have been given away to now."""
    if now - ready < WORTH_SAYING or state.started is None:
        return
    parts = [f"waited {duration(now - ready)}"]
    avoided = state.ledger.records[test].avoid_machine
    if avoided:
        parts.append(f"it was to go to another machine than {one_line(avoided)}")
    parts += _held_up(state, test, ready, now)
    ran: dict[MachineName, list[str]] = {}
    for attempt in state.ledger.attempts.values():
        if attempt.lease.granted < now and _end(attempt, now) > ready:
            ran.setdefault(attempt.lease.machine, []).append(one_line(attempt.lease.shard.id))
    busy = [f"{one_line(name)} had {some(shards, SHOWN_SHARDS)}" for name, shards in ran.items()]
    sick = [
        f"{one_line(name)} got no work ({one_line(machine.why_unusable)})"
        for name, machine in state.machines.items()
        if name not in ran and machine.why_unusable
    ]
    if not state.ledger.attempts:
        parts.append("no machine had said yet that it is well")
    parts += [some([*busy, *sick], SHOWN_MACHINES)] if busy or sick else []
    yield _line(state, ready, "; ".join(parts))


def _held_up(state: RunState, test: TestId, ready: float, now: float) -> Iterator[str]:
    """What its groups had it wait for between the two moments."""
    demand = state.constraints.of(test)
    meanwhile = [a for a in state.ledger.attempts.values() if a.lease.granted < now and _end(a, now) > ready]
    before = [a for a in meanwhile if not state.constraints.prerequisites.isdisjoint(a.lease.shard.tests)]
    if demand.after and before:
        yield f"it comes after {one_line(', '.join(demand.after))}"
    holders = [
        f"{one_line(a.lease.shard.id)} on {one_line(a.lease.machine)}"
        for a in meanwhile
        if demand.lock and any(state.constraints.of(other).lock == demand.lock for other in a.lease.shard.tests)
    ]
    if holders:
        yield f"{one_line(demand.lock)} was held by {some(holders, SHOWN_SHARDS)}"


def _about_machine(state: RunState, stamped: Stamped, name: MachineName) -> Iterator[str]:
    match stamped.event:
        case LeaseGranted(lease=lease) if lease.machine == name:
            work = f"{count(len(lease.shard.tests), 'test')}, expected {duration(_expected(state, lease.shard, name))}"
            yield f"{one_line(lease.shard.id)}: {work}: {_WHY[lease.shard.kind]}"
        case AttemptFinished(lease=number, machine=machine, result=result, stale=False) if machine == name:
            attempt = state.ledger.attempts[number]
            took = duration(stamped.at - (attempt.started or attempt.lease.granted))
            expected = duration(_expected(state, attempt.lease.shard, name))
            why = f": {one_line(result.reason)}" if result.reason else ""
            shard = one_line(attempt.lease.shard.id)
            yield f"{shard} {result.ended} after {took}, expected {expected}, {_counted(result)}{why}"
        case MachineLost(machine=machine, reason=reason) if machine == name:
            yield f"lost: {one_line(reason)}"
        case MachineQuarantined(machine=machine, reason=reason) if machine == name:
            yield f"gets no more work: {one_line(reason)}"
        case MachineReleased(machine=machine) if machine == name:
            yield "gets work again: what it had under way went well"
        case RunFinished(reason=reason) if reason:
            yield f"the run ended: {one_line(reason)}"
        case _:
            pass


def _why_free(state: RunState, name: MachineName) -> str:
    if why := state.machines[name].why_unusable:
        return one_line(why)
    running = sum(len(lease.shard.tests) for lease in state.ledger.active.values())
    waiting = len(state.ledger.pending)
    if waiting:
        bound = sum(not state.constraints.of(test).planned for test in state.ledger.pending)
        groups = f", {bound} of them for what their groups ask for" if bound else ""
        waited = f"{count(waiting, 'test')} waited for a later moment or another machine{groups}"
        return f"{waited}, and {running} were being run"
    return f"nothing was left to give, and {count(running, 'test')} were being run" if running else "nothing was left"


def _end_of_machine(state: RunState, name: MachineName, free_since: float | None) -> Iterator[str]:
    if state.started is None:
        return
    machine, end = state.machines[name], state.finished_at or state.now
    if state.finished_at is not None and free_since is not None and end - free_since >= WORTH_SAYING:
        last = max(state.ledger.attempts.values(), key=lambda attempt: attempt.ended or 0.0)
        waited = f"the run waited for {one_line(last.lease.shard.id)} on {one_line(last.lease.machine)}"
        why = one_line(machine.why_unusable) or waited
        yield _line(state, free_since, f"without work for {duration(end - free_since)}, until the end: {why}")
    if machine.first_work is None:
        waited = "it waited until it would be needed, and was not"
        why = one_line(machine.why_unusable) or (waited if name in state.started.left_out else "there was none for it")
        yield f"it got no work: {why}"
        return
    took = max(end - state.started_at, 1e-9)
    used = machine.busy_seconds
    yield f"busy for {duration(used)} of {duration(took)} ({min(100, round(100 * used / took))} %)"


def _machine_heading(state: RunState, name: MachineName) -> str:
    spec = state.machines[name].spec
    cores = count(spec.cores, "core") if spec.cores else "as many cores as it says"
    return f"{one_line(name)}: {cores}, {count(spec.slots, 'slot')}, speed {spec.speed:g}"


def _expected(state: RunState, shard: Shard, name: MachineName) -> float:
    """Seconds of a shard on a machine: its work over its workers, or its longest test."""
    seconds = state.started.expected_seconds if state.started else {}
    spec = state.machines[name].spec
    each = [seconds.get(test, 1.0) / spec.speed for test in shard.tests]
    return max(sum(each) / max(1, spec.workers_per_shard), max(each, default=0.0))


def _outcome(said: TestResult | None, result: AttemptResult, machine: MachineName) -> str:
    if said is None:
        why = f": {one_line(result.reason)}" if result.reason else ""
        return f"decided by its other execution before the attempt on {one_line(machine)} {result.ended}{why}"
    took = f" after {duration(said.seconds)}" if said.seconds is not None else ""
    failed = said.verdict is Verdict.FAILED
    why = (what_failed(said) or "no message") if failed else one_line(said.reason)
    return f"{said.verdict} on {one_line(machine)}{took}{': ' if why else ''}{why}"


def _counted(result: AttemptResult) -> str:
    verdicts = [each.verdict for each in result.results]
    parts = [f"{verdicts.count(verdict)} {verdict}" for verdict in Verdict if verdict in verdicts]
    return ", ".join(parts) or "no results"


def _place(lease: Lease) -> str:
    return "any runner of the pool" if lease.machine == ANY_MACHINE else one_line(lease.machine)


def _end(attempt: AttemptRecord, now: float) -> float:
    return attempt.ended if attempt.ended is not None else now


def _line(state: RunState, at: float, text: str) -> str:
    return f"{clock(at - state.started_at):>7}  {text}"
