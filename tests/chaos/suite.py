"""The suite under test: short tests that write down what they do, in a log outside of the work tree.

The same cases run under pytest, under Playwright or as a command suite. What each one comes to depends on its kind, on
what the log says of its earlier executions, and on the version of the tree it is run from.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from random import Random

from ci_dispatch.core.model import Verdict
from tests.components import REFERENCE_SUITE

NODE_MODULES = REFERENCE_SUITE / "node_modules"
VERSION_FILE = "version.py"  # source code, so that an edit of it is one


class Behaviour(StrEnum):
    PASSES = "passes"
    FAILS = "fails"  # in version 1; an edit mends it
    SKIPS = "skips"
    FLAKY = "flaky"  # fails until an execution of it has failed
    KILLS_ONCE = "kills once"  # its first execution takes the runner down


ALLOWED = {
    Behaviour.PASSES: {Verdict.PASSED},
    Behaviour.FAILS: {Verdict.FAILED},
    Behaviour.SKIPS: {Verdict.SKIPPED},
    Behaviour.FLAKY: {Verdict.FLAKY, Verdict.PASSED},  # passed: where nobody has heard of the failure
    Behaviour.KILLS_ONCE: {Verdict.PASSED, Verdict.FLAKY},
}
"""What one machine says of each, without any fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosCase:
    key: str  # k000, k001 ...: part of the test's id under every runner
    name: str  # the whole name, odd ones too
    seconds: float
    behaviour: Behaviour

    def allowed(self, version: str) -> set[Verdict]:
        """The verdicts that are right for this test in a tree of that version."""
        mended = self.behaviour is Behaviour.FAILS and version != "1"
        return {Verdict.PASSED} if mended else ALLOWED[self.behaviour]


_ODD = ("plain", "two words", "a/b", "x::y", "'quoted'", '"double"', "[brackets]", "<tag>&amp;", "ümläut", "日本語",
        "$HOME", "`id`", "a,b", "--flag", "%s%d", "*", "{junit}", "#hash", "semi;colon", "dots..")  # fmt: skip


def cases(random: Random, count: int) -> tuple[ChaosCase, ...]:
    """`count` tests of 10 to 200 ms, most of which pass."""
    kinds = [Behaviour.FAILS] * 3 + [Behaviour.SKIPS] * 2 + [Behaviour.FLAKY] * 3
    kinds += [Behaviour.KILLS_ONCE] * random.choice([0, 0, 1])
    kinds += [Behaviour.PASSES] * (count - len(kinds))
    random.shuffle(kinds)
    return tuple(
        ChaosCase(
            key=f"k{number:03}",
            name=f"k{number:03} {random.choice(_ODD)}",
            seconds=round(random.choice([0.01, 0.01, 0.02, 0.05, 0.1, 0.2]), 3),
            behaviour=kind,
        )
        for number, kind in enumerate(kinds)
    )


_PERFORM = '''\
"""What a test of this suite does. Standard library only; run by whatever Python the machine has."""
import json, os, signal, time
from pathlib import Path

HERE = Path(__file__).resolve().parent
VERSION = (HERE / "version.py").read_text().split('"')[1]
CASES = {case["key"]: case for case in json.loads((HERE / "cases.json").read_text())}
LOG = os.environ["CHAOS_AUDIT"]

class Failed(AssertionError): pass
class Skipped(Exception): pass

def tell(**what):
    line = json.dumps({"pid": os.getpid(), "machine": os.environ.get("CHAOS_MACHINE", ""), "version": VERSION,
                       "at": time.monotonic(), **what}) + "\\n"
    handle = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)

def told(key, what):
    with open(LOG, "rb") as log:
        lines = [json.loads(line) for line in log if line.endswith(b"\\n")]
    return [line for line in lines if line["test"] == key and line["version"] == VERSION and line["what"] == what]

def perform(key):
    case = CASES[key]
    kind, begun = case["behaviour"], bool(told(key, "begin"))
    failed_before = any(line["outcome"] == "failed" for line in told(key, "end"))
    tell(test=key, what="begin")
    if kind == "kills once" and not begun:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(case["seconds"])
    outcome = "passed"
    if (kind == "fails" and VERSION == "1") or (kind == "flaky" and not failed_before):
        outcome = "failed"
    elif kind == "skips":
        outcome = "skipped"
    tell(test=key, what="end", outcome=outcome)
    if outcome == "failed":
        raise Failed(f"{key} is not what it should be: expected 1, got 2")
    if outcome == "skipped":
        raise Skipped("not today")
'''

