"""The commands as people type them, in real time, against the double: dispatch, watch, cancel, merge."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.github_double import GitHubDouble
from tests.integration.github_run import Clock, World, double_of

FLEET = (("moruk", 2), ("pi", 1))
CONFIG = """
[suite]
runner = "pytest"
[health]
skip = true
[github]
strategy = "pinned"
poll_interval = "1s"
[[machine]]
name = "moruk"
cores = 2
labels = ["self-hosted", "moruk"]
[[machine]]
name = "pi"
cores = 1
labels = ["self-hosted", "pi"]
"""
TESTS = "import pytest\n\n\n@pytest.mark.parametrize('n', range(12))\ndef test_one(n):\n    pass\n"


def committed(folder: Path) -> str:
    """Everything in `folder` as a commit that is checked out as actions/checkout does it, on no branch; its name."""
    git = ["git", "-C", str(folder), "-c", "user.name=test", "-c", "user.email=test@example.org"]
    commands = ("init -q -b main", "add -A", "commit -q --allow-empty -m all", "checkout -q --detach")
    for command in commands:
        subprocess.run([*git, *command.split()], check=True, capture_output=True)
    told = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return told.stdout.strip()


class Desk:
    """A suite on somebody's desk, and the double it talks to."""

    def __init__(self, folder: Path, world: World, double: GitHubDouble) -> None:
        self.folder, self.world, self.double = folder, world, double
        (folder / "ci-dispatch.toml").write_text(CONFIG)
        (folder / "test_suite.py").write_text(TESTS)
        (folder / "pytest.ini").write_text("[pytest]\n")
        self.commit = committed(folder)
        self.env = {
            name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "CI_DISPATCH_"))
        }
        self.env |= {
            "GITHUB_TOKEN": double.token,
            "GITHUB_API_URL": double.url,
            "GITHUB_REPOSITORY": double.repository,
            "GITHUB_REF_NAME": "main",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    def start(self, *words: str, **env: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "ci_dispatch", *words]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.folder, env=self.env | env, stdout=pipe, stderr=pipe, text=True)

    def run(self, *words: str, **env: str) -> tuple[int, str, str]:
        with self.start(*words, **env) as process:
            out, err = process.communicate(timeout=120)
        return process.returncode, out, err


class RealClock(Clock):
    def now(self) -> float:
        return time.time()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    world = World(seconds=1.0)
    with double_of(world, RealClock(), FLEET) as double:
        yield Desk(tmp_path, world, double)
        assert double.findings() == []
        assert double.token_leaks == []


def test_dispatch_from_a_desk_needs_a_token_and_nothing_else(desk: Desk, tmp_path: Path) -> None:
    desk.world.fails = {}
    output, summary = tmp_path / "output", tmp_path / "summary"
    code, out, err = desk.run("dispatch", GITHUB_OUTPUT=str(output), GITHUB_STEP_SUMMARY=str(summary))
    assert code == 0, err
    assert "PASSED 12 tests" in out
    assert "verdict<<" in output.read_text()
    assert "12" in summary.read_text()
    assert len(desk.double.hub.runs) == 1


def test_what_comes_after_something_is_dispatched_when_its_time_has_come(desk: Desk) -> None:
    groups = (
        '[[group]]\nname = "up"\ntitles = ["test_set_up"]\nneeds = ["pi"]\n'
        '[[group]]\nname = "rest"\nfiles = ["*"]\nafter = ["up"]\n'
        '[[group]]\nname = "account"\ntitles = ["test_one[[]1*"]\nexclusive = ["account"]\n'
    )
    (desk.folder / "ci-dispatch.toml").write_text(CONFIG + groups)
    (desk.folder / "test_suite.py").write_text(f"{TESTS}\n\ndef test_set_up():\n    pass\n")
    code, out, err = desk.run("dispatch")
    assert code == 0, err
    assert "PASSED 13 tests" in out
    first, *later = desk.double.hub.runs.values()
    assert [job.name for job in first.jobs] == ["shard head-1"]
    assert len(later) == 2, "what is free, and what holds the account"


