"""Seeded JUnit reports of a sharded, retried run in five dialects, with the truth a merge must come to.

    python -m benchmarks.generated_reports FOLDER --shards 48 --cases 2000

Each shard is of one dialect. Attempt 1 holds every test; attempts 2 and 3 only what failed before, of which half
passes. Same arguments, same bytes.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

DIALECTS = ("pytest", "surefire", "jest", "nested", "playwright")
ATTEMPTS = 3
_WORDS = ("cart", "login", "order", "page", "query", "price", "stock", "email", "index", "theme", "token", "parse")
_ODD = ("plain", "a<b", 'say "hi"', "x & y", "日本", "z|w")


@dataclass(slots=True)
class Truth:
    tests: int = 0
    passed: int = 0  # flaky ones too
    failed: int = 0
    skipped: int = 0
    flaky: int = 0
    executions: int = 0
    microseconds: int = 0  # of the last attempts


@dataclass(slots=True)
class _Test:
    classname: str
    name: str
    status: str
    time: int  # microseconds
    earlier: int = 0  # failed tries told inside the file by surefire's elements
    flaky: bool = False


def generate(folder: Path, *, shards: int, cases: int, seed: int = 1, dialect: str = "mixed") -> Truth:
    truth = Truth()
    for shard in range(shards):
        kind = DIALECTS[shard % len(DIALECTS)] if dialect == "mixed" else dialect
        rng = random.Random(f"{seed}/{shard}")
        tests = [_test(rng, kind, shard, number) for number in range(cases)]
        pending = tests
        for attempt in range(1, ATTEMPTS + 1):
            path = folder / f"attempt-{attempt}" / f"shard-{shard:03}.xml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_report(rng, kind, shard, pending), encoding="utf-8")
            truth.executions += sum(1 + test.earlier for test in pending)
            pending = [test for test in pending if test.status in ("failure", "error")]
            if not pending or attempt == ATTEMPTS:
                break
            for test in pending:
                test.earlier = 0
                test.time = _time(rng)
                if rng.random() < 0.5:
                    test.status, test.flaky = "", True
        _add(truth, tests)
    return truth


def _add(truth: Truth, tests: list[_Test]) -> None:
    truth.tests += len(tests)
    for test in tests:
        truth.passed += not test.status
        truth.skipped += test.status == "skipped"
        truth.failed += test.status in ("failure", "error")
        truth.flaky += test.flaky
        truth.microseconds += test.time


def _time(rng: random.Random) -> int:
    seconds = rng.lognormvariate(-2.5, 1.6) + (1234.5 if rng.random() < 0.001 else 0.0)
    return round(seconds * 1000) * 1000


def _test(rng: random.Random, kind: str, shard: int, number: int) -> _Test:
    group = number // 25
    classname = {
        "pytest": f"tests.s{shard}.test_{group}",
        "surefire": f"com.acme.s{shard}.Group{group}Test",
        "jest": f"src/s{shard}/group{group}.test.ts",
        "nested": f"App\\S{shard}\\Group{group}Test",
        "playwright": f"e2e/s{shard}/group{group}.spec.ts",
    }[kind]
    name = f"test_{rng.choice(_WORDS)}_{rng.choice(_WORDS)}[{number}-{rng.choice(_ODD)}]"
    drawn = rng.random()
    status = "failure" if drawn < 0.008 else "error" if drawn < 0.01 else "skipped" if drawn < 0.04 else ""
    test = _Test(classname, name, status, _time(rng))
    if kind == "surefire" and not status and rng.random() < 0.003:
        test.earlier, test.flaky = rng.randrange(1, 3), True
    return test


def _report(rng: random.Random, kind: str, shard: int, tests: list[_Test]) -> str:
    groups: dict[str, list[_Test]] = {}
    for test in tests:
        groups.setdefault(test.classname if kind in ("jest", "nested", "playwright") else "all", []).append(test)
    host = f'hostname="runner-{shard % 8}" timestamp="2026-09-20T12:00:00"'
    suites = "\n".join(
        f'<testsuite name={quoteattr(name)} tests="0" {host}>\n'  # `tests` is a lie on purpose
        + "\n".join(_case(rng, kind, test) for test in members)
        + "\n</testsuite>"
        for name, members in groups.items()
    )
    if kind == "surefire":
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{suites}\n'
    if kind == "nested":
        suites = (
            f'<testsuite name="outer"><properties><property name="os" value="linux"/></properties>{suites}</testsuite>'
        )
    root = 'id="" name=""' if kind == "playwright" else f'name="{kind}"'
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites {root}>\n{suites}\n</testsuites>\n'


def _case(rng: random.Random, kind: str, test: _Test) -> str:
    seconds = test.time / 1e6
    time = f"{seconds:,.3f}" if kind == "surefire" else f"{seconds:.3f}"
    inside = "".join(
        f'<flakyFailure message="try {number}" type="T"><stackTrace>{_trace(rng)}</stackTrace></flakyFailure>'
        for number in range(test.earlier)
    )
    if test.status == "skipped":
        inside += '<skipped message="later"/>'
    elif test.status:
        inside += f'<{test.status} message="expected &lt;1&gt;" type="AssertionError">{_trace(rng)}</{test.status}>'
    if rng.random() < 0.1:
        inside += f"<system-out><![CDATA[{_trace(rng)}]]></system-out>"
    return (
        f'<testcase classname={quoteattr(test.classname)} name={quoteattr(test.name)} time="{time}">{inside}</testcase>'
    )


def _trace(rng: random.Random) -> str:
    frames = (
        f'  File "app/{rng.choice(_WORDS)}.py", line {rng.randrange(900)}, in <{rng.choice(_WORDS)}>' for _ in range(20)
    )
    return escape("\n".join(frames)).replace("]]", "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shards", type=int, default=48)
    parser.add_argument("--cases", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dialect", choices=("mixed", *DIALECTS), default="mixed")
    given = parser.parse_args()
    print(generate(given.folder, shards=given.shards, cases=given.cases, seed=given.seed, dialect=given.dialect))


if __name__ == "__main__":
    main()
