"""What `github check` reads out of workflow files: each row breaks one thing; a finding names it with its remedy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_dispatch.core.codec import replace
from ci_dispatch.fleets.actions.check.finding import Level, Topic, exit_code_of
from ci_dispatch.fleets.actions.check.use import Setup
from ci_dispatch.fleets.actions.check.workflow_file import BadWorkflow, WorkflowFile, read_workflow
from ci_dispatch.fleets.actions.check.workflow_rules import check_files
from ci_dispatch.fleets.actions.rest.server import server_at
from tests.components import ROOT

DOOR, WORKER = ".github/workflows/e2e.yml", ".github/workflows/e2e-shard.yml"
EXAMPLES = ROOT / "examples" / "github"
ORCHESTRATOR = """\
name: E2E
on:
  push:
    branches: [main]
  pull_request:
permissions: {}
concurrency:
  group: e2e-${{ github.ref }}
  cancel-in-progress: true
jobs:
  suite:
    if: github.event_name != 'pull_request' || github.event.pull_request.head.repo.full_name == github.repository
    name: Suite
    runs-on: ubuntu-latest
    permissions:
      contents: read
      actions: write
      checks: read
    steps:
      - uses: acme/ci-dispatch@v1
        with:
          skip-health-checks: "true"
"""
SHARDS = """\
name: E2E shards
run-name: E2E shards [${{ inputs.dispatch_id }}]
on:
  workflow_dispatch:
    inputs:
      matrix: {type: string, required: true}
      plan: {type: string, required: true}
      dispatch_id: {type: string, required: true}
permissions: {}
concurrency:
  group: e2e-shards-${{ inputs.dispatch_id }}
jobs:
  shard:
    name: shard ${{ matrix.shard }}
    strategy:
      fail-fast: false
      matrix: ${{ fromJSON(inputs.matrix) }}
    runs-on: ${{ matrix.labels }}
    permissions:
      contents: read
      actions: read
    steps:
      - uses: actions/checkout@v7
        with:
          ref: ${{ matrix.commit }}
      - uses: acme/ci-dispatch@v1
        with:
          command: shard
          plan: ${{ inputs.plan }}
          dispatch-id: ${{ inputs.dispatch_id }}