def test_a_hosted_runner_with_nothing_to_log_in_with_still_comes_to_a_verdict(desk: Desk, tmp_path: Path) -> None:
    """The first push of a repository without secrets: no machine can be asked, and the shards run all the same."""
    (desk.folder / "ci-dispatch.toml").write_text(CONFIG.replace("[health]\nskip = true\n", ""))
    home = tmp_path / "home"
    home.mkdir()
    code, out, err = desk.run("dispatch", GITHUB_ACTIONS="true", RUNNER_ENVIRONMENT="github-hosted", HOME=str(home))
    assert code == 0, err
    assert "PASSED 12 tests" in out
    assert "the machines are not asked how they are" in err


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"GITHUB_TOKEN": ""}, "the variable GITHUB_TOKEN holds no token"),
        ({"GITHUB_TOKEN": "ghs_wrong"}, "set GITHUB_TOKEN to a token that is valid"),
        ({"GITHUB_API_URL": "api.github.com"}, "GITHUB_API_URL is no https address"),
        ({"GITHUB_REPOSITORY": ""}, "--repository OWNER/NAME"),
        ({"GITHUB_REF_NAME": ""}, "--ref BRANCH"),
        ({"CI_DISPATCH_WORKFLOW": "nowhere.yml"}, "on the default branch"),
    ],
)
def test_what_is_missing_or_wrong_is_said_with_what_to_set(
    desk: Desk, env: dict[str, str], says: str, tmp_path: Path
) -> None:
    summary = tmp_path / "summary"
    code, _, err = desk.run("dispatch", GITHUB_STEP_SUMMARY=str(summary), **env)
    assert code in (2, 5)
    assert says in err
    assert says in summary.read_text()  # who reads the job's page sees no log
    assert "Traceback" not in err
    assert desk.double.hub.runs == {}


def test_a_summary_that_cannot_be_written_is_a_warning_beside_the_error(desk: Desk, tmp_path: Path) -> None:
    code, _, err = desk.run("dispatch", GITHUB_STEP_SUMMARY=str(tmp_path), GITHUB_TOKEN="")
    assert code == 2
    assert "warning: the step's summary could not be written: Is a directory" in err
    assert "the variable GITHUB_TOKEN holds no token" in err


def matrix(desk: Desk) -> dict[str, str]:
    code, out, err = desk.run("dispatch", "--matrix-only", "--shards", "4")
    assert code == 0, err
    made: list[dict[str, str]] = json.loads(out)["dispatches"]
    assert len(made) == 1
    assert desk.double.exchanges == []
    return made[0] | {"matrix": json.dumps(made[0]["matrix"])}


def test_a_matrix_that_outputs_cannot_hold_whole_is_refused_and_not_cut(desk: Desk, tmp_path: Path) -> None:
    (desk.folder / "test_suite.py").write_text(TESTS.replace("12", "300"))
    output = tmp_path / "output"
    code, out, err = desk.run("dispatch", "--matrix-only", "--shards", "300", GITHUB_OUTPUT=str(output))
    assert code == 2
    assert "300 jobs" in err
    assert "--shards 256" in err
    assert not output.exists()
    code, out, err = desk.run("dispatch", "--matrix-only", "--shards", "300")
    assert code == 0, err
    assert [len(made["matrix"]["include"]) for made in json.loads(out)["dispatches"]] == [256, 44]


def test_a_matrix_that_nobody_watches_over_is_not_made_for_groups_that_ask_for_something(desk: Desk) -> None:
    group = '[[group]]\nname = "db"\nfiles = ["*"]\nexclusive = ["db"]\n'
    (desk.folder / "ci-dispatch.toml").write_text(CONFIG + group)
    code, out, err = desk.run("dispatch", "--matrix-only")
    assert (code, out) == (2, "")
    assert "nobody would keep what groups ask for, once all jobs of it run: db" in err


def test_what_was_listed_without_a_token_is_dispatched_without_executing_anything(desk: Desk, tmp_path: Path) -> None:
    listing = str(tmp_path / "listing.json")
    code, _, err = desk.run("dispatch", "--list-only", "--listing", listing, GITHUB_TOKEN="")
    assert code == 0, err
    assert desk.double.exchanges == []
    (tmp_path / "test_suite.py").write_text("import os\nos.kill(os.getppid(), 9)\n")
    desk.world.fails = {}
    code, out, err = desk.run("dispatch", "--listing", listing)
    assert code == 0, err
    assert "PASSED 12 tests" in out


