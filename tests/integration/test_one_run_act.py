"""The suite inside one workflow run, executed by act: the examples as they stand, from a push to a verdict.

No SSH, no API, no second workflow: a repository to fetch from, a store of artifacts with GitHub's rules, and three
machines that are this one. What becomes of every test is decided in tests/unit/app/test_waves.py; here it is shown that
the workflows carry it there.
"""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from ci_dispatch.fleets.actions.history_artifact import FILE, artifact_name
from ci_dispatch.history.store import HistoryStore
from report_merge import read
from tests.components import ROOT
from tests.one_run import store
from tests.one_run.stage import CONFIG, Stage

TEN_LINES = (ROOT / "examples/github/suite.yml").read_text(encoding="utf-8")
WRITTEN_OUT = (ROOT / "examples/github/one-workflow.yml").read_text(encoding="utf-8")
WORKER = (ROOT / "examples/github/e2e-shard.yml").read_text(encoding="utf-8")
TOOLS = ROOT / ".tools" / "action-environment"  # kept between runs as on a machine, and checked before each use
TESTS = ["broken", "buys", "flaky", "leaves: in <peace>", "pays", "returns"]

TWO_SUITES = """
name: Two
on: push
permissions: {}
jobs:
  shop:
    uses: OWNER/ci-dispatch/.github/workflows/suite.yml@v1
    permissions: {contents: read, actions: read}
    with: {machines: moruk}
  desk:
    uses: OWNER/ci-dispatch/.github/workflows/suite.yml@v1
    permissions: {contents: read, actions: read}
    with: {config: desk.toml}
"""

WORKER_AS_WAVE = """
name: Worker
on: push
permissions: {}
jobs:
  plan:
    runs-on: ubuntu-latest
    outputs: {matrix: "${{ steps.x.outputs.matrix }}", plan: "${{ steps.x.outputs.plan }}"}
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1
      - {id: x, uses: OWNER/ci-dispatch@v1, with: {command: plan, skip-health-checks: "true"}}
  wave:
    needs: plan
    uses: ./.github/workflows/e2e-shard.yml
    with: {matrix: "${{ needs.plan.outputs.matrix }}", plan: "${{ needs.plan.outputs.plan }}"}
  gate:
    needs: [plan, wave]
    if: always()
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1
      - {uses: OWNER/ci-dispatch@v1, id: x, with: {command: merge, plan: "${{ needs.plan.outputs.plan }}"}}
"""

pytestmark = [pytest.mark.needs("act"), pytest.mark.timeout(900)]


def test_the_store_refuses_what_githubs_does(tmp_path: Path) -> None:
    """One that takes everything proves nothing."""
    (tmp_path / "store").mkdir()
    (tmp_path / "a.txt").touch()
    (tmp_path / "a:b.txt").touch()
    upload("report-a1", tmp_path / "a.txt", into=tmp_path)
    for name, file, why in [
        ("report-a1", "a.txt", "409"),
        ("report:a2", "a.txt", "artifact name is not valid"),
        ("report-a2", "a:b.txt", "path for one of the files"),
        ("report-a2", "none.txt", "No files were found"),
    ]:
        with pytest.raises(SystemExit, match=why):
            upload(name, tmp_path / file, into=tmp_path)


def upload(name: str, file: Path, *, into: Path) -> None:
    store.upload(into / "store", name, str(file), if_none="error")


@pytest.mark.long
def test_ten_lines_a_lost_runner_and_a_flaky_test_make_a_green_run(tmp_path: Path) -> None:
    stage = Stage(tmp_path, TOOLS)
    (stage.state / "flaky").write_text("once")
    (stage.state / "dies").touch()
    stage.workflow(TEN_LINES)
    jobs = stage.run("push")
    verdict = jobs["Verdict"]
    assert verdict.conclusion == "success", verdict.log
    assert verdict.outputs["verdict"] == "passed"
    assert (verdict.outputs["tests"], verdict.outputs["flaky"]) == ("6", "1")
    assert Counter(stage.ran) == Counter([*TESTS, "flaky"])  # what was lost ran elsewhere, and nothing else ran twice

    commit = stage.git("rev-parse", "HEAD")
    assert all(f"checked out {commit}" in job.log for name, job in jobs.items() if name != "suite")
    second = json.loads(jobs["What is owed after wave 1"].outputs["matrix"])["include"]
    [lost] = {"moruk", "ilko2", "pi"} - {entry["machine"] for entry in second}
    assert f"Left out: {lost}: shard head-" in jobs["What is owed after wave 1"].log
    plan = verdict.outputs["run"]
    with zipfile.ZipFile(stage.store / f"ci-dispatch-result-{plan}-a1.zip") as result:
        merged = read(result.read("merged.xml"), "merged.xml")
    assert sorted(case.key.name for case in merged.cases) == TESTS
    reports = [name for name in stage.artifacts if name.startswith(f"ci-dispatch-{plan}-")]
    assert len(reports) == len(set(reports)) >= 5
    with zipfile.ZipFile(stage.store / f"{artifact_name('Shop')}.zip") as kept:  # for the next run of this branch
        kept.extractall(tmp_path)
    with HistoryStore(tmp_path / FILE) as history:
        assert [run.id for run in history.runs()] == [plan]
    [files, *_] = [name for name in stage.artifacts if name.startswith("files-of-")]
    with zipfile.ZipFile(stage.store / f"{files}.zip") as kept:  # the name that the test gave it would be refused
        assert [name for name in kept.namelist() if Path(name).name.startswith("trace")]


