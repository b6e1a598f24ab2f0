"""DispatchPlan to matrix: nothing lost, nothing twice, nothing that GitHub refuses."""

from __future__ import annotations

import base64
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_dispatch.config.choices import Strategy
from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import NothingToRun, UsageError
from ci_dispatch.core.model import ANY_MACHINE, MachineName, MachineSpec, ShardId, ShardKind, Test, TestId, UnitId
from ci_dispatch.fleets.actions.run.batches import MAX_INPUTS, MAX_JOBS, DispatchPlan, batches, job_of, pack, unpack
from ci_dispatch.fleets.actions.run.matrix import deal, matrix_jobs
from ci_dispatch.planning import planner

FLEET = tuple(
    MachineSpec(name=MachineName(name), cores=cores, labels=("self-hosted", name))
    for name, cores in (("local", 16), ("moruk", 24), ("ilko2", 4), ("pi", 4))
)


def suite(count: int, *, tests_per_unit: int = 1, title: str = "works") -> list[Test]:
    return [
        Test(id=TestId(f"t{n}"), unit=UnitId(f"u{n // tests_per_unit}"), file=f"f{n}.ts", title=(f"{title} {n}",))
        for n in range(count)
    ]


def units(tests: list[Test], seconds: float = 3.0) -> list[planner.Unit]:
    return planner.units_of(tests, {test.id: seconds + (int(test.id[1:]) % 5) for test in tests})


@given(
    count=st.integers(1, 120),
    per_unit=st.integers(1, 4),
    strategy=st.sampled_from(Strategy),
    shards=st.integers(0, 60),
    machines=st.integers(1, 4),
)
def test_every_test_is_in_exactly_one_job(
    count: int, per_unit: int, strategy: Strategy, shards: int, machines: int
) -> None:
    tests = suite(count, tests_per_unit=per_unit)
    jobs = matrix_jobs(units(tests), FLEET[:machines], strategy=strategy, shards=shards)
    assert sorted(test for job in jobs for test in job.shard.tests) == sorted(test.id for test in tests)
    assert all(job.shard.tests for job in jobs)
    assert len({job.shard.id for job in jobs}) == len(jobs)
    pinned = {job.machine != ANY_MACHINE for job in jobs}
    assert strategy is Strategy.MIXED or pinned == {strategy is Strategy.PINNED}


def test_the_reference_fleet_gets_48_shards_in_proportion_to_its_cores() -> None:
    jobs = matrix_jobs(units(suite(480)), FLEET, strategy=Strategy.PINNED, shards=48)
    assert {m.name: sum(job.machine == m.name for job in jobs) for m in FLEET} == {
        "local": 16,
        "moruk": 24,
        "ilko2": 4,
        "pi": 4,
    }
    assert next(job for job in jobs if job.machine == "moruk").labels == ("self-hosted", "moruk")


def test_a_mixed_plan_has_pinned_heads_and_a_pooled_tail_longest_first() -> None:
    jobs = matrix_jobs(units(suite(400), 60.0), FLEET, strategy=Strategy.MIXED, pool=("self-hosted", "e2e"))
    heads = [job for job in jobs if job.shard.kind is ShardKind.HEAD]
    tail = [job for job in jobs if job.shard.kind is ShardKind.TAIL]
    assert {job.machine for job in heads} == {m.name for m in FLEET}
    assert {job.labels for job in tail} == {("self-hosted", "e2e")}
    lengths = [job.shard.seconds for job in tail]
    assert len(tail) > 3
    assert lengths == sorted(lengths, reverse=True)


def test_an_empty_matrix_is_never_made() -> None:
    with pytest.raises(NothingToRun, match="no tests"):
        matrix_jobs([], FLEET, strategy=Strategy.PINNED)
    with pytest.raises(NothingToRun, match="no machine"):
        matrix_jobs(units(suite(3)), (), strategy=Strategy.PINNED)
    with pytest.raises(NothingToRun):
        batches([], {}, name="d", timeout_minutes=60)


def test_deal_makes_equal_parts_and_no_empty_one() -> None:
    parts = deal(units(suite(10)), 48)
    assert len(parts) == 10
    sums = [sum(unit.seconds for unit in part) for part in deal(units(suite(100)), 7)]
    assert max(sums) - min(sums) <= 7.0  # one unit


