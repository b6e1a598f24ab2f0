"""Reports to render: one of each kind, small enough to read, and as large as asked for."""

from __future__ import annotations

from report_merge.model import (
    Attempt,
    Case,
    CaseKey,
    FileProblem,
    MachineUse,
    Missing,
    Outcome,
    PlannedFleet,
    Report,
    RunContext,
    Verdict,
    WorkSpan,
    count,
)  # fmt: skip

ASSERTION = """Error: expect(received).toBe(expected) // Object.is equality

- Expected  + Received

- 19.00 €
+ 20.00 €

  40 |   await page.getByLabel('Voucher').fill('TEN');
> 41 |   expect(await total(page)).toBe('19.00 €');
     |                             ^
  42 | });

    at /repo/e2e/cart.spec.ts:41:29"""
REFUSED = "Error: page.goto: net::ERR_CONNECTION_REFUSED at http://localhost:3000/"


def attempt(
    outcome: Outcome = Outcome.PASSED, seconds: float = 1.0, text: str = "", machine: str = "moruk", number: int = 1
) -> Attempt:
    return Attempt(
        number=number, outcome=outcome, seconds=seconds, machine=machine, text=text, message=text.partition("\n")[0]
    )


def case(name: str, *attempts: Attempt, file: str = "cart.spec.ts", project: str = "desktop", reason: str = "") -> Case:
    return Case(
        key=CaseKey(project=project, file=file, classname=file, name=name),
        attempts=attempts or (() if reason else (attempt(),)),
        reason=reason,
    )


def failing(
    name: str, text: str = ASSERTION, *, machine: str = "moruk", tries: int = 2, project: str = "desktop"
) -> Case:
    tried = [attempt(Outcome.FAILED, 12.3, text, machine, number) for number in range(1, tries + 1)]
    return case(name, *tried, project=project)


def flaky(name: str, text: str = REFUSED) -> Case:
    return case(name, attempt(Outcome.FAILED, 3.0, text, "pi"), attempt(Outcome.PASSED, 2.0, number=2))


CONTEXT = RunContext(
    title="shop e2e",
    branch="main",
    sha="a1b2c3d4e5f6",
    run_id="8123",
    attempt=2,
    url="https://ci.example/runs/8123",
    report_url="https://ci.example/runs/8123/report.html",
    reproduce="npx playwright test cart.spec.ts:41 --project=desktop",
)
MACHINES = (
    MachineUse(
        name="moruk", tests=60, failed=2, retries=2, busy_seconds=170, idle_seconds=22,
        spans=(
            WorkSpan(start=0, end=90, label="cart.spec.ts"),
            WorkSpan(start=92, end=172, label="pay.spec.ts", verdict=Verdict.FAILED),
        ),
    ),
    MachineUse(
        name="pi", tests=28, retries=1, busy_seconds=120, idle_seconds=72, lost="no heartbeat since 2m01s",
        spans=(WorkSpan(start=0, end=120, label="search.spec.ts", verdict=Verdict.FLAKY),),
    ),
)  # fmt: skip


def report(*cases: Case, **fields: object) -> Report:
    known: dict[str, object] = {
        "context": CONTEXT, "machines": MACHINES, "wall_seconds": 192.0, "summed_seconds": 290.0,
        "planned_fleets": (
            PlannedFleet(machines=("moruk",), seconds=260.0),
            PlannedFleet(machines=("moruk", "pi"), seconds=171.0),
        ),
        "compared_times": (("planned", 171.0), ("ideal", 145.0)),
        "spent_times": (("tests", 150.0), ("repeats", 12.0), ("runner overhead", 30.0), ("waiting for work", 0.0)),
    }  # fmt: skip
    return Report(cases=cases, totals=count(cases), **(known | fields))  # type: ignore[arg-type]


def green() -> Report:
    return report(*(case(f"works {i}") for i in range(12)), case("later", attempt(Outcome.SKIPPED, 0)))


def red() -> Report:
    return report(
        *(case(f"works {i}", attempt(seconds=i * 0.7)) for i in range(12)),
        failing("applies a discount"),
        failing("applies a discount", project="mobile"),
        failing(
            "signs in", "TypeError: Cannot read properties of undefined (reading 'name')\n    at a (/r/e2e/in.ts:3:9)"
        ),
        failing("shows orders", REFUSED, machine="pi", tries=1),
        flaky("remembers the basket"),
        case("later", attempt(Outcome.SKIPPED, 0)),
    )


def incomplete() -> Report:
    return report(
        *red().cases,
        case("never came back", reason="pi was lost while it ran this"),
        missing=(Missing(what="shard", name="7 of 12", reason="pi was lost, and nobody else may run it"),),
        problems=(FileProblem(file="shard-3.xml", reason="ends inside <testcase>", line=812, salvaged=31),),
    )


def large(tests: int, failed: int, *, texts: int = 20) -> Report:
    """`failed` tests failing for `texts` different causes, the rest passing."""
    stack = "\n".join(f"    at step{i} (/repo/e2e/deep{i}.ts:{i}:1)" for i in range(60))
    bad = (
        failing(f"breaks {i}", f"Error: expect(cause{chr(97 + i % texts % 26) * (1 + i % texts // 26)})\n{stack}")
        for i in range(failed)
    )
    return report(*bad, *(case(f"works {i}", attempt(seconds=(i * 7919 % 1000) / 100)) for i in range(tests - failed)))
