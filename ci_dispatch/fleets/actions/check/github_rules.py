"""What GitHub shows about a first run: default branch, secrets, runners, required checks. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ci_dispatch.core.errors import ExitCode
from ci_dispatch.fleets.actions.check.finding import CheckFinding, Topic, failure, fine, unknown, warning
from ci_dispatch.fleets.actions.check.permission_rules import needed_permissions
from ci_dispatch.fleets.actions.check.use import Setup, Use, uses_of, workers_of
from ci_dispatch.fleets.actions.check.workflow_file import SUITE, WorkflowFile, WorkflowJob
from ci_dispatch.fleets.actions.check.workflow_rules import ALWAYS, BEGINS
from ci_dispatch.fleets.actions.rest.settings import RepositoryView, RuleView, RunnerSettings
from report_merge.render.wording import some

NODE24, REGISTERS = (2, 327, 1), (2, 329, 0)
"""The least runner version that runs node24 actions (checkout 7), and the least that GitHub lets register."""

SHOWN = 5  # names of a list
_HOSTED = re.compile(r"(ubuntu|windows|macos)-[\w.-]+")
OPTIONAL = frozenset({"ssh-key", "ssh-known-hosts", "ssh-config", "runners-token"})
"""Inputs of the action that work without a value."""

VERDICT = "Verdict"  # the last job of the reusable workflow and of the examples, which is always run

SUITE_SECRETS = {
    "FLEET_SSH_KEY": frozenset({"ssh-key"}),
    "FLEET_SSH_KNOWN_HOSTS": frozenset({"ssh-known-hosts"}),
    "FLEET_SSH_CONFIG": frozenset({"ssh-config"}),
    "FLEET_RUNNERS_TOKEN": frozenset({"runners-token"}),
}
"""Secrets that the reusable workflow takes, with the inputs of the action that they become."""


@dataclass(frozen=True, slots=True)
class MachineLabels:
    """What `runs-on` asks for, and whose it is."""

    machine: str
    labels: tuple[str, ...]
    pool: bool = False  # of many machines: any of them


def check_default_branch(
    files: Sequence[WorkflowFile], setup: Setup, there: dict[str, bool], states: dict[str, str]
) -> Iterator[CheckFinding]:
    """`there`: whether the default branch has the file, by path; `states`: what GitHub says of a workflow."""
    branch, uses = setup.default_branch, uses_of(files, setup)
    workers = workers_of(uses, setup)
    for path, is_there in there.items():
        needs = {use.command for use in uses if use.file.path == path} & {*BEGINS}
        if path in workers and not is_there:
            what = f"it is not on {branch}, the default branch: a dispatch is answered with 404"
            remedy = f"push it to {branch} first, or use the one workflow, which needs no such thing"
            yield failure(Topic.WORKFLOWS, what, remedy, where=path, exit_code=ExitCode.GITHUB_REFUSED)
        elif not is_there and needs:
            file = next(file for file in files if file.path == path)
            late = sorted({"schedule", "workflow_dispatch", "merge_group"} & file.triggers.keys())
            after = f"; {', '.join(late)} begin to work when {branch} has it" if late else ""
            yield fine(Topic.WORKFLOWS, f"new: the push that brings it starts it{after}", where=path)
        elif is_there:
            yield fine(Topic.WORKFLOWS, f"on {branch}, the default branch", where=path)
    for path, state in states.items():
        if state.startswith("disabled"):
            what = f"GitHub has it as {state}: nothing starts it"
            remedy = f"gh workflow enable {path.rpartition('/')[2]}"
            yield failure(Topic.WORKFLOWS, what, remedy, where=path, exit_code=ExitCode.GITHUB_REFUSED)


def check_actions(there: Mapping[tuple[str, str, str], bool]) -> Iterator[CheckFinding]:
    """`there`: whether the token sees the file at the ref, for each ci-dispatch that a workflow uses."""
    for (repository, file, ref), is_there in there.items():
        if is_there:
            yield fine(Topic.WORKFLOWS, f"{repository} has {file} at {ref}")
        else:
            what = f"{repository} has no {file} at {ref} that this token can see: GitHub may not find it either"
            remedy = (
                "name the right owner and a tag that exists; a private one has to allow it: Settings, Actions, Access"
            )
            yield warning(Topic.WORKFLOWS, what, remedy)


def check_default_permissions(files: Sequence[WorkflowFile], setup: Setup, level: str) -> Iterator[CheckFinding]:
    """`level`: what a token may do where the workflow does not say, "read" or "write"."""
    for use in uses_of(files, setup):
        needed = needed_permissions(use, setup)
        if use.file.permissions_of(use.job) is None and level == "read" and "write" in needed.values():
            what = f"it has no `permissions:`, and the repository's default is to read: `{use.command}` is refused"
            remedy = f"permissions: {{{', '.join(f'{name}: {given}' for name, given in needed.items())}}}"
            yield failure(Topic.PERMISSIONS, what, remedy, where=use.where, exit_code=ExitCode.GITHUB_REFUSED)


def check_secrets(files: Sequence[WorkflowFile], setup: Setup, known: frozenset[str]) -> Iterator[CheckFinding]:
    """`known`: the names GitHub has, in capitals."""
    uses = uses_of(files, setup)
    for file in {use.file.path: use.file for use in uses}.values():
        for name in sorted({name.upper() for name in file.secrets} - {"GITHUB_TOKEN"}):
            if name in known:
                yield fine(Topic.SECRETS, f"{name} is there", where=file.path)
                continue
            remedy = f"gh secret set {name}"
            if name in setup.suite_secrets:
                what = f"GitHub has no secret {name}: the tests run without it"
                yield failure(Topic.SECRETS, what, remedy, where=file.path, exit_code=ExitCode.TESTS_FAILED)
                continue
            inputs = _inputs_from(name, uses, file) or SUITE_SECRETS.get(name, frozenset())
            if "ssh-key" in inputs:
                what = f"GitHub has no secret {name}: the machines are not asked how they are before they get work"
                yield warning(Topic.SECRETS, what, f"{remedy} < KEY (docs/github-machines.md)", where=file.path)
            elif inputs and OPTIONAL.issuperset(inputs):
                yield fine(Topic.SECRETS, f"GitHub has no secret {name}, which is optional", where=file.path)
            else:
                what = f"GitHub has no secret {name}: its value is empty, unless an environment has it"
                yield warning(Topic.SECRETS, what, remedy, where=file.path)


def _inputs_from(name: str, uses: Sequence[Use], file: WorkflowFile) -> frozenset[str]:
    """The action's inputs that this secret is given to."""
    pattern = re.compile(rf"secrets\.{re.escape(name)}\b", re.IGNORECASE)
    steps = [use.step for use in uses if use.file.path == file.path]
    return frozenset(given for step in steps for given, value in step.inputs.items() if pattern.search(value))


