"""Groups of a real pytest suite on two machines, by marks and by configuration: its tests write down when and where."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from ci_dispatch.config.sections import SuiteConfig
from ci_dispatch.core.errors import ExitCode, UsageError
from ci_dispatch.suites.pytest import PytestSuite
from tests.components import REFERENCE_SUITE
from tests.integration.whole_run import IMPATIENT, ci_dispatch, repository

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SUITE = """
import json, os, time
from contextlib import contextmanager
import pytest

@pytest.fixture(autouse=True)
def written(request):
    begin = time.time()
    yield
    with open(os.environ["LOG"], "a") as log:
        line = {"test": request.node.name, "machine": os.environ["WHERE"], "begin": begin, "end": time.time()}
        log.write(json.dumps(line) + "\\n")

@pytest.mark.ci_dispatch(group="set-up")
def test_set_up():
    time.sleep(0.3)
    assert not os.environ.get("BROKEN")

@pytest.mark.account
@pytest.mark.parametrize("n", range(4))
def test_account(n):
    time.sleep(0.2)

@pytest.mark.ci_dispatch(needs="gpu", after=["set-up"])
@pytest.mark.parametrize("n", range(3))
def test_gpu(n):
    time.sleep(0.1)

@pytest.mark.ci_dispatch(group="basket", together="machine")
@pytest.mark.parametrize("n", range(3))
def test_basket(n):
    time.sleep(0.1)

@pytest.mark.parametrize("n", range(4))
def test_free(n):
    time.sleep(0.1)
