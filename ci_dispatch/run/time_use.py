"""Where the time of a run went: its makespan in parts that add up to it, and the tests that were misjudged. Pure.

Each worker of the machines that got work is weighed by its machine's speed. So `tests` is how long a schedule without
any loss would take, and every other part is what would be gained without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from ci_dispatch.core.codec import Value
from ci_dispatch.core.model import ANY_MACHINE, Ended, ShardKind, TestId, Verdict
from ci_dispatch.run.ledger import AttemptRecord
from ci_dispatch.run.state import MachineState, RunState

MISJUDGED = 5  # tests at most
MISJUDGED_SECONDS, MISJUDGED_TIMES = 1.0, 1.5  # both: how far off an estimate is, to be worth naming

_LOST = (Ended.LOST, Ended.LEASE_ENDED)


class Misjudged(Value):
    test: TestId
    expected: float  # seconds on a core of speed 1
    took: float


class TimeUse(Value):
    """Seconds of makespan by what they went into."""

    tests: float = 0.0  # the executions that gave verdicts
    repeats: float = 0.0  # the other ones: before a retry, and copies that were not first
    starts: float = 0.0  # of test runners, as far as it is known how long one takes
    overhead: float = 0.0  # what else a shard took beyond its tests: workers without a test
    beginning: float = 0.0  # before a machine's first shard, and between a shard's lease and its start
    waiting: float = 0.0  # slots without work while work was still to come
    stragglers: float = 0.0  # slots without work after their machine's last shard was given away
    lost: float = 0.0  # machines that were away, or fit for nothing; and what they had under way
    misjudged: tuple[Misjudged, ...] = ()  # the worst first

    @property
    def parts(self) -> tuple[tuple[str, float], ...]:
        """In the order of this class, with words for people."""
        return (
            ("tests", self.tests), ("repeats", self.repeats), ("runner starts", self.starts),
            ("runner overhead", self.overhead), ("beginning", self.beginning), ("waiting for work", self.waiting),
            ("last shards", self.stragglers), ("lost machines", self.lost),
        )  # fmt: skip


def time_use(state: RunState) -> TimeUse:
    """Of a run that has begun; all 0 when no machine got work."""
    end = state.finished_at or state.now
    spent = dict.fromkeys(("tests", "repeats", "starts", "overhead", "beginning", "waiting", "stragglers", "lost"), 0.0)
    deciding, other = _test_seconds(state)
    for name, machine in state.machines.items():
        attempts = [a for a in state.ledger.attempts.values() if a.lease.machine == name and name != ANY_MACHINE]
        if not attempts:
            continue
        worth = machine.spec.workers_per_shard * machine.spec.speed
        for attempt in attempts:
            held = max(0.0, _end(attempt, end) - _began(attempt, end))
            busy, again = (table.get(attempt.lease.number, 0.0) for table in (deciding, other))
            scale = min(1.0, held * machine.spec.workers_per_shard / (busy + again)) if busy + again else 0.0
            spent["tests"] += busy * scale * machine.spec.speed
            spent["repeats"] += again * scale * machine.spec.speed
            rest = held * worth - (busy + again) * scale * machine.spec.speed
            start = 0.0 if _is_lost(attempt) else min(max(0.0, rest), (machine.spec.start_up or 0.0) * worth)
            spent["starts"] += start
            spent[_part_beside_tests(attempt)] += rest - start
            spent["beginning"] += max(0.0, _began(attempt, end) - attempt.lease.granted) * worth
        for part, seconds in _without_work(state, machine, attempts, end):
            spent[part] += seconds * worth
    whole = sum(spent.values())
    if not whole:
        return TimeUse()
    shares = {part: round(state.elapsed * seconds / whole, 3) for part, seconds in spent.items()}
    return TimeUse(**shares, misjudged=tuple(_misjudged(state)))


def _test_seconds(state: RunState) -> tuple[dict[int, float], dict[int, float]]:
    """Seconds of tests by lease: of executions that gave the verdict, and of the others."""
    deciding: dict[int, float] = {}
    other: dict[int, float] = {}
    for record in state.ledger.records.values():
        for number, (lease, _, result) in enumerate(record.history, 1):
            table = deciding if number == len(record.history) else other
            table[lease] = table.get(lease, 0.0) + (result.seconds or 0.0)
    return deciding, other


def _without_work(
    state: RunState, machine: MachineState, attempts: Sequence[AttemptRecord], end: float
) -> Iterator[tuple[str, float]]:
    """(part, slot-seconds) of a machine's slots that held no lease."""
    slots = machine.spec.slots
    granted = [attempt.lease.granted for attempt in attempts]
    moments = sorted({state.started_at, end, *granted, *(_end(attempt, end) for attempt in attempts)})
    for begin, until in pairwise(moments):
        held = sum(a.lease.granted <= begin and _end(a, end) >= until for a in attempts)
        idle = max(0, slots - held) * (until - begin)
        before = [a for a in attempts if _end(a, end) <= begin]
        away = bool(before) and _is_lost(max(before, key=lambda a: _end(a, end)))
        if begin < min(granted):
            yield "beginning", idle
        elif away or (begin >= max(granted) and machine.why_unusable):
            yield "lost", idle
        else:
            yield "stragglers" if begin >= max(granted) else "waiting", idle


def _misjudged(state: RunState) -> list[Misjudged]:
    expected = state.started.expected_seconds if state.started else {}
    found = []
    for test, record in state.ledger.records.items():
        known = [(machine, result.seconds) for _, machine, result in record.history if result.seconds]
        if not known or test not in expected:
            continue
        machine, seconds = known[-1]
        took, guess = seconds * state.machines[machine].spec.speed, expected[test]
        apart = abs(took - guess) >= MISJUDGED_SECONDS
        if apart and max(took, guess) >= MISJUDGED_TIMES * min(took, guess):
            found.append(Misjudged(test=test, expected=round(guess, 3), took=round(took, 3)))
    return sorted(found, key=lambda each: (-abs(each.took - each.expected), each.test))[:MISJUDGED]


def _part_beside_tests(attempt: AttemptRecord) -> str:
    if _is_lost(attempt):
        return "lost"
    told = attempt.result.results if attempt.result else ()
    in_vain = attempt.lease.shard.kind is ShardKind.COPY and all(each.verdict is Verdict.NOT_RUN for each in told)
    return "repeats" if in_vain else "overhead"


def _is_lost(attempt: AttemptRecord) -> bool:
    return attempt.result is not None and attempt.result.ended in _LOST


def _began(attempt: AttemptRecord, end: float) -> float:
    return attempt.started if attempt.started is not None else _end(attempt, end)


def _end(attempt: AttemptRecord, end: float) -> float:
    return attempt.ended if attempt.ended is not None else end
