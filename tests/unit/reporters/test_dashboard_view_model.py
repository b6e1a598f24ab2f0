"""What the pages get: deltas lead to the same page as the whole state, and nothing grows without end."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from ci_dispatch.core.events import (
    AttemptFinished,
    AttemptOutput,
    AttemptStarted,
    Event,
    LeaseGranted,
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
    Ended,
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
from ci_dispatch.reporters.dashboard import timeline, view_model
from ci_dispatch.reporters.dashboard.view_model import DeltaLog, ViewModel
from ci_dispatch.run.ports import BaseReporter
from ci_dispatch.run.state import RunState
from tests.data.dashboard.simulated import Simulation
from tests.simulation import Outage, World, make_tests, simulate

NAMES = ("a", "b", "c")


class Page:
    """What dashboard.js keeps, without its pixels."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.head: Any = None
        self.names: dict[int, Any] = {}
        self.tests: dict[int, Any] = {}
        self.machines: dict[int, Any] = {}
        self.bars: dict[tuple[int, int], Any] = {}
        self.spans: dict[int, list[Any]] = {}
        self.groups: Any = []
        self.id = state["id"]
        self.take(state)

    def take(self, update: dict[str, Any]) -> None:
        self.id = update["id"]
        self.head = update.get("head", self.head)
        self.names |= {n: rest for n, *rest in update.get("names", ())}
        self.tests |= {row[0]: row for row in update.get("tests", ())}
        self.machines |= dict(update.get("machines", ()))
        for machine, bars, spans in update.get("timelines", ()):
            self.bars |= {(machine, bar[0]): bar for bar in bars}
            self.spans.setdefault(machine, []).extend(spans)
        self.groups = update.get("groups", self.groups)

    def follow(self, model: ViewModel) -> None:
        deltas = model.deltas.after(self.id)
        assert deltas is not None
        for _, text in deltas:
            self.take(json.loads(text))

    def seen(self) -> dict[str, Any]:
        return vars(self)


def page_of(model: ViewModel) -> Page:
    return Page(json.loads(model.snapshot(model.state.now)))


def model_of(*events: Event) -> ViewModel:
    model = ViewModel("e")
    seq = 0
    for event in events:
        seq += 0 if isinstance(event, AttemptOutput) else 1
        model.apply(Stamped(seq=seq, at=100.0 + seq, event=event))
    model.flush(model.state.now)
    return model


def run_started(tests: int = 3, **options: Any) -> RunStarted:
    listed = tuple(
        Test(id=TestId(f"t{n}"), unit=UnitId(f"t{n}"), title=(f"test {n}",), file="a.spec.ts", line=n)
        for n in range(tests)
    )
    machines = tuple(MachineSpec(name=MachineName(name), cores=2) for name in NAMES)
    return RunStarted(run=RunId("r"), title="shop", runner="playwright", tests=listed, machines=machines, **options)


def begun(tests: int = 3, **options: Any) -> list[Event]:
    return [run_started(tests, **options)]


def granted(lease: int, machine: str, *tests: int) -> Event:
    shard = Shard(id=ShardId(f"s{lease}"), kind=ShardKind.HEAD, tests=tuple(TestId(f"t{n}") for n in tests))
    return LeaseGranted(lease=Lease(number=LeaseNumber(lease), shard=shard, machine=MachineName(machine), granted=0.0))


def result(n: int, verdict: Verdict = Verdict.PASSED, **more: Any) -> TestResult:
    return TestResult(test=TestId(f"t{n}"), verdict=verdict, **more)


def ended(lease: int, machine: str, *results: TestResult, how: Ended = Ended.EXITED) -> Event:
    code = 0 if how is Ended.EXITED else None
    came = AttemptResult(ended=how, exit_code=code, results=results)
    return AttemptFinished(lease=LeaseNumber(lease), machine=MachineName(machine), result=came)


