"""The history as a run uses it: whatever is the matter with it is told once, and never costs a verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, MutableMapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from ci_dispatch.config import Config
from ci_dispatch.core.errors import ControllerError, UnreadableReport
from ci_dispatch.core.model import Test, TestId, Verdict
from ci_dispatch.history import former, look_back, of_run
from ci_dispatch.history.aside import identity, put_aside
from ci_dispatch.history.errors import HistoryDamaged, HistoryForeign
from ci_dispatch.history.merge import Bounds
from ci_dispatch.history.store import EACH, WAIT, HistoryStore
from ci_dispatch.history.values import PastRun, PastTest, Remembered
from ci_dispatch.planning.samples import DurationSample
from ci_dispatch.reporters import EarlierRun
from ci_dispatch.run import run_folder
from ci_dispatch.run.run_report import LookedBack
from ci_dispatch.run.state import RunState
from report_merge.model import Report, RunContext

T = TypeVar("T")

DEADLINE = 30.0  # seconds; what the history may take at the beginning of a run and at its end
LOOKED_UP = 100  # tests
WHILE_IT_RUNS = 1.0  # seconds; what a reporter's memory may take of the loop's time


def file_in(base: Path) -> Path:
    """The history of the runs under `base`."""
    return base / "history.db"


def bounds(config: Config) -> Bounds:
    return Bounds(runs=config.history.runs, seconds=config.history.max_age)


class RunHistory:
    """Opens the file for each use: between two of them another process may have its turn."""

    def __init__(
        self,
        base: Path,
        config: Config,
        warn: Callable[[str], None],
        *,
        default_branch: Callable[[], str] = lambda: "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`default_branch` is asked when a run is set beside earlier ones."""
        self._default_branch = default_branch
        self._base, self._bounds, self._warn, self._clock = base, bounds(config), warn, clock
        self._problems: list[str] = []

    def samples(self, tests: Iterable[Test], each: int = EACH) -> Sequence[DurationSample]:
        """How long `tests` took in earlier runs, the newest last; nothing where that cannot be read.

        `each`: so many of the newest attempts of every test and verdict.
        """
        self._take_over_former_files()
        if not file_in(self._base).exists():
            return ()
        return self._use(lambda store: of_run.under_ids(store.samples(each), tests), (), DEADLINE)

    def record(self, state: RunState, context: RunContext) -> None:
        """Take in a run that has finished, and forget what the bounds do not allow."""

        def write(store: HistoryStore) -> None:
            store.add([of_run.recorded(state, context)])
            store.prune(self._bounds, self._clock())

        self._use(write, None, DEADLINE)

    def before(self, context: RunContext) -> EarlierRun | None:
        """How the last run of the same suite on the same branch ended; None where none, or no branch, is known."""
        if not context.branch or not file_in(self._base).exists():
            return None

        def look(store: HistoryStore) -> EarlierRun | None:
            last = look_back.last(_earlier(store, context), context.branch)
            if last is None:
                return None
            ended, passed = last.at + last.seconds, last.verdict == "PASSED"
            return EarlierRun(passed=passed, at=ended, fingerprints=store.fingerprints(last.id))

        return self._use(look, None, WHILE_IT_RUNS)

    def look_back(self, report: Report, state: RunState) -> LookedBack:
        """A run that is over beside earlier ones: against the last of the default branch, or else of its own.

        The tests that failed or were flaky are told how they ended before, the first `LOOKED_UP` of them.
        """
        context, passed = report.context, report.verdict == "PASSED"
        alone = LookedBack(report=report, since_green=look_back.since_green((), context.branch, passed=passed))
        if not file_in(self._base).exists():
            return alone
        tests = [record.test for record in state.ledger.records.values()]
        bad = [case.key for case in report.cases if case.verdict in (Verdict.FAILED, Verdict.FLAKY)]
        ids = {test.key: test.id for test in tests}

        def look(store: HistoryStore) -> LookedBack:
            runs, branches = _earlier(store, context, state.started_at), self._branches(context)
            past = {key: _of_test(store, ids[key], runs, branches) for key in bad[:LOOKED_UP]}
            shown = look_back.with_past(report, past, context.branch)
            lasts = (look_back.last(runs, branch) for branch in branches)
            against = next((store.record(run.id) for run in lasts if run), None)
            return LookedBack(
                report=shown,
                comparison=look_back.compared(shown, tests, against) if against else None,
                since_green=look_back.since_green(runs, context.branch, passed=passed),
            )

        return self._use(look, alone, DEADLINE)

    def outcomes(self, context: RunContext, test: TestId, begun: float = float("inf")) -> str:
        """How a test ended in earlier runs of its suite on its branch and the default branch: `Case.history`.

        `begun`: when the run began that they are earlier than.
        """
        if not file_in(self._base).exists():
            return ""

        def look(store: HistoryStore) -> str:
            runs = _of_test(store, test, _earlier(store, context, begun), self._branches(context))
            return look_back.outcomes(runs)

        return self._use(look, "", WHILE_IT_RUNS)

    def memory(self, reporter: str) -> MutableMapping[str, bytes]:
        """What a reporter remembers from one run to the next."""
        return _Memory(reporter, self)

    def untold(self, state: RunState) -> list[str]:
        """What was the matter with it and is no warning of the run yet."""
        known = {warning.text for warning in state.warnings}
        return [text for text in self._problems if text not in known]

    # -- inside -----------------------------------------------------------------------------------------------------

    def recall(self, reporter: str) -> dict[str, bytes]:
        self._take_over_former_files()
        if not file_in(self._base).exists():
            return {}
        found: list[Remembered] = self._use(lambda store: store.remembered(reporter), [], WHILE_IT_RUNS)
        return {one.key: one.value for one in found}

    def remember(self, reporter: str, key: str, value: bytes | None) -> None:
        def write(store: HistoryStore) -> None:
            if value is None:
                store.forget(reporter, key)
            else:
                store.add([], [Remembered(reporter=reporter, key=key, value=value, at=self._clock())])

        self._use(write, None, WHILE_IT_RUNS)

    def _branches(self, context: RunContext) -> list[str]:
        """Whose runs a run is set beside, the most wanted first; where no branch is known, those without one."""
        return list(dict.fromkeys((self._default_branch() if context.branch else "", context.branch)))

    def _use(self, use: Callable[[HistoryStore], T], otherwise: T, seconds: float) -> T:
        """What `use` gives; `otherwise` where it cannot be had within `seconds`, and a warning says why."""
        file = file_in(self._base)
        try:
            run_folder.make_base(self._base)
            seen = identity(file)
            try:
                with HistoryStore(file, deadline=seconds, wait=min(seconds, WAIT)) as store:
                    return use(store)
            except HistoryDamaged as error:
                self._tell(f"{error.without_hint}; the run goes on without it{self._put_aside(seen, error)}")
        except (UnreadableReport, ControllerError) as error:
            hint = f" (try: {error.hint})" if error.hint else ""
            self._tell(f"{error.without_hint}; the run goes on without it{hint}")
        except Exception as error:  # noqa: BLE001  (whatever it is, it must not change the run)
            self._tell(f"{file} could not be used: {type(error).__name__}: {error}; the run goes on without it")
        return otherwise

    def _put_aside(self, seen: tuple[int, int] | None, error: HistoryDamaged) -> str:
        word = "foreign" if isinstance(error, HistoryForeign) else "damaged"
        try:
            aside = put_aside(file_in(self._base), seen, word, self._stamp())
        except OSError as failed:
            return f", and it could not be put aside: {failed.strerror}"
        return f", and it is kept as {aside.name}" if aside else ""

    def _stamp(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).strftime("%Y%m%d-%H%M%S")

    def _take_over_former_files(self) -> None:
        """What version 0.1 kept beside its runs is read once; then it is in the history, and the file is gone."""
        for name in (former.TIMINGS, former.SLACK):
            file = self._base / name
            if not file.exists():
                continue
            try:
                at, data = file.stat().st_mtime, file.read_bytes()
                records = [former.durations(data, at)] if name == former.TIMINGS else []
                remembered = former.notifications(data, at) if name == former.SLACK else []
            except FileNotFoundError:
                continue  # another process was faster
            except (OSError, ValueError) as error:
                self._tell(f"{file} was not used: {error}{self._former_aside(file)}")
                continue

            def take(store: HistoryStore) -> bool:
                store.add(records, remembered)  # noqa: B023  # called at once
                return True

            if self._use(take, otherwise=False, seconds=DEADLINE):
                file.unlink(missing_ok=True)

    def _former_aside(self, file: Path) -> str:
        try:
            aside = put_aside(file, identity(file), "damaged", self._stamp())
        except OSError:
            return ""
        return f"; it is kept as {aside.name}" if aside else ""

    def _tell(self, text: str) -> None:
        if text not in self._problems:
            self._problems.append(text)
            self._warn(text)


