"""The main job on four real SSH machines behind a delay line: the reference suite, and a machine that dies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ci_dispatch.core import codec
from ci_dispatch.machines.ssh.machine import CONFIG_VARIABLE
from ci_dispatch.run.journal import JournalReader
from tests.components import REFERENCE_SUITE
from tests.fleet.lab import ROUND_TRIPS, Lab

pytestmark = [pytest.mark.needs("sshd", "namespaces"), pytest.mark.slow, pytest.mark.timeout(600)]

SLEEPERS = """
import json, os, sys, time
live, junit, names = sys.argv[1], sys.argv[2], sys.argv[3:]
def tell(**news):
    with open(live, "a") as file:
        file.write(json.dumps(news) + "\\n")
cases = []
for name in names:
    number = int(name[1:])
    tell(kind="begin", id=name)
    time.sleep(0.4)
    failed = number % 20 == 7
    tell(kind="end", id=name, verdict="failed" if failed else "passed", seconds=0.4, message="boom" if failed else "")
    cases.append(f"<testcase classname='c' name='{name}' time='0.4'>{'<failure/>' if failed else ''}</testcase>")
with open(junit, "w") as file:
    file.write("<testsuites><testsuite name='s'>" + "".join(cases) + "</testsuite></testsuites>")
sys.exit(any(int(name[1:]) % 20 == 7 for name in names))
"""


@dataclass
class Outcome:
    code: int
    run: dict[str, Any]
    events: list[dict[str, Any]]
    output: str

    def times(self, kind: str, **fields: object) -> list[float]:
        return [
            event["at"]
            for event in self.events
            if event["kind"] == kind and all(event["data"].get(key) == value for key, value in fields.items())
        ]


def fleet_toml(fleet: Lab, suite: str) -> str:
    machines = "".join(
        f'[[machine]]\nname = "{name}"\ncores = 2\nworkdir = "{fleet.hosts[name].work}/ci"\n' for name in ROUND_TRIPS
    )
    return f'{suite}\n[retry]\nmax_retries = 1\nbackoff = "200ms"\n[health]\nmax_load_per_core = 1000\n{machines}'


def run(fleet: Lab, tree: Path, meanwhile: Callable[[Path], None] | None = None) -> Outcome:
    """`ci-dispatch run` in `tree`; `meanwhile` gets the journal's path on a thread of its own."""
    environ = {**os.environ, CONFIG_VARIABLE: str(fleet.config.path), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "ci_dispatch", "run", "--progress", "plain"]
    with subprocess.Popen(
        command, cwd=tree, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        thread = threading.Thread(target=lambda: meanwhile and meanwhile(journal_of(tree)), daemon=True)
        thread.start()
        output, _ = process.communicate(timeout=500)
        thread.join(10)
    [folder] = (tree / ".ci-dispatch" / "runs").iterdir()
    assert (folder / "run.json").exists(), output
    entries = JournalReader(folder / "events.jsonl").read_all()
    events = [
        {"kind": type(each.event).__name__, "at": each.at, "data": codec.to_data(each.event)}
        for entry in entries
        for each in entry
    ]
    return Outcome(process.returncode, json.loads((folder / "run.json").read_text()), events, output)


def journal_of(tree: Path) -> Path:
    while not (found := list((tree / ".ci-dispatch" / "runs").glob("*/events.jsonl"))):
        time.sleep(0.05)
    return found[0]


def wait_for(journal: Path, *words: str) -> None:
    """Until a line of the journal holds all these words."""
    while not any(all(word in line for word in words) for line in journal.read_text().splitlines()):
        over = (journal.parent / "run.json").exists()
        assert not over, f"the run ended without {words}:\n{journal.read_text()[-3000:]}"
        time.sleep(0.05)


@pytest.fixture
def sleepers(tmp_path: Path, lab: Lab) -> Path:
    """A suite of 120 tests of 0.4 s each, every twentieth of which fails, over the lab's four machines."""
    (tmp_path / "runner.py").write_text(SLEEPERS)
    (tmp_path / "tests.txt").write_text("".join(f"t{n:03}\n" for n in range(120)))
    suite = (
        '[suite]\nrunner = "command"\nlist = "cat tests.txt"\ncommand = "python3 runner.py {live} {junit} {tests}"\n'
    )
    (tmp_path / "ci-dispatch.toml").write_text(fleet_toml(lab, suite))
    return tmp_path


def every_test_has_its_true_verdict(outcome: Outcome) -> None:
    assert outcome.run["counts"] == {"passed": 114, "failed": 6, "flaky": 0, "skipped": 0, "not run": 0}, outcome.output
    assert outcome.run["verdict"] == "FAILED"
    assert outcome.code == 1
    verdicts = [event["data"]["test"] for event in outcome.events if event["kind"] == "VerdictReached"]
    assert len(verdicts) == len(set(verdicts)) == 120, "one verdict each, none twice"


@pytest.mark.long
@pytest.mark.parametrize("death", ["power off", "black hole"])
def test_a_machine_dies_and_the_others_finish_its_work(lab: Lab, sleepers: Path, death: str) -> None:
    died: list[float] = []

    def kill(journal: Path) -> None:
        wait_for(journal, '"TestFinished"', '"lease":1,')
        time.sleep(1.0)
        if death == "power off":
            lab.power_off("ilko2")
        else:
            lab.wire("hole", "ilko2", "on")
        died.append(time.time())

    outcome = run(lab, sleepers, kill)

    every_test_has_its_true_verdict(outcome)
    [lost] = outcome.times("MachineLost", machine="ilko2")
    assert lost - died[0] < 15, "noticed"
    lost_lease = next(
        event["data"]["lease"]
        for event in outcome.events
        if event["kind"] == "AttemptFinished" and event["data"]["result"]["ended"] == "lost"
    )
    held = {
        test
        for event in outcome.events
        if event["kind"] == "LeaseGranted" and event["data"]["lease"]["number"] == lost_lease
        for test in event["data"]["lease"]["shard"]["tests"]
    }
    again = [
        event["at"]
        for event in outcome.events
        if event["kind"] == "LeaseGranted"
        and event["data"]["lease"]["number"] > lost_lease
        and held & set(event["data"]["lease"]["shard"]["tests"])
    ]
    free = [at for at in outcome.times("AttemptFinished") if at < again[0]]
    assert again[0] - max([lost, *free]) < 5, "handed out again"


@pytest.mark.long
def test_a_full_disk_moves_the_work_and_is_said(lab: Lab, sleepers: Path) -> None:
    def fill(journal: Path) -> None:
        wait_for(journal, '"TestFinished"')
        lab.hosts["pi"].inside(f"dd if=/dev/zero of={lab.hosts['pi'].work}/fill bs=64k count=4000 2>/dev/null; true")

    try:
        outcome = run(lab, sleepers, fill)
    finally:
        lab.hosts["pi"].inside(f"rm -f {lab.hosts['pi'].work}/fill")
    every_test_has_its_true_verdict(outcome)


@pytest.mark.long
def test_nothing_is_left_running_on_any_machine(lab: Lab, sleepers: Path) -> None:
    before = {name: host.processes() for name, host in lab.hosts.items()}
    every_test_has_its_true_verdict(run(lab, sleepers))
    end = time.monotonic() + 15
    while time.monotonic() < end:
        left = {name: host.processes() for name, host in lab.hosts.items()}
        if all(left[name] <= before[name] for name in left):
            break
        time.sleep(0.2)
    assert left == before


@pytest.mark.long
@pytest.mark.needs("playwright", "chromium")
def test_the_reference_suite_over_four_machines_gives_what_one_machine_gives(lab: Lab, tmp_path: Path) -> None:
    tree = tmp_path / "shop"
    ignore = ["node_modules", "test-results", "playwright-report", ".ci-dispatch"]
    subprocess.run(["cp", "-r", str(REFERENCE_SUITE), str(tree)], check=True)
    for name in ignore:
        subprocess.run(["rm", "-rf", str(tree / name)], check=True)
    modules = REFERENCE_SUITE / "node_modules"
    (tree / "node_modules").symlink_to(modules)
    suite = f'[suite]\nrunner = "playwright"\nprepare = "ln -sfn {modules} node_modules"\nexclude = ["node_modules"]\n'
    (tree / "ci-dispatch.toml").write_text(fleet_toml(lab, suite))

    outcome = run(lab, tree)

    assert outcome.run["expected"] == 198, outcome.output
    counts = outcome.run["counts"]
    assert counts["not run"] == 0, outcome.output
    assert counts["failed"] == 0, outcome.output
    assert counts["passed"] + counts["flaky"] + counts["skipped"] == 198
    assert counts["skipped"] == 3, "what a single machine gives"
    assert outcome.code == 0
    used = {attempt["machine"] for attempt in outcome.run["attempts"]}
    assert used == set(ROUND_TRIPS), "all four took part"
