"""One history in one SQLite file, safe for several processes at once. The one file that knows sqlite3.

Every change is one transaction: it is there as a whole, or not at all. Whatever is read is validated by its type.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Self, TypeVar

from ci_dispatch.core import codec
from ci_dispatch.core.model import RunId, Verdict
from ci_dispatch.history import merge
from ci_dispatch.history.errors import UNUSABLE, HistoryDamaged, HistoryForeign, HistoryNewer, HistoryUnavailable
from ci_dispatch.history.past import newest, sample_of
from ci_dispatch.history.schema import APPLICATION, MIGRATIONS
from ci_dispatch.history.values import KnownTest, PastAttempt, PastRun, PastTest, RecordedRun, Remembered
from ci_dispatch.planning.samples import DurationSample

T = TypeVar("T")

EACH = 10  # samples of a test and verdict, the newest
WAIT = 10.0  # seconds for another process that writes
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_INTERRUPT)
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_MISMATCH)
_STEPS = 20_000  # of SQLite's machine between two looks at the clock

_RUN = ("id", "at", "source", "title", "repository", "branch", "sha", "verdict", "seconds", "planned", "lower_bound")
_TEST = ("id", "name", "file", "project")
_REMEMBERED = ("reporter", "key", "value", "at")
_ATTEMPT = ("verdict", "machine", "at", "seconds", "busy", "workers", "speed", "fingerprint")


class HistoryStore:
    """An open history. Methods raise HistoryDamaged and HistoryUnavailable; nothing is half written then."""

    def __init__(
        self, file: Path, *, deadline: float | None = None, wait: float = WAIT, called: Path | None = None
    ) -> None:
        """Open the history, or make an empty one. Another process is waited for at most `wait` seconds.

        What is not done `deadline` seconds after the opening is given up; None: everything may take as long as it
        does. Messages are about the file `called`, else about this one. Raises the errors of `history.errors`.
        """
        self.file = called or file
        self._until = float("inf") if deadline is None else time.monotonic() + deadline
        with _teaching(self.file):
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # nobody else is to read it
            self._connection = sqlite3.connect(file, timeout=wait, isolation_level=None)
        try:
            with _teaching(self.file):
                self._connection.set_progress_handler(lambda: int(time.monotonic() > self._until), _STEPS)
                self._connection.text_factory = _text
                self._connection.execute("PRAGMA trusted_schema = OFF")
                self._connection.execute("PRAGMA synchronous = NORMAL")  # with WAL it loses at most the last changes
                self._prepare()
        except BaseException:
            self._connection.close()
            raise

    @classmethod
    def copy_of(cls, file: Path, copy: Path) -> HistoryStore:
        """Open a copy, made at `copy`, of a history that stays as it is. Messages are about `file`."""
        address = f"{file.absolute().as_uri()}?mode=ro"
        with (
            _teaching(file),
            closing(sqlite3.connect(address, uri=True)) as source,
            closing(sqlite3.connect(copy)) as to,
        ):
            source.backup(to)
        return cls(copy, called=file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with _teaching(self.file):
            self._connection.close()

    # -- runs -------------------------------------------------------------------------------------------------------

    def add(self, records: Iterable[RecordedRun], remembered: Iterable[Remembered] = ()) -> None:
        """Take runs and memories in, all or none; what is there already stays, unless it loses against the new one."""
        with self._change():
            for record in records:
                before = self.record(record.run.id)
                if before is None or (before != record and merge.winner(before, record) is record):
                    self._forget([record.run.id])
                    self._insert(record)
            for one in remembered:
                self._remember(one)

    def runs(self) -> list[PastRun]:
        """All runs, oldest first, without their tests."""
        rows = self._select(f"SELECT {', '.join(_RUN)} FROM runs ORDER BY at, id")  # noqa: S608  (our own names)
        return [self._value(PastRun, _RUN, row) for row in rows]

    def records(self, besides: Collection[PastRun] = ()) -> Iterator[RecordedRun]:
        """All runs but `besides` with their tests, oldest first, one at a time."""
        for run in self.runs():
            record = None if run in besides else self.record(run.id)
            if record is not None:
                yield record

    def record(self, run: RunId) -> RecordedRun | None:
        rows = self._select(f"SELECT {', '.join(_RUN)} FROM runs WHERE id = ?", _storable(run))  # noqa: S608
        if not rows:
            return None
        tests = [test for _, test in self._tests("r.id = ?", _storable(run))]
        return RecordedRun(run=self._value(PastRun, _RUN, rows[0]), tests=tuple(tests))

    def earlier_runs(
        self, title: str, repository: str, *, begun: float = float("inf"), besides: str = ""
    ) -> list[PastRun]:
        """The runs of a suite that began before the moment `begun`, but the one of the id `besides`, oldest first."""
        suite = (_storable(title), _storable(repository))
        found = (run for run in self.runs() if (run.title, run.repository) == suite)
        return [run for run in found if run.at < begun and run.id != besides]

    def fingerprints(self, run: RunId) -> tuple[str, ...]:
        """The causes of what failed in a run, each once."""
        sql = """SELECT DISTINCT fingerprint FROM attempts WHERE run = (SELECT number FROM runs WHERE id = ?)
            AND fingerprint != '' ORDER BY 1"""
        return tuple(row[0] for row in self._select(sql, _storable(run)))

    def verdicts(self, run: RunId) -> dict[str, int]:
        """How many tests of a run have which verdict."""
        sql = """SELECT verdict, count(*) FROM verdicts WHERE run = (SELECT number FROM runs WHERE id = ?)
            GROUP BY 1"""
        return dict(self._select(sql, _storable(run)))

    # -- tests ------------------------------------------------------------------------------------------------------

    def tests(self) -> list[KnownTest]:
        """Every test, in the order in which they were first seen; one that was renamed is there more than once."""
        rows = self._select(f"SELECT {', '.join(_TEST)} FROM tests ORDER BY number")  # noqa: S608
        return [self._value(KnownTest, _TEST, row) for row in rows]

    def of_test(self, test: str) -> list[tuple[PastRun, PastTest]]:
        """What became of a test in each run that had it, oldest first; `test` is its id."""
        runs = {run.id: run for run in self.runs()}
        found = self._tests("t.id = ?", _storable(test))
        return sorted(((runs[run], one) for run, one in found if run in runs), key=lambda one: (one[0].at, one[0].id))

    def samples(self, each: int = EACH) -> list[DurationSample]:
        """The newest `each` timed attempts of every test and verdict, oldest first.

        File and project are those of the newest attempt of the test.
        """
        runs = dict(self._select("SELECT number, id FROM runs"))
        sql = f"""SELECT run, {", ".join(_ATTEMPT)} FROM attempts WHERE test = ? AND verdict = ? AND seconds IS NOT NULL
            ORDER BY at DESC, run DESC, number DESC LIMIT ?"""  # noqa: S608  (looked up in its index, each by each)
        found: list[DurationSample] = []
        for number, *row in self._select(f"SELECT number, {', '.join(_TEST)} FROM tests"):  # noqa: S608
            test = self._value(KnownTest, _TEST, row)
            for verdict in Verdict:
                for run, *attempt in self._select(sql, number, verdict, each):
                    if run not in runs:
                        raise self._damaged("an attempt of no run")
                    found.append(sample_of(test, RunId(runs[run]), self._value(PastAttempt, _ATTEMPT, attempt)))
        return newest(found, each)

    # -- what reporters remember ------------------------------------------------------------------------------------

    def remembered(self, reporter: str | None = None) -> list[Remembered]:
        """All memories, or those of one reporter, oldest first."""
        where, values = ("WHERE reporter = ?", (reporter,)) if reporter is not None else ("", ())
        rows = self._select(f"SELECT {', '.join(_REMEMBERED)} FROM remembered {where} ORDER BY at, key", *values)  # noqa: S608
        return [self._value(Remembered, _REMEMBERED, row) for row in rows]

    def forget(self, reporter: str, key: str) -> None:
        with self._change():
            self._connection.execute(
                "DELETE FROM remembered WHERE reporter = ? AND key = ?", (reporter, _storable(key))
            )

    # -- as a whole -------------------------------------------------------------------------------------------------

    def take_in(self, others: Sequence[HistoryStore], bounds: merge.Bounds, now: float) -> int:
        """Merge other histories into this one, all or none, and keep the bounds; returns how many runs are new."""
        before = {run.id for run in self.runs()}
        with self._change():
            for other in others:
                self.add(other.records(), other.remembered())
            self.prune(bounds, now)
        return len({run.id for run in self.runs()} - before)

    def prune(self, bounds: merge.Bounds, now: float) -> int:
        """Forget what the bounds do not allow; returns how many runs that were."""
        with self._change():
            gone = merge.outdated(self.runs(), bounds, now)
            self._forget(gone)
            self._connection.execute(
                "DELETE FROM tests WHERE NOT EXISTS (SELECT 1 FROM verdicts v WHERE v.test = number)"
            )
            self._connection.execute(
                """DELETE FROM remembered WHERE (reporter, key) IN (SELECT reporter, key FROM (SELECT reporter, key,
                row_number() OVER (PARTITION BY reporter ORDER BY at DESC, key DESC) AS age FROM remembered)
                WHERE age > ?)""",
                (merge.REMEMBERED,),
            )
        return len(gone)

    def copy_to(self, file: Path) -> None:
        """A copy as of now in `file`, whole or not at all, which its owner alone may read."""
        with _teaching(file), tempfile.TemporaryDirectory(dir=file.absolute().parent) as folder:
            copy = Path(folder) / "history.db"
            self._connection.execute("VACUUM INTO ?", (str(copy),))
            copy.chmod(0o600)
            copy.replace(file)

    def give_space_back(self) -> None:
        """Make the file as small as what it holds."""
        with _teaching(self.file):
            self._connection.execute("VACUUM")

    # -- inside -----------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Take the steps that lead to today's tables. Raises HistoryForeign, HistoryNewer."""
        version, application = self._pragma("user_version"), self._pragma("application_id")
        if (version, application) != (len(MIGRATIONS), APPLICATION):
            with self._change():  # another process may have been here since
                self._migrate(self._pragma("user_version"), self._pragma("application_id"))
        with suppress(sqlite3.OperationalError):  # another process is about to do the same; each way is safe
            self._connection.execute("PRAGMA journal_mode = WAL")
        if self._schema() != _expected_schema():
            raise HistoryForeign(f"{self.file} is no history of ci-dispatch", why="it has other tables", hint=UNUSABLE)

    def _migrate(self, version: int, application: int) -> None:
        empty = (version, application) == (0, 0) and not self._schema()
        if not empty and application != APPLICATION:
            raise HistoryForeign(
                f"{self.file} is no history of ci-dispatch", why="another program made it", hint=UNUSABLE
            )
        if version > len(MIGRATIONS):
            raise HistoryNewer(
                f"{self.file} was not used",
                why=f"it is of version {version}, and this ci-dispatch knows {len(MIGRATIONS)}",
                hint="update ci-dispatch; the file is left as it is",
            )
        for statement in [statement for step in MIGRATIONS[version:] for statement in step]:
            self._connection.execute(statement)
        self._connection.execute(f"PRAGMA application_id = {APPLICATION}")
        self._connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])

    def _schema(self) -> list[tuple[Any, ...]]:
        return _schema_of(self._connection)

    @contextmanager
    def _change(self) -> Iterator[None]:
        """One transaction; inside another it is part of that."""
        if self._in_transaction():
            yield
            return
        with _teaching(self.file):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._in_transaction():
                    self._connection.execute("ROLLBACK")
                raise

    def _in_transaction(self) -> bool:
        return self._connection.in_transaction

    def _select(self, sql: str, *values: object) -> list[Any]:
        with _teaching(self.file):
            return self._connection.execute(sql, values).fetchall()

    def _value(self, cls: type[T], names: Sequence[str], row: Sequence[Any]) -> T:
        """Raises HistoryDamaged for what is no `cls`."""
        try:
            return codec.from_data(cls, dict(zip(names, row, strict=True)))
        except ValueError as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, why: str) -> HistoryDamaged:
        return HistoryDamaged(f"{self.file} is damaged", why=why, hint=UNUSABLE)

    def _tests(self, where: str, value: str) -> list[tuple[RunId, PastTest]]:
        """Tests with their attempts; `where` chooses among runs `r` and tests `t`, by one value."""
        joined = f"JOIN tests t ON t.number = x.test JOIN runs r ON r.number = x.run WHERE {where}"
        attempts: dict[tuple[str, str], list[PastAttempt]] = {}
        columns = ", ".join(f"x.{name}" for name in _ATTEMPT)
        sql = f"SELECT r.id, t.id, {columns} FROM attempts x {joined} ORDER BY x.number"  # noqa: S608
        for run, test, *row in self._select(sql, value):
            attempts.setdefault((run, test), []).append(self._value(PastAttempt, _ATTEMPT, row))
        sql = (
            f"SELECT r.id, x.verdict, x.reason, t.id, t.name, t.file, t.project FROM verdicts x {joined} ORDER BY t.id"  # noqa: S608
        )
        names = ("verdict", "reason", *_TEST, "attempts")
        return [
            (RunId(run), self._value(PastTest, names, (*row, tuple(attempts.get((run, row[2]), ())))))
            for run, *row in self._select(sql, value)
        ]

    def _insert(self, record: RecordedRun) -> None:
        places = ", ".join("?" * len(_RUN))
        inserted = self._connection.execute(
            f"INSERT INTO runs ({', '.join(_RUN)}) VALUES ({places})",  # noqa: S608
            _columns(record.run, _RUN),
        )
        run, known = inserted.lastrowid, self._test_numbers(record.tests)
        self._connection.executemany(
            "INSERT INTO verdicts VALUES (?, ?, ?, ?)",
            [(run, known[_columns(test, _TEST)], test.verdict, _storable(test.reason)) for test in record.tests],
        )
        self._connection.executemany(
            f"INSERT INTO attempts VALUES (?, ?, ?, {', '.join('?' * len(_ATTEMPT))})",  # noqa: S608
            [
                (run, known[_columns(test, _TEST)], number, *_columns(attempt, _ATTEMPT))
                for test in record.tests
                for number, attempt in enumerate(test.attempts, 1)
            ],
        )

    def _test_numbers(self, tests: Sequence[PastTest]) -> dict[tuple[Any, ...], int]:
        rows = [_columns(test, _TEST) for test in tests]
        self._connection.executemany("INSERT OR IGNORE INTO tests (id, name, file, project) VALUES (?, ?, ?, ?)", rows)
        sql = "SELECT number FROM tests WHERE id = ? AND name = ? AND file = ? AND project = ?"
        return {row: self._connection.execute(sql, row).fetchone()[0] for row in rows}

    def _forget(self, runs: Iterable[RunId]) -> None:
        for run in runs:
            for table in ("verdicts", "attempts"):
                self._connection.execute(
                    f"DELETE FROM {table} WHERE run = (SELECT number FROM runs WHERE id = ?)",  # noqa: S608
                    (_storable(run),),
                )
            self._connection.execute("DELETE FROM runs WHERE id = ?", (_storable(run),))

    def _remember(self, one: Remembered) -> None:
        key = (one.reporter, _storable(one.key))
        rows = self._select("SELECT reporter, key, value, at FROM remembered WHERE reporter = ? AND key = ?", *key)
        if not rows or merge.later(self._value(Remembered, _REMEMBERED, rows[0]), one) is one:
            self._connection.execute("INSERT OR REPLACE INTO remembered VALUES (?, ?, ?, ?)", (*key, one.value, one.at))


def _schema_of(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name").fetchall()
    return [tuple(row) for row in rows if not str(row[1]).startswith("sqlite_stat")]


def _expected_schema() -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in [statement for step in MIGRATIONS for statement in step]:
            connection.execute(statement)
        return _schema_of(connection)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _storable(text: str) -> str:
    """What UTF-8 has: a lone surrogate of a foreign name becomes its escape."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def _columns(value: object, names: Sequence[str]) -> tuple[Any, ...]:
    found = (getattr(value, name) for name in names)
    return tuple(_storable(one) if isinstance(one, str) else one for one in found)


@contextmanager
def _teaching(file: Path) -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in _DAMAGE:
            raise HistoryDamaged(f"{file} is damaged", why=str(error), hint=UNUSABLE) from error
        if code in _BUSY:
            why, hint = "another process holds it, or the disk is too slow", "try again when that is over"
        else:
            why, hint = str(error), "free space, or check who owns it"
        raise HistoryUnavailable(f"{file} could not be used", why=why, hint=hint) from error
    except OSError as error:
        raise HistoryUnavailable(
            f"{file} could not be used", why=error.strerror or str(error), hint="free space, or check who owns it"
        ) from error
