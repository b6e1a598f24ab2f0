"""One test over all its runs: what counts for which figure."""

from __future__ import annotations

import pytest

from ci_dispatch.core.model import RunId, TestId, Verdict
from ci_dispatch.history.past import MachinePast, TestPast, bars, matching
from ci_dispatch.history.values import KnownTest, PastAttempt, PastRun, PastTest

TEST = KnownTest(id=TestId("5f"), name="cart › pays", file="cart.spec.ts")


def attempt(verdict: Verdict, seconds: float | None, machine: str = "pi") -> PastAttempt:
    return PastAttempt(verdict=verdict, seconds=seconds, machine=machine, at=1.0)


def past(*runs: tuple[Verdict, tuple[PastAttempt, ...]]) -> TestPast:
    found = [
        (PastRun(id=RunId(str(n)), at=float(n)), PastTest(id=TEST.id, verdict=verdict, attempts=attempts))
        for n, (verdict, attempts) in enumerate(runs)
    ]
    return TestPast(test=TEST, runs=found)


PASSED, FAILED = attempt(Verdict.PASSED, 2.0), attempt(Verdict.FAILED, 9.0, "moruk")


def test_figures() -> None:
    seen = past(
        (Verdict.PASSED, (PASSED,)),
        (Verdict.FLAKY, (FAILED, attempt(Verdict.PASSED, 4.0))),
        (Verdict.FAILED, (FAILED, FAILED)),
        (Verdict.SKIPPED, (attempt(Verdict.SKIPPED, 0.0, ""),)),
        (Verdict.NOT_RUN, ()),
        (Verdict.PASSED, (attempt(Verdict.PASSED, None),)),
    )
    assert seen.flaky_rate == 0.25, "of the runs that executed it"
    assert seen.verdicts.total() == 5
    assert seen.passes == [2.0, 4.0]
    assert seen.machines == [
        MachinePast(name="?", attempts=1, failed=0, median=None),
        MachinePast(name="moruk", attempts=3, failed=3, median=None),
        MachinePast(name="pi", attempts=3, failed=0, median=3.0),
    ]
    assert [run.id for run, _ in seen.failures] == ["1", "2", "2"]


def test_a_test_that_never_ran_has_no_rate() -> None:
    assert past((Verdict.NOT_RUN, ()), (Verdict.SKIPPED, ())).flaky_rate is None


@pytest.mark.parametrize(
    ("values", "line"), [([], ""), ([0.0, 0.0], "▁▁"), ([1.0], "█"), ([0.0, 5.0, 10.0], "▁▅█"), ([10.0, 0.01], "█▁")]
)
def test_bars(values: list[float], line: str) -> None:
    assert bars(values) == line


def test_a_test_is_meant_by_its_id_or_a_piece_of_what_it_is_called() -> None:
    other = KnownTest(id=TestId("5f0"), name="cart › empties", file="cart.spec.ts")
    former = KnownTest(id=TestId("5f"), name="cart › former name", file="cart.spec.ts")
    known = [former, TEST, other]
    assert matching(known, "5f") == [TEST]
    assert matching(known, "EMPTIES") == [other]
    assert matching(known, "cart.spec") == [TEST, other]
    assert matching(known, "former") == []
    assert matching(known, "nope") == []
