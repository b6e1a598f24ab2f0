"""The tables of a history. A change is a further step in `MIGRATIONS`: it is taken when an older file is opened."""

from __future__ import annotations

APPLICATION = 0x63692D64  # "ci-d" in the file's header: what has another number is not ours

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE runs (
            number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, at REAL NOT NULL, source TEXT NOT NULL,
            title TEXT NOT NULL, repository TEXT NOT NULL, branch TEXT NOT NULL, sha TEXT NOT NULL,
            verdict TEXT NOT NULL, seconds REAL NOT NULL, planned REAL NOT NULL, lower_bound REAL NOT NULL)""",
        """CREATE TABLE tests (
            number INTEGER PRIMARY KEY, id TEXT NOT NULL, name TEXT NOT NULL, file TEXT NOT NULL,
            project TEXT NOT NULL, UNIQUE (id, name, file, project))""",
        """CREATE TABLE verdicts (
            run INTEGER NOT NULL, test INTEGER NOT NULL, verdict TEXT NOT NULL, reason TEXT NOT NULL,
            PRIMARY KEY (run, test)) WITHOUT ROWID""",
        "CREATE INDEX verdicts_of_test ON verdicts (test)",
        """CREATE TABLE attempts (
            run INTEGER NOT NULL, test INTEGER NOT NULL, number INTEGER NOT NULL, verdict TEXT NOT NULL,
            machine TEXT NOT NULL, at REAL NOT NULL, seconds REAL, busy REAL NOT NULL, workers INTEGER NOT NULL,
            speed REAL NOT NULL, fingerprint TEXT NOT NULL, PRIMARY KEY (run, test, number)) WITHOUT ROWID""",
        "CREATE INDEX attempts_of_test ON attempts (test, verdict, at)",
        """CREATE TABLE remembered (
            reporter TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, at REAL NOT NULL,
            PRIMARY KEY (reporter, key)) WITHOUT ROWID""",
    ),
)
"""What leads from each version to the next; the version of a file is the number of steps it has taken."""