def test_a_listing_of_something_else_is_refused(desk: Desk, tmp_path: Path) -> None:
    listing = str(tmp_path / "listing.json")
    assert desk.run("dispatch", "--list-only", "--listing", listing)[0] == 0
    code, _, err = desk.run("dispatch", "--listing", listing, "--", "-k", "3")
    assert (code, "the listing of another suite" in err) == (2, True)
    Path(listing).write_text("{}")
    code, _, err = desk.run("dispatch", "--listing", listing)
    assert (code, "is no listing" in err) == (2, True)
    assert desk.run("dispatch", "--list-only")[0] == 2
    assert desk.double.hub.runs == {}


CHECKS = """
import os
def test_it():
    assert os.environ["KEY"] == "hush-5f2a"
    assert not [name for name in os.environ if name in ("GITHUB_TOKEN", "GITHUB_OUTPUT", "GITHUB_ENV")]
    print("said", os.environ["KEY"])
    assert os.environ.get("FAIL") is None, os.environ["KEY"]
"""


def shard(desk: Desk, **env: str) -> tuple[int, str, str]:
    """A worker job's step."""
    (desk.folder / "test_suite.py").write_text(CHECKS)
    code, out, err = desk.run("dispatch", "--matrix-only", "--shards", "1", GITHUB_OUTPUT="")
    assert code == 0, err
    made = json.loads(out)["dispatches"][0]
    words = {
        "entry": json.dumps(made["matrix"]["include"][0]),
        "plan": made["plan"],
        "dispatch-id": made["dispatch_id"],
    }
    options = [f"--{name}={value}" for name, value in words.items()]
    files = {name: str(desk.folder / name) for name in ("GITHUB_OUTPUT", "GITHUB_ENV", "RUNNER_TEMP")}
    return desk.run("shard", *options, **files, **env, GITHUB_ACTIONS="true", CI_DISPATCH_SUITE_SECRETS="KEY")


def test_a_shard_s_tests_have_the_job_s_secrets_and_no_token(desk: Desk) -> None:
    code, out, err = shard(desk, KEY="hush-5f2a", FAIL="1")
    assert code == 1, out + err
    assert "hush" not in out + err
    kept = [file for file in (desk.folder / ".ci-dispatch").rglob("*") if file.is_file()]
    assert [file for file in kept if b"hush" in file.read_bytes()] == []
    assert any(b"said ***" in file.read_bytes() for file in kept)
    assert shard(desk, KEY="hush-5f2a")[0] == 0


def test_a_shard_without_its_secrets_says_so_and_is_not_tried_again(desk: Desk) -> None:
    code, _, err = shard(desk)
    assert code == 4
    assert "`secrets` names KEY, and the environment has no value for it" in err
    report = next((desk.folder / ".ci-dispatch" / "shard").rglob("attempt.json")).read_text()
    assert '"cause":"usage error"' in report


def test_a_shard_tells_the_commit_it_ran_and_runs_no_other(desk: Desk) -> None:
    """Its branch has moved on since the tests were listed."""
    assert shard(desk, KEY="hush-5f2a")[0] == 0
    report = next((desk.folder / ".ci-dispatch" / "shard").rglob("attempt.json"))
    assert json.loads(report.read_text())["commit"] == desk.commit
    planned = desk.commit
    made = matrix(desk)
    desk.commit = committed(desk.folder)
    assert desk.commit != planned
    entry = json.dumps(json.loads(made["matrix"])["include"][0])
    words = (f"--entry={entry}", f"--plan={made['plan']}", f"--dispatch-id={made['dispatch_id']}")
    code, _, err = desk.run("shard", *words, CI_DISPATCH_SUITE_SECRETS="KEY", KEY="hush-5f2a")
    assert code == 4
    assert f"commit {desk.commit[:12]} was checked out, and this run is of {planned[:12]}" in err
    told = json.loads(report.read_text())
    assert (told["commit"], told["result"]["cause"]) == (desk.commit, "usage error")
    assert told["result"].get("results", []) == []


def test_nothing_is_dispatched_from_a_folder_whose_commit_nobody_can_tell(desk: Desk) -> None:
    shutil.rmtree(desk.folder / ".git")
    code, _, err = desk.run("dispatch")
    assert code == 2
    assert "it cannot be told which commit the tests are listed from" in err
    assert desk.double.hub.runs == {}