def _earlier(store: HistoryStore, context: RunContext, begun: float = float("inf")) -> list[PastRun]:
    """The runs of the suite before this one, which may have been recorded already, by an earlier attempt."""
    return store.earlier_runs(context.title, context.repository, begun=begun, besides=context.run_id)


def _of_test(
    store: HistoryStore, test: TestId, among: Iterable[PastRun], branches: Collection[str]
) -> list[tuple[PastRun, PastTest]]:
    """What became of a test in those of some runs that are of `branches`."""
    wanted = {run.id for run in among if run.branch in branches}
    return [(run, past) for run, past in store.of_test(test) if run.id in wanted]


class _Memory(MutableMapping[str, bytes]):
    """Read and written at once; what could not be written is known to this process."""

    def __init__(self, reporter: str, history: RunHistory) -> None:
        self._reporter, self._history = reporter, history
        self._own: dict[str, bytes | None] = {}  # what this process changed; None: forgotten

    def _all(self) -> dict[str, bytes]:
        changed = {**self._history.recall(self._reporter), **self._own}
        return {key: value for key, value in changed.items() if value is not None}

    def __getitem__(self, key: str) -> bytes:
        return self._all()[key]

    def __setitem__(self, key: str, value: bytes) -> None:
        self._own[key] = value
        self._history.remember(self._reporter, key, value)

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        self._own[key] = None
        self._history.remember(self._reporter, key, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())
