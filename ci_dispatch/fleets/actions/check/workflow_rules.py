"""What the workflow files say about a first run: commands, triggers, permissions, secrets, concurrency. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from ci_dispatch.core.errors import ExitCode
from ci_dispatch.fleets.actions.check.finding import CheckFinding, Topic, failure, fine, warning
from ci_dispatch.fleets.actions.check.permission_rules import check_calls, check_permissions
from ci_dispatch.fleets.actions.check.use import Setup, Use, modes_of, uses_of, workers_of
from ci_dispatch.fleets.actions.check.workflow_file import (
    SUITE,
    Concurrency,
    WorkflowFile,
    is_placeholder,
)
from ci_dispatch.fleets.actions.rest.server import Capability

WORKER_INPUTS = frozenset({"matrix", "plan", "dispatch_id"})
BEGINS = ("dispatch", "plan", SUITE)  # the commands a run begins with
LOGS_IN = ("dispatch", "watch", "health", "plan", "again")  # those that ask machines how they are
ALWAYS = re.compile(r"\balways\(\)")  # anything else can be skipped: `!cancelled()` is, by a cancel


def check_files(files: Sequence[WorkflowFile], setup: Setup) -> list[CheckFinding]:
    """Everything that can be told without asking anybody."""
    uses = uses_of(files, setup)
    if not modes_of(uses):
        what = "no workflow here uses ci-dispatch to begin a run: a push starts nothing"
        return [failure(Topic.WORKFLOWS, what, "ci-dispatch github init")]
    rules = (
        _server, _placeholders, _committed, _workers, _shards, _gates, _triggers, check_permissions, check_calls,
        _secrets, _concurrency,
    )  # fmt: skip
    return [finding for rule in rules for finding in rule(files, uses, setup)]


def _server(_files: Sequence[WorkflowFile], uses: Sequence[Use], setup: Setup) -> Iterator[CheckFinding]:
    for mode in sorted(modes_of(uses)):
        if missing := setup.server.missing(mode):
            what = f"{setup.server.api_url} lacks what is needed for {mode}: {'; '.join(missing)}"
            yield failure(Topic.SERVER, what, setup.server.instead())
        else:
            yield fine(Topic.SERVER, f"{setup.server.api_url} can do what is needed for {mode}")
    if not setup.server.can(Capability.UPLOAD_ARTIFACT_4):
        for use in uses:
            if use.command == "shard" and "dispatch-id" in use.step.inputs and use.step.inputs.get("upload") != "false":
                what = (
                    "this server has no version 4 of upload-artifact, which the action uploads with: no report arrives"
                )
                remedy = '`upload: "false"` and a step with actions/upload-artifact@v3 (docs/other-servers.md)'
                yield failure(Topic.SERVER, what, remedy, where=use.where, exit_code=ExitCode.INCOMPLETE)


def _placeholders(_files: Sequence[WorkflowFile], uses: Sequence[Use], _setup: Setup) -> Iterator[CheckFinding]:
    named = dict.fromkeys((use.file.path, use.step.uses) for use in uses if is_placeholder(use.step.uses))
    for path, uses_placeholder in named:
        what = f"`{uses_placeholder}` still names OWNER: GitHub finds no such action"
        yield failure(Topic.WORKFLOWS, what, "write the owner of the ci-dispatch you use", where=path)


def _committed(_files: Sequence[WorkflowFile], uses: Sequence[Use], setup: Setup) -> Iterator[CheckFinding]:
    workflows = dict.fromkeys(use.file.path for use in uses)
    for path in filter(None, (*workflows, setup.configuration)):
        if setup.tracked is not None and path not in setup.tracked:
            what = "it is not committed: a push does not bring it to GitHub"
            yield failure(Topic.WORKFLOWS, what, f"git add {path} && git commit", where=path)
        elif path in workflows:
            yield fine(Topic.WORKFLOWS, "uses ci-dispatch", where=path)


def _workers(files: Sequence[WorkflowFile], uses: Sequence[Use], setup: Setup) -> Iterator[CheckFinding]:
    """The workflows that `dispatch` starts."""
    for path in workers_of(uses, setup):
        worker = next((file for file in files if file.path == path), None)
        if worker is None:
            what = "the worker workflow that `dispatch` starts is not there: GitHub answers 404"
            remedy = "copy examples/github/e2e-shard.yml, or name another: github.workflow in ci-dispatch.toml"
            yield failure(Topic.WORKFLOWS, what, remedy, where=path, exit_code=ExitCode.GITHUB_REFUSED)
        else:
            yield from _worker(path, worker, setup)


def _worker(path: str, worker: WorkflowFile, setup: Setup) -> Iterator[CheckFinding]:
    if "workflow_dispatch" not in worker.triggers:
        what = "the worker workflow has no `workflow_dispatch`: GitHub answers 422"
        remedy = "on: workflow_dispatch, with the inputs matrix, plan and dispatch_id"
        yield failure(Topic.TRIGGERS, what, remedy, where=path, exit_code=ExitCode.GITHUB_REFUSED)
    else:
        inputs = worker.triggers["workflow_dispatch"].get("inputs")
        declared = {str(name): spec for name, spec in inputs.items()} if isinstance(inputs, dict) else {}
        if lacking := sorted(WORKER_INPUTS - declared.keys()):
            what = f"the worker workflow does not declare {', '.join(lacking)}: GitHub answers 422"
            remedy = f"on.workflow_dispatch.inputs.{lacking[0]}: {{type: string, required: true}}"
            yield failure(Topic.TRIGGERS, what, remedy, where=path, exit_code=ExitCode.GITHUB_REFUSED)
        if more := sorted(name for name, spec in declared.items() if name not in WORKER_INPUTS and _is_required(spec)):
            what = (
                f"the worker workflow requires {', '.join(more)}, which ci-dispatch does not send: GitHub answers 422"
            )
            yield failure(Topic.TRIGGERS, what, "give it a default", where=path, exit_code=ExitCode.GITHUB_REFUSED)
    if "inputs.dispatch_id" not in worker.run_name:
        what = "its title does not name the dispatch: a run whose start was not answered is never found"
        remedy = "run-name: E2E shards [${{ inputs.dispatch_id }}]"
        if setup.server.can(Capability.RUN_DETAILS):
            yield warning(Topic.WORKFLOWS, what, remedy, where=path)
        else:
            what = f"{what}, and this server answers without the run's id"
            yield failure(Topic.WORKFLOWS, what, remedy, where=path, exit_code=ExitCode.INCOMPLETE)


def _is_required(spec: Any) -> bool:
    return isinstance(spec, dict) and spec.get("required") is True and "default" not in spec


def _shards(_files: Sequence[WorkflowFile], uses: Sequence[Use], _setup: Setup) -> Iterator[CheckFinding]:
    for use in uses:
        if use.command != "shard":
            continue
        if use.job.strategy and use.job.fail_fast:
            what = "fail-fast is not off: the first failing shard cancels all others, and the run is INCOMPLETE"
            yield failure(
                Topic.WORKFLOWS, what, "strategy.fail-fast: false", where=use.where, exit_code=ExitCode.INCOMPLETE
            )
        if use.job.strategy and not re.search(r"\$\{\{\s*matrix\.", use.job.name):
            what = "its name does not hold the shard's id, by which a job is known"
            remedy = "name: shard ${{ matrix.shard }}"
            yield failure(Topic.WORKFLOWS, what, remedy, where=use.where, exit_code=ExitCode.INCOMPLETE)
        fetched = [step for step in use.job.steps if step.uses.startswith("actions/checkout@")]
        if "dispatch-id" in use.step.inputs and any(
            "matrix.commit" not in step.inputs.get("ref", "") for step in fetched
        ):
            what = "it checks out what the branch is by then: results of another commit than the planned do not count"
            remedy = "with: {ref: '${{ matrix.commit }}'} for actions/checkout"
            yield failure(Topic.WORKFLOWS, what, remedy, where=use.where, exit_code=ExitCode.INCOMPLETE)
        if use.job.strategy and not any("matrix." in label for label in use.job.runs_on):
            what = f"it runs on {', '.join(use.job.runs_on) or 'nothing'} whatever the plan says"
            remedy = "runs-on: ${{ matrix.labels }}"
            yield failure(Topic.LABELS, what, remedy, where=use.where, exit_code=ExitCode.INCOMPLETE)


def _gates(_files: Sequence[WorkflowFile], uses: Sequence[Use], _setup: Setup) -> Iterator[CheckFinding]:
    for use in uses:
        if use.command == "merge" and not ALWAYS.search(use.job.condition):
            what = "it can be skipped, and GitHub counts that as success: there is no verdict then, and nothing is red"
            yield failure(Topic.WORKFLOWS, what, "if: always()", where=use.where, exit_code=ExitCode.INCOMPLETE)


# -- triggers ---------------------------------------------------------------------------------------------------------


def _triggers(_files: Sequence[WorkflowFile], uses: Sequence[Use], setup: Setup) -> Iterator[CheckFinding]:
    begins = {use.file.path: use.file for use in uses if use.command in BEGINS}
    for path, file in begins.items():
        for event in ("pull_request_target", "workflow_run"):
            if event in file.triggers:
                what = f"`{event}` runs with secrets and a writing token, also for a fork's code"
                yield failure(Topic.TRIGGERS, what, "on: pull_request, push or workflow_dispatch", where=path)
        started = set(file.triggers) - {"workflow_dispatch", "workflow_call"}
        if not started and "workflow_call" not in file.triggers:
            what = "only a person starts it: no push and no pull request does"
            yield warning(Topic.TRIGGERS, what, "on: {push: {branches: [main]}, pull_request: }", where=path)
        push = file.triggers.get("push", {})
        if "push" in file.triggers and not _pushes(push, setup.default_branch):
            what = f"a push to {setup.default_branch} does not start it: `push.branches` names others"
            yield warning(Topic.TRIGGERS, what, f"push.branches: [{setup.default_branch}]", where=path)
        elif started:
            yield fine(Topic.TRIGGERS, f"started by {', '.join(sorted(started))}", where=path)


def _pushes(push: Mapping[str, Any], branch: str) -> bool:
    """Whether a push to `branch` starts it, as far as patterns without braces tell."""
    wanted, unwanted = push.get("branches"), push.get("branches-ignore")
    if isinstance(unwanted, list):
        return not any(fnmatchcase(branch, str(pattern)) for pattern in unwanted)
    if isinstance(wanted, list):
        return any(fnmatchcase(branch, str(pattern)) for pattern in wanted)
    return "tags" not in push


# -- secrets -----------------------------------------------------------------------------------------------------------


def _secrets(_files: Sequence[WorkflowFile], uses: Sequence[Use], setup: Setup) -> Iterator[CheckFinding]:
    """What the files do not hand on; whether a secret exists is GitHub's to say."""
    for use in uses:
        if use.command == "shard":
            for name in setup.suite_secrets:
                if name not in use.step.env and name not in use.file.env:
                    what = f"suite.secrets names {name}, and this step does not get it: the tests run without it"
                    remedy = f"env: {{{name}: ${{{{ secrets.{name} }}}}}} in the step that runs the shard"
                    yield failure(Topic.SECRETS, what, remedy, where=use.where, exit_code=ExitCode.TESTS_FAILED)
        elif use.command == SUITE and setup.suite_secrets:
            what = f"suite.secrets names {', '.join(setup.suite_secrets)}, which the reusable workflow gives no test"
            remedy = "the written-out workflow, with `env:` in the step that runs the shard: ci-dispatch github init"
            yield failure(Topic.SECRETS, what, remedy, where=use.where, exit_code=ExitCode.TESTS_FAILED)
    if setup.over_ssh and not setup.skips_health:
        yield from _ways_in(uses)


