"""What `ci-dispatch history` does: show what earlier runs left, take in what others have, give it away, forget it."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ci_dispatch.app.result_files import run_context
from ci_dispatch.app.run_history import bounds, file_in
from ci_dispatch.app.say import say, say_json
from ci_dispatch.app.settings import Settings
from ci_dispatch.app.table import table
from ci_dispatch.core import codec
from ci_dispatch.core.errors import NothingToRun, UsageError
from ci_dispatch.core.model import RunId
from ci_dispatch.history import of_run
from ci_dispatch.history.past import TestPast, bars, matching
from ci_dispatch.history.store import HistoryStore
from ci_dispatch.history.values import KnownTest, PastRun
from ci_dispatch.run import run_folder
from report_merge.model import Attempt, Case, Report, SuiteContext, UneventfulTest
from report_merge.render.escape import terminal_name
from report_merge.render.wording import count, duration, sparkline
from report_merge.triage.history import LETTERS

SHOWN = 30  # verdicts and durations of a test
FAILURES_SHOWN = 5
CHOICES_SHOWN = 10


@contextmanager
def _opened(settings: Settings, *, make: bool = False) -> Iterator[HistoryStore]:
    """The history; with `make` an empty one where there is none. Raises UsageError without one."""
    file = file_in(settings.runs_folder)
    if make:
        run_folder.make_base(settings.runs_folder)
    elif not file.exists():
        raise UsageError("There is no history yet", why=f"{file} is not there", hint="`ci-dispatch run` makes one")
    with HistoryStore(file) as store:
        yield store


# -- look ------------------------------------------------------------------------------------------------------------


def show_runs(settings: Settings, *, branch: str, limit: int, as_json: bool) -> None:
    """The newest `limit` runs, the newest last, of one branch or of all."""
    with _opened(settings) as store:
        runs = [run for run in store.runs() if not branch or run.branch == branch]
        shown = runs[-limit:]
        counted = {run.id: store.verdicts(run.id) for run in shown}
    if as_json:
        say_json({"v": 1, "runs": [codec.to_data(run) | {"verdicts": counted[run.id]} for run in shown]})
        return
    for line in _run_table(shown, counted):
        say(line)
    if len(runs) > len(shown):
        say(f"... and {len(runs) - len(shown)} older: --limit {len(runs)}")


def _run_table(runs: Sequence[PastRun], counted: dict[RunId, dict[str, int]]) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [
        ("RUN", "BEGAN (UTC)", "BRANCH", "VERDICT", "TESTS", "FAILED", "FLAKY", "TIME", "PLANNED", "BOUND")
    ]
    for run in runs:
        verdicts = counted[run.id]
        times = (duration(seconds) if seconds else "-" for seconds in (run.seconds, run.planned, run.lower_bound))
        numbers = (sum(verdicts.values()), verdicts.get("failed", 0), verdicts.get("flaky", 0))
        rows.append((terminal_name(run.id), _when(run.at), terminal_name(run.branch) or "-",
                     run.verdict or f"({run.source})", *map(str, numbers), *times))  # fmt: skip
    yield from table(rows, left=4)


def show_test(settings: Settings, wanted: str, *, as_json: bool) -> None:
    """What became of the test that `wanted` is the id of, or a piece of its id, name or file.

    Raises UsageError when there is no such test, or more than one.
    """
    with _opened(settings) as store:
        tests = store.tests()
        other = of_run.other_ids(map(of_run.listed, tests))
        found = matching([test for test in tests if test.id not in other], wanted)
        if len(found) != 1:
            raise _not_one(wanted, found)
        [test] = found
        ids = [test.id, *(name for name, id_ in other.items() if id_ == test.id)]
        runs = sorted((one for name in ids for one in store.of_test(name)), key=lambda one: (one[0].at, one[0].id))
    past = TestPast(test=test, runs=runs)
    if as_json:
        say_json(_as_data(past))
        return
    for line in _as_text(past):
        say(line)


def _not_one(wanted: str, found: Sequence[KnownTest]) -> UsageError:
    if not found:
        return UsageError(
            f"No test is called {wanted}",
            why="the history has none of that id, name or file",
            hint="a piece of its name",
        )
    names = "".join(f"\n    {test.id}  {test.name}" for test in found[:CHOICES_SHOWN])
    more = f"\n    ... and {len(found) - CHOICES_SHOWN} more" if len(found) > CHOICES_SHOWN else ""
    return UsageError(
        f"{wanted} may be any of {len(found)} tests", hint=f"one of these ids, or more of the name:{names}{more}"
    )


def _as_text(past: TestPast) -> Iterator[str]:
    test, verdicts, passes = past.test, past.verdicts, past.passes
    yield terminal_name(test.name or test.id)
    yield "  " + "  ".join(terminal_name(part) for part in (test.id, test.file, test.project) if part)
    if verdicts:
        letters = "".join(LETTERS.get(one.verdict, "?") for _, one in past.runs)
        words = ", ".join(f"{number} {verdict}" for verdict, number in sorted(verdicts.items()))
        rate = "" if past.flaky_rate is None else f"; flaky rate {past.flaky_rate:.0%}"
        yield f"  {sparkline(letters[-SHOWN:])}  {count(verdicts.total(), 'run')}, the newest last: {words}{rate}"
    if passes:
        low, middle, high = min(passes), sorted(passes)[len(passes) // 2], max(passes)
        spread = f"median {duration(middle)}, from {duration(low)} to {duration(high)}"
        yield f"  {bars(passes[-SHOWN:])}  seconds of the passes, the newest last: {spread}"
    if past.machines:
        rows = [("MACHINE", "ATTEMPTS", "FAILED", "MEDIAN")]
        rows += [
            (terminal_name(one.name), str(one.attempts), str(one.failed), duration(one.median)) for one in past.machines
        ]
        yield from (f"  {line}" for line in table(rows, left=1))
    failures = past.failures
    for run, attempt in failures[-FAILURES_SHOWN:]:
        where = f" on {terminal_name(attempt.machine)}" if attempt.machine else ""
        branch = f" of {terminal_name(run.branch)}" if run.branch else ""
        yield f"  failed in {terminal_name(run.id)}{branch}, {_when(run.at)}{where}, cause {attempt.fingerprint or '?'}"
    if len(failures) > FAILURES_SHOWN:
        yield f"  ... and {count(len(failures) - FAILURES_SHOWN, 'earlier failure')}: --json has all"


def _as_data(past: TestPast) -> dict[str, Any]:
    return {
        "v": 1,
        "test": codec.to_data(past.test),
        "verdicts": dict(past.verdicts),
        "flaky_rate": past.flaky_rate,
        "runs": [
            {"run": run.id, "at": run.at, "branch": run.branch, "verdict": test.verdict,
             "attempts": codec.to_data(test.attempts)}
            for run, test in past.runs
        ],
    }  # fmt: skip


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")


# -- take in, give away, forget --------------------------------------------------------------------------------------


def import_junit(settings: Settings, paths: Sequence[str], *, branch: str, run: str) -> None:
    """Take the JUnit files of one run into the history; the same files again change nothing.

    Raises NothingToRun when no test is in them, UsageError for a run that [history] does not allow.
    """
    from report_merge.merge.pipeline import merge_files

    report = merge_files(paths, all_cases=True)
    for problem in report.problems:
        say(f"warning: {terminal_name(f'{problem.file}: {problem.reason}')}", err=True)
    if not report.totals.tests:
        raise NothingToRun("Nothing was imported", why="no test is in these files", hint="files in JUnit's format")
    context = codec.replace(run_context(None, settings.environ), title=_title(settings))
    context = codec.replace(context, branch=branch or context.branch)
    record = of_run.imported(report, RunId("junit"), _began(report), context)
    name = run or f"junit-{hashlib.sha256(codec.encode(record)).hexdigest()[:12]}"
    record = codec.replace(record, run=codec.replace(record.run, id=RunId(name)))
    with _opened(settings, make=True) as store:
        store.add([record])
        store.prune(bounds(settings.config), time.time())
        kept = any(known.id == name for known in store.runs())
    if not kept:
        why = f"the run began {_when(record.run.at)} (UTC), and the history keeps none so old"
        raise UsageError("Nothing was imported", why=why, hint="--history-max-age, and the same in [history] for runs")
    say(f"Imported {count(len(record.tests), 'test')} as run {terminal_name(name)} of {_when(record.run.at)} (UTC).")


def _title(settings: Settings) -> str:
    """As the suite's own runs have it."""
    return settings.config.suite.title or settings.root.resolve().name