def test_what_git_has_and_github_cannot_have_is_said(desk: Desk) -> None:
    (desk.folder / "test_suite.py").write_text(TESTS.replace("12", "11"))
    subprocess.run(["git", "-C", desk.folder, "remote", "add", "origin", "https://github.com/o/r"], check=True)
    _, _, err = desk.run("dispatch", CI_DISPATCH_WORKFLOW="nowhere.yml")
    assert f"warning: what is not committed here is not tested: every runner checks out {desk.commit[:12]}" in err
    assert f"warning: git knows no remote branch with commit {desk.commit[:12]}" in err


def dispatched(desk: Desk) -> int:
    hub = desk.double.hub
    with desk.double.lock:
        run = hub.dispatch(hub.workflows["e2e-shard.yml"], "main", matrix(desk))
        hub.tick()
    return run.id


def test_a_run_is_watched_from_anywhere(desk: Desk) -> None:
    """Nobody here knows the run: its plan is in what its shards have uploaded."""
    run = dispatched(desk)
    time.sleep(1.5)
    code, out, err = desk.run("watch", f"https://github.com/octo-org/octo-repo/actions/runs/{run}")
    assert code == 0, err
    assert "PASSED 12 tests" in out
    assert len(desk.double.hub.runs) == 1


def finished(desk: Desk, run: int) -> None:
    deadline = time.monotonic() + 30
    while desk.double.hub.runs[run].status != "completed":
        assert time.monotonic() < deadline
        time.sleep(0.1)
        with desk.double.lock:
            desk.double.hub.tick()


def test_a_run_that_was_run_again_is_watched_with_its_earlier_attempt(desk: Desk) -> None:
    desk.world.fails = {"test_suite.py::test_one[3]": 1}
    run, hub = dispatched(desk), desk.double.hub
    finished(desk, run)
    with desk.double.lock:
        hub.rerun(hub.runs[run], lambda job: job.conclusion != "success")
        hub.tick()
    code, out, err = desk.run("watch", str(run))
    assert code == 0, err
    assert "PASSED 12 tests: 11 passed, 0 failed, 1 flaky" in out
    assert desk.world.ran[-1].tests == ("test_suite.py::test_one[3]",)


def test_a_run_is_cancelled(desk: Desk) -> None:
    desk.world.seconds = 600.0
    run = dispatched(desk)
    code, out, err = desk.run("cancel", str(run))
    assert code == 0, err
    assert f"Run {run}" in out
    assert desk.double.hub.runs[run].conclusion == "cancelled"


def test_reports_are_merged(desk: Desk, tmp_path: Path) -> None:
    run = dispatched(desk)
    finished(desk, run)
    code, _, err = desk.run("merge", str(run), "-o", "all.xml")
    assert code == 0, err
    assert (tmp_path / "all.xml").read_text().count("<testcase") == 12


def test_an_unknown_run_is_said_to_be(desk: Desk) -> None:
    code, _, err = desk.run("watch", "no-such-run")
    assert code == 2
    assert "There is no dispatched run no-such-run" in err


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_takes_the_worker_run_with_it(desk: Desk, number: int, expected: int) -> None:
    desk.world.seconds = 600.0
    with desk.start("dispatch") as process:
        deadline = time.monotonic() + 60
        while not desk.double.hub.runs and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(1.0)
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == expected
    assert [run.conclusion for run in desk.double.hub.runs.values()] == ["cancelled"]


def test_a_dispatched_run_is_gone_on_with_under_its_own_configuration(desk: Desk) -> None:
    """Its controller was killed, and a machine has another name since: the journal's configuration counts."""
    desk.world.seconds = 4.0
    with desk.start("dispatch") as process:
        deadline = time.monotonic() + 60
        while not desk.double.hub.runs and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(1.0)
        process.kill()
        process.communicate(timeout=60)
    config = desk.folder / "ci-dispatch.toml"
    config.write_text(config.read_text().replace("moruk", "morok").replace("skip = true", "skip = false"))
    for command in ("watch", "resume"):  # the first finishes it, the second says so again
        code, out, err = desk.run(command)
        assert (code, "Traceback" in err) == (0, False), err
        assert "PASSED 12 tests" in out
    assert len(desk.double.hub.runs) == 1
