"""A resource of the whole run on four real SSH machines, also when the one that holds it goes on and is not heard."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from ci_dispatch.core.events import LeaseGranted
from ci_dispatch.core.model import TestId
from ci_dispatch.run.journal import JournalReader
from tests.fleet.lab import Lab
from tests.integration.test_fleet_run import fleet_toml, run, wait_for

pytestmark = [pytest.mark.needs("sshd", "namespaces"), pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.long]

WRITERS = """
import json, os, sys, time
live, junit, names = sys.argv[1], sys.argv[2], sys.argv[3:]
def tell(**news):
    with open(live, "a") as file:
        file.write(json.dumps(news) + "\\n")
cases = []
for name in names:
    tell(kind="begin", id=name)
    until = time.time() + 0.5
    while time.time() < until:
        with open(os.environ["LOG"], "a") as log:
            log.write(json.dumps([time.time(), os.getpid(), name]) + "\\n")
        time.sleep(0.02)
    tell(kind="end", id=name, verdict="passed", seconds=0.5)
    cases.append(f"<testcase classname='c' name='{name}' time='0.5'/>")
with open(junit, "w") as file:
    file.write("<testsuites><testsuite name='s'>" + "".join(cases) + "</testsuite></testsuites>")
"""
GROUPS = """
[[group]]
name = "account"
titles = ["db*"]
exclusive = ["account"]

[[group]]
name = "pi's"
titles = ["pi*"]
needs = ["pi"]
after = ["account"]
"""


def test_nobody_else_holds_it_while_a_machine_that_cannot_be_heard_goes_on(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "runner.py").write_text(WRITERS)
    names = [*(f"db{n:02}" for n in range(30)), *(f"pi{n}" for n in range(4)), *(f"free{n:02}" for n in range(20))]
    (tmp_path / "tests.txt").write_text("".join(f"{name}\n" for name in names))
    log = tmp_path / "log.jsonl"
    suite = (
        f'[suite]\nrunner = "command"\nlist = "cat tests.txt"\nexclude = ["log.jsonl"]\nenv = {{ LOG = "{log}" }}\n'
        'command = "python3 runner.py {live} {junit} {tests}"\n'
    )
    (tmp_path / "ci-dispatch.toml").write_text(fleet_toml(lab, suite) + GROUPS)
    holed: list[str] = []

    def hole(journal: Path) -> None:
        wait_for(journal, '"TestFinished"', '"db05"')
        told = [stamped.event for entry in JournalReader(journal).read_all() for stamped in entry]
        leases = [event.lease for event in told if isinstance(event, LeaseGranted)]
        holder = next(lease.machine for lease in leases if TestId("db05") in lease.shard.tests)
        lab.wire("hole", holder, "on")
        holed.append(holder)

    try:
        outcome = run(lab, tmp_path, hole)
    finally:
        for name in holed:
            lab.wire("hole", name, "off")
    assert outcome.run["counts"]["passed"] == len(names), outcome.output
    signs = sorted((at, pid, name) for at, pid, name in map(json.loads, log.read_text().splitlines()))
    holders = [(at, pid) for at, pid, name in signs if name.startswith("db")]
    changes = [(one, other) for one, other in pairwise(holders) if one[1] != other[1]]
    assert len(changes) == len({pid for _, pid in holders}) - 1, "who has lost it never comes back"
    assert changes, "another machine took it over"
    last = max(at for at, _, name in signs if name.startswith("db"))
    assert min(at for at, _, name in signs if name.startswith("pi")) > last
    assert outcome.code == 0
