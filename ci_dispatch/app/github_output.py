"""What a run through GitHub hears from outside and tells there: signals, runners, outputs, summary, annotations."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing

from ci_dispatch.app.github_target import connect
from ci_dispatch.app.say import say
from ci_dispatch.config import Config
from ci_dispatch.core.errors import GitHubRefused
from ci_dispatch.core.events import MachineChecked
from ci_dispatch.core.model import MachineSpec, Verdict
from ci_dispatch.fleets.actions.environment import ActionsEnvironment
from ci_dispatch.fleets.actions.rest.api import GitHubApi
from ci_dispatch.fleets.actions.rest.client import RestClient
from ci_dispatch.fleets.actions.rest.models import RunnerView, with_runners
from ci_dispatch.fleets.actions.rest.server import server_at
from ci_dispatch.fleets.actions.run.dispatch_state import DispatchTarget
from ci_dispatch.run import run_report
from ci_dispatch.run.run_folder import RunFolder
from ci_dispatch.run.run_report import ReportCache
from ci_dispatch.run.state import RunState
from report_merge.render import escape
from report_merge.render.markdown import job_summary, pr_comment
from report_merge.render.workflow_commands import annotations_of

SIGHT_SECONDS = 25.0  # how old the runners' state may be


def outputs_of(state: RunState, folder: RunFolder, runs: Sequence[int | None]) -> dict[str, str]:
    """The outputs of the action, by name; action.yml documents them."""
    counted = {verdict: state.verdicts[verdict] for verdict in Verdict}
    return {
        "verdict": run_report.verdict_word(state).lower(),
        "exit-code": str(state.finished.exit_code if state.finished else ""),
        "tests": str(state.total),
        "passed": str(counted[Verdict.PASSED]),
        "failed": str(counted[Verdict.FAILED]),
        "flaky": str(counted[Verdict.FLAKY]),
        "skipped": str(counted[Verdict.SKIPPED]),
        "not-run": str(counted[Verdict.NOT_RUN]),
        "run": str(state.started.run if state.started else ""),
        "github-runs": ",".join(str(run) for run in runs if run is not None),
        "report-path": str(folder.merged_xml),
        "summary-path": str(folder.summary),
        "run-json-path": str(folder.run_json),
    }


def tell(
    state: RunState, reports: ReportCache, folder: RunFolder, runs: Sequence[int | None], here: ActionsEnvironment
) -> None:
    """Outputs, step summary and annotations, each within GitHub's limits."""
    report, comparison = reports.of(state), reports.past(state).comparison
    here.set_outputs(outputs_of(state, folder, runs))
    here.add_summary(job_summary(report, already_used_bytes=here.summary_used(), comparison=comparison))
    here.annotate(annotations_of(report))


def summarize_refusal(message: str, environ: Mapping[str, str]) -> None:
    """Put why a command did not run into the step's summary: who reads the job's page sees no log. Raises OSError."""
    ActionsEnvironment(environ).add_summary(f"### ci-dispatch did not run\n\n{escape.fence(message, 'text')}\n")


def comment(
    config: Config, environ: Mapping[str, str], state: RunState, reports: ReportCache, target: DispatchTarget
) -> None:
    """Keep the comment on the pull request up to date, when it is wanted and this is one; a failure is a warning."""
    here = ActionsEnvironment(environ)
    pull = here.pull_request() if config.github.comment else None
    if pull is None or here.repository != target.repository:
        return
    marker = f"ci-dispatch/{target.workflow}/{reports.context.title}"
    text = pr_comment(reports.of(state), marker=marker, comparison=reports.past(state).comparison)
    github = connect(config, environ, target.repository)
    try:
        with closing(github.client):
            github.keep_comment(pull, text)
    except GitHubRefused as error:
        say(escape.terminal(f"warning: {error}"), err=True)
        here.annotate([f"::warning title=The pull request has no comment::{escape.workflow_data(str(error))}"])


def runner_sight(
    config: Config, environ: Mapping[str, str], repository: str, stack: ExitStack
) -> Callable[[MachineChecked, MachineSpec], MachineChecked]:
    """Adds to a health check what GitHub knows of the machine's runners; without a token, or when refused, nothing."""
    name = config.github.runners_token_env
    token = environ.get(name, "").strip()
    if not token:
        text = f"note: whether GitHub's runners are online is not seen: that needs a token in {name} with"
        say(f"{text} Administration: read. The machines' own health checks do without.", err=True)
        return lambda checked, _spec: checked
    server = server_at(config.github.api_url or ActionsEnvironment(environ).api_url)
    github = GitHubApi(RestClient(server, token, repository))
    stack.enter_context(closing(github.client))
    return _Sight(github).see


class _Sight:
    """The runners as GitHub sees them, asked for at most every `SIGHT_SECONDS`; threads may share it."""

    def __init__(self, github: GitHubApi) -> None:
        self._github, self._lock = github, threading.Lock()
        self._runners: tuple[RunnerView, ...] | None = None
        self._asked = float("-inf")
        self._refused = False

    def see(self, checked: MachineChecked, spec: MachineSpec) -> MachineChecked:
        with self._lock:
            if not self._refused and time.monotonic() - self._asked > SIGHT_SECONDS:
                self._asked = time.monotonic()
                try:
                    self._runners = self._github.runners()
                except GitHubRefused as error:
                    self._refused, self._runners = True, None
                    say(escape.terminal(f"warning: {error}"), err=True)
            runners = self._runners
        return checked if runners is None else with_runners(checked, spec, runners)