def _began(report: Report) -> float:
    """When the run began: as the files say, else when the last of them was written."""
    told = {(one.started, one.source) for test in report.tests for one in _attempts(test)}
    begun = [at for started, _ in told if (at := _seconds(started)) is not None]
    if begun:
        return min(begun)
    written = [Path(source).stat().st_mtime for source in {source for _, source in told} if Path(source).is_file()]
    return round(max(written, default=time.time()), 3)


def _attempts(test: Case | UneventfulTest) -> Sequence[Attempt | SuiteContext]:
    return test.attempts if isinstance(test, Case) else [test.suite]


def _seconds(iso: str) -> float | None:
    try:
        at = datetime.fromisoformat(iso)
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def export(settings: Settings, file: Path) -> None:
    """The whole history as of now in one file, which replaces `file`."""
    _refuse_unwritable(file)
    with _opened(settings) as store:
        store.copy_to(file)
        runs = len(store.runs())
    say(f"Exported {count(runs, 'run')} to {terminal_name(str(file))}.")


def _refuse_unwritable(file: Path) -> None:
    folder = file.absolute().parent
    if not os.access(folder, os.W_OK):
        raise UsageError(
            f"{file} was not written", why=f"{folder} is no folder that can be written", hint="name another file"
        )


def merge(settings: Settings, files: Sequence[Path]) -> None:
    """Take other histories in, all or none; they stay as they are, and in any order they come to the same."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        others = [
            stack.enter_context(HistoryStore.copy_of(file, scratch / f"{number}.db"))
            for number, file in enumerate(files)
        ]
        store = stack.enter_context(_opened(settings, make=True))
        new = store.take_in(others, bounds(settings.config), time.time())
        runs = len(store.runs())
    say(f"Merged {count(len(files), 'file')}: {count(new, 'new run')}, {runs} in all.")


def prune(settings: Settings) -> None:
    """Forget what [history] does not allow, and make the file as small as the rest."""
    with _opened(settings) as store:
        gone = store.prune(bounds(settings.config), time.time())
        store.give_space_back()
        kept = len(store.runs())
    size = file_in(settings.runs_folder).stat().st_size
    say(f"Forgot {count(gone, 'run')}, kept {kept}: {size / 1e6:.1f} MB.")
