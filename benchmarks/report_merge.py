"""report-merge beside its peers and the floor no parser goes below, in one run on one machine.

    python -m benchmarks.report_merge [--shards 48] [--cases 2000] [--rounds 3] [--peers] [--markdown FILE]

The floor parses every file with lxml and serialises all suites once, the whole tree in memory, and resolves nothing.
Contenders take turns, so that a noisy machine is noisy to all: read the ratios. CPU seconds are of a contender and
all its processes, and suffer less from what else runs. Memory is the sum over all processes of a contender of
what is theirs alone plus their share of the rest (PSS), sampled every 10 ms; where the system does not tell it, none.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.generated_reports import generate

ROOT = Path(__file__).resolve().parent.parent
JRM = ROOT / "tests/integration/js/junit-report-merger/node_modules/junit-report-merger/cli.js"
_MOST_SECONDS = 540.0

FLOOR = """
import glob, sys
from lxml import etree
parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True)
root = etree.Element('testsuites')
for name in sorted(glob.glob(sys.argv[1] + '/attempt-*/*.xml')):
    top = etree.parse(name, parser).getroot()
    root.extend([top] if top.tag == 'testsuite' else list(top))
etree.ElementTree(root).write(sys.argv[2], encoding='utf-8', xml_declaration=True)
"""


@dataclass(frozen=True, slots=True)
class Contender:
    name: str
    command: tuple[str, ...]


@dataclass(slots=True)
class Measured:
    name: str
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak_mib: float | None = None
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def median_cpu(self) -> float:
        return statistics.median(self.cpu)


def contenders(reports: Path, out: Path, *, peers: bool) -> list[Contender]:
    attempts = [str(folder) for folder in sorted(reports.glob("attempt-*"))]
    files = [str(path) for path in sorted(reports.glob("attempt-*/*.xml"))]
    html = out / "report.html"
    ours = [sys.executable, "-m", "report_merge", *attempts, "-o", str(out / "ours.xml")]
    chosen = [
        Contender(
            "floor: lxml parse + one serialisation", (sys.executable, "-c", FLOOR, str(reports), str(out / "f.xml"))
        ),
        Contender("report-merge, XML and summary", (*ours, "--summary", str(out / "summary.md"))),
        Contender("report-merge, XML, summary and HTML", (*ours, "--summary", str(out / "s.md"), "--html", str(html))),
        Contender(
            "report-merge, XML, summary, HTML and JSON",
            (*ours, "--summary", str(out / "s.md"), "--html", str(html), "--json", str(out / "report.json")),
        ),
    ]
    if peers:
        merged = str(out / "peer.xml")
        chosen.append(Contender("junitparser merge", (sys.executable, "-m", "junitparser", "merge", *files, merged)))
        if JRM.exists() and shutil.which("node"):
            pattern = str(reports / "attempt-*/*.xml")
            chosen.append(Contender("junit-report-merger", ("node", str(JRM), merged, pattern)))
        if junit2html := shutil.which("junit2html"):
            chosen.append(Contender("junit2html --merge", (junit2html, "--merge", merged, *files)))
    return chosen


def rows(reports: Path, *, rounds: int = 3, peers: bool = True) -> list[Measured]:
    """One entry a contender: every round's wall time and the highest peak. Peers get one round, they are slow."""
    measured: dict[str, Measured] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for turn in range(rounds):
            for contender in contenders(reports, Path(folder), peers=peers and turn == 0):
                one = measured.setdefault(contender.name, Measured(contender.name))
                seconds, cpu, peak, note = run(contender.command)
                one.seconds.append(seconds)
                one.cpu.append(cpu)
                one.peak_mib = max(filter(None, (one.peak_mib, peak)), default=None)
                one.note = note
    return list(measured.values())


def run(command: Sequence[str]) -> tuple[float, float, float | None, str]:
    """Wall and CPU seconds, the peak of memory, and what is to be said of it."""
    started, before = time.perf_counter(), _cpu_of_children()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, _pss_mib(process.pid))
        time.sleep(0.01)
        if time.perf_counter() - started > _MOST_SECONDS:
            process.kill()
            process.wait()
            cpu = _cpu_of_children() - before
            return time.perf_counter() - started, cpu, peak or None, f"stopped after {_MOST_SECONDS:.0f} s"
    seconds = time.perf_counter() - started
    failed = process.returncode not in (0, 1)
    note = f"ended with {process.returncode}" if failed else ""
    return seconds, _cpu_of_children() - before, peak or None, note


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)  # of those that have ended, and of theirs
    return used.ru_utime + used.ru_stime


def _pss_mib(pid: int) -> float:
    """The proportional share of memory of a process and all below it."""
    total = 0
    for one in _family(pid):
        try:
            text = Path(f"/proc/{one}/smaps_rollup").read_text(encoding="ascii")
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total / 1024


def _family(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += [int(child) for child in children.read_text(encoding="ascii").split()]
            except OSError:
                continue
    return found


def markdown(measured: Sequence[Measured], title: str) -> str:
    floor = measured[0]
    lines = [
        f"### {title}",
        "",
        "| contender | wall s | x floor | CPU s | x floor | peak MiB |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for one in measured:
        peak = "" if one.peak_mib is None else f"{one.peak_mib:.0f}"
        note = f" ({one.note})" if one.note else ""
        wall, cpu = one.median / floor.median, one.median_cpu / floor.median_cpu
        lines.append(
            f"| {one.name}{note} | {one.median:.2f} | {wall:.1f} | {one.median_cpu:.2f} | {cpu:.1f} | {peak} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=48)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--reports", type=Path, help="measure these instead of generated ones: FOLDER/attempt-*/*.xml")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-reports-") as folder:
        reports = given.reports or Path(folder)
        if not given.reports:
            generate(reports, shards=given.shards, cases=given.cases)
        files = list(reports.glob("attempt-*/*.xml"))
        size = sum(path.stat().st_size for path in files)
        print(
            markdown(rows(reports, rounds=given.rounds, peers=given.peers), f"{len(files)} files, {size / 1e6:.0f} MB")
        )


if __name__ == "__main__":
    main()