def _ways_in(uses: Sequence[Use]) -> Iterator[CheckFinding]:
    """Whether the jobs that ask the machines how they are can log in to them."""
    what = "a runner of GitHub's has no way to log in to the machines: they are not asked how they are"
    for use in uses:
        if use.command == SUITE and not use.job.hands_on_secrets:
            remedy = "secrets: {FLEET_SSH_KEY: ..., FLEET_SSH_KNOWN_HOSTS: ...} (docs/github-machines.md)"
            yield warning(Topic.SECRETS, what, remedy, where=use.where)
        inputs = use.step.inputs
        skips = inputs.get("skip-health-checks", "") not in ("", "false")
        if use.command in LOGS_IN and use.job.hosted and not skips and not {"ssh-key", "ssh-config"} & inputs.keys():
            remedy = "the inputs ssh-key, ssh-known-hosts and ssh-config from secrets, this job on a runner in the "
            remedy = f"{remedy}machines' network, or skip-health-checks: true (docs/github-machines.md)"
            yield warning(Topic.SECRETS, what, remedy, where=use.where)


# -- concurrency ------------------------------------------------------------------------------------------------------


def _concurrency(files: Sequence[WorkflowFile], uses: Sequence[Use], setup: Setup) -> Iterator[CheckFinding]:
    begins = {use.file.path: use for use in uses if use.command in BEGINS}
    groups = {file.path: _groups(file) for file in files}
    for path in dict.fromkeys(use.file.path for use in uses):
        for group in groups[path]:
            if group.queue and not setup.server.can(Capability.QUEUE):
                what = "this server does not know `queue` in `concurrency`: it refuses the file"
                remedy = "leave that `concurrency` out: ci-dispatch waits for busy machines as well"
                yield failure(Topic.CONCURRENCY, what, remedy, where=path)
            if group.queue == "max" and group.cancels:
                what = "`queue: max` and `cancel-in-progress` exclude each other: GitHub refuses the file"
                yield failure(Topic.CONCURRENCY, what, "keep one of them", where=path)
    for path, use in begins.items():
        mine = groups[path]
        alone = not mine and use.command != SUITE and "workflow_call" not in use.file.triggers
        if alone and setup.server.can(Capability.QUEUE):
            what = "two runs at once share the machines, and each waits for the other's shards"
            remedy = "concurrency: {group: fleet, queue: max}"
            yield warning(Topic.CONCURRENCY, what, remedy, where=path)
        also = sorted({"schedule", "merge_group"} & use.file.triggers.keys())
        if also and any(group.cancels and "event_name" not in group.group for group in mine):
            what = f"a push cancels the run of {' and '.join(also)}: they share a group that cancels"
            remedy = "put ${{ github.event_name }} into the group"
            yield warning(Topic.CONCURRENCY, what, remedy, where=path)
    for worker, group in ((path, group) for path in workers_of(uses, setup) for group in groups.get(path, ())):
        if "inputs.dispatch_id" not in group.group:
            what = "its runs share one concurrency group: a second dispatch waits for, or cancels, the first"
            remedy = "group: e2e-shards-${{ inputs.dispatch_id }}, or none"
            yield failure(Topic.CONCURRENCY, what, remedy, where=worker, exit_code=ExitCode.INCOMPLETE)


def _groups(file: WorkflowFile) -> list[Concurrency]:
    return [group for group in (file.concurrency, *(job.concurrency for job in file.jobs)) if group is not None]
