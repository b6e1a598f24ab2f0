"""One run, one content: what is tested is frozen when the run starts, whatever becomes of the work tree after that."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TypeVar

import pytest

from ci_dispatch.core.events import RunFinished, RunStarted
from ci_dispatch.machines.ssh.machine import CONFIG_VARIABLE
from ci_dispatch.run.journal import JournalReader
from tests.fleet.fixtures import Loopback
from tests.integration.whole_run import ci_dispatch, repository, start, wait_for, whole

T = TypeVar("T")

ANSWER = """
import sys
from pathlib import Path
junit, names = sys.argv[1], sys.argv[2:]
from product import answer
Path("{writes}").write_text("{text}") if "{writes}" else None
body = "" if answer() == 42 else "<failure message='it is not 42'/>"
cases = "".join(f"<testcase classname='c' name='{{name}}' time='0.1'>{{body}}</testcase>" for name in names)
Path(junit).write_text(f"<testsuites><testsuite name='s'>{{cases}}</testsuite></testsuites>")
sys.exit(answer() != 42)
"""
WRONG, RIGHT = "def answer():\n    return 41\n", "def answer():\n    return 42\n"
PATIENT = """
[health]
skip = true
[retry]
max_retries = 2
backoff = "2s"
jitter = 0
[run]
give_up_after = "1s"
lease = "5s"
"""
"""Long enough between two attempts to edit something, or to kill the controller."""


def project(
    folder: Path, product: str, *, machines: str = "", suite: str = "", writes: str = "", text: str = "", **files: str
) -> Path:
    command = f'command = "{sys.executable} -B runner.py {{junit}} {{tests}}"'
    return repository(
        folder,
        f'runner = "command"\nlist = "echo one"\n{command}\n{suite}',
        rest=PATIENT,
        machines=machines,
        **{"product.py": product, "runner.py": ANSWER.format(writes=writes, text=text), **files},
    )


def git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, check=True)


def over_ssh(loopback: Loopback, folder: Path, *names: str) -> tuple[str, dict[str, str]]:
    """Machines of a configuration, and the environment they are reached in."""
    for name in names:
        loopback.server(name)
    tables = [f'[[machine]]\nname = "{name}"\ncores = 1\nworkdir = "{folder}/{name}"\n' for name in names]
    return "".join(tables), {CONFIG_VARIABLE: str(loopback.config.path)}


def only(root: Path, kind: type[T]) -> T:
    """The only event of its kind in the journal of the only run."""
    [journal] = root.glob(".ci-dispatch/runs/*/events.jsonl")
    stamped = (each for entry in JournalReader(journal).read_all() for each in entry)
    [event] = [each.event for each in stamped if isinstance(each.event, kind)]
    return event


@pytest.mark.parametrize("tracked", [False, True])
def test_an_edit_between_two_attempts_does_not_make_a_failure_flaky(tmp_path: Path, tracked: bool) -> None:
    root = project(tmp_path / "shop", WRONG)
    if tracked:
        git(root, "init", "-q")
        git(root, "add", "-A")
    running = start("run", cwd=root)
    wait_for(root, '"RetryScheduled"', process=running)
    (root / "product.py").write_text(RIGHT)
    out, err = running.communicate(timeout=60)
    ended = whole(running.returncode, out, err, root)
    assert (ended.code, ended.run["verdict"]) == (4, "INCOMPLETE"), ended.out
    assert ended.run["counts"]["flaky"] == ended.run["counts"]["passed"] == 0
    assert "the work tree changed during the run: product.py" in ended.reasons
    assert "the work tree changed during the run: product.py" in only(root, RunFinished).reason


def test_an_edit_during_an_attempt_is_noticed_at_its_end(tmp_path: Path) -> None:
    """The runner itself stands for whoever edits: when it reads the file is nothing that anybody can know."""
    root = project(tmp_path / "shop", RIGHT, writes="product.py", text="# edited")
    ended = ci_dispatch("run", cwd=root)
    assert (ended.code, ended.run["verdict"]) == (4, "INCOMPLETE"), ended.out
    assert ended.run["counts"]["passed"] == 0
    assert "the work tree changed during the run: product.py" in ended.reasons
    assert "exclude" in ended.reasons, "the way out for tests that write such a file themselves"
    assert [attempt["cause"] for attempt in ended.run["attempts"]] == ["work tree changed"]


@pytest.mark.parametrize(
    ("writes", "text", "files"),
    [
        ("new.py", "1", {}),
        ("ignored.py", "2", {"ignored.py": "1", ".gitignore": "ignored.py\n"}),
        ("result.json", "2", {"result.json": "1"}),
        ("product.py", RIGHT.replace("\n", "\\n"), {}),
        ("fixture.yaml", "2", {"fixture.yaml": "1"}),
    ],
    ids=["a new file", "an ignored file", "an untracked result", "the same bytes again", "an excluded file"],
)
def test_what_the_tests_write_themselves_is_no_edit(
    tmp_path: Path, writes: str, text: str, files: dict[str, str]
) -> None:
    root = project(tmp_path / "shop", RIGHT, suite='exclude = ["*.yaml"]', writes=writes, text=text, **files)
    git(root, "init", "-q")
    for _ in range(2):
        ended = ci_dispatch("run", cwd=root)
        assert (ended.code, ended.run["verdict"]) == (0, "PASSED"), ended.reasons


@pytest.mark.needs("sshd")
def test_every_machine_gets_what_lay_here_when_the_run_began(loopback: Loopback, tmp_path: Path) -> None:
    """The third attempt is another machine's, which then gets the tree for the first time."""
    machines, environ = over_ssh(loopback, tmp_path, "content-a", "content-b")
    root = project(tmp_path / "shop", WRONG, machines=machines)
    running = start("run", cwd=root, environ=environ)
    wait_for(root, '"RetryScheduled"', process=running)
    (root / "product.py").write_text(RIGHT)
    out, err = running.communicate(timeout=90)
    ended = whole(running.returncode, out, err, root)
    assert (ended.code, ended.run["verdict"]) == (1, "FAILED"), ended.reasons
    used = {attempt["machine"] for attempt in ended.run["attempts"]}
    assert used == {"content-a", "content-b"}
    [folder] = root.glob(".ci-dispatch/runs/*")
    assert not (folder / "tree").exists(), "nobody needs the copy any more"


