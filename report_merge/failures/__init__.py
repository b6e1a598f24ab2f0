"""Says why something failed, whose trouble that is, and what trying again could be good for.

    classify(text)    the one Finding that decides          explain(text)   all of them, to see why
    group(cases)      one group for each cause              suspect_machines, outage   when it is not the tests at all

Pure: the only thing ever read is the shipped `rules.toml`. `ci_dispatch`'s retry policy stands on this package too.
"""

from __future__ import annotations

from report_merge.failures.classify import (
    UNKNOWN,
    UNKNOWN_HINT,
    FailureGroup,
    Finding,
    cause_of,
    classify,
    explain,
    fingerprint,
    group,
    loose_fingerprint,
)
from report_merge.failures.outages import MachineTally, outage, suspect_machines
from report_merge.failures.rules import FailureRules, FailureVerdict, RetryAdvice, RulesError, load_rules

__all__ = [
    "UNKNOWN", "UNKNOWN_HINT", "FailureGroup", "FailureRules", "FailureVerdict", "Finding", "MachineTally",
    "RetryAdvice", "RulesError", "cause_of", "classify", "explain", "fingerprint", "group", "load_rules",
    "loose_fingerprint", "outage", "suspect_machines",
]  # fmt: skip
