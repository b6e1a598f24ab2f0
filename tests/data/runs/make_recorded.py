"""Writes the recorded runs beside it: `python -m tests.data.runs.make_recorded`, when the journal's form changes.

`troubled`: names that attack every reporter, a failure on three machines, a flaky test, a machine lost, one
quarantined, one unhealthy that comes back, a warning, a test that never ran. `green`: everything passes.
"""

from __future__ import annotations

from pathlib import Path

from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.events import (
    AttemptFinished,
    AttemptOutput,
    AttemptStarted,
    Event,
    LeaseGranted,
    MachineChecked,
    MachineLost,
    MachineQuarantined,
    RetryScheduled,
    RunFinished,
    RunStarted,
    Stamped,
    TestFinished,
    VerdictReached,
    Warned,
)
from ci_dispatch.core.model import (
    AttemptResult,
    Charge,
    Connection,
    Ended,
    FailureCause,
    Lease,
    LeaseNumber,
    MachineName,
    MachineSpec,
    Makespan,
    RunId,
    Shard,
    ShardId,
    ShardKind,
    Test,
    TestId,
    TestResult,
    UnitId,
    Verdict,
)
from ci_dispatch.run.journal import dumps

HERE = Path(__file__).parent
START = 1_800_000_000.0
PASSED, FAILED, SKIPPED, NOT_RUN = Verdict.PASSED, Verdict.FAILED, Verdict.SKIPPED, Verdict.NOT_RUN

HOSTILE = (
    "<!channel> <@U0123> <https://evil.example|click> *bold* `code`",
    "::error::not a command",
    "\x1b[2J\x1b]0;title\x07\x1b[31mred",
    "a | b \\| c\r\nsecond line\ttab",
    "\u202etxt.exe \u2066isolated\u2069",
    "日本語のテスト名はとても幅が広い",
    "family 👩‍👩‍👧 and flag 🇪🇪",
    "long " + "name " * 120,
    "##[group]x ##[add-mask]y",
    "login[chromium-[/foo]] :smile: [bold]x[/bold]",
    "@acme/team closes #123, GH-4",
    '"quoted" \'single\' {{ jinja }} ${{ secrets.X }} <script>alert(1)</script> &amp;',
)  # fmt: skip


def named(name: str, project: str = "desktop") -> Test:
    return Test(
        id=TestId(f"{project}|{name}"), unit=UnitId(name), project=project, file="shop.spec.ts", title=("shop", name)
    )


class Recorder:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.seq = 0
        self.lease = 0

    def say(self, at: float, event: Event) -> None:
        if not isinstance(event, AttemptOutput):
            self.seq += 1
        self.lines.append(dumps(Stamped(seq=self.seq, at=START + at, event=event)).decode())

    def grant(self, at: float, machine: str, kind: ShardKind, tests: list[Test]) -> LeaseNumber:
        self.lease += 1
        number = LeaseNumber(self.lease)
        shard = Shard(id=ShardId(f"{kind}-{number}"), kind=kind, tests=tuple(test.id for test in tests))
        lease = Lease(number=number, shard=shard, machine=MachineName(machine), granted=START + at)
        self.say(at, LeaseGranted(lease=lease))
        self.say(at + 0.4, AttemptStarted(lease=number))
        return number

    def end(self, at: float, machine: str, lease: int, results: list[TestResult], **how: object) -> None:
        result = AttemptResult(**{"ended": Ended.EXITED, "results": tuple(results), **how})  # type: ignore[arg-type]
        self.say(at, AttemptFinished(lease=LeaseNumber(lease), machine=MachineName(machine), result=result))

    def write(self, name: str) -> None:
        (HERE / f"{name}.jsonl").write_text("".join(line + "\n" for line in self.lines), encoding="utf-8")


def result(test: Test, verdict: Verdict = PASSED, **more: object) -> TestResult:
    return TestResult(**{"test": test.id, "verdict": verdict, "seconds": 1.25, **more})  # type: ignore[arg-type]


