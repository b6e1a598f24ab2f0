"""The executions of one test, wherever they stand, as one Case with attempts numbered from 1."""

from __future__ import annotations

from dataclasses import replace

from report_merge.case_elements import case_of
from report_merge.fragments import Fragments
from report_merge.joining import Execution
from report_merge.model import Attempt, Case


def merged_case(fragments: Fragments, executions: list[Execution], *, ordinal: int = 0) -> Case:
    """Names, properties and line come from the first execution. Numbers rise even where a file tells several tries."""
    told = [case_of(fragments.case(*at), fragments.around_case(*at), ordinal=ordinal) for at in executions]
    attempts: list[Attempt] = []
    for case in told:
        for attempt in case.attempts:
            number = max(attempt.number, attempts[-1].number + 1) if attempts else attempt.number
            attempts.append(replace(attempt, number=number))
    return replace(told[0], attempts=tuple(attempts))