@pytest.mark.long
def test_every_line_in_your_hands_a_merge_queue_and_a_person_who_runs_the_failed_jobs_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path, TOOLS, machines=("moruk",))
    (stage.state / "broken").write_text("until mended")
    stage.workflow(WRITTEN_OUT)
    first = stage.run("merge_group", {"merge_group": {"head_ref": "refs/heads/gh-readonly-queue/main/pr-1"}})
    assert first["Verdict"].conclusion == "failure"
    assert first["Verdict"].outputs["verdict"] == "failed"
    assert Counter(stage.ran)["broken"] == 3  # once in each wave
    assert len(stage.ran) == len(TESTS) + 2

    (stage.state / "broken").unlink()
    (stage.state / "ran").unlink()
    stage.workflow(stage.failed_jobs_again(first, ["head-1"], WRITTEN_OUT))
    second = stage.run("merge_group", attempt=2)
    assert second["Verdict"].conclusion == "success", second["Verdict"].log
    assert second["Verdict"].outputs["flaky"] == "1"
    assert stage.ran == ["broken"]  # what failed, and nothing else
    with zipfile.ZipFile(stage.store / f"{artifact_name('Shop')}.zip") as kept:
        kept.extractall(tmp_path)
    with HistoryStore(tmp_path / FILE) as history:
        assert [run.verdict for run in history.runs()] == ["PASSED"]  # the second attempt's


def test_two_suites_in_one_run_and_the_one_whose_shard_never_uploads_is_incomplete(tmp_path: Path) -> None:
    stage = Stage(tmp_path, TOOLS)
    desk = CONFIG.replace("[suite]", '[suite]\nprepare = "test $GITHUB_JOB = plan || npm ci"').replace("Shop", "Desk")
    stage.file("desk.toml", f'{desk}[[machine]]\nname = "pi"\ncores = 1\n')
    (stage.state / "dies").touch()
    stage.workflow(TWO_SUITES)
    verdicts = stage.run("push", whole_names=True)
    told = {name: job.outputs["verdict"] for name, job in verdicts.items() if name.endswith("/Verdict")}
    assert told == {"shop/Suite/Verdict": "passed", "desk/Suite/Verdict": "incomplete"}
    assert {name: verdicts[name].conclusion for name in told} == {
        "shop/Suite/Verdict": "success", "desk/Suite/Verdict": "failure",
    }  # fmt: skip
    assert "no report came from head-1" in verdicts["desk/Suite/Verdict"].summary
    assert sum(name.startswith("ci-dispatch-result-") for name in stage.artifacts) == 2
    assert sum(name.startswith("ci-dispatch-history-") for name in stage.artifacts) == 2


@pytest.mark.long
def test_the_worker_of_the_other_door_is_a_wave_too(tmp_path: Path) -> None:
    stage = Stage(tmp_path, TOOLS, machines=("moruk",))
    stage.file(".github/workflows/e2e-shard.yml", WORKER)
    stage.workflow(WORKER_AS_WAVE)
    jobs = stage.run("push")
    assert jobs["gate"].outputs["verdict"] == "passed", jobs
    assert sorted(stage.ran) == TESTS


@pytest.mark.parametrize(
    ("pull_request", "why"),
    [
        ({"head": {"repo": {"full_name": "stranger/fork"}}, "user": {"login": "stranger"}}, "comes from stranger/fork"),
        (
            {"head": {"repo": {"full_name": "octo-org/octo-repo"}}, "user": {"login": "dependabot[bot]"}},
            "Dependabot wrote this",
        ),
    ],
)
def test_code_that_nobody_has_read_runs_nowhere_and_is_never_green(
    tmp_path: Path, pull_request: dict[str, object], why: str
) -> None:
    stage = Stage(tmp_path, TOOLS)
    stage.workflow(TEN_LINES)
    jobs = stage.run("pull_request", {"pull_request": {**pull_request, "base": {"ref": "main"}}})
    assert {name for name, job in jobs.items() if job.steps} == {"Verdict"}
    assert jobs["Verdict"].conclusion == "failure"
    assert why in jobs["Verdict"].summary
    assert stage.ran == []
