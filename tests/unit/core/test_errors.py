"""What a message suggests, and which exit code counts."""

from __future__ import annotations

import pytest

from ci_dispatch.core.errors import ExitCode, did_you_mean, nearest, worst


def test_a_word_that_is_near_is_suggested() -> None:
    assert nearest("rum", ["resume", "run"]) == "run"
    assert did_you_mean("rum", ["resume", "run"]) == "did you mean run?"


@pytest.mark.parametrize("known", [[], ["dashboard"]])
def test_nothing_is_suggested_when_nothing_is_near(known: list[str]) -> None:
    assert nearest("rum", known) == did_you_mean("rum", known) == ""


def test_a_lower_cutoff_suggests_more() -> None:
    assert nearest("shop", ["shopping cart"]) == ""
    assert nearest("shop", ["shopping cart"], cutoff=0.4) == "shopping cart"


def test_a_lost_test_never_reads_as_tests_failed() -> None:
    assert worst([ExitCode.TESTS_FAILED, ExitCode.INCOMPLETE, ExitCode.PASSED]) is ExitCode.INCOMPLETE
    assert worst([]) is ExitCode.PASSED
