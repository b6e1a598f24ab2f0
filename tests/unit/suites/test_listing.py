"""From what a reporter wrote to the expected tests: units as the runner has them, errors that say what to do."""

from __future__ import annotations

import json

import pytest

from ci_dispatch.config.choices import Split
from ci_dispatch.core.errors import NothingToRun, UsageError
from ci_dispatch.run.ports import Listing
from ci_dispatch.suites.listing import ListingOutput, listing_of
from ci_dispatch.suites.live_events import events_in


def output(*lines: object, exit_code: int = 0, errors: str = "") -> ListingOutput:
    events = events_in(json.dumps(line).encode() + b"\n" for line in lines)
    return ListingOutput(exit_code=exit_code, output="", errors=errors, events=events)


def listing(given: ListingOutput, split: Split = Split.AUTO) -> Listing:
    return listing_of(given, split, runner="Playwright", workdir="e2e", install="npm ci")


def listed(*tests: dict[str, object], split: Split = Split.AUTO) -> Listing:
    return listing(output({"kind": "plan", "tests": tests}), split)


TEST = {"id": "7", "project": "p", "file": "f", "title": ["g", "t"], "line": 3, "unit": "p f", "group": ""}


@pytest.mark.parametrize(
    ("unit", "group", "split", "expected"),
    [
        ("p f", "", Split.AUTO, ("p f", False)),
        ("p f", "", Split.TEST, ("7", False)),
        ("p f", "", Split.FILE, ("p f", False)),
        ("", "", Split.AUTO, ("7", False)),
        ("", "", Split.FILE, ("p f", False)),
        ("p f", "g", Split.AUTO, ("p f", True)),
        ("p f", "g", Split.TEST, ("g", True)),
        ("g", "g", Split.FILE, ("g", True)),
    ],
)
def test_split_never_cuts_a_group(unit: str, group: str, split: Split, expected: tuple[str, bool]) -> None:
    (test,) = listed({**TEST, "unit": unit, "group": group}, split=split).tests
    assert (test.unit, test.atomic) == expected


def test_a_listed_test_has_its_places() -> None:
    (test,) = listed(TEST).tests
    assert (test.id, test.project, test.file, test.title, test.line) == ("7", "p", "f", ("g", "t"), 3)


def test_tests_of_one_name_count_once_and_say_so() -> None:
    found = listed(TEST, TEST)
    assert len(found.tests) == 1
    assert found.notes == ("tests of one name count once, with the worst of their results: 7 (2 times)",)


@pytest.mark.parametrize("tests", [[], [{}], [{"id": ""}]])
def test_no_tests_are_nothing_to_run(tests: list[dict[str, object]]) -> None:
    with pytest.raises(NothingToRun, match="nothing to run"):
        listed(*tests)


def test_a_plan_that_cannot_be_read_is_an_error() -> None:
    assert "exited 0: Expected `str`" in refusal(output({"kind": "plan", "tests": [{"id": 7}]}))


def refusal(given: ListingOutput) -> str:
    with pytest.raises(UsageError) as caught:
        listing(given)
    return str(caught.value)


def test_a_missing_runner_is_to_be_installed() -> None:
    said = refusal(output(exit_code=127, errors="@playwright/test is not installed for e2e\n"))
    assert "is not installed" in said
    assert "npm ci (in e2e)" in said


def test_load_errors_are_shown_together_as_plain_lines() -> None:
    problems = [{"kind": "problem", "cause": "load error", "message": f"\x1b[31mbroken\n {n}"} for n in range(7)]
    said = refusal(output(*problems, {"kind": "plan", "tests": []}, exit_code=1))
    assert "\n  broken 0\n  broken 1" in said
    assert "and 2 more" in said
    assert "\x1b" not in said


def test_a_runner_that_says_nothing_is_quoted() -> None:
    assert "exited 3: out of cheese" in refusal(output(exit_code=3, errors="out of cheese\n"))
    assert "exited 0" in refusal(output())
