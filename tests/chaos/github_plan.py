"""A seed becomes a plan of a run through GitHub. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random

from ci_dispatch.config.choices import Strategy

RUNNERS = (("local", 4), ("moruk", 4), ("ilko2", 2), ("pi", 2))
WELL = "local"


class GitHubKind(StrEnum):
    """What can happen. The words are those of the table in docs/reliability.md."""

    RUNNER_LOST = "runner lost"
    RUNNER_STOPPED = "runner stopped"
    TIME_LIMIT = "job out of time"
    UNREACHABLE = "machine unreachable"
    REPORT_MISSING = "artifact missing"
    REPORT_CUT = "artifact truncated"
    REPORT_LATE = "artifact late"
    SERVER_ERRORS = "5xx"
    RATE_LIMIT = "429"
    ANSWER_LOST = "answer lost"
    POLLS_FAIL = "polls fail"
    CANCEL_FAILS = "cancel fails"
    LAG = "lag"
    DUPLICATED = "dispatch duplicated"
    RERUN_BY_HAND = "re-run by hand"
    RUN_CANCELLED = "run cancelled"
    KILLED = "controller killed"
    INTERRUPTED = "SIGINT"


ENDING = (GitHubKind.RUN_CANCELLED, GitHubKind.INTERRUPTED)  # the run may end without all verdicts
SHOWN = {
    GitHubKind.RUNNER_LOST, GitHubKind.RUNNER_STOPPED, GitHubKind.TIME_LIMIT, GitHubKind.UNREACHABLE,
    GitHubKind.REPORT_MISSING, GitHubKind.REPORT_CUT,
}  # fmt: skip
"""Those that hit one machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GitHubFault:
    kind: GitHubKind
    machine: str = ""
    at: float = 0.0  # simulated seconds after the start
    path: str = ""  # of the requests it happens to
    method: str = "GET"
    times: int = 1
    skip: int = 0
    processed: bool = False

    def __str__(self) -> str:
        where = f" {self.machine}" if self.machine else f" {self.method} {self.path} x{self.times}" if self.path else ""
        when = f" after {self.skip}" if self.path else f" at {self.at:.0f} s"
        return f"{self.kind}{where}{when}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GitHubPlan:
    seed: int
    tests: int
    fails: dict[str, int]
    strategy: Strategy
    shards: int
    seconds: float
    faults: tuple[GitHubFault, ...]

    def has(self, *kinds: GitHubKind) -> bool:
        return any(fault.kind in kinds for fault in self.faults)


def github_plan_of(seed: int) -> GitHubPlan:
    """The plan of a seed: always the same."""
    random = Random(seed)
    tests = random.randint(20, 60)
    names = [f"t{n:03}" for n in range(tests)]
    fails = {name: random.choice([1, 1, 2, 99]) for name in random.sample(names, random.randint(0, 4))}
    faults: list[GitHubFault] = []
    if random.random() > 0.03:
        faults = [_fault(random) for _ in range(random.choice([1, 1, 2, 2, 3]))]
        if random.random() < 0.4:
            faults += [_killed(random) for _ in range(random.choice([1, 1, 2, 3]))]
        faults = _bearable(faults)
    return GitHubPlan(
        seed=seed,
        tests=tests,
        fails=fails,
        strategy=random.choice([Strategy.PINNED, Strategy.PINNED, Strategy.MIXED, Strategy.POOLED]),
        shards=random.choice([4, 8, 12]),
        seconds=random.choice([5.0, 20.0, 60.0]),
        faults=tuple(faults),
    )


def _bearable(faults: list[GitHubFault]) -> list[GitHubFault]:
    """Three dispatches of one batch that come to nothing are the end of a run: at most two are spoilt."""
    left, kept = 2, []
    for fault in faults:
        left -= fault.times if fault.path == "/dispatches" else 0
        if fault.path != "/dispatches" or left >= 0:
            kept.append(fault)
    return kept


def _killed(random: Random) -> GitHubFault:
    if random.random() < 0.3:
        path, method = random.choice(
            [("/dispatches", "POST"), ("/jobs", "GET"), ("/artifacts", "GET"), ("/zip", "GET")]
        )
        return GitHubFault(
            kind=GitHubKind.KILLED, path=path, method=method, skip=random.randint(0, 2), processed=random.random() < 0.5
        )
    return GitHubFault(kind=GitHubKind.KILLED, at=random.uniform(0, 200))


def _fault(random: Random) -> GitHubFault:
    kind = random.choice([kind for kind in GitHubKind if kind is not GitHubKind.KILLED])
    at, skip = random.choice([random.uniform(0, 30), random.uniform(0, 200)]), random.randint(0, 3)
    gets = random.choice(["/jobs", "/artifacts", "/zip", r"/runs/\d+$"])
    match kind:
        case kind if kind in SHOWN:
            return GitHubFault(kind=kind, machine=random.choice([n for n, _ in RUNNERS if n != WELL]), at=at)
        case GitHubKind.REPORT_LATE:
            return GitHubFault(kind=kind, path="/artifacts", skip=skip, times=random.randint(1, 2))
        case GitHubKind.SERVER_ERRORS | GitHubKind.RATE_LIMIT:
            method, path = random.choice([("GET", gets), ("POST", "/dispatches"), ("POST", "/rerun-failed-jobs")])
            return GitHubFault(kind=kind, method=method, path=path, skip=skip, times=random.randint(1, 3))
        case GitHubKind.ANSWER_LOST:
            path = random.choice(["/dispatches", "/rerun-failed-jobs"])
            return GitHubFault(
                kind=kind, method="POST", path=path, skip=random.randint(0, 1), processed=random.random() < 0.6
            )
        case GitHubKind.POLLS_FAIL:
            return GitHubFault(kind=kind, path="/jobs", skip=skip, times=random.randint(3, 10))
        case GitHubKind.CANCEL_FAILS:
            return GitHubFault(kind=kind, method="POST", path="/cancel", times=random.randint(1, 3))
        case _:
            return GitHubFault(kind=kind, at=at)