"""
SETUP = Setup(server=server_at(""), worker="e2e-shard.yml", over_ssh=True)


def both(door: str = ORCHESTRATOR, worker: str = SHARDS) -> list[WorkflowFile]:
    return [read_workflow(DOOR, door), read_workflow(WORKER, worker)]


def bad(files: list[WorkflowFile], setup: Setup = SETUP) -> list[str]:
    found = check_files(files, setup)
    for finding in found:
        assert finding.remedy or finding.level is Level.FINE, finding
        assert (finding.exit_code > 0) == (finding.level is Level.FAILURE), finding
    return [f"{f.level} {f.topic}: {f.what}" for f in found if f.level in (Level.FAILURE, Level.WARNING)]


def test_two_workflows_that_are_right_have_no_finding() -> None:
    assert bad(both()) == []


def test_a_queue_over_the_fleet_and_a_shard_of_the_same_run_are_right_too() -> None:
    queued = "  group: fleet\n  queue: max\n"
    ours = "  group: e2e-${{ github.ref }}\n  cancel-in-progress: true\n"
    assert bad(both(ORCHESTRATOR.replace(ours, queued))) == []
    enterprise = replace(SETUP, server=server_at("https://x.org/api/v3"))
    said = bad(both(ORCHESTRATOR.replace(ours, queued)), enterprise)
    assert any(line.startswith("failure concurrency: this server does not know `queue`") for line in said)
    said = bad(both(ORCHESTRATOR.replace("concurrency:\n" + ours, "")), enterprise)
    assert not any("concurrency" in line for line in said)
    plain = SHARDS.replace("        with:\n          ref: ${{ matrix.commit }}\n", "")
    assert "it checks out what the branch is by then" in bad(both(worker=plain))[0]
    assert bad(both(worker=plain.replace("          dispatch-id: ${{ inputs.dispatch_id }}\n", ""))) == []


@pytest.mark.parametrize("names", [("e2e.yml", "e2e-shard.yml"), ("suite.yml",), ("one-workflow.yml",)])
def test_the_examples_would_work(names: tuple[str, ...]) -> None:
    texts = ((EXAMPLES / name).read_text(encoding="utf-8").replace("OWNER/", "acme/") for name in names)
    assert (
        bad([read_workflow(f".github/workflows/{name}", text) for name, text in zip(names, texts, strict=True)]) == []
    )


@pytest.mark.parametrize("condition", ["", "if: success()", "if: ${{ !cancelled() }}"])
def test_what_gives_the_verdict_is_never_skipped(condition: str) -> None:
    text = (EXAMPLES / "one-workflow.yml").read_text(encoding="utf-8").replace("OWNER/", "acme/")
    gate = "if: always() # the gate"
    assert gate in text
    said = bad([read_workflow(DOOR, text.replace(gate, f"{condition} #"))])
    assert len(said) == 1
    assert said[0].startswith("failure workflows: it can be skipped, and GitHub counts that as success")


@pytest.mark.parametrize("job", ["plan", "merge"])
def test_a_job_that_may_not_fetch_the_history_is_told_what_it_loses(job: str) -> None:
    text = (EXAMPLES / "one-workflow.yml").read_text(encoding="utf-8").replace("OWNER/", "acme/")
    before, job_line, after = text.partition(f"  {job}:\n")
    granted = "      actions: read # fetch the history of earlier runs\n"
    assert granted in after
    [said] = bad([read_workflow(DOOR, before + job_line + after.replace(granted, "", 1))])
    assert said.startswith("warning permissions: without actions: read the history of earlier runs is not fetched")


def test_who_calls_the_reusable_workflow_grants_what_its_jobs_ask_for() -> None:
    text = (EXAMPLES / "suite.yml").read_text(encoding="utf-8").replace("OWNER/", "acme/")
    [said] = bad([read_workflow(DOOR, text.replace("      actions: read", "      issues: read"))])
    assert said.startswith("failure permissions: its token lacks actions: read")


FAILS = [
    ("door", "actions: write", "actions: read", "failure permissions: its token lacks actions: write", 5),
    ("door", "checks: read", "issues: read", "warning permissions: without checks: read", 0),
    ("door", "acme/ci-dispatch", "OWNER/ci-dispatch", "failure workflows: `OWNER/ci-dispatch@v1` still names", 2),
    ("door", "pull_request:", "pull_request_target:", "failure triggers: `pull_request_target` runs with secrets", 2),
    ("door", "branches: [main]", "branches: [release-*]", "warning triggers: a push to main does not start it", 0),
    ("door", "e2e-${{ github.ref }}\n", "a\n  queue: max\n", "failure concurrency: `queue: max` and", 2),
    ("door", "  pull_request:\n", "  merge_group:\n", "warning concurrency: a push cancels the run of merge_group", 0),
    ("door", 'skip-health-checks: "true"', 'shards: "4"', "warning secrets: a runner of GitHub's has no way", 0),
    ("worker", "workflow_dispatch:", "push:", "failure triggers: the worker workflow has no `workflow_dispatch`", 5),
    ("worker", "      plan:", "      plans:", "failure triggers: the worker workflow does not declare plan", 5),
    ("worker", "[${{ inputs.dispatch_id }}]", "", "warning workflows: its title does not name", 0),
    ("worker", "fail-fast: false", "fail-fast: true", "failure workflows: fail-fast is not off", 4),
    ("worker", "      fail-fast: false\n", "", "failure workflows: fail-fast is not off", 4),
    ("worker", "name: shard ${{ matrix.shard }}", "name: shard", "failure workflows: its name does not hold", 4),
    ("worker", "${{ matrix.labels }}", "self-hosted", "failure labels: it runs on self-hosted whatever", 4),
    ("worker", "ref: ${{ matrix.commit }}", "ref: main", "failure workflows: it checks out what the branch is", 4),
    ("worker", "e2e-shards-${{ inputs.dispatch_id }}", "shards", "failure concurrency: its runs share one", 4),
    ("worker", "      actions: read", "      issues: read", "failure permissions: its token lacks actions: read", 5),
]


@pytest.mark.parametrize(("which", "old", "new", "says", "code"), FAILS, ids=[row[3][:60] for row in FAILS])
def test_each_mistake_has_its_finding(which: str, old: str, new: str, says: str, code: int) -> None:
    text = ORCHESTRATOR if which == "door" else SHARDS
    assert old in text
    files = both(text.replace(old, new)) if which == "door" else both(worker=text.replace(old, new))
    assert any(line.startswith(says) for line in bad(files)), bad(files)
    assert exit_code_of(check_files(files, SETUP)) == code


def test_without_permissions_the_default_decides() -> None:
    door = ORCHESTRATOR.replace("permissions: {}\n", "").replace("    permissions:\n", "    x-was:\n")
    assert "warning permissions: it has no `permissions:`" in "\n".join(bad(both(door)))
    assert bad(both(ORCHESTRATOR.replace("permissions: {}", "permissions: write-all"))) == []


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (replace(SETUP, server=server_at("https://x.org/api/v1")), "failure server: https://x.org"),
        (replace(SETUP, server=server_at("https://x.org/api/v3")), "failure server: this server has no version 4"),
        (replace(SETUP, comment=True), "failure permissions: its token lacks pull-requests: write"),
        (replace(SETUP, suite_secrets=("SHOP_PASSWORD",)), "failure secrets: suite.secrets names SHOP_PASSWORD"),
        (replace(SETUP, tracked=frozenset({WORKER})), "failure workflows: it is not committed"),
        (replace(SETUP, tracked=frozenset({DOOR, WORKER}), configuration="ci-dispatch.toml"),
         "failure workflows: it is not committed"),
        (replace(SETUP, worker="other.yml"), "failure workflows: the worker workflow that"),
        (replace(SETUP, default_branch="trunk"), "warning triggers: a push to trunk does not start it"),
    ],
)  # fmt: skip
def test_what_the_repository_is_set_up_for_counts_too(changed: Setup, says: str) -> None:
    assert any(line.startswith(says) for line in bad(both(), changed)), bad(both(), changed)


def test_no_workflow_of_ours_is_one_failure() -> None:
    plain = read_workflow(".github/workflows/ci.yml", "on: push\njobs: {a: {runs-on: x, steps: [{run: make}]}}")
    for files in ([], [plain]):
        assert bad(files) == [
            "failure workflows: no workflow here uses ci-dispatch to begin a run: a push starts nothing"
        ]


def test_a_called_workflow_gets_no_more_than_its_caller_may() -> None:
    text = """
