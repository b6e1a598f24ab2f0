"""Histories merge to the same in any order and however often, and no bound is broken: as files, with real SQLite."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ci_dispatch.core.model import RunId, TestId, Verdict
from ci_dispatch.history.merge import Bounds, later, outdated, winner
from ci_dispatch.history.store import HistoryStore
from ci_dispatch.history.values import PastAttempt, PastRun, PastTest, RecordedRun, Remembered

NOW = 100.0
BOUNDS = Bounds(runs=4, seconds=80.0)

texts = st.text(max_size=4)
moments = st.integers(0, 100).map(float)
attempts = st.builds(
    PastAttempt, verdict=st.sampled_from(Verdict), machine=texts, at=moments, seconds=st.none() | moments,
    busy=st.sampled_from([0.25, 1.0]), workers=st.integers(0, 8), fingerprint=texts,
)  # fmt: skip
tests = st.builds(
    PastTest, id=st.sampled_from("abc").map(TestId), verdict=st.sampled_from(Verdict), name=texts, file=texts,
    project=texts, reason=texts, attempts=st.lists(attempts, max_size=2).map(tuple),
)  # fmt: skip
runs = st.builds(
    PastRun, id=st.sampled_from("12345678").map(RunId), at=moments, title=texts, branch=texts, verdict=texts,
    seconds=moments,
)  # fmt: skip
records = st.builds(
    RecordedRun,
    run=runs,
    tests=st.lists(tests, max_size=3, unique_by=lambda test: test.id).map(
        lambda found: tuple(sorted(found, key=lambda test: test.id))
    ),
)
memories = st.builds(
    Remembered, reporter=st.sampled_from(["slack", "team"]), key=st.sampled_from("xy"), value=st.binary(max_size=2),
    at=moments,
)  # fmt: skip
histories = st.tuples(st.lists(records, max_size=4), st.lists(memories, max_size=3))
History = tuple[list[RecordedRun], list[Remembered]]


@given(records, records, records)
def test_which_record_of_a_run_counts_does_not_depend_on_who_comes_first(
    one: RecordedRun, two: RecordedRun, three: RecordedRun
) -> None:
    assert winner(one, two) == winner(two, one)
    assert winner(one, one) == one
    assert winner(winner(one, two), three) == winner(one, winner(two, three))


@given(memories, memories)
def test_which_memory_counts_does_not_depend_on_who_comes_first(one: Remembered, two: Remembered) -> None:
    if (one.at, one.value) != (two.at, two.value):
        assert later(one, two) == later(two, one)


@given(st.lists(runs, unique_by=lambda run: run.id), st.integers(1, 5), moments)
def test_what_the_bounds_forget_is_the_oldest(known: list[PastRun], most: int, seconds: float) -> None:
    gone = set(outdated(known, Bounds(runs=most, seconds=seconds), NOW))
    kept = [run for run in known if run.id not in gone]
    assert len(kept) <= most
    assert all(run.at >= NOW - seconds for run in kept)
    assert all(max(run.at for run in known if run.id in gone) <= run.at for run in kept if gone)
    if len(kept) < most:
        assert all(run.at < NOW - seconds for run in known if run.id in gone), "nothing goes that both bounds allow"


def merged(stack: ExitStack, folder: Path, name: str, *parts: History) -> HistoryStore:
    """A file into which the parts, each a file of its own, were merged in their order."""
    others = []
    for number, (past, remembered) in enumerate(parts):
        other = stack.enter_context(HistoryStore(folder / f"{name}-{number}.db"))
        other.add(past, remembered)
        others.append(other)
    into = stack.enter_context(HistoryStore(folder / f"{name}.db"))
    for other in others:
        into.take_in([other], BOUNDS, NOW)
    return into


def content(store: HistoryStore) -> tuple[list[RecordedRun], list[Remembered]]:
    return sorted(store.records(), key=lambda record: record.run.id), sorted(
        store.remembered(), key=lambda one: (one.reporter, one.key)
    )


@settings(max_examples=15, deadline=None)
@given(histories, histories, histories)
def test_files_merge_to_the_same_in_any_order_and_however_often(one: History, two: History, three: History) -> None:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        first = merged(stack, folder, "first", one, two, three)
        again = merged(stack, folder, "again", three, one, two, one, three)
        assert content(first) == content(again)
        before = content(first)
        assert first.take_in([again], BOUNDS, NOW) == 0
        assert content(first) == before
        assert within_bounds(first.runs())
        lost = {record.run.id for past, _ in (one, two, three) for record in past} - {run.id for run in first.runs()}
        assert lost <= set(outdated([best(run, one, two, three) for run in lost] + first.runs(), BOUNDS, NOW))


def within_bounds(kept: Sequence[PastRun]) -> bool:
    return len(kept) <= BOUNDS.runs and all(run.at >= NOW - BOUNDS.seconds for run in kept)


def best(run: RunId, *parts: History) -> PastRun:
    found = [record for past, _ in parts for record in past if record.run.id == run]
    kept = found[0]
    for record in found[1:]:
        kept = winner(kept, record)
    return kept.run
