"""A report as JSON and back: nothing is lost, and nothing else is taken for a report."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from dataclasses import fields
from math import isfinite
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from report_merge.lighthouse import read as read_lighthouse
from report_merge.model import (
    Attempt,
    Case,
    CaseKey,
    FileProblem,
    MachineUse,
    Missing,
    Outcome,
    Report,
    RunContext,
    Verdict,
    WorkSpan,
    count,
)
from report_merge.render import json as report_json
from report_merge.render import json_schema
from tests.unit.report_merge import sample_reports as sample

SCHEMA = Path(json_schema.__file__).with_name("report.schema.json")

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
number = st.floats(0, 1e6)
attempts = st.builds(
    Attempt, number=st.integers(1, 9), outcome=st.sampled_from(Outcome), seconds=st.none() | number, kind=text,
    message=text, text=text, stdout=text, stderr=text, started=text, machine=text, shard=text, source=text,
)  # fmt: skip
cases = st.builds(
    Case, key=st.builds(CaseKey, project=text, file=text, classname=text, name=text, ordinal=st.integers(0, 9)),
    suite=text, line=st.none() | st.integers(0, 9999), attempts=st.lists(attempts, max_size=3).map(tuple),
    properties=st.lists(st.tuples(text, text), max_size=2).map(tuple), reason=text,
)  # fmt: skip
reports = st.lists(cases, max_size=4).flatmap(
    lambda found: st.builds(
        Report,
        cases=st.just(tuple(found)),
        totals=st.just(count(found)),
        context=st.builds(RunContext, title=text, branch=text, attempt=st.integers(1, 99)),
        machines=st.lists(
            st.builds(
                MachineUse,
                name=text,
                lost=text,
                spans=st.lists(st.builds(WorkSpan, start=number, end=number)).map(tuple),
            ),
            max_size=2,
        ).map(tuple),
        missing=st.lists(st.builds(Missing, what=text, name=text), max_size=2).map(tuple),
        problems=st.lists(
            st.builds(FileProblem, file=text, reason=text, line=st.none() | st.integers()), max_size=2
        ).map(tuple),
        wall_seconds=st.none() | number,
    )
)


@given(reports)
def test_nothing_is_lost(report: Report) -> None:
    assert report_json.loads(report_json.dumps(report)) == report


@pytest.mark.parametrize("make", [sample.green, sample.red, sample.incomplete, sample.report])
def test_samples_come_back(make: Callable[[], Report]) -> None:
    assert report_json.loads(report_json.dumps(make())) == make()


def test_what_json_cannot_hold_is_replaced() -> None:
    written = report_json.dumps(sample.report(sample.case("a\ud800", sample.attempt(seconds=float("nan")))))
    (case,) = report_json.loads(written).cases
    assert case.key.name == "a?"
    assert case.attempts[0].seconds is None
    assert "NaN" not in written


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a report of report-merge"),
        ({"format": "ctrf"}, "not a report of report-merge"),
        ({"format": "report-merge", "version": 3, "report": {}}, "version 3; this report-merge reads versions 1 to 2"),
        ({"format": "report-merge", "version": 1}, "report must be an object"),
        ({"format": "report-merge", "version": 1, "report": {"cases": 3}}, "report.cases must be a list"),
        ({"format": "report-merge", "version": 1, "report": {"cases": [{}]}}, "report.cases[0]: missing 1 required"),
        ({"format": "report-merge", "version": 1, "report": {"x": 1}}, "report has the unknown field 'x'"),
        (
            {"format": "report-merge", "version": 1, "report": {"wall_seconds": "1"}},
            "wall_seconds must be of type float",
        ),
        (
            {
                "format": "report-merge",
                "version": 1,
                "report": {"cases": [{"key": {}, "attempts": [{"outcome": "great"}]}]},
            },
            "report.cases[0].attempts[0].outcome must be one of passed, failed, error, skipped, broken",
        ),
        (
            {"format": "report-merge", "version": 1, "report": {"cases": [{"key": {}, "properties": [["a"]]}]}},
            "report.cases[0].properties[0] must have 2 values",
        ),
    ],
)
def test_anything_else_is_refused_with_the_place(document: Any, reason: str) -> None:
    given_text = document if isinstance(document, str) else json.dumps(document)
    with pytest.raises(report_json.NotAReport, match=re.escape(reason)):
        report_json.loads(given_text)


words = st.sampled_from(["cases", "key", "attempts", "totals", "machines", "spans"])
foreign = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
)


@given(foreign)
def test_foreign_json_is_refused_or_read_never_a_crash(report: Any) -> None:
    with contextlib.suppress(report_json.NotAReport):
        report_json.loads(json.dumps({"format": "report-merge", "version": 1, "report": report}))


def test_the_quick_way_looks_at_every_field() -> None:
    """A field that it does not know would be lost from most tests: teach `_uneventful` what its default is."""
    assert {field.name for field in fields(Case)} == {
        "key", "suite", "line", "attempts", "properties", "reason", "source", "owners", "history", "since",
        "known",
    }  # fmt: skip
    assert {field.name for field in fields(CaseKey)} == {"project", "file", "classname", "name", "ordinal"}
    assert {field.name for field in fields(Attempt)} == {
        "number", "outcome", "seconds", "kind", "message", "text", "stdout", "stderr", "started", "machine", "shard",
        "source", "cause", "attachments",
    }  # fmt: skip


@given(text, text, text, text, st.integers(0, 9), st.none() | st.floats(), st.sampled_from(Outcome), st.integers(1, 9))
def test_the_quick_way_writes_what_the_other_does(
    name: str, file: str, machine: str, suite: str, ordinal: int, seconds: float | None, outcome: Outcome, tried: int
) -> None:
    key = CaseKey(name=name + "\ud800", file=file, ordinal=ordinal)
    attempt = Attempt(
        number=tried, outcome=outcome, seconds=seconds, message=suite + name, machine=machine, source=file
    )
    case = Case(key=key, suite=suite, attempts=(attempt,))
    quick = report_json._uneventful(case)
    if isfinite(seconds or 0.0):
        assert json.loads(quick) == {"key": {}} | report_json._plain(case)
    else:
        assert quick == ""


def test_causes_name_their_tests_by_place() -> None:
    report = sample.red()
    document = json.loads(report_json.dumps(report))
    assert document["version"] == 2
    first = document["causes"][0]
    names = [report.cases[place].key.name for place in first["tests"]]
    assert names == ["applies a discount", "applies a discount"]
    assert {place for cause in document["causes"] for place in cause["tests"]} == {
        place for place, case in enumerate(report.cases) if case.verdict in (Verdict.FAILED, Verdict.FLAKY)
    }


def test_files_of_the_first_version_are_still_read() -> None:
    document = json.loads(report_json.dumps(sample.red()))
    del document["causes"]
    assert report_json.loads(json.dumps(document | {"version": 1})) == sample.red()


@pytest.mark.parametrize("make", [sample.green, sample.red, sample.incomplete])
def test_the_shipped_schema_describes_it(make: Callable[[], Any]) -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    lighthouse = read_lighthouse(Path(__file__).parents[2] / "data" / "lighthouse" / "lhci")
    document = json.loads(report_json.dumps(make(), lighthouse))
    jsonschema.Draft202012Validator(schema).validate(document)
    document["report"]["totals"]["tests"] = "many"
    assert not jsonschema.Draft202012Validator(schema).is_valid(document)


def test_the_schema_knows_every_field_of_the_model() -> None:
    """A field of the model that the schema lacks would make our own files invalid."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    assert schema == json_schema.schema(), f"write it again: python -m report_merge.render.json_schema > {SCHEMA}"