on: push
permissions: {contents: read}
concurrency: fleet
jobs:
  plan:
    runs-on: ubuntu-latest
    permissions: {contents: read, actions: read}
    steps: [{uses: acme/ci-dispatch@v1, with: {command: plan, skip-health-checks: "true"}}]
  wave: {uses: ./.github/workflows/e2e-shard.yml, permissions: {contents: read}}
"""
    said = bad(both(text))
    assert said == [
        f"failure permissions: {WORKER} asks for actions: read, which this job does not grant: the run does not start"
    ]
    assert (
        bad(both(text.replace("permissions: {contents: read}}", "permissions: {contents: read, actions: read}}"))) == []
    )


def test_the_reusable_workflow() -> None:
    text = "on: push\njobs: {suite: {uses: acme/ci-dispatch/.github/workflows/suite.yml@v1, permissions: read-all%s}}"
    said = bad([read_workflow(DOOR, text % "")], replace(SETUP, suite_secrets=("SHOP_PASSWORD",)))
    assert "failure secrets: suite.secrets names SHOP_PASSWORD, which the reusable workflow gives no test" in said
    assert [line for line in said if "no way to log in" in line]
    caller = bad([read_workflow(DOOR, text % ", secrets: inherit, concurrency: fleet")])
    assert caller == []
    assert "OWNER" in bad([read_workflow(DOOR, text.replace("acme", "OWNER") % "")])[0]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no table"),
        ("- a", "no table"),
        ("on: push", "no `jobs:`"),
        ("jobs: {a: {}}", "no `on:`"),
        ("on: [push\njobs", "no YAML: line"),
        ("a: &a [*a, *b]", "no YAML"),
        ("x: " + "[" * 5000, "no YAML"),
        ("#" * (1 << 20) + "##", "larger than 1 MB"),
    ],
)
def test_what_is_no_workflow_says_why(text: str, why: str) -> None:
    with pytest.raises(BadWorkflow, match=why):
        read_workflow("x.yml", text)


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
KEYS = ("on", "jobs", "permissions", "concurrency", "env", "run-name")
JOB_KEYS = ("uses", "steps", "strategy", "runs-on", "permissions", "concurrency", "name", "if", "secrets")


@given(
    document=st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, ODD)),
    job=st.fixed_dictionaries({}, optional=dict.fromkeys(JOB_KEYS, ODD)),
)
def test_any_shape_is_a_workflow_or_refused(document: dict[str, object], job: dict[str, object]) -> None:
    import json

    document = {"on": "push", "jobs": {"a": job | {"steps": [{"uses": "a/ci-dispatch@v1", "with": job}]}}} | document
    try:
        file = read_workflow("x.yml", json.dumps(document))
    except BadWorkflow:
        return
    for finding in check_files([file], SETUP):
        assert finding.topic in Topic
