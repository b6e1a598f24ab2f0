"""`make chaos`: many seeds, each in a process and a folder of its own; a line for each, and failures are kept.

    python -m tests.chaos.campaign [SEEDS] [--seed N] [--fault WORDS] [--jobs N] [--results FILE] [--keep FOLDER]

SEEDS is a number (so many, from 0), `A-B`, or a list `17,18`; `--fault` keeps those whose plan has it. Seeds that the
results file has are skipped, but for those that are named.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from tests.chaos import checks, over_ssh, through_github
from tests.chaos.github_plan import GitHubPlan, github_plan_of
from tests.chaos.plan import Plan, plan_of
from tests.components import ROOT
from tests.fleet.servers import Keys

RESULTS = ROOT / ".ci-dispatch" / "chaos" / "results.jsonl"
SHOWN = 3  # violations of one seed
SEED_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedResult:
    """What a seed came to; a line of the results file."""

    seed: int
    fleet: str  # and the runner of its suite
    faults: tuple[str, ...]  # as the plan tells them
    kinds: tuple[str, ...]
    kills: int  # of the controller, each followed by a resume
    outcome: str  # the last line's word
    seconds: float
    violations: tuple[str, ...]
    revision: str = ""
    folder: str = ""  # kept

    def line(self) -> str:
        word = "ok" if not self.violations else f"{len(self.violations)} VIOLATIONS"
        told = "; ".join(self.faults) or "nothing"
        text = f"seed {self.seed}: {self.fleet}: {told}: {self.outcome}, {self.seconds:.1f} s, {word}"
        more = [f"    {why}" for why in self.violations[:SHOWN]]
        if len(self.violations) > SHOWN:
            more.append(f"    and {len(self.violations) - SHOWN} more")
        return "\n".join([text, *more, *([f"    kept in {self.folder}"] if self.folder else [])])


def any_plan_of(seed: int) -> Plan | GitHubPlan:
    """Every other seed goes through GitHub."""
    return github_plan_of(seed) if seed % 2 else plan_of(seed)


def carry_out(seed: int, keep: Path | None = None) -> SeedResult:
    """One seed, from its plan to its checks. Its folder is kept under `keep` when something was violated."""
    plan = any_plan_of(seed)
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-"))
    begin = time.monotonic()
    try:
        if isinstance(plan, GitHubPlan):
            seen, found = through_github.run(plan, folder)
            kills, outcome = seen.kills, f"exit code {seen.code}"
        else:
            evidence = over_ssh.run(plan, folder, Keys.make(folder / "keys"))
            found = checks.violations(evidence)
            kills, outcome = evidence.kills, [*evidence.last.split(), "", "no result"][1]
        result = _told(seed, kills=kills, outcome=outcome, seconds=time.monotonic() - begin, violations=found)
        if not found or keep is None:
            return result
        kept = keep / folder.name
        (folder / "plan.txt").write_text(result.line() + "\n")
        shutil.copytree(folder, kept, symlinks=True, ignore_dangling_symlinks=True)
        return SeedResult(**{**asdict(result), "folder": str(kept)})
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _told(seed: int, *, kills: int, outcome: str, seconds: float, violations: Sequence[str]) -> SeedResult:
    plan = any_plan_of(seed)
    return SeedResult(
        seed=seed,
        fleet="GitHub" if isinstance(plan, GitHubPlan) else f"SSH, {plan.runner}",
        faults=tuple(map(str, plan.faults)),
        kinds=tuple(sorted({str(fault.kind) for fault in plan.faults})),
        kills=kills,
        outcome=outcome,
        seconds=round(seconds, 1),
        violations=tuple(violations),
    )


def read_results(file: Path) -> dict[int, SeedResult]:
    """The last result of each seed. A line that was cut is not there."""
    lines = file.read_bytes().split(b"\n")[:-1] if file.exists() else []
    results = [SeedResult(**json.loads(line)) for line in lines]
    return {result.seed: result for result in results}


def seeds_of(words: str, done: Sequence[int]) -> list[int]:
    """The seeds that are to be run, without those that are `done`; see the top of this file."""
    if "," in words:
        return [int(word) for word in words.split(",") if word]
    first, _, last = words.rpartition("-")
    every = range(int(first), int(last) + 1) if first else range(int(last))
    return [seed for seed in every if seed not in done]


def campaign(seeds: Sequence[int], jobs: int, results: Path, keep: Path) -> Iterator[SeedResult]:
    """Run the seeds, `jobs` at a time; each result is in the file before it is given back."""
    results.parent.mkdir(parents=True, exist_ok=True)
    keep.mkdir(parents=True, exist_ok=True)
    revision = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    waiting = list(seeds)
    running: dict[_SeedProcess, tuple[int, float]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                seed = waiting.pop(0)
                running[_SeedProcess(seed, keep)] = (seed, time.monotonic())
            for process, (seed, began) in list(running.items()):
                seconds = time.monotonic() - began
                if process.runs() and seconds < SEED_SECONDS:
                    continue
                del running[process]
                result = process.result() or _failed(seed, seconds, f"it ended without a word after {seconds:.0f} s")
                result = SeedResult(**{**asdict(result), "revision": revision})
                with results.open("a") as file:
                    file.write(json.dumps(asdict(result)) + "\n")
                yield result
            time.sleep(0.05)
    finally:
        for process in running:
            process.end()


class _SeedProcess:
    """A process for one seed: forked, since starting Python and importing everything costs more than a seed."""

    def __init__(self, seed: int, keep: Path) -> None:
        fork = multiprocessing.get_context("fork")
        self._result, told = fork.Pipe(duplex=False)
        self._process = fork.Process(target=_tell, args=(told, seed, keep), name=f"seed {seed}")
        self._process.start()
        told.close()

    def runs(self) -> bool:
        return self._process.is_alive() and not self._result.poll()

    def result(self) -> SeedResult | None:
        try:
            return self._result.recv() if self._result.poll() else None
        except EOFError:
            return None
        finally:
            self.end()

    def end(self) -> None:
        """What it has started ends with it."""
        self._process.join(10 if self._result.poll() else 0)
        self._process.terminate()
        self._process.join(30)
        self._process.kill()


def _tell(told: Connection, seed: int, keep: Path) -> None:
    try:
        result = carry_out(seed, keep)
    except Exception:  # whatever it was, the campaign goes on
        result = _failed(seed, 0.0, traceback.format_exc()[-1500:])
    told.send(result)


def _failed(seed: int, seconds: float, why: str) -> SeedResult:
    failed = [f"the harness itself failed: {why}"]
    return _told(seed, kills=0, outcome="no result", seconds=seconds, violations=failed)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("seeds", nargs="?", default="100")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--fault")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    keep = given.keep or given.results.parent / "failed"
    seeds = [given.seed] if given.seed is not None else seeds_of(given.seeds, list(read_results(given.results)))
    if given.fault:
        seeds = [seed for seed in seeds if given.fault in {fault.kind for fault in any_plan_of(seed).faults}]
    begin, bad = time.monotonic(), 0
    for result in campaign(seeds, given.jobs, given.results, keep):
        bad += bool(result.violations)
        print(result.line(), flush=True)
    print(f"{len(seeds)} seeds, {bad} with violations, {time.monotonic() - begin:.0f} s; results in {given.results}")
    return 1 if bad else 0


def _end(number: int, _frame: object) -> None:
    """Ended from outside: what was started is ended on the way out."""
    sys.exit(128 + number)


if __name__ == "__main__":
    os.umask(0o022)
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    sys.exit(main())