@pytest.mark.parametrize("each", [1, 7, 100])
def test_a_page_that_follows_sees_what_a_page_that_is_opened_late_sees(each: int) -> None:
    model = ViewModel("e")
    events = list(Simulation(tests=120).events())
    model.apply(events[0])
    model.flush(events[0].at)
    page = page_of(model)
    for number, stamped in enumerate(events[1:], 1):
        model.apply(stamped)
        if number % each == 0:
            model.flush(stamped.at)
            page.follow(model)
    model.flush(events[-1].at)
    page.follow(model)
    assert model.unreadable == 0
    assert page.seen() == page_of(model).seen()
    assert page.head["counts"]["failed"] > 0
    assert len(page.tests) == 120
    assert sum(map(len, page.spans.values())) > 100


def test_a_page_opened_between_an_event_and_its_flush_misses_nothing() -> None:
    model, flushed = ViewModel("e"), 0
    for stamped in Simulation(tests=30).events():
        model.apply(stamped)
        early = page_of(model)
        assert json.loads(model.snapshot(stamped.at))["seq"] == flushed, "it is of the same moment as its rows and head"
        assert early.head["phase"]
        model.flush(stamped.at)
        flushed = model.state.seq
        if model.deltas.after(early.id) is None:
            early = page_of(model)
        else:
            early.follow(model)
        assert early.seen() == page_of(model).seen()
        assert early.tests.keys() == early.names.keys()
        assert len(early.tests) == 30


class Collecting(BaseReporter):
    name = "collecting"

    def __init__(self) -> None:
        self.events: list[Stamped] = []

    def handle(self, stamped: Stamped, state: RunState) -> None:
        self.events.append(stamped)


@pytest.mark.parametrize("seed", range(5))
def test_it_follows_the_real_engine_through_outages_crashes_and_flaky_tests(seed: int) -> None:
    random = Random(seed)
    tests = make_tests(60)
    machines = [MachineSpec(name=MachineName(name), cores=2) for name in NAMES]
    world = World(
        seconds={test.id: random.uniform(0.5, 20.0) for test in tests},
        behaviour={
            tests[3].id: lambda _: Verdict.FAILED,
            tests[7].id: lambda execution: Verdict.FAILED if execution == 1 else Verdict.PASSED,
        },
        outages=[Outage(machine=MachineName("b"), begin=30.0, end=90.0)],
        killers=frozenset({tests[11].id}),
    )
    seen = Collecting()
    state = simulate(tests, machines, world, seed=seed, reporters=[seen])
    model, page = ViewModel("e"), None
    for stamped in seen.events:
        model.apply(stamped)
        model.flush(stamped.at)
        if page is None:
            page = page_of(model)
        else:
            page.follow(model)
    assert model.unreadable == 0
    assert page is not None
    assert page.seen() == page_of(model).seen()
    verdicts = {test: entry.verdict.value for test, entry in state.ledger.records.items() if entry.verdict}
    assert {tests[n].id: row[1] for n, row in page.tests.items()} == verdicts
    assert sum(group["count"] for group in page.groups) == sum(
        word in ("failed", "flaky", "not run") for word in verdicts.values()
    )


def test_nothing_new_is_no_delta() -> None:
    model = model_of(*begun())
    before = model.deltas.last
    assert model.flush(model.state.now) is False
    assert model.deltas.last == before


def test_states_of_a_test_on_its_way() -> None:
    events = begun(2)
    assert states(events) == ["waiting", "waiting"]
    events += [granted(1, "a", 0, 1)]
    assert states(events) == ["waiting", "waiting"]
    events += [AttemptStarted(lease=LeaseNumber(1))]
    assert states(events) == ["running", "running"]
    events += [TestFinished(lease=LeaseNumber(1), result=result(0, Verdict.FAILED, message="no"))]
    assert states(events) == ["failed", "running"]
    events += [ended(1, "a", result(0, Verdict.FAILED, message="no"), result(1)), decided(1)]
    events += [RetryScheduled(tests=(TestId("t0"),), reason="", not_before=0.0, charged_to=Charge.TEST)]
    assert states(events) == ["retrying", "passed"]
    events += [granted(2, "b", 0), ended(2, "b", result(0)), decided(0, Verdict.FLAKY)]
    assert states(events) == ["flaky", "passed"]


def states(events: list[Event]) -> list[str]:
    return [row[1] for _, row in sorted(page_of(model_of(*events)).tests.items())]