# -- runners ----------------------------------------------------------------------------------------------------------


def check_runners(
    wanted: Sequence[MachineLabels], runners: Sequence[RunnerSettings], *, complete: bool
) -> Iterator[CheckFinding]:
    """`complete`: those of the organisation are among `runners`, or there is none."""
    used: dict[str, RunnerSettings] = {}
    for entry in wanted:
        where = f"{entry.machine}: {', '.join(entry.labels)}"
        if len(entry.labels) == 1 and _HOSTED.fullmatch(entry.labels[0]):
            yield fine(Topic.LABELS, "a runner of GitHub's", where=where)
            continue
        mine = [runner for runner in runners if {label.lower() for label in entry.labels} <= runner.label_names]
        used |= {runner.name: runner for runner in mine}
        online = [runner.name for runner in mine if runner.status == "online"]
        if online:
            yield fine(Topic.LABELS, f"taken by {some(online, SHOWN)}", where=where)
        elif mine:
            what = f"its runner is offline ({some([runner.name for runner in mine], SHOWN)}): its jobs stay queued"
            remedy = "start the runner's service on the machine: sudo ./svc.sh start"
            yield failure(Topic.LABELS, what, remedy, where=where, exit_code=ExitCode.INCOMPLETE)
        elif complete:
            what = "no runner has all these labels: its jobs stay queued for hours"
            mend = "github.pool_labels" if entry.pool else "`labels` of this [[machine]]"
            remedy = f"register a runner with them, or mend {mend}"
            yield failure(Topic.LABELS, what, remedy, where=where, exit_code=ExitCode.INCOMPLETE)
        else:
            what = f"{where}: no runner of the repository has all these labels, and the organisation's cannot be seen"
            yield unknown(Topic.LABELS, what, "look at Settings, Actions, Runners")
    for runner in used.values():
        yield from _version(runner)


def _version(runner: RunnerSettings) -> Iterator[CheckFinding]:
    if "arm" in runner.label_names:  # GitHub's own label of 32-bit ARM; 64-bit is ARM64
        what = "a 32-bit ARM runner has no node 24, which the actions need"
        remedy = "install a 64-bit system on this machine"
        yield failure(Topic.RUNNERS, what, remedy, where=runner.name, exit_code=ExitCode.INCOMPLETE)
    numbers = tuple(int(part) for part in re.findall(r"\d+", runner.version)[:3])
    if len(numbers) < 3:
        yield unknown(
            Topic.RUNNERS, f"GitHub does not say the version of the runner {runner.name}", "./run.sh --version"
        )
    elif numbers < NODE24:
        what = f"version {runner.version} cannot run node24 actions such as checkout 7 (least: {_dotted(NODE24)})"
        yield failure(Topic.RUNNERS, what, _UPDATE, where=runner.name, exit_code=ExitCode.INCOMPLETE)
    elif numbers < REGISTERS:
        what = f"version {runner.version} works, and cannot be registered again (least: {_dotted(REGISTERS)})"
        yield warning(Topic.RUNNERS, what, _UPDATE, where=runner.name)
    else:
        yield fine(Topic.RUNNERS, f"version {runner.version}", where=runner.name)


