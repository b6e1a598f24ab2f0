"""What `ci-dispatch github check` does: read the workflows, ask GitHub, say before the first push what would fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TypeVar

from ci_dispatch.app.github_probe import probe_machines
from ci_dispatch.app.github_target import (
    connect,
    default_branch_of,
    git_answer,
    repository_of,
    repository_root,
    server_of,
)
from ci_dispatch.app.health import tools_of
from ci_dispatch.app.say import say, say_json
from ci_dispatch.app.settings import Settings
from ci_dispatch.config.choices import Strategy
from ci_dispatch.core import codec
from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import CiDispatchError, ExitCode, GitHubRefused, UsageError
from ci_dispatch.core.model import Connection
from ci_dispatch.fleets.actions.check import github_rules
from ci_dispatch.fleets.actions.check.finding import (
    CheckFinding,
    Level,
    Topic,
    exit_code_of,
    failure,
    fine,
    in_order,
    unknown,
    warning,
)
from ci_dispatch.fleets.actions.check.github_rules import MachineLabels
from ci_dispatch.fleets.actions.check.use import Setup, modes_of, uses_of
from ci_dispatch.fleets.actions.check.workflow_file import (
    FOLDER,
    LARGEST,
    BadWorkflow,
    WorkflowFile,
    action_of,
    read_workflow,
)
from ci_dispatch.fleets.actions.check.workflow_rules import check_files
from ci_dispatch.fleets.actions.rest.api import GitHubApi
from ci_dispatch.fleets.actions.rest.client import RestClient
from ci_dispatch.fleets.actions.rest.errors import RequestRefused
from ci_dispatch.fleets.actions.rest.settings import RepositorySettings, RunnerSettings
from ci_dispatch.fleets.actions.run.matrix import labels_of
from ci_dispatch.suites.discovery import recognise
from report_merge.render.escape import terminal

Answer = TypeVar("Answer")


def check(settings: Settings, *, as_json: bool, probe: bool) -> ExitCode:
    """Look at everything that a first run needs; the exit code is what that run would end with, 0 when nothing fails.

    What the token may not ask is a finding of its own, and no failure. `probe`: start a job on each machine too.
    """
    findings = list(_all_findings(settings, probe=probe))
    code = exit_code_of(findings)
    if as_json:
        counts = Counter(found.level for found in findings)
        say_json(
            {
                "exit_code": int(code),
                "counts": {str(level): counts[level] for level in Level},
                "findings": [codec.to_data(found) for found in in_order(findings)],
            }
        )
    else:
        say(terminal(_text(findings)))
    return code


def _all_findings(settings: Settings, *, probe: bool) -> Iterable[CheckFinding]:
    root = repository_root(settings)
    files, bad = read_files(root)
    setup = _setup(settings, root)
    yield from (*bad, *check_files(files, setup))
    wanted, problems = _labels(settings)
    yield from problems
    if any(setup.server.missing(mode) for mode in modes_of(uses_of(files, setup))):
        return  # what the server cannot do needs no more questions
    with ExitStack() as stack:
        try:
            github = connect(settings.config, settings.environ, repository_of(settings))
        except UsageError as cannot:
            text = f"only the files here were looked at, for {cannot.why}"
            yield unknown(Topic.SERVER, text, cannot.hint)
            return
        stack.enter_context(closing(github.client))
        yield from _Online(settings, files, setup, wanted, github, stack).findings(probe=probe)


class _Online:
    """The part that asks GitHub. Each question by itself: what is refused is said, and the next one is asked."""

    def __init__(
        self,
        settings: Settings,
        files: Sequence[WorkflowFile],
        setup: Setup,
        wanted: Sequence[MachineLabels],
        github: GitHubApi,
        stack: ExitStack,
    ) -> None:
        self._settings, self._files, self._setup, self._wanted = settings, files, setup, wanted
        self._github, self._repository = github, RepositorySettings(github.client)
        self._runners = self._repository
        if token := settings.environ.get(settings.config.github.runners_token_env, "").strip():
            client = RestClient(github.client.server, token, github.client.repository)
            stack.enter_context(closing(client))
            self._runners = RepositorySettings(client)
        self._unasked: list[CheckFinding] = []

    def findings(self, *, probe: bool) -> Iterable[CheckFinding]:
        try:
            repository = self._repository.repository()
        except GitHubRefused as refused:  # nothing else has an answer then
            text = f"{self._github.client.repository}: {refused.why}"
            yield failure(Topic.SERVER, text, refused.hint, exit_code=ExitCode.GITHUB_REFUSED)
            return
        branch = repository.default_branch
        self._setup = replace(self._setup, default_branch=branch)
        yield from self._workflows(branch)
        names = self._ask(
            Topic.SECRETS, lambda: self._repository.secrets(of_organisation=bool(repository.organisation))
        )
        if names is not None:
            yield from github_rules.check_secrets(self._files, self._setup, names)
        yield from self._labels(repository.organisation)
        rules = self._ask(Topic.REQUIRED_CHECKS, lambda: self._repository.rules(branch))
        protected = self._ask(Topic.REQUIRED_CHECKS, lambda: self._repository.protected_checks(branch))
        if rules is not None and protected is not None:
            yield from github_rules.check_required(self._files, self._setup, rules, protected)
        yield from github_rules.check_exposure(self._files, self._setup, repository, self._wanted)
        if probe:
            yield from self._ask(Topic.TOOLS, lambda: self._probe(branch)) or ()
        yield from self._unasked

    def _workflows(self, branch: str) -> Iterable[CheckFinding]:
        ours = dict.fromkeys(use.file.path for use in uses_of(self._files, self._setup))
        there: dict[str, bool] = {}
        states: dict[str, str] = {}
        for path in ours:
            is_there = self._ask(Topic.WORKFLOWS, partial(self._repository.has_file, path, branch))
            if is_there is not None:
                there[path] = is_there
            if is_there:
                name = path.removeprefix(f"{FOLDER}/")
                workflow = self._ask(Topic.WORKFLOWS, partial(self._repository.workflow, name))
                states |= {path: workflow.state} if workflow else {}
        named = {action for use in uses_of(self._files, self._setup) if (action := action_of(use.step.uses))}
        seen: dict[tuple[str, str, str], bool] = {}
        for action in sorted(named):
            repository, file, ref = action
            found = self._ask(Topic.WORKFLOWS, partial(self._repository.has_file, file, ref, repository))
            seen |= {} if found is None else {action: found}
        yield from github_rules.check_actions(seen)
        yield from github_rules.check_default_branch(self._files, self._setup, there, states)
        if any(use.file.permissions_of(use.job) is None for use in uses_of(self._files, self._setup)):
            level = self._ask(Topic.PERMISSIONS, self._repository.default_permissions)
            if level is not None:
                yield from github_rules.check_default_permissions(self._files, self._setup, level)

    def _labels(self, organisation: str) -> Iterable[CheckFinding]:
        runners: tuple[RunnerSettings, ...] | None = self._ask(Topic.LABELS, self._runners.runners)
        if runners is None:
            return
        complete = True
        if organisation:
            theirs = self._ask(Topic.LABELS, lambda: self._runners.runners(organisation))
            complete, runners = theirs is not None, (*runners, *(theirs or ()))
        yield from github_rules.check_runners(self._wanted, runners, complete=complete)

    def _probe(self, branch: str) -> tuple[CheckFinding, ...]:
        given = {use.step.inputs.get("python", "") for use in uses_of(self._files, self._setup)} - {""}
        return tuple(
            probe_machines(
                self._github,
                branch,
                [entry for entry in self._wanted if not entry.pool],
                tools=tools_of(self._settings),
                python=min(given, default="python3"),
                needs_node=_needs_node(self._settings),
                say=lambda text: say(text, err=True),
            )
        )

    def _ask(self, topic: Topic, question: Callable[[], Answer]) -> Answer | None:
        """The answer; None, and a finding of its own, when the token has no right to it or no answer came."""
        try:
            return question()
        except GitHubRefused as refused:
            text = refused.without_hint
            if all(text != found.what for found in self._unasked):
                known = isinstance(refused, RequestRefused)
                self._unasked.append(
                    unknown(topic, text, refused.hint)
                    if known
                    else failure(topic, text, refused.hint or "try again", exit_code=ExitCode.GITHUB_REFUSED)
                )
            return None


# -- what is here -----------------------------------------------------------------------------------------------------


def read_files(root: Path) -> tuple[list[WorkflowFile], list[CheckFinding]]:
    """Every workflow of the repository, and a finding for each that cannot be read."""
    files: list[WorkflowFile] = []
    findings: list[CheckFinding] = []
    folder = root / FOLDER
    for file in sorted((*folder.glob("*.yml"), *folder.glob("*.yaml"))):
        path = f"{FOLDER}/{file.name}"
        try:
            with file.open(encoding="utf-8-sig") as stream:
                files.append(read_workflow(path, stream.read(LARGEST + 1)))
        except (BadWorkflow, UnicodeDecodeError, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            findings.append(warning(Topic.WORKFLOWS, f"GitHub cannot use it: {why}", "mend it", where=path))
    return files, findings


def _setup(settings: Settings, root: Path) -> Setup:
    config = settings.config
    there = root.resolve()
    file = settings.file.resolve() if settings.file else None
    configuration = file.relative_to(there).as_posix() if file and file.is_relative_to(there) else ""
    paths = (FOLDER, configuration) if configuration else (FOLDER,)
    tracked = git_answer(root, "ls-files", "--", *paths).splitlines() if (root / ".git").exists() else None
    try:
        own = "name: ci-dispatch" in (root / "action.yml").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        own = False
    return Setup(
        server=server_of(config, settings.environ),
        worker=config.github.workflow,
        comment=config.github.comment,
        suite_secrets=config.suite.secrets,
        own=own,
        configuration=configuration,
        tracked=None if tracked is None else frozenset(tracked),
        default_branch=default_branch_of(root),
        over_ssh=any(machine.connection is Connection.SSH for machine in config.fleet),
        skips_health=config.health.skip,
    )


def _labels(settings: Settings) -> tuple[list[MachineLabels], list[CheckFinding]]:
    """What the jobs of a plan ask for in `runs-on`."""
    config = settings.config
    if not settings.lists_machines:
        what = "no [[machine]] is configured: a plan would wait for a runner with the label of this computer"
        remedy = "a [[machine]] with `labels` for each runner: ci-dispatch github init"
        return [], [failure(Topic.LABELS, what, remedy, exit_code=ExitCode.INCOMPLETE)]
    wanted = [MachineLabels(machine.name, labels_of(machine)) for machine in config.fleet]
    if config.github.strategy is not Strategy.PINNED:
        wanted.append(MachineLabels("the pool", config.github.pool_labels, pool=True))
    return wanted, [fine(Topic.LABELS, f"{entry.machine} asks for {', '.join(entry.labels)}") for entry in wanted]


def _needs_node(settings: Settings) -> bool:
    if settings.config.suite.runner != "auto":
        return settings.config.suite.runner == "playwright"
    try:
        return recognise(settings.root).runner == "playwright"
    except CiDispatchError:
        return False


# -- as text ----------------------------------------------------------------------------------------------------------

_WORDS = {Level.FAILURE: "fails", Level.WARNING: "warning", Level.UNKNOWN: "not asked", Level.FINE: "fine"}


def _text(findings: Sequence[CheckFinding]) -> str:
    lines = []
    for found in in_order(findings):
        where = f"{found.where}: " if found.where else ""
        lines.append(f"{found.topic:15}  {_WORDS[found.level]:9}  {where}{found.what}")
        if found.remedy:
            lines.append(f"{'':28}try: {found.remedy}")
    counts = Counter(found.level for found in findings)
    told = ", ".join(
        f"{counts[level]} {words}"
        for level, words in (
            (Level.FAILURE, "would fail"),
            (Level.WARNING, "warnings"),
            (Level.UNKNOWN, "could not be asked"),
            (Level.FINE, "fine"),
        )
    )
    return "\n".join([*lines, f"{told}."])
