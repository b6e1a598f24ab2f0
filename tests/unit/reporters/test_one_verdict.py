"""One run, one verdict: every reporter, every file and the exit code say the same word and the same numbers."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from ci_dispatch.app.github_output import outputs_of
from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.events import (
    AttemptFinished,
    Event,
    Interrupted,
    LeaseGranted,
    RunFinished,
    Stamped,
    VerdictReached,
)
from ci_dispatch.core.model import (
    AttemptResult,
    Ended,
    FailureCause,
    Lease,
    LeaseNumber,
    MachineName,
    MachineSpec,
    Makespan,
    Shard,
    ShardId,
    ShardKind,
    TestResult,
    Verdict,
)
from ci_dispatch.reporters.dashboard.view_model import ViewModel
from ci_dispatch.reporters.metrics.figures import figures, json_values
from ci_dispatch.reporters.slack import messages
from ci_dispatch.reporters.slack.transitions import compare
from ci_dispatch.reporters.terminal import last_lines
from ci_dispatch.reporters.terminal.cells import UNICODE
from ci_dispatch.reporters.terminal.reporter import PlainReporter
from ci_dispatch.run import run_end, run_report
from ci_dispatch.run.ports import BaseReporter
from ci_dispatch.run.run_folder import RunFolder
from ci_dispatch.run.state import RunState
from report_merge import failures
from report_merge.junit import document as junit
from report_merge.model import Report, RunContext, Totals, count
from report_merge.render import markdown
from report_merge.render.text import final_lines
from tests.golden.test_terminal import Kept
from tests.simulation import Outage, World, make_tests, run_started, simulate

TESTS = make_tests(3)
FIRST, SECOND, THIRD = (test.id for test in TESTS)
MACHINES = tuple(MachineSpec(name=MachineName(name), cores=1) for name in "ab")
WHY = "took its test runner down 2 times: the runner was ended by SIGKILL"

History = list[Event]


def line(test: str, verdict: Verdict, message: str = "") -> TestResult:
    return TestResult(test=test, verdict=verdict, seconds=1.0, message=message)  # type: ignore[arg-type]


def attempt(
    number: int,
    machine: str,
    *results: TestResult,
    suspects: tuple[str, ...] = (),
    cause: FailureCause = FailureCause.CRASH,
) -> History:
    tests = (*(result.test for result in results), *suspects)
    shard = Shard(id=ShardId(f"s{number}"), kind=ShardKind.HEAD, tests=tests)  # type: ignore[arg-type]
    lease = Lease(number=LeaseNumber(number), shard=shard, machine=MachineName(machine), granted=0.0)
    cause = cause if suspects else FailureCause.NONE
    ended = AttemptResult(ended=Ended.EXITED, cause=cause, results=results, suspects=suspects)  # type: ignore[arg-type]
    return [LeaseGranted(lease=lease), AttemptFinished(lease=lease.number, machine=lease.machine, result=ended)]


def verdicts(*pairs: tuple[str, Verdict], reason: str = "") -> History:
    return [VerdictReached(test=test, verdict=verdict, reason=reason) for test, verdict in pairs]  # type: ignore[arg-type]


def run(*parts: History, strict: bool = True, flaky_is_failure: bool = False, reason: str = "") -> list[Stamped]:
    """A whole run; its exit code is what `run_end` says."""
    started = replace(
        run_started(TESTS, MACHINES, {test.id: 1.0 for test in TESTS}),
        fail_if_all_skipped=strict,
        flaky_is_failure=flaky_is_failure,
    )
    events: History = [started, *(event for part in parts for event in part)]
    stamped = [Stamped(seq=seq, at=100.0 + seq, event=event) for seq, event in enumerate(events, 1)]
    code = run_end.exit_code(folded(stamped))
    makespan = Makespan(planned=1.0, realised=2.0, lower_bound=1.0)
    finished = RunFinished(exit_code=code, makespan=makespan, reason=reason)
    return [*stamped, Stamped(seq=len(stamped) + 1, at=200.0, event=finished)]


def folded(events: list[Stamped]) -> RunState:
    state = RunState()
    for stamped in events:
        state.apply(stamped)
    return state


PASSES = [attempt(1, "a", line(SECOND, Verdict.PASSED), line(THIRD, Verdict.PASSED)),
          verdicts((SECOND, Verdict.PASSED), (THIRD, Verdict.PASSED))]  # fmt: skip
SKIPS = [attempt(1, "a", *(line(test.id, Verdict.SKIPPED) for test in TESTS)),
         verdicts(*((test.id, Verdict.SKIPPED) for test in TESTS))]  # fmt: skip
DIES = [attempt(2, "a", suspects=(FIRST,)), attempt(3, "b", suspects=(FIRST,)),
        verdicts((FIRST, Verdict.FAILED), reason=WHY)]  # fmt: skip
FLAKY = [attempt(2, "a", line(FIRST, Verdict.FAILED)), attempt(3, "b", line(FIRST, Verdict.PASSED)),
         verdicts((FIRST, Verdict.FLAKY))]  # fmt: skip
STOPPED: list[History] = [[Interrupted(signal=2)]]

RUNS: dict[str, tuple[list[Stamped], ExitCode, str]] = {
    "passed": (
        run(*PASSES, attempt(2, "a", line(FIRST, Verdict.PASSED)), verdicts((FIRST, Verdict.PASSED))),
        ExitCode.PASSED,
        "PASSED",
    ),
    "failed": (
        run(*PASSES, attempt(2, "a", line(FIRST, Verdict.FAILED, "boom")), verdicts((FIRST, Verdict.FAILED))),
        ExitCode.TESTS_FAILED,
        "FAILED",
    ),
    "flaky": (
        run(*PASSES, *FLAKY),
        ExitCode.PASSED,
        "PASSED",
    ),
    "flaky, which is a failure": (
        run(*PASSES, *FLAKY, flaky_is_failure=True),
        ExitCode.TESTS_FAILED,
        "FAILED",
    ),
    "failed, and the work tree changed before it was tried again": (
        run(*PASSES, attempt(2, "a", line(FIRST, Verdict.FAILED, "boom")),
            attempt(3, "a", suspects=(FIRST,), cause=FailureCause.TREE), verdicts((FIRST, Verdict.FAILED)),
            reason="no healthy machine - a: the work tree has changed"),
        ExitCode.INCOMPLETE,
        "INCOMPLETE",
    ),
    "took its runner down": (run(*PASSES, *DIES), ExitCode.TESTS_FAILED, "FAILED"),
    "passed, then took its runner down": (
        run(attempt(1, "a", *(line(test.id, Verdict.PASSED) for test in TESTS)),
            verdicts((SECOND, Verdict.PASSED), (THIRD, Verdict.PASSED)), *DIES),
        ExitCode.TESTS_FAILED,
        "FAILED",
    ),
    "not run": (
        run(*PASSES, verdicts((FIRST, Verdict.NOT_RUN), reason="no healthy machine")),
        ExitCode.INCOMPLETE,
        "INCOMPLETE",
    ),
    "passed in an attempt that nobody vouched for": (
        run(*PASSES, attempt(2, "a", line(FIRST, Verdict.PASSED)), verdicts((FIRST, Verdict.NOT_RUN))),
        ExitCode.INCOMPLETE,
        "INCOMPLETE",
    ),
    "all skipped": (run(*SKIPS), ExitCode.NOTHING_TO_RUN, "INCOMPLETE"),
    "all skipped, as allowed": (run(*SKIPS, strict=False), ExitCode.PASSED, "PASSED"),
    "interrupted": (
        run(*PASSES, *STOPPED, verdicts((FIRST, Verdict.NOT_RUN), reason="the run was interrupted")),
        ExitCode.INTERRUPTED,
        "INTERRUPTED",
    ),
    "interrupted at its end": (
        run(*PASSES, attempt(2, "a", line(FIRST, Verdict.PASSED)), verdicts((FIRST, Verdict.PASSED)), *STOPPED),
        ExitCode.INTERRUPTED,
        "INTERRUPTED",
    ),
}  # fmt: skip

each_run = pytest.mark.parametrize("name", RUNS)


def words(name: str) -> tuple[RunState, Report, str]:
    events, _, word = RUNS[name]
    state = folded(events)
    return state, run_report.report(state, RunContext(title="shop")), word


def numbers(totals: Totals) -> tuple[int, ...]:
    return totals.passed, totals.failed, totals.flaky, totals.skipped, totals.not_run


def ledger(state: RunState) -> tuple[int, ...]:
    order = (Verdict.PASSED, Verdict.FAILED, Verdict.FLAKY, Verdict.SKIPPED, Verdict.NOT_RUN)
    return tuple(state.verdicts[verdict] for verdict in order)


def in_headline(text: str) -> str:
    """The word that the headline of a page stands for."""
    first = text.strip().splitlines()[0]
    named = next((word for word in ("INTERRUPTED", "INCOMPLETE", "FAILED") if word in first), "")
    return named or ("FAILED" if "failed" in first else "PASSED" if "passed" in first else first)


@each_run
def test_the_exit_code(name: str) -> None:
    state, _, word = words(name)
    assert state.finished is not None
    assert state.finished.exit_code == RUNS[name][1]
    assert run_report.verdict_word(state) == word


@each_run
def test_the_last_lines_of_the_terminal(name: str) -> None:
    state, report, word = words(name)
    last = final_lines(report, program="ci-dispatch")[-1]
    assert last.startswith(f"ci-dispatch: {word} 3 tests: ")
    passed, failed, flaky, skipped, not_run = ledger(state)
    assert f"{passed} passed, {failed} failed, {flaky} flaky, {skipped} skipped, {not_run} not run;" in last


@each_run
def test_run_json(name: str) -> None:
    state, _, word = words(name)
    data = json.loads(json.dumps(run_report.run_json(state)))
    assert (data["verdict"], data["exit_code"]) == (word, RUNS[name][1])
    assert tuple(data["counts"][key] for key in ("passed", "failed", "flaky", "skipped", "not run")) == ledger(state)


@each_run
def test_summary_and_comment(name: str) -> None:
    state, report, word = words(name)
    assert numbers(report.totals) == ledger(state)
    assert in_headline(markdown.job_summary(report)) == word
    comment = markdown.pr_comment(report, marker="m")
    assert in_headline(comment.partition("\n")[2]) == word
    assert ("✅" in comment) == (word == "PASSED" and not name.startswith("all skipped"))


@each_run
def test_merged_xml_read_back(name: str) -> None:
    state, report, _ = words(name)
    merged = io.BytesIO()
    junit.write(report, merged)
    passed, failed, flaky, skipped, not_run = ledger(state)
    again = numbers(count(junit.read(merged.getvalue(), "merged.xml").cases))
    assert again == (passed, failed + not_run, flaky, skipped, 0), "what did not run is an error to other tools"


@each_run
def test_slack(name: str) -> None:
    state, report, word = words(name)
    sent = messages.final(state, report, failures.group(report.cases), compare(None, bad=word != "PASSED"))
    assert sent.text.startswith(f"{word} ")
    header = sent.blocks[0]["text"]["text"]
    assert in_headline(header) == word
    assert header.startswith("🟢") == (word == "PASSED" and not report.totals.flaky and not report.totals.skipped)


@each_run
def test_dashboard(name: str) -> None:
    events, _, word = RUNS[name]
    model = ViewModel("e")
    for stamped in events:
        model.apply(stamped)
    model.flush(events[-1].at)
    head = json.loads(model.snapshot(events[-1].at))["head"]
    assert head["phase"] == word.lower()
    shown = tuple(head["counts"].get(key, 0) for key in ("passed", "failed", "flaky", "skipped", "not run"))
    assert shown == ledger(model.state)


@each_run
def test_metrics_and_outputs(name: str) -> None:
    state, report, word = words(name)
    values = json_values(figures(state, run_report.LookedBack(report=report)))
    assert {one["result"]: one["value"] for one in values["run_result"]}[word.lower()] == 1
    counted = {one["result"]: one["value"] for one in values["tests"]}
    assert tuple(counted[key] for key in ("passed", "failed", "flaky", "skipped", "not_run")) == ledger(state)
    assert sum(one["value"] for one in values["failures"]) == report.totals.failed
    outputs = outputs_of(state, RunFolder(Path("r")), [])
    assert (outputs["verdict"], outputs["exit-code"]) == (word.lower(), str(int(RUNS[name][1])))


@each_run
def test_spans(name: str) -> None:
    otel = pytest.importorskip("ci_dispatch.reporters.metrics.otel")
    state, _, word = words(name)
    results = {"PASSED": "success", "FAILED": "failure", "INCOMPLETE": "error", "INTERRUPTED": "cancellation"}
    root = otel.run_spans(state, RunContext(title="shop"))[-1]
    assert root.attributes["cicd.pipeline.result"] == results[word]


# -- a test that took its runner down ---------------------------------------------------------------------------------

KILLERS = [name for name in RUNS if "took its runner down" in name]


@pytest.mark.parametrize("name", KILLERS)
def test_who_took_its_runner_down_and_why_is_said_everywhere(name: str) -> None:
    events, _, _ = RUNS[name]
    _, report, _ = words(name)
    out = Kept()
    reporter, state = (
        PlainReporter(out, colour=False, glyphs=UNICODE, final=lambda _: final_lines(report, program="ci-dispatch")),
        RunState(),
    )
    for stamped in events:
        state.apply(stamped)
        reporter.handle(stamped, state)
    live, _, _ = out.text.partition("[1:")
    assert f"✗ f0 › t0  {WHY}\n" in live, "at once, with its name"
    last = "\n".join(final_lines(report, program="ci-dispatch"))
    assert WHY in last
    assert "f0 › t0  on a, b" in last, "both machines"
    assert "MISSING" not in last
    assert WHY in markdown.job_summary(report)
    model = ViewModel("e")
    for stamped in events:
        model.apply(stamped)
    model.flush(0.0)
    [group] = json.loads(model.snapshot(0.0))["groups"]
    assert (group["kind"], group["count"], group["machines"]) == ("failed", 1, [0, 1])
    assert WHY in group["title"]


# -- all skipped ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["all skipped", "all skipped, as allowed"])
def test_that_nothing_passed_is_in_every_headline(name: str) -> None:
    state, report, _ = words(name)
    nothing = "nothing passed: all 3 tests were skipped"
    assert final_lines(report, program="ci-dispatch")[-2] == "NOTHING PASSED: all 3 tests were skipped"
    hinted = "--no-fail-if-all-skipped" in last_lines(state)[-2]
    assert hinted == (state.finished is not None and state.finished.exit_code == ExitCode.NOTHING_TO_RUN)
    assert nothing in markdown.job_summary(report).splitlines()[0]
    assert nothing in markdown.pr_comment(report, marker="m").splitlines()[1]
    sent = messages.final(state, report, (), compare(None, bad=False))
    assert nothing in sent.text
    assert nothing in sent.blocks[0]["text"]["text"]
    model = ViewModel("e")
    for stamped in RUNS[name][0]:
        model.apply(stamped)
    model.flush(0.0)
    assert json.loads(model.snapshot(0.0))["head"]["sentence"] == nothing


def test_why_a_run_is_incomplete_although_every_test_has_a_verdict() -> None:
    _, report, _ = words("failed, and the work tree changed before it was tried again")
    why = "no healthy machine - a: the work tree has changed"
    assert markdown.job_summary(report).startswith(f"## ❌ INCOMPLETE: {why}, 1 failed")
    assert f"INCOMPLETE: {why}" in final_lines(report, program="ci-dispatch")


# -- whatever happens -------------------------------------------------------------------------------------------------


class Recording(BaseReporter):
    name = "recording"

    def __init__(self) -> None:
        self.events: list[Stamped] = []

    def handle(self, stamped: Stamped, state: RunState) -> None:
        del state
        self.events.append(stamped)


def random_behaviour(random: Random) -> Callable[[int], Verdict]:
    told = random.choices((Verdict.PASSED, Verdict.FAILED, Verdict.FLAKY, Verdict.SKIPPED), (6, 3, 1, 1), k=8)
    return lambda execution: told[min(execution, len(told) - 1)]


@pytest.mark.parametrize("seed", range(40))
def test_the_report_has_the_verdicts_of_the_ledger_whatever_happened(seed: int) -> None:
    random = Random(seed)
    tests = tuple(replace(test, atomic=bool(seed % 2)) for test in make_tests(12, unit_size=1 + 2 * (seed % 2)))
    world = World(
        {test.id: 1.0 for test in tests},
        behaviour={test.id: random_behaviour(random) for test in tests},
        killers=frozenset(test.id for test in tests if random.random() < 0.1),
        outages=[Outage(MachineName("a"), 4.0, 9.0)] if random.random() < 0.4 else (),
    )
    state = simulate(tests, MACHINES, world, seed=seed)
    report = run_report.report(state, RunContext())
    assert numbers(report.totals) == ledger(state)
    found = {case.key.name: case.verdict for case in report.cases}
    assert found == {record.test.name: record.verdict for record in state.ledger.records.values()}