@pytest.mark.needs("sshd")
def test_a_resumed_run_goes_on_with_what_it_began_with(loopback: Loopback, tmp_path: Path) -> None:
    machines, environ = over_ssh(loopback, tmp_path, "content-a")
    root = project(tmp_path / "shop", WRONG, machines=machines)
    running = start("run", cwd=root, environ=environ)
    wait_for(root, '"RetryScheduled"', process=running)
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()
    assert only(root, RunStarted).tree.startswith("sha256:")
    (root / "product.py").write_text(RIGHT)
    (root / "new.py").write_text("")
    ended = ci_dispatch("resume", cwd=root, environ=environ)
    assert (ended.code, ended.run["verdict"]) == (1, "FAILED"), ended.reasons
    assert len(ended.run["attempts"]) == 3


def test_a_run_that_can_only_go_on_here_waits_until_the_edit_is_undone(tmp_path: Path) -> None:
    root = project(tmp_path / "shop", WRONG)
    running = start("run", cwd=root)
    wait_for(root, '"RetryScheduled"', process=running)
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()
    (root / "product.py").write_text(RIGHT)
    refused = ci_dispatch("resume", cwd=root)
    assert refused.code == 2
    assert "the work tree has changed since it began: product.py" in refused.err
    (root / "product.py").write_text(WRONG)
    ended = ci_dispatch("resume", cwd=root)
    assert (ended.code, ended.run["verdict"]) == (1, "FAILED"), ended.reasons


def test_a_copy_that_is_gone_is_no_reason_not_to_resume_while_the_tree_is_the_same(tmp_path: Path) -> None:
    root = project(tmp_path / "shop", WRONG)
    running = start("run", cwd=root)
    wait_for(root, '"RetryScheduled"', process=running)
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()
    [kept] = root.glob(".ci-dispatch/runs/*/tree/snapshot.json")
    kept.write_text("damaged")
    (root / "product.py").write_text(RIGHT)
    refused = ci_dispatch("resume", cwd=root)
    assert refused.code == 2
    assert "cannot be resumed" in refused.err
    (root / "product.py").write_text(WRONG)
    assert ci_dispatch("resume", cwd=root).code == 1


def test_a_test_that_is_saved_while_the_others_are_listed_is_expected_too(tmp_path: Path) -> None:
    listing = "cat tests.txt; [ -e new.py ] || echo two >> tests.txt; touch new.py"
    root = project(tmp_path / "shop", RIGHT, **{"list.sh": listing, "tests.txt": "one\n"})
    config = root / "ci-dispatch.toml"
    config.write_text(config.read_text().replace("echo one", "sh list.sh"))
    ended = ci_dispatch("run", cwd=root)
    assert (ended.code, ended.run["verdict"]) == (0, "PASSED"), ended.reasons
    assert ended.run["counts"]["passed"] == 2


@pytest.mark.needs("sshd")
def test_two_runs_with_different_content_on_one_machine_keep_out_of_each_others_way(
    loopback: Loopback, tmp_path: Path
) -> None:
    """The first one lost the machine between two of its attempts: "another run has changed the work tree"."""
    machines, environ = over_ssh(loopback, tmp_path, "content-a")
    root = project(tmp_path / "shop", WRONG, machines=machines)
    first = start("run", cwd=root, environ=environ)
    wait_for(root, '"RetryScheduled"', process=first)
    (root / "product.py").write_text(RIGHT)
    second = ci_dispatch("run", cwd=root, environ=environ)
    assert (second.code, second.run["verdict"]) == (0, "PASSED"), second.reasons
    first.communicate(timeout=90)
    runs = {
        run["verdict"]: run for run in (json.loads(f.read_text()) for f in root.glob(".ci-dispatch/runs/*/run.json"))
    }
    assert first.returncode == 1
    assert [attempt["how"] for attempt in runs["FAILED"]["attempts"]] == ["exited"] * 3
    assert [machine["condition"] for machine in runs["FAILED"]["machines"]] == ["idle"]
    third = ci_dispatch("run", cwd=root, environ=environ)
    assert third.code == 0, "the trees are free again"
    assert len(list((tmp_path / "content-a" / "trees").glob("*.lock"))) == 2