_PYTEST_FILE = """\
import pytest
import perform

MINE = [case for case in perform.CASES.values() if int(case["key"][1:]) % {files} == {number}]

@pytest.mark.parametrize("key", [case["key"] for case in MINE], ids=[case["name"] for case in MINE])
def test_chaos(key):
    try:
        perform.perform(key)
    except perform.Skipped as skipped:
        pytest.skip(str(skipped))
"""

_COMMAND_RUNNER = """\
import json, sys
from pathlib import Path
from xml.sax.saxutils import quoteattr
import perform

if sys.argv[1:] == ["--list"]:
    print("\\n".join(case["name"] for case in perform.CASES.values()))
    sys.exit()
live, junit, names_file = sys.argv[1:]
def say(**news):
    with open(live, "a") as file:
        file.write(json.dumps(news) + "\\n")
cases, bad = [], 0
try:
    for name in Path(names_file).read_text().splitlines():
        say(kind="begin", id=name)
        verdict, message, inner = "passed", "", ""
        try:
            perform.perform(name.split()[0])
        except perform.Failed as failed:
            verdict, message, bad = "failed", str(failed), 1
            inner = f"<failure message={quoteattr(message)}/>"
        except perform.Skipped:
            verdict, inner = "skipped", "<skipped/>"
        say(kind="end", id=name, verdict=verdict, message=message, seconds=0.01)
        cases.append(f"<testcase classname='' name={quoteattr(name)} time='0.01'>{inner}</testcase>")
except KeyboardInterrupt:
    sys.exit(130)
finally:
    Path(junit).write_text("<testsuites><testsuite name='s'>" + "".join(cases) + "</testsuite></testsuites>")
sys.exit(bad)
"""

_PLAYWRIGHT_FILE = """\
const fs = require('fs');
const path = require('path');
const { test } = require('@playwright/test');

const VERSION = fs.readFileSync(path.join(__dirname, 'version.py'), 'utf8').split('"')[1];
const LOG = process.env.CHAOS_AUDIT;

function tell(what) {
  const at = Number(process.hrtime.bigint()) / 1e9;
  const line = { pid: process.pid, machine: process.env.CHAOS_MACHINE, version: VERSION, at, ...what };
  fs.appendFileSync(LOG, JSON.stringify(line) + '\\n');
}

function told(key, what) {
  const lines = fs.readFileSync(LOG, 'utf8').split('\\n').slice(0, -1).map(line => JSON.parse(line));
  return lines.filter(line => line.test === key && line.version === VERSION && line.what === what);
}

const CASES = JSON.parse(fs.readFileSync(path.join(__dirname, 'cases.json'), 'utf8'));
for (const { key, name, seconds, behaviour } of CASES) {
  test(name, async () => {
    const begun = told(key, 'begin').length > 0;
    const failedBefore = told(key, 'end').some(line => line.outcome === 'failed');
    tell({ test: key, what: 'begin' });
    if (behaviour === 'kills once' && !begun) process.kill(process.pid, 'SIGKILL');
    await new Promise(done => setTimeout(done, seconds * 1000));
    let outcome = 'passed';
    if ((behaviour === 'fails' && VERSION === '1') || (behaviour === 'flaky' && !failedBefore)) outcome = 'failed';
    if (behaviour === 'skips') outcome = 'skipped';
    tell({ test: key, what: 'end', outcome });
    test.skip(outcome === 'skipped', 'not today');
    if (outcome === 'failed') throw new Error(`${key} is not what it should be: expected 1, got 2`);
  });
}
"""

FILES = 3


def write(folder: Path, cases: Sequence[ChaosCase], runner: str) -> None:
    """The suite's files, in version 1."""
    (folder / VERSION_FILE).write_text('VERSION = "1"\n')
    (folder / "cases.json").write_text(json.dumps([asdict(case) for case in cases]))
    (folder / "perform.py").write_text(_PERFORM)
    if runner == "command":
        (folder / "runner.py").write_text(_COMMAND_RUNNER)
        return
    if runner == "playwright":
        (folder / "playwright.config.js").write_text("module.exports = { testDir: '.', fullyParallel: true };\n")
        (folder / "chaos.spec.js").write_text(_PLAYWRIGHT_FILE)
        (folder / "node_modules").symlink_to(NODE_MODULES)
        return
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider -p xdist\n")
    for number in range(FILES):
        (folder / f"test_part_{number}.py").write_text(_PYTEST_FILE.format(files=FILES, number=number))


def edit(folder: Path) -> None:
    """Somebody mends the failing tests while a run goes on: the tree is of version 2 from here on."""
    fresh = folder / ".version"
    fresh.write_text('VERSION = "2"\n')
    fresh.replace(folder / VERSION_FILE)
