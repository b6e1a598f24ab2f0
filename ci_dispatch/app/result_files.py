"""What a run leaves behind in its folder: merged.xml, summary.md, report.html and run.json."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ci_dispatch.app.github_target import default_branch
from ci_dispatch.app.run_history import RunHistory
from ci_dispatch.app.run_spec import head_share, read_spec
from ci_dispatch.app.say import say
from ci_dispatch.config import Config
from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import ExitCode, UsageError
from ci_dispatch.core.events import RunStarted
from ci_dispatch.core.model import ANY_MACHINE, MachineSpec, TestResult
from ci_dispatch.fleets.actions.environment import ActionsEnvironment
from ci_dispatch.planning import planner
from ci_dispatch.planning.selection import curve
from ci_dispatch.reporters.metrics.figures import figures, prometheus
from ci_dispatch.reporters.terminal import last_lines
from ci_dispatch.run import run_folder, run_report
from ci_dispatch.run.junit_names import under_own_names
from ci_dispatch.run.run_end import expected_seconds
from ci_dispatch.run.run_folder import RunFolder
from ci_dispatch.run.run_report import ReportCache
from ci_dispatch.run.settle import Classify
from ci_dispatch.run.state import RunState
from report_merge.baseline import Comparison
from report_merge.failures import FailureRules, Finding, RulesError, classify, load_rules
from report_merge.junit.document import write as write_junit
from report_merge.model import PlannedFleet, Report, RunContext
from report_merge.render.escape import markdown, terminal
from report_merge.render.markdown import job_summary

SHOWN_WARNINGS = 20
HTML_BYTES = 1_000_000  # for each run that is kept


def write(
    state: RunState, report: Report, folder: RunFolder, share: float, comparison: Comparison | None = None
) -> None:
    """The files of the result; each whole or not at all.

    `share` of the work was planned to be in heads; `comparison` is with an earlier run.
    """
    from report_merge.render.html import page

    merged = io.BytesIO()
    write_junit(under_own_names(report, state), merged)
    run_folder.write_whole(folder.merged_xml, merged.getvalue())
    run_folder.write_whole(folder.summary, (job_summary(report, comparison=comparison) + _warnings(state)).encode())
    data = json.dumps(run_report.run_json(state), ensure_ascii=False, indent=1)
    run_folder.write_whole(folder.run_json, data.encode("utf-8", "backslashreplace"))  # a lone surrogate as JSON has it
    shown = page(_with_curve(state, report, share), comparison=comparison, budget_bytes=HTML_BYTES)
    run_folder.write_whole(folder.html, shown.encode())


def _with_curve(state: RunState, report: Report, share: float) -> Report:
    """With how long growing parts of the fleet would have taken by the plan."""
    fleet = [machine.spec for name, machine in state.machines.items() if name != ANY_MACHINE]
    units = planner.units_of((record.test for record in state.ledger.records.values()), expected_seconds(state))

    def planned(some: Sequence[MachineSpec]) -> float:
        return planner.planned_makespan(units, some, share)

    points = curve([unit.seconds for unit in units], fleet, planned)
    fleets = tuple(PlannedFleet(machines=point.machines, seconds=point.seconds) for point in points)
    return replace(report, planned_fleets=fleets)


def _outdated(folder: RunFolder) -> bool:
    """Whether a file of the result is missing or older than the journal: its controller died, or had no room."""
    written = folder.journal.stat().st_mtime_ns
    files = (folder.merged_xml, folder.summary, folder.html, folder.run_json, folder.metrics)
    return not all(file.is_file() and file.stat().st_mtime_ns >= written for file in files)


def _warnings(state: RunState) -> str:
    """What a person should know besides the verdict, such as a message that could not be delivered."""
    shown = state.warnings[:SHOWN_WARNINGS]
    lines = [f"> ⚠️ {markdown(warning.source)}: {markdown(warning.text, 300)}" for warning in shown]
    if len(state.warnings) > len(shown):
        lines.append(f"> ... and {len(state.warnings) - len(shown)} more in events.jsonl")
    return "\n" + "\n>\n".join(lines) + "\n" if lines else ""


def run_context(started: RunStarted | None, environ: Mapping[str, str]) -> RunContext:
    """Where the run belongs to, as far as it knows itself, or the environment says (GitHub's variables)."""
    here = ActionsEnvironment(environ)
    target = started.settings.get("target") if started else None
    repository, run_id = environ.get("GITHUB_REPOSITORY", ""), environ.get("GITHUB_RUN_ID", "")
    server = environ.get("GITHUB_SERVER_URL", "https://github.com")
    return RunContext(
        title=started.title if started else "",
        repository=repository,
        branch=here.ref,
        sha=(target.get("commit", "") if isinstance(target, dict) else "") or here.commit,
        run_id=str(started.run) if started else "",
        url=f"{server}/{repository}/actions/runs/{run_id}" if repository and run_id else "",
    )


def classifier(config: Config, root: Path) -> Classify:
    """Failures as findings, by the user's rules first. Raises UsageError for a rules file that cannot be used."""
    rules = _rules(root / config.rules.file) if config.rules.file else load_rules()

    def finding(line: TestResult) -> Finding:
        return classify(line.detail, message=line.message, source="test", rules=rules)

    return finding


def _rules(file: Path) -> FailureRules:
    try:
        return load_rules(file.read_text(encoding="utf-8"))
    except (OSError, RulesError) as error:
        raise UsageError(f"{file} was not used", why=str(error), hint="see docs/failure-analysis.md") from error


def _share_of(state: RunState, config: Config) -> float:
    """How much of the work was planned to be in heads, as far as the journal says it."""
    try:
        return head_share(read_spec(state, config).config)
    except UsageError:
        return planner.HEAD_SHARE_KNOWN


def open_history(base: Path, config: Config, root: Path, environ: Mapping[str, str]) -> RunHistory:
    """The history as a command uses it that looks at a run which is over."""
    return RunHistory(
        base,
        config,
        lambda text: say(terminal(f"warning: {text}"), err=True),
        default_branch=lambda: default_branch(root, environ),
    )


def say_again(state: RunState, folder: RunFolder, config: Config, environ: Mapping[str, str]) -> ExitCode:
    """A run that is over: how it ended. What its controller could not write any more is written."""
    assert state.finished is not None
    history = open_history(folder.path.parent.parent, config, folder.path, environ)
    past = ReportCache(run_context(state.started, environ), history.look_back).past(state)
    if _outdated(folder):
        history.record(state, past.report.context)
        write(state, past.report, folder, _share_of(state, config), past.comparison)
        shown = figures(state, past, slowest=config.metrics.slowest_tests)
        run_folder.write_whole(folder.metrics, prometheus(shown).encode())
    for line in last_lines(state, past.report, str(folder.merged_xml), past.comparison):
        say(line)
    say(f"Run {folder.id} had finished already.", err=True)
    return ExitCode(state.finished.exit_code)
