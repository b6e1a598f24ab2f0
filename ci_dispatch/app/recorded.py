"""What the commands that look at a recorded run do: its output, its figures, and the run shown again.

They read the run's folder only, so they work while another process drives the run and after its controller died.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from ci_dispatch.app import result_files
from ci_dispatch.app.say import say, say_json
from ci_dispatch.app.settings import Settings
from ci_dispatch.core.errors import UsageError
from ci_dispatch.core.model import LeaseNumber, MachineName
from ci_dispatch.reporters.attempt_logs import OutputReader, check, chosen, heading, tests_called
from ci_dispatch.reporters.counts import name_of
from ci_dispatch.run import run_folder
from ci_dispatch.run.journal import JournalReader
from ci_dispatch.run.journal import replay as fold
from ci_dispatch.run.state import RunState
from report_merge.render.escape import workflow_log
from report_merge.render.wording import some

POLL = 0.3  # seconds between looks at a run that goes on
SHOWN_TESTS = 5


def replay(settings: Settings, run: str, speed: float | None) -> RunState:
    """Show a recorded run again: at once, or in its own time divided by `speed`. Returns the state it ends with.

    Raises UsageError when there is no such run, for what is no journal, or a journal without a run.
    """
    from ci_dispatch.app.playback import play

    journal = run_folder.find_journal(settings.runs_folder, run)
    mode, environ = settings.config.progress.mode, settings.environ
    state = play(JournalReader(journal).read_all(), mode=mode, environ=environ, speed=speed)
    if state.started is None:
        raise UsageError(f"{journal} was not replayed", why="it holds no run", hint="ls -l .ci-dispatch/runs/*")
    return state


def logs(settings: Settings, run: str, *, machine: str, test: str, follow: bool) -> Iterator[str]:
    """The lines of the attempts on `machine` that ran `test`, under headings; with `follow` until the run is over.

    Raises UsageError when there is no such run, machine or test, or no attempt fits.
    """
    folder = run_folder.find(settings.runs_folder, run)
    journal, state = JournalReader(folder.journal), RunState()
    fold(journal.read_all(), state)
    check(state, machine, test)
    readers: dict[LeaseNumber, OutputReader] = {}
    last: LeaseNumber | None = None
    while True:
        over = state.finished is not None  # before reading: what is written until then is read below
        for number in chosen(state, machine, test):
            attempt = state.ledger.attempts[number]
            reader = readers.setdefault(number, OutputReader(folder, number))
            ended = over or not follow or attempt.result is not None
            for line in reader.lines(over=ended):
                if number != last:
                    yield heading(number, attempt)
                    last = number
                yield workflow_log(line)
        if not follow or over:
            break
        time.sleep(POLL)
        fold(journal.read_all(), state)
    if not readers:
        raise UsageError(
            "There is no output to show", why="no attempt of this run fits", hint="ci-dispatch logs --help"
        )


def explain(settings: Settings, what: str, run: str) -> Iterator[str]:
    """The lines about a machine, or a test: its id, or a piece of its name that no other test has.

    Raises UsageError when there is no such run, machine or test, or several tests fit.
    """
    from ci_dispatch.reporters.explanation import of_machine, of_test

    journal, state = run_folder.find_journal(settings.runs_folder, run), RunState()
    steps = list(JournalReader(journal).read_all())
    fold(steps, state)
    events = [stamped for step in steps for stamped in step]
    if MachineName(what) in state.machines:
        return map(workflow_log, of_machine(events, MachineName(what)))
    check(state, "", what)
    found = tests_called(state, what)
    if len(found) > 1:
        exact = [test for test in found if name_of(state, test) == what]
        found = exact if len(exact) == 1 else found
    if len(found) > 1:
        raise UsageError(
            f"{what} may be any of {len(found)} tests", why=some([name_of(state, test) for test in found], SHOWN_TESTS),
            hint="more of the name, or the test's id",
        )  # fmt: skip
    return map(workflow_log, of_test(events, found[0]))


def metrics(settings: Settings, run: str, *, as_json: bool) -> None:
    """Print the figures of a run as Prometheus text or as JSON.

    Raises UsageError when there is no such run, or it ended before it began.
    """
    from ci_dispatch.reporters.metrics.figures import figures, json_values, prometheus
    from ci_dispatch.run.run_report import ReportCache

    folder, state = run_folder.find(settings.runs_folder, run), RunState()
    fold(JournalReader(folder.journal).read_all(), state)
    if state.started is None:
        raise UsageError(f"Run {folder.id} has no figures", why="it ended before it began", hint="another run's id")
    history = result_files.open_history(settings.runs_folder, settings.config, settings.root, settings.environ)
    reports = ReportCache(result_files.run_context(state.started, settings.environ), history.look_back)
    found = figures(state, reports.past(state), slowest=settings.config.metrics.slowest_tests)
    if as_json:
        say_json({"v": 1, "run": folder.id, **json_values(found)})
    else:
        say(prometheus(found).removesuffix("\n"))
