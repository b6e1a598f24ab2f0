"""Tests under the names of their runner's own JUnit report, so that a tool with a history knows them again. Pure.

What a report says counts; else what the runner said when it listed its tests, or its conventions. Our own words for a
test (its id, file and project) are properties.
"""

from __future__ import annotations

import re

from ci_dispatch.core.codec import replace
from ci_dispatch.core.model import Test
from ci_dispatch.run.ledger import TestRecord
from ci_dispatch.run.state import RunState
from report_merge.model import Case, Report

PROPERTY = "ci-dispatch"  # and the name of the field: ci-dispatch.id


def under_own_names(report: Report, state: RunState) -> Report:
    """`report`, which was made of `state`, for merged.xml."""
    runner = state.started.runner if state.started else ""
    records = state.ledger.records.values()
    cases = tuple(_renamed(case, record, runner) for case, record in zip(report.cases, records, strict=True))
    return replace(report, cases=cases)


def _renamed(case: Case, record: TestRecord, runner: str) -> Case:
    test = record.test
    classname, name = own_names(record, runner)
    ours = (("id", test.id), ("file", test.file), ("project", test.project))
    properties = tuple((f"{PROPERTY}.{field}", value) for field, value in ours if value)
    return replace(case, key=replace(case.key, classname=classname, name=name), properties=properties)


def own_names(record: TestRecord, runner: str) -> tuple[str, str]:
    """The classname and the name of a test in its runner's own report."""
    reported = next((r for _, _, r in reversed(record.history) if r.name or r.classname), None)
    if reported is not None:
        return reported.classname, reported.name
    test = record.test
    if runner == "pytest":
        return _of_node_id(test)
    return test.classname or test.file, test.name


def _of_node_id(test: Test) -> tuple[str, str]:
    """As `_pytest.junitxml.mangle_test_address` makes them of a node id, tests/test_a.py::TestX::test_y[1]."""
    path, bracket, parameters = test.runner_id.partition("[")
    file, *within = path.split("::")
    *classes, name = [re.sub(r"\.py$", "", file.replace("/", ".")), *within]
    return ".".join(classes), f"{name}{bracket}{parameters}"
