"""One seed over machines: the whole run, with everything its plan lets happen, and the evidence it leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from tests.chaos import suite
from tests.chaos.controller import Controller, Journal, last_line
from tests.chaos.fleet import Fleet
from tests.chaos.fleet_in_namespaces import NamespaceFleet
from tests.chaos.fleet_on_loopback import LoopbackFleet
from tests.chaos.plan import FOREVER, LEASE, MACHINE, MOMENTARY, Fault, Kind, Plan
from tests.components import present
from tests.fleet.servers import Keys

GRACE = 12.0  # beyond the lease: a machine's patience with its controller, and TERM and KILL for what does not end
RESUMABLE = (-signal.SIGKILL, -signal.SIGINT, -signal.SIGTERM, 4, 130, 143)  # what the next controller goes on after
RESUMES = 5


@dataclass
class Evidence:
    """What a run left behind, for checks.py."""

    plan: Plan
    folder: Path  # of the seed
    run: Path | None = None  # its folder
    code: int | None = None  # of the last controller
    last: str = ""  # its last line
    again: tuple[int, str] = (-1, "")  # the same of `resume` once it is over
    seconds: float = 0.0
    kills: int = 0
    left: dict[int, str] = field(default_factory=dict)  # what still runs afterwards
    trouble: list[str] = field(default_factory=list)  # what went wrong on the way
    second: Evidence | None = None  # of the second controller's run

    @property
    def audit(self) -> Path:
        return self.folder / "audit.jsonl"


def run(plan: Plan, folder: Path, keys: Keys) -> Evidence:
    """Carry the plan out in an empty folder."""
    if plan.runner == "playwright" and not present("playwright"):
        plan = replace(plan, runner="command")
    tier = NamespaceFleet if present("namespaces") else LoopbackFleet
    with tier(plan, folder, keys) as fleet:
        return _Seed(plan, folder, fleet).run()


def configuration(plan: Plan, fleet: Fleet) -> str:
    """Every wait of a run short."""
    machines = "".join(
        f'[[machine]]\nname = "{machine.name}"\ncores = {machine.cores}\nworkdir = "{fleet.workdir(machine)}"\n'
        f'connection = "{"local" if machine.local else "ssh"}"\nenv = {{ CHAOS_MACHINE = "{machine.name}" }}\n'
        for machine in plan.machines
    )
    if plan.runner == "pytest":
        runner = 'runner = "pytest"'
    elif plan.runner == "playwright":
        runner = f'runner = "playwright"\nprepare = "ln -sfn {suite.NODE_MODULES} node_modules"'
    else:
        words = f"{sys.executable} runner.py"
        runner = f'runner = "command"\nlist = "{words} --list"\ncommand = "{words} {{live}} {{junit}} {{tests_file}}"'
    return f"""
