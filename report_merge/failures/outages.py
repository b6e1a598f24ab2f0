"""When it is not the tests at all: one machine that fails everything, or one cause that fails everything everywhere."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MachineTally:
    """What one machine did within one stretch of time."""

    machine: str
    passed: int
    failed: Mapping[str, int]  # fingerprint -> how many tests

    def mostly(self, share: float, at_least: int) -> str | None:
        """The fingerprint that more than `share` of its tests failed with, and not fewer than `at_least`."""
        if not self.failed:
            return None
        print_, count = max(self.failed.items(), key=lambda item: item[1])
        total = self.passed + sum(self.failed.values())
        return print_ if count >= at_least and count > share * total else None


def suspect_machines(tallies: Iterable[MachineTally], *, share: float = 0.5, at_least: int = 3) -> dict[str, str]:
    """Machines most of whose tests fail for one cause while other machines do well: machine -> fingerprint.

    Such a machine is `infra.machine.suspect`: fence it off and run its tests elsewhere.
    """
    tallies = list(tallies)
    suspects = {t.machine: print_ for t in tallies if (print_ := t.mostly(share, at_least))}
    others_do_well = any(t.passed > sum(t.failed.values()) for t in tallies if t.machine not in suspects)
    return suspects if others_do_well else {}


def outage(tallies: Iterable[MachineTally], *, share: float = 0.8, at_least: int = 3) -> str | None:
    """The fingerprint most tests fail with on more than `share` of at least two machines, or None.

    That is `env.outage`: trying again is pointless, and the run says nothing about which tests are flaky
    (Trunk's infrastructure failure protection draws the same line at 80 %).
    """
    active = [t for t in tallies if t.passed or t.failed]
    struck: defaultdict[str, int] = defaultdict(int)
    for tally in active:
        if print_ := tally.mostly(0.5, at_least):
            struck[print_] += 1
    if len(active) < 2 or not struck:
        return None
    print_, machines = max(struck.items(), key=lambda item: item[1])
    return print_ if machines > share * len(active) else None