_UPDATE = "update it: a runner does so itself unless it was set up with --disableupdate"


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


# -- required checks and exposure -------------------------------------------------------------------------------------


def check_required(
    files: Sequence[WorkflowFile], setup: Setup, rules: Sequence[RuleView], protected: Sequence[str]
) -> Iterator[CheckFinding]:
    """`rules` and `protected`: what the default branch's rulesets and its own protection require."""
    required = {check.context for rule in rules for check in rule.parameters.required_status_checks} | set(protected)
    begins = {use.file.path: use.file for use in uses_of(files, setup) if use.command in BEGINS}
    if any(rule.type == "merge_queue" for rule in rules):
        for path, file in begins.items():
            if "merge_group" not in file.triggers:
                what = f"{setup.default_branch} has a merge queue, and `merge_group` does not start this workflow: "
                yield failure(
                    Topic.REQUIRED_CHECKS,
                    f"{what}a required check of it is waited for in vain",
                    "on: merge_group",
                    where=path,
                    exit_code=ExitCode.INCOMPLETE,
                )
    gates: list[str] = []
    for path, file in begins.items():
        mine = [job for job in file.jobs if _required_of(job, required)]
        gates += (context for job in mine for context in _required_of(job, required))
        for job in mine:
            yield from _gate(f"{path}, job {job.id}", job, _required_of(job, required))
        events = [event for event in ("pull_request", "push") if file.triggers.get(event, {}).get("paths")]
        if events and mine:
            what = f"`{events[0]}.paths` leaves pull requests out, for which the required check stays pending"
            yield warning(Topic.REQUIRED_CHECKS, what, "no `paths` in a required workflow", where=path)
    if gates:
        yield fine(Topic.REQUIRED_CHECKS, f"{setup.default_branch} requires {some(gates, SHOWN)}")
    elif begins:
        what = f"no check of the suite is required on {setup.default_branch}: a red run stops no merge"
        yield warning(Topic.REQUIRED_CHECKS, what, "require its last job: Settings, Rules, Require status checks")


def _required_of(job: WorkflowJob, required: Collection[str]) -> list[str]:
    """The required checks that this job reports; the jobs of a workflow that it calls have its name before theirs."""
    return [name for name in sorted(required) if name == job.name or (job.uses and name.startswith(f"{job.name} / "))]


def _gate(where: str, job: WorkflowJob, required: Sequence[str]) -> Iterator[CheckFinding]:
    """Whether what is required of this job can be waited for, and is red when the suite has not passed."""
    topic = Topic.REQUIRED_CHECKS
    if job.uses:
        gate = f"{job.name} / {VERDICT}"
        if gate not in required:
            names = some(required, SHOWN)
            what = f"{names} is required, and jobs of the reusable workflow are skipped or change their names"
            yield warning(topic, what, f"require `{gate}`", where=where)
        return
    if job.condition and not ALWAYS.search(job.condition):
        what = f"the required check `{job.name}` can be skipped, and GitHub counts that as success: a pull request may "
        remedy = "require a job with `if: always()` that fails unless the suite passed"
        yield warning(topic, f"{what}pass unrun", remedy, where=where)
    if _varies(job):
        what = f"the required check `{job.name}` is a job of the matrix, whose names differ from run to run: it is "
        remedy = "require the job that merges"
        yield failure(topic, f"{what}waited for in vain", remedy, where=where, exit_code=ExitCode.INCOMPLETE)


def _varies(job: WorkflowJob) -> bool:
    return job.strategy or "${{" in job.name


def check_exposure(
    files: Sequence[WorkflowFile], setup: Setup, repository: RepositoryView, wanted: Sequence[MachineLabels]
) -> Iterator[CheckFinding]:
    """What strangers can reach: https://docs.github.com/actions/reference/security/secure-use."""
    own = [entry for entry in wanted if not (len(entry.labels) == 1 and _HOSTED.fullmatch(entry.labels[0]))]
    if not own:
        return
    if repository.private:
        yield fine(Topic.EXPOSURE, "the repository is private: only its members reach the machines")
        return
    what = "the repository is public: whoever opens a pull request may try to run code on your machines"
    remedy = "Settings, Actions: require approval for all external contributors; one-job (ephemeral) runners without "
    yield warning(Topic.EXPOSURE, what, f"{remedy}secrets; ci-dispatch itself refuses forks")
    for use in uses_of(files, setup):
        if use.command in ("shard", SUITE) and "pull_request_target" in use.file.triggers:
            what = "a fork's code would run on your machines, with secrets"
            yield failure(Topic.EXPOSURE, what, "on: pull_request", where=use.where)