MISMATCH = {
    "kind": "Error",
    "message": "Error: expect(locator).toHaveText(expected)\n\nExpected: \"12.00 €\"\nReceived: \"10.80 €\"",
    "detail": "Error: expect(locator).toHaveText(expected)\n\n    Expected: \"12.00 €\"\n    Received: \"10.80 €\"\n\n"
    "::error::injected by a stack trace\n    at shop.spec.ts:42:7 ##[error]also injected\n\x1b[31mred\x1b[0m",
}  # fmt: skip
REFUSED = {
    "kind": "Error",
    "message": "Error: page.goto: net::ERR_CONNECTION_REFUSED at http://127.0.0.1:4173/",
    "detail": "Error: page.goto: net::ERR_CONNECTION_REFUSED at http://127.0.0.1:4173/\n    at login.spec.ts:7:3",
}
FLEET = (
    MachineSpec(name=MachineName("local"), connection=Connection.LOCAL, cores=16),
    MachineSpec(name=MachineName("moruk"), cores=24, speed=0.8),
    MachineSpec(name=MachineName("ilko2"), cores=4),
    MachineSpec(name=MachineName("pi"), cores=4, speed=0.5),
)


def troubled() -> None:
    run = Recorder()
    plain = [named(f"product {number} can be bought") for number in range(1, 9)]
    hostile = [named(name, "mobile") for name in HOSTILE]
    tests = [*plain, *hostile]
    run.say(0, RunStarted(
        run=RunId("20270115-080000-a1b2"), title="shop <e2e> & *friends*", runner="playwright", tests=tuple(tests),
        machines=FLEET, expected_seconds={test.id: 1.25 for test in tests}, planned=20.0, lower_bound=16.0,
    ))  # fmt: skip
    for spec in FLEET[:3]:
        run.say(0.5, MachineChecked(machine=spec.name, healthy=True, reachable=True, cores=spec.cores))
    full = ("disk 97 % full",)
    run.say(1.3, MachineChecked(machine=MachineName("pi"), healthy=False, reachable=True, cores=4, problems=full))
    first = run.grant(1.5, "local", ShardKind.HEAD, [*plain[:6], *hostile[:2]])
    second = run.grant(1.5, "moruk", ShardKind.HEAD, hostile[2:9])
    third = run.grant(1.5, "ilko2", ShardKind.HEAD, [*plain[6:], *hostile[9:]])
    local = [result(plain[0], FAILED, **MISMATCH), *(result(one) for one in plain[1:5]),
             result(plain[5], SKIPPED, reason="needs a printer"), result(hostile[0], FAILED, **REFUSED),
             result(hostile[1], FAILED, **MISMATCH)]  # fmt: skip
    moruk = [result(one) for one in hostile[2:9]]
    for number, (a, b) in enumerate(zip(local, moruk, strict=False)):
        at = 3 + number
        text = f"  {number} running \x1b[32mgreen\x1b[0m\n::set-output name=x::{number}\npartial "
        run.say(at, AttemptOutput(lease=first, machine=MachineName("local"), text=text))
        run.say(at, TestFinished(lease=first, result=a))
        run.say(at + 0.5, TestFinished(lease=second, result=b))
    run.say(6.1, TestFinished(lease=third, result=result(plain[6])))
    run.say(10.2, MachineLost(machine=MachineName("ilko2"), reason="no heartbeat for 12 s"))
    rest = [plain[7], *hostile[9:]]
    absent = [result(one, NOT_RUN, seconds=None, reason="the machine was lost") for one in rest]
    run.end(10.2, "ilko2", third, [result(plain[6]), *absent], ended=Ended.LOST, cause=FailureCause.MACHINE,
            reason="no heartbeat for 12 s")  # fmt: skip
    run.say(10.2, VerdictReached(test=plain[6].id, verdict=PASSED, lease=third))
    moved = tuple(one.id for one in rest)
    run.say(10.2, RetryScheduled(tests=moved, reason="ilko2 was lost", not_before=START + 10.2))
    run.end(11.5, "local", first, local, exit_code=1)
    for one in local[1:6]:
        run.say(11.5, VerdictReached(test=one.test, verdict=one.verdict, lease=first))
    failed = (plain[0].id, hostile[0].id, hostile[1].id)
    run.say(11.5, RetryScheduled(tests=failed, reason="failed", not_before=START + 16.5, charged_to=Charge.TEST))
    run.end(12.0, "moruk", second, moruk, exit_code=0)
    for one in moruk:
        run.say(12.0, VerdictReached(test=one.test, verdict=one.verdict, lease=second))
    run.say(12.1, MachineChecked(machine=MachineName("pi"), healthy=True, reachable=True, cores=4))
    fourth = run.grant(12.2, "pi", ShardKind.REASSIGNED, rest)
    run.end(13.0, "pi", fourth, [result(one, NOT_RUN, seconds=None, reason="no browser") for one in rest],
            cause=FailureCause.SETUP, exit_code=1, reason="Executable doesn't exist at /opt/chrome")  # fmt: skip
    run.say(13.0, RetryScheduled(tests=moved, reason="setup", not_before=START + 13, avoid_machine=MachineName("pi")))
    run.say(13.1, MachineQuarantined(machine=MachineName("pi"), reason="every attempt on it fails to start"))
    fifth = run.grant(13.2, "moruk", ShardKind.REASSIGNED, rest[:-1])
    done = [result(one) for one in rest[:-1]]
    run.end(15.9, "moruk", fifth, done, exit_code=0)
    for one in done:
        run.say(15.9, VerdictReached(test=one.test, verdict=PASSED, lease=fifth))
    last = rest[-1]
    run.say(16.0, VerdictReached(test=last.id, verdict=NOT_RUN, reason="two machines went down while it ran"))
    sixth = run.grant(16.6, "moruk", ShardKind.RETRY, [plain[0], hostile[0], hostile[1]])
    again = [result(plain[0], FAILED, **MISMATCH), result(hostile[0]), result(hostile[1], FAILED, **MISMATCH)]
    run.end(19.0, "moruk", sixth, again, exit_code=1)
    run.say(19.0, VerdictReached(test=hostile[0].id, verdict=Verdict.FLAKY, lease=sixth))
    for one in (again[0], again[2]):
        run.say(19.0, VerdictReached(test=one.test, verdict=FAILED, lease=sixth))
    run.say(19.1, Warned(source="slack", text="not_in_channel: invite the app with /invite @ci-dispatch"))
    makespan = Makespan(planned=20.0, realised=19.2, lower_bound=16.0)
    run.say(19.2, RunFinished(exit_code=ExitCode.INCOMPLETE, makespan=makespan))
    run.write("troubled")


def green() -> None:
    run = Recorder()
    tests = [named(f"product {number} can be bought") for number in range(1, 5)]
    run.say(0, RunStarted(run=RunId("20270116-080000-c3d4"), title="shop", runner="playwright", tests=tuple(tests),
                          machines=FLEET[:2], planned=4.0, lower_bound=3.0))  # fmt: skip
    for machine, mine in (("local", tests[:2]), ("moruk", tests[2:])):
        lease = run.grant(0.1, machine, ShardKind.HEAD, mine)
        results = [result(one) for one in mine]
        for one in results:
            run.say(2.0, TestFinished(lease=lease, result=one))
        run.end(3.5, machine, lease, results, exit_code=0)
        for one in results:
            run.say(3.5, VerdictReached(test=one.test, verdict=PASSED, lease=lease))
    run.say(3.6, RunFinished(exit_code=ExitCode.PASSED, makespan=Makespan(planned=4, realised=3.6, lower_bound=3)))
    run.write("green")


if __name__ == "__main__":
    troubled()
    green()