def decided(n: int, verdict: Verdict = Verdict.PASSED, reason: str = "") -> Event:
    return VerdictReached(test=TestId(f"t{n}"), verdict=verdict, reason=reason)


def test_a_test_that_a_machine_lost_says_from_whom_it_comes() -> None:
    lost = ended(1, "a", result(0, Verdict.NOT_RUN), how=Ended.LOST)
    moved = RetryScheduled(tests=(TestId("t0"),), reason="machine", not_before=0.0, avoid_machine=MachineName("a"))
    page = page_of(model_of(*begun(1), granted(1, "a", 0), lost, moved, granted(2, "b", 0)))
    _, state, machine, _, tries, flags, moved_from, _ = page.tests[0]
    assert (state, NAMES[machine], tries, flags, NAMES[moved_from]) == ("waiting", "b", 0, "m", "a")


def test_a_live_failure_has_its_group_at_once_and_loses_it_when_the_retry_passes() -> None:
    start = [*begun(1), granted(1, "a", 0), AttemptStarted(lease=LeaseNumber(1))]
    failed = result(0, Verdict.FAILED, message="Error: expect(locator).toHaveText(expected)")
    live = page_of(model_of(*start, TestFinished(lease=LeaseNumber(1), result=failed)))
    assert [(g["kind"], g["count"], g["whose"], g["retrying"]) for g in live.groups] == [("failed", 1, "product", 1)]
    again = RetryScheduled(tests=(TestId("t0"),), reason="", not_before=0.0, charged_to=Charge.TEST)
    over = page_of(
        model_of(
            *start,
            ended(1, "a", failed),
            again,
            granted(2, "b", 0),
            ended(2, "b", result(0)),
            decided(0, Verdict.FLAKY),
        )
    )
    assert [(g["kind"], g["count"]) for g in over.groups] == [("flaky", 1)]


def test_tests_that_never_ran_are_grouped_by_their_reason() -> None:
    page = page_of(
        model_of(*begun(2), decided(0, Verdict.NOT_RUN, "no machine"), decided(1, Verdict.NOT_RUN, "no machine"))
    )
    assert [(g["kind"], g["title"], g["count"]) for g in page.groups] == [("not run", "no machine", 2)]


def test_an_event_that_contradicts_the_others_is_reported_and_not_believed() -> None:
    model = model_of(*begun(1), decided(0), decided(0, Verdict.FAILED))
    page = page_of(model)
    assert page.tests[0][1] == "passed"
    assert page.head["warnings"] == [["dashboard", "1 event of this run could not be read"]]


def test_a_run_that_begins_anew_in_the_same_place_resets_every_page() -> None:
    model = model_of(*begun(3))
    page = page_of(model)
    model.apply(Stamped(seq=1, at=500.0, event=begun(1)[0]))
    model.flush(500.0)
    assert model.deltas.after(page.id) is None
    assert len(page_of(model).tests) == 1


def test_beyond_the_limit_only_tests_in_trouble_are_listed_and_all_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_model, "TESTS", 10)
    monkeypatch.setattr(view_model, "MORE_TESTS", 2)
    verdicts = [decided(n, Verdict.NOT_RUN if n in (12, 13, 14) else Verdict.PASSED, "x") for n in range(20)]
    model = model_of(*begun(20), *verdicts)
    everything = json.loads(model.snapshot(0.0))
    assert [row[0] for row in everything["tests"]] == [*range(10), 12, 13]
    assert [name[0] for name in everything["names"]] == [*range(10), 12, 13]
    assert everything["head"]["omitted"]["tests"] == 8
    assert everything["head"]["counts"]["passed"] == 17
    assert everything["head"]["counts"]["not run"] == 3


