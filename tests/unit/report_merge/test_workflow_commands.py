"""Annotations: one a cause, at its line, and no text of theirs becomes a command of its own."""

from __future__ import annotations

import pytest

from ci_dispatch.core.codec import replace
from report_merge.render.workflow_commands import annotations_of
from tests.unit.report_merge import sample_reports as sample
from tests.unit.report_merge.test_escape import HOSTILE


def test_one_error_a_cause_and_flaky_tests_as_warnings() -> None:
    first = replace(sample.failing("a, b: c"), line=41)
    said = "Error: expect(received).toBe(expected) // Object.is equality"
    lines = annotations_of(sample.report(first, sample.failing("other"), sample.flaky("shaky")))
    assert lines == [
        "::error title=product%3A cart.spec.ts › a%2C b%3A c [desktop] and 1 more test,file=cart.spec.ts,line=41::"
        + said,
        "::warning title=flaky%3A cart.spec.ts › shaky [desktop],file=cart.spec.ts::" + sample.REFUSED,
    ]


def test_ten_at_most_and_how_many_more_there_are() -> None:
    *errors, more = annotations_of(sample.large(100, 100, texts=30))
    assert [line.split(" ", 1)[0] for line in errors] == ["::error"] * 10
    assert more == "::notice title=Not all is shown here::20 more causes: see the summary"
    assert len(annotations_of(sample.large(100, 100, texts=10))) == 10


@pytest.mark.parametrize("text", HOSTILE)
def test_each_is_one_line(text: str) -> None:
    for line in annotations_of(sample.report(sample.failing(text, text))):
        assert "\n" not in line
        assert "\r" not in line
        assert line.split(" ", 1)[0] == "::error"
