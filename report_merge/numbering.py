"""The executions of one test, wherever they stand, as one Case with attempts numbered from 1."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from report_merge.fragments import Fragments
from report_merge.joining import Execution, Joined
from report_merge.junit.testcase import case_of
from report_merge.junit.xml import Element
from report_merge.model import Attempt, Case


class MergedCase(NamedTuple):
    case: Case
    first: Element  # the element of its first execution: what it holds and we do not know is kept


def merged_cases(fragments: Fragments, joined: Joined, file: int) -> dict[int, MergedCase]:
    """The tests of one file that other files tell of too, by their number in it."""
    return {
        case: _merged(fragments, executions, joined.ordinals.get(executions[0], 0))
        for case, executions in joined.tests[file].items()
    }


def _merged(fragments: Fragments, executions: list[Execution], ordinal: int) -> MergedCase:
    """Names, properties and line come from the first execution. Numbers rise even where a file tells several tries."""
    read = [fragments.case(*at) for at in executions]
    told = [case_of(e, fragments.around_case(*at), ordinal=ordinal) for e, at in zip(read, executions, strict=True)]
    attempts: list[Attempt] = []
    for case in told:
        for attempt in case.attempts:
            if attempts and attempt.number <= attempts[-1].number:
                attempts.append(replace(attempt, number=attempts[-1].number + 1))
            else:
                attempts.append(attempt)
    return MergedCase(replace(told[0], attempts=tuple(attempts)), read[0])