@given(count=st.integers(1, 40), shards=st.integers(1, 12), limit=st.integers(1200, 6000))
def test_no_dispatch_exceeds_the_limit_and_nothing_is_lost(count: int, shards: int, limit: int) -> None:
    tests = suite(count, title="straße 日本 " * 3)
    known = {test.id: test for test in tests}
    jobs = matrix_jobs(units(tests), FLEET, strategy=Strategy.PINNED, shards=shards)
    sent = batches(jobs, known, name="d", timeout_minutes=30, max_inputs=limit)
    for batch in sent:
        assert len(json.dumps(batch.inputs, ensure_ascii=False, separators=(",", ":"))) <= limit
        matrix = json.loads(batch.inputs["matrix"])["include"]
        assert [e["shard"] for e in matrix] == [e.shard.id for e in batch.jobs]
        assert set(unpack(batch.inputs["plan"]).tests) == {e.shard.id for e in batch.jobs}
    arrived = [t for b in sent for given in unpack(b.inputs["plan"]).tests.values() for t in given]
    assert sorted(arrived, key=lambda t: t.id) == sorted(tests, key=lambda t: t.id)
    assert len({batch.id for batch in sent}) == len(sent)


def test_each_entry_names_the_commit_and_each_plan_how_many_tests_the_whole_run_has() -> None:
    tests = suite(600)
    jobs = matrix_jobs(units(tests), FLEET, strategy=Strategy.PINNED, shards=600)
    sent = batches(jobs, {test.id: test for test in tests}, name="d", timeout_minutes=30, commit="c0ffee")
    entries = [entry for batch in sent for entry in json.loads(batch.inputs["matrix"])["include"]]
    assert {entry["commit"] for entry in entries} == {"c0ffee"}
    assert job_of(json.dumps(entries[0])).commit == "c0ffee"
    assert {unpack(batch.inputs["plan"]).total for batch in sent} == {600}


def test_more_than_256_jobs_become_several_dispatches() -> None:
    tests = suite(600)
    jobs = matrix_jobs(units(tests), FLEET, strategy=Strategy.PINNED, shards=600)
    sent = batches(jobs, {test.id: test for test in tests}, name="d", timeout_minutes=30)
    assert [len(batch.jobs) for batch in sent] == [MAX_JOBS, MAX_JOBS, 88]
    assert MAX_INPUTS == 65_535


def test_one_unit_that_is_too_large_says_so() -> None:
    tests = suite(300, tests_per_unit=300)
    jobs = matrix_jobs(units(tests), FLEET, strategy=Strategy.PINNED)
    with pytest.raises(UsageError, match="must stay together"):
        batches(jobs, {test.id: test for test in tests}, name="d", timeout_minutes=30, max_inputs=1500)


def test_a_plan_comes_back_as_it_was_and_always_as_the_same_text() -> None:
    sent = DispatchPlan(tests={ShardId("head-1"): tuple(suite(3))}, extra=("--headed", "it's"))
    assert unpack(pack(sent)) == replace(sent, v=2)
    assert pack(sent) == pack(sent)


@pytest.mark.parametrize(
    "text",
    ["", "not base64!", base64.b64encode(b"not zlib").decode(), base64.b64encode(zlib.compress(b"[1]")).decode(),
     base64.b64encode(zlib.compress(b'{"v": 9, "tests": {}, "extra": []}')).decode(),
     base64.b64encode(zlib.compress(b'{"v": 2, "tests": {"s": [{"id": 1}]}, "extra": []}')).decode()],
)  # fmt: skip
def test_a_plan_that_is_none_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        unpack(text)
    assert "not by hand" in str(refused.value)


def test_a_worker_reads_its_entry_or_says_what_to_pass() -> None:
    entry = '{"shard": "head-1", "machine": "moruk", "labels": ["x"], "workers": 24, "timeout_minutes": 30}'
    assert job_of(entry).workers == 24
    for bad in ("", "[]", "{}", '{"shard": "x", "machine": "y", "workers": "many"}'):
        with pytest.raises(UsageError, match="toJSON"):
            job_of(bad)