def test_what_the_pages_do_not_get_is_counted_and_they_follow_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, limit in {"TESTS": 1, "MORE_TESTS": 5, "MACHINES": 2}.items():
        monkeypatch.setattr(view_model, name, limit)
    monkeypatch.setattr(timeline, "SPANS", 2)
    model = model_of(*begun(4), granted(1, "a", 0, 1, 2, 3), AttemptStarted(lease=LeaseNumber(1)))
    page = page_of(model)
    assert page.head["omitted"] == {"tests": 3, "machines": 1, "spans": 0, "warnings": 0}
    live = [
        TestFinished(lease=LeaseNumber(1), result=result(n, Verdict.FAILED if n else Verdict.PASSED)) for n in range(4)
    ]
    events: list[Event] = [*live, *(Warned(source="here", text=str(n)) for n in range(22))]
    for event in events:
        model.apply(Stamped(seq=model.state.seq + 1, at=model.state.now, event=event))
    model.flush(model.state.now)
    page.follow(model)
    assert len(page.tests) == 4
    assert len(page.spans[0]) == 2
    assert len(page.head["warnings"]) == 20
    assert page.head["omitted"] == {"tests": 0, "machines": 1, "spans": 2, "warnings": 2}


def test_the_end_of_a_run_comes_with_its_makespan() -> None:
    end = RunFinished(
        exit_code=4, makespan=Makespan(planned=1.0, realised=3.0, lower_bound=0.5), reason="a machine died"
    )
    head = page_of(model_of(*begun(1), end)).head
    assert (head["phase"], head["realised"], head["reason"]) == ("incomplete", 3.0, "a machine died")


def test_where_the_time_went_comes_with_the_end_and_not_before() -> None:
    end = RunFinished(exit_code=0, makespan=Makespan(planned=1.0, realised=4.0, lower_bound=0.5))
    running = [*begun(1), granted(1, NAMES[0], 0), ended(1, NAMES[0], result(0, seconds=1.0))]
    assert page_of(model_of(*running)).head["spent"] == []
    model = model_of(*running, end)
    spent = page_of(model).head["spent"]
    assert spent
    assert sum(seconds for _, seconds in spent) <= model.state.elapsed + 1
    assert not model.flush(model.state.now), "a run that is over changes no more"


def test_output_is_kept_and_is_no_delta() -> None:
    output = AttemptOutput(lease=LeaseNumber(1), machine=MachineName("a"), text="hello\n")
    model = model_of(*begun(1), granted(1, "a", 0), output)
    piece = model.tails.read(LeaseNumber(1))
    assert piece is not None
    assert piece.text == "hello\n"


class TestDeltaLog:
    def test_what_came_after(self) -> None:
        deltas = DeltaLog("e")
        assert deltas.after("e-0") == []
        for n in range(3):
            deltas.add({"n": n})
        assert [id_ for id_, _ in deltas.after("e-1") or ()] == ["e-2", "e-3"]
        assert deltas.last_id == "e-3"

    @pytest.mark.parametrize("id_", ["", "x-1", "e-", "e-4", "e-99999999999999", "e--1", "e-1x", "e-²", "nonsense"])
    def test_an_id_that_is_not_known_means_everything_anew(self, id_: str) -> None:
        deltas = DeltaLog("e")
        for n in range(3):
            deltas.add({"n": n})
        assert deltas.after(id_) is None

    def test_the_ring_is_bounded_by_count_and_by_size(self) -> None:
        few, small = DeltaLog("e", count=5), DeltaLog("e", size=100)
        for n in range(50):
            few.add({"n": n})
            small.add({"n": n, "text": "x" * 40})
        assert few.after("e-44") is None
        assert len(few.after("e-45") or ()) == 5
        assert small.after("e-47") is None
        assert small.after("e-49") is not None

    def test_after_a_reset_nobody_is_up_to_date(self) -> None:
        deltas = DeltaLog("e")
        deltas.add({})
        deltas.reset()
        assert deltas.after("e-1") is None
        assert deltas.after("e-2") == []


def test_a_test_that_somebody_looks_at_says_how_it_ended_before() -> None:
    asked: list[str] = []

    def earlier(state: RunState, test: TestId) -> str:
        asked.append(f"{state.started.run if state.started else ''} {test}")
        return ".F~"

    model = ViewModel("e", earlier=earlier)
    model.apply(Stamped(seq=1, at=100.0, event=run_started()))
    model.flush(100.0)
    assert asked == []
    assert json.loads(model.test(1) or b"")["earlier"] == ".F~"
    assert asked == ["r t1"]
    assert json.loads(model_of(*begun()).test(1) or b"")["earlier"] == ""