"""
GROUPS = """
[[group]]
name = "account"
tags = ["account"]
exclusive = ["the account"]
after = ["set-up"]
"""
INI = "[pytest]\naddopts = --strict-markers\nmarkers =\n  account: uses the one account\n"


@dataclass(frozen=True)
class Line:
    """When and where a test ran."""

    test: str
    machine: str
    begin: float
    end: float


def suite(folder: Path, *, env: str = "", groups: str = GROUPS, runner: str = "pytest") -> Path:
    machines = "".join(
        f'[[machine]]\nname = "{name}"\nconnection = "local"\ncores = 2\nslots = 2\nlabels = [{labels}]\n'
        f'workdir = "{folder}/{name}"\nenv = {{ WHERE = "{name}" }}\n'
        for name, labels in (("one", ""), ("two", '"gpu"'))
    )
    settings = (
        f'runner = "{runner}"\nsplit = "test"\n'
        f'env = {{ CI_DISPATCH_PYTHON = "{sys.executable}", LOG = "{folder}/log.jsonl"{env} }}'
    )
    return repository(
        folder / "repository", settings, rest=IMPATIENT, machines=machines + groups,
        **{"test_shop.py": SUITE, "pytest.ini": INI},
    )  # fmt: skip


def lines(folder: Path) -> Iterator[Line]:
    for text in (folder / "log.jsonl").read_text().splitlines():
        yield Line(**json.loads(text))


def test_marks_and_configuration_are_kept(tmp_path: Path) -> None:
    ended = ci_dispatch("run", cwd=suite(tmp_path))
    assert ended.code == ExitCode.PASSED, ended.err
    ran = list(lines(tmp_path))
    assert len(ran) == 15
    [set_up] = [line for line in ran if line.test == "test_set_up"]
    later = [line for line in ran if line.test.startswith(("test_account", "test_gpu"))]
    assert all(line.begin >= set_up.end for line in later)
    assert {line.machine for line in ran if line.test.startswith("test_gpu")} == {"two"}
    assert len({line.machine for line in ran if line.test.startswith("test_basket")}) == 1
    account = sorted((line for line in ran if line.test.startswith("test_account")), key=lambda line: line.begin)
    assert all(first.end <= second.begin for first, second in pairwise(account))


def test_a_failed_set_up_leaves_what_comes_after_it_not_run_and_the_run_incomplete(tmp_path: Path) -> None:
    ended = ci_dispatch("run", cwd=suite(tmp_path, env=', BROKEN = "1"'))
    assert ended.code == ExitCode.INCOMPLETE
    verdicts = {name.partition("::")[2]: verdict for name, verdict in ended.verdicts().items()}
    assert verdicts["test_set_up"] == "failed"
    assert {verdict for name, verdict in verdicts.items() if "gpu" in name or "account" in name} == {"not run"}
    assert {verdict for name, verdict in verdicts.items() if "basket" in name or "free" in name} == {"passed"}
    assert "it comes after set-up, of which test_set_up failed" in ended.reasons


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        (GROUPS.replace("set-up", "setup"), 'group account: after: got "setup", allowed'),
        (GROUPS + '[[group]]\nname = "set-up"\nafter = ["account"]\n', "no circle: none of them could ever begin"),
        (GROUPS + 'needs = ["gpus"]\n', "did you mean gpu?"),
    ],
)
def test_what_cannot_be_is_said_before_anything_starts(tmp_path: Path, groups: str, said: str) -> None:
    ended = ci_dispatch("run", cwd=suite(tmp_path, groups=groups))
    assert ended.code == ExitCode.USAGE
    assert said in ended.err
    assert not (tmp_path / "log.jsonl").exists()


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ('exklusive="db"', "'exklusive' is none of its keywords: group, together, exclusive"),
        ('together="machine"', '`together` needs a `group="NAME"`'),
        ("needs=3", "`needs` is a text or a list of texts, not 3"),
        ('"db"', "it takes keywords only"),
    ],
)
def test_a_mark_that_says_something_else_is_refused(tmp_path: Path, mark: str, said: str) -> None:
    root = suite(tmp_path)
    (root / "test_shop.py").write_text(SUITE.replace('group="set-up"', mark))
    with pytest.raises(UsageError) as refused:
        PytestSuite(SuiteConfig(env={"CI_DISPATCH_PYTHON": sys.executable}), root).list_tests(60.0)
    assert said in str(refused.value)


SPEC = """
const { test } = require('@playwright/test');
const fs = require('node:fs');
test.describe.configure({ mode: 'parallel' });
function timed(name, details, seconds) {
  test(name, details, async () => {
    const begin = Date.now() / 1000;
    await new Promise((done) => setTimeout(done, 1000 * seconds));
    const line = { test: name, machine: process.env.WHERE, begin, end: Date.now() / 1000 };
    fs.appendFileSync(process.env.LOG, `${JSON.stringify(line)}\\n`);
  });
}
timed('seeds the shop', {}, 0.2);
for (const n of [1, 2, 3]) timed(`pays ${n}`, { tag: '@payments' }, 0.2);
for (const n of [1, 2]) timed(`browses ${n}`, {}, 0.1);
"""
TAGGED = """
[[group]]
name = "seed"
titles = ["seeds*"]

[[group]]
name = "payments"
tags = ["payments"]
exclusive = ["sandbox account"]
after = ["seed"]
"""


@pytest.mark.needs("playwright")
def test_tags_of_playwright_put_tests_into_groups(tmp_path: Path) -> None:
    root = suite(tmp_path, groups=TAGGED, runner="playwright")
    (root / "shop.spec.js").write_text(SPEC)
    (root / "playwright.config.js").write_text("module.exports = { testDir: '.', workers: 2, fullyParallel: true };")
    (root / "node_modules").symlink_to(REFERENCE_SUITE / "node_modules")
    ended = ci_dispatch("run", cwd=root)
    assert ended.code == ExitCode.PASSED, ended.err
    ran = sorted(lines(tmp_path), key=lambda line: line.begin)
    [seed] = [line for line in ran if line.test == "seeds the shop"]
    paid = [line for line in ran if line.test.startswith("pays")]
    assert len(ran) == 6
    assert all(line.begin >= seed.end for line in paid)
    assert all(first.end <= second.begin for first, second in pairwise(paid))
