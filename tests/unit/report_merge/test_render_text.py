"""The last words of a run."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from report_merge.model import FileProblem, Missing, Outcome, Report
from report_merge.render import text, wording
from tests.unit.report_merge import sample_reports as sample
from tests.unit.report_merge.test_escape import HOSTILE

LAST = re.compile(
    r"ci-dispatch: (?P<status>INCOMPLETE|FAILED|UNREADABLE|PASSED) (?P<tests>\d+) tests?: \d+ passed, \d+ failed, "
    r"\d+ flaky, \d+ skipped, \d+ not run(; \d+ machines?)?(; [\dhms.]+)?(; report .+)?"
)


@pytest.mark.parametrize("make", [sample.green, sample.red, sample.incomplete])
def test_the_last_words_of_each_kind_of_run(make: Callable[[], Report], golden: Callable[[str, str], None]) -> None:
    lines = text.final_lines(make(), report_path="out/report.html", program="ci-dispatch")
    assert LAST.fullmatch(lines[-1])
    assert not any(LAST.match(line) for line in lines[:-1])
    golden(f"final-{make.__name__}.txt", "\n".join(lines) + "\n")


def test_the_last_line_is_for_scripts() -> None:
    big = sample.large(12_345, 2)
    assert text.last_line(big, program="report-merge") == (
        "report-merge: FAILED 12345 tests: 12343 passed, 2 failed, 0 flaky, 0 skipped, 0 not run; 2 machines; 3m12s"
    )


@pytest.mark.parametrize(
    ("report", "status"),
    [
        (sample.report(), "INCOMPLETE"),
        (sample.report(sample.case("a"), missing=(Missing(what="shard", name="1"),)), "INCOMPLETE"),
        (sample.report(sample.failing("a"), sample.case("b", reason="lost")), "INCOMPLETE"),
        (sample.report(sample.failing("a"), problems=(FileProblem(file="f", reason="r"),)), "FAILED"),
        (sample.report(sample.case("a"), problems=(FileProblem(file="f", reason="r"),)), "UNREADABLE"),
        (sample.report(sample.flaky("a")), "PASSED"),
    ],
)
def test_the_status_when_several_apply(report: Report, status: str) -> None:
    assert wording.status(report) == status


@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_line_of_foreign_make_is_a_command_or_moves_the_cursor(hostile: str) -> None:
    report = sample.report(
        sample.failing(hostile, hostile, machine=hostile),
        missing=(Missing(what="shard", name=hostile, reason=hostile),),
        problems=(FileProblem(file=hostile, reason=hostile),),
    )
    lines = text.final_lines(report, report_path=hostile, program="ci-dispatch")
    for line in lines:
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", line)
        assert not line.strip().startswith("::")
        assert "##[" not in line
    assert sum(line.startswith("ci-dispatch: ") for line in lines) == 1


def test_many_causes_and_tests_are_counted_not_listed() -> None:
    lines = text.final_lines(sample.large(1000, 1000, texts=50), program="ci-dispatch")
    assert len(lines) < 250
    assert "... and 30 more causes: see the report" in lines
    assert "    ... and 15 more tests" in lines


def test_one_reason_is_told_once_however_many_tests_it_stopped() -> None:
    nobody = "no healthy machine - local: Disk 3 % free on /, needs 10 %"
    lost = [sample.case(f"lost {n}", reason=nobody) for n in range(161)]
    lines = text.final_lines(sample.report(*lost, sample.case("gone", reason="deleted")), program="ci-dispatch")
    assert lines[:7] == [
        f"MISSING 161 tests: {nobody}",
        *(f"    cart.spec.ts › lost {n} [desktop]" for n in range(5)),
        "    ... and 156 more tests",
    ]
    assert lines[7] == "MISSING test cart.spec.ts › gone [desktop]: deleted"


def test_no_list_is_cut_without_a_word() -> None:
    lost = [sample.case(f"lost {n}", reason=f"reason {n // 2}") for n in range(60)]
    files = tuple(FileProblem(file=f"{n}.xml", reason="empty") for n in range(27))
    lines = text.final_lines(sample.report(*lost, problems=files), program="ci-dispatch")
    assert "... and 20 more are MISSING for other reasons: see the report" in lines
    assert "... and 7 more files: see the report" in lines


def test_a_failure_names_every_machine_it_struck() -> None:
    tries = [sample.attempt(Outcome.FAILED, text="boom", machine=name) for name in "abcdea"]
    lines = text.final_lines(
        sample.report(sample.case("x", *tries[:3]), sample.case("y", *tries)), program="ci-dispatch"
    )
    assert [line.rpartition("  on ")[2] for line in lines if "  on " in line] == [
        "a, b, c  1.00s",
        "a, b, c, 2 more  1.00s",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.00s"), (9.994, "9.99s"), (9.996, "10.0s"), (59.94, "59.9s"), (59.96, "1m00s"), (192, "3m12s"),
        (3599.6, "1h00m"), (3720, "1h02m"), (None, "?"), (float("nan"), "?"), (-1, "?"), (1e300, "277777h46m"),
    ],
)  # fmt: skip
def test_durations(seconds: float | None, words: str) -> None:
    assert wording.duration(seconds) == words