[suite]
{runner}
[suite.env]
CHAOS_AUDIT = "{fleet.folder}/audit.jsonl"
CI_DISPATCH_PYTHON = "{sys.executable}"
PYTEST_DISABLE_PLUGIN_AUTOLOAD = "1"
[health]
connect_timeout = "10s"
interval = "2s"
max_load_per_core = 1000
min_disk_free = 0.02
max_clock_skew = "2h"
[retry]
max_retries = 1
backoff = "100ms"
[run]
lease = "{LEASE:g}s"
head_share = 0.5
give_up_after = "10s"
sync_timeout = "10s"
shard_timeout = "30s"
deadline = "300s"
{machines}"""


class _Seed:
    def __init__(self, plan: Plan, folder: Path, fleet: Fleet) -> None:
        self.plan, self.folder, self.fleet = plan, folder, fleet
        self.root = folder / "tree"
        self.runs = folder / "runs"
        for path in (self.root, self.runs, folder / "near", folder / "home"):
            path.mkdir()
        suite.write(self.root, plan.cases, plan.runner)
        (self.root / ".ci-dispatch").symlink_to(self.runs)
        (folder / "audit.jsonl").touch()
        self.small_disk = plan.has(Kind.RUNS_FULL) and os.geteuid() == 0
        if self.small_disk:
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(self.runs)], check=True)
        (self.root / "ci-dispatch.toml").write_text(configuration(plan, fleet))
        self.journal = Journal(self.runs / "runs")
        self.controller = Controller(self.root, folder / "controller.log", fleet.ssh_config)
        self.evidence = Evidence(plan, folder)
        self.due = sorted(plan.faults, key=lambda fault: (fault.seconds, fault.lines))
        self.undo: list[tuple[float, Callable[[], None]]] = []
        self.began: float | None = None  # the run, by its journal
        self.disk_trouble = False
        self.second: Controller | None = None

    def run(self) -> Evidence:
        start = time.monotonic()
        try:
            self._drive(start + self.plan.limit)
            self.evidence.seconds = time.monotonic() - start
            self._afterwards()
        finally:
            self.controller.kill()
            if self.second is not None:
                self.second.kill()
            if self.small_disk:
                self._keep_runs()
        return self.evidence

    def _drive(self, limit: float) -> None:
        self.controller.start("run")
        resumes = 0
        while True:
            now = time.monotonic()
            if now > limit:
                self.evidence.trouble.append(f"it did not end within {self.plan.limit:.0f} s")
                self.controller.kill()
                return
            self._let_things_happen(now)
            code = self.controller.process.poll() if self.controller.process else None
            if code is not None and not self._in_disk_trouble():
                if code != -signal.SIGKILL and self._finished():
                    self.evidence.code = code
                    return
                resumes += 1
                if code not in RESUMABLE or resumes > RESUMES:
                    self.evidence.code = code
                    self.evidence.trouble.append(f"the controller gave up: exit code {code}")
                    return
                self._resume()
            time.sleep(0.006)

    def _let_things_happen(self, now: float) -> None:
        lines = self.journal.look()
        if lines and self.began is None:
            self.began = now
        since = now - self.began if self.began is not None else -1.0
        for fault in list(self.due):
            ready = fault.lines <= lines if fault.lines else since >= fault.seconds
            if ready and self.began is not None:
                self.due.remove(fault)
                self._begin(fault, now)
        for item in [item for item in self.undo if item[0] <= now]:
            self.undo.remove(item)
            item[1]()

    def _begin(self, fault: Fault, now: float) -> None:
        over = now + fault.lasts
        if fault.kind in MACHINE:
            self.fleet.begin(fault.kind, fault.machine)
            undone = partial(self.fleet.end, fault.kind, fault.machine)
            if fault.lasts != FOREVER and fault.kind not in MOMENTARY:
                self.undo.append((over, undone))
            return
        match fault.kind:
            case Kind.KILLED:
                self.controller.kill()
                self.evidence.kills += 1
                self.journal.tear(fault.tear)
                time.sleep(fault.lasts)
            case Kind.STOPPED:
                self.controller.signal(signal.SIGSTOP)
                self.undo.append((over, partial(self.controller.signal, signal.SIGCONT)))
            case Kind.INTERRUPTED:
                self.controller.signal(signal.SIGINT)
            case Kind.TERMINATED:
                self.controller.signal(signal.SIGTERM)
            case Kind.RUNS_FULL | Kind.RUNS_READ_ONLY:
                self.disk_trouble = True
                self.undo.append((over, self._fill() if fault.kind is Kind.RUNS_FULL else self._close_runs()))
            case Kind.CLOCK:
                self.controller.clock.write_text(str(fault.lasts))
            case Kind.EDIT:
                suite.edit(self.root)
            case Kind.SECOND:
                self._start_second()

    def _fill(self) -> Callable[[], None]:
        """The controller's disk is full, when it is one of its own; returns what frees it."""
        fill = self.runs / "fill"
        if self.small_disk:
            subprocess.run(["dd", "if=/dev/zero", f"of={fill}", "bs=64k"], stderr=subprocess.DEVNULL, check=False)
        return partial(fill.unlink, missing_ok=True)

    def _close_runs(self) -> Callable[[], None]:
        closed = [path for path in self.runs.rglob("*") if path.is_dir()]

        def set_mode(mode: int) -> None:
            for path in closed:
                path.chmod(mode)

        set_mode(0o500)
        return partial(set_mode, 0o700)

    def _in_disk_trouble(self) -> bool:
        """The disk of the controller is not mended yet: nobody resumes before that."""
        return self.disk_trouble and any(self.undo)

    def _resume(self) -> None:
        if self.journal.folder is None:
            self.controller.start("run")
        else:
            self.controller.start("resume", self.journal.folder.name)

    def _finished(self) -> bool:
        folder = self.journal.folder
        return folder is not None and b'"RunFinished"' in (folder / "events.jsonl").read_bytes()

    def _start_second(self) -> None:
        folder = self.folder / "second"
        (folder / "home").mkdir(parents=True)
        self.second = Controller(self.root, folder / "controller.log", self.fleet.ssh_config)
        self.second.start("run")

    def _afterwards(self) -> None:
        """What is looked at once the run is over."""
        evidence = self.evidence
        for _, undo in self.undo:
            undo()
        if self.second is not None:
            evidence.second = self._see_second(self.second)
        wait_until(lambda: not self.fleet.processes(), LEASE + GRACE)
        evidence.left = self.fleet.processes()
        evidence.run = self.journal.folder
        if evidence.run is None:
            evidence.trouble.append("there is no run")
            return
        evidence.last = last_line(self.controller.log.read_text(errors="replace"))
        evidence.again = self.controller.say_again(evidence.run.name)

    def _see_second(self, second: Controller) -> Evidence:
        """What the second controller's run came to."""
        evidence, journal = Evidence(self.plan, self.folder), Journal(self.runs / "runs")
        process, first = second.process, self.journal.folder
        if process is None or not wait_until(lambda: process.poll() is not None, self.plan.limit):
            evidence.trouble.append(f"it did not end within {self.plan.limit:.0f} s more")
        elif first is None or not journal.look(ignore=frozenset({first})):
            evidence.trouble.append("its run did not begin")
        else:
            assert journal.folder is not None
            evidence.code, evidence.run = process.returncode, journal.folder
            evidence.last = last_line(second.log.read_text(errors="replace"))
            evidence.again = second.say_again(journal.folder.name)
        return evidence

    def _keep_runs(self) -> None:
        """What lies on the small disk, in the seed's folder."""
        kept = self.folder / "kept"
        subprocess.run(["cp", "-r", str(self.runs), str(kept)], check=False)
        subprocess.run(["umount", "-l", str(self.runs)], check=False)
        if (kept / "runs").is_dir() and not any(self.runs.iterdir()):
            self.runs.rmdir()
            kept.rename(self.runs)


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.3)
    return True
