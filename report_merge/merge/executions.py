"""All executions of the tests that more than one file tells of: their texts on disk, some thirty bytes of each here."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, KeysView
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from report_merge.files.discover import InputSource
from report_merge.junit import xml
from report_merge.junit.testcase import BAD, EARLIER, SKIPPED
from report_merge.junit.xml import Element
from report_merge.merge.attempts import BAD_RANK, FileExecutions
from report_merge.model import SuiteContext


class Execution(NamedTuple):
    """One <testcase> of one file."""

    element: Element
    around: SuiteContext
    bits: int
    slot: Any = None  # what stands for it in the tree that is being written; None: it is in another file


def rank(execution: Execution) -> int:
    """For `matched`; a skip after a failed try excuses nothing."""
    if execution.bits & BAD or (execution.bits & SKIPPED and execution.bits & EARLIER):
        return BAD_RANK
    return 0 if execution.bits & SKIPPED else 1


@dataclass(slots=True)
class ReportedExecutions:
    """What one file tells of some of its tests, in document order."""

    keys: array[int] = field(default_factory=lambda: array("q"))
    lengths: array[int] = field(default_factory=lambda: array("I"))
    bits: bytearray = field(default_factory=bytearray)
    suites: array[int] = field(default_factory=lambda: array("I"))
    arounds: list[SuiteContext] = field(default_factory=list)  # `suites` are numbers in it
    elements: list[bytes] = field(default_factory=list)

    def add(self, key: int, element: Element, around: SuiteContext, bits: int) -> None:
        data = xml.to_bytes(element)
        if not self.arounds or self.arounds[-1] is not around:
            self.arounds.append(around)
        self.keys.append(key)
        self.lengths.append(len(data))
        self.bits.append(bits)
        self.suites.append(len(self.arounds) - 1)
        self.elements.append(data)


class ExecutionIndex:
    """All executions of each test it knows, by the key of the test."""

    def __init__(self, path: Path, sources: list[InputSource]) -> None:
        self._sources = sources
        self._stream = path.open("w+b")
        self._size = 0
        self._last: dict[int, int] = {}  # by key: its last entry
        self._before = array("q")  # the entry before it of the same key; -1: none
        self._file, self._suite = array("I"), array("I")
        self._start, self._length = array("Q"), array("I")
        self._bits = bytearray()
        self._arounds: list[SuiteContext] = []

    def close(self) -> None:
        self._stream.close()

    @property
    def keys(self) -> KeysView[int]:
        return self._last.keys()

    def add(self, file: int, executions: ReportedExecutions) -> None:
        first = len(self._arounds)
        self._arounds += executions.arounds
        self._stream.writelines(executions.elements)
        self._stream.flush()  # workers read the file, not our buffer
        for key, length, suite in zip(executions.keys, executions.lengths, executions.suites, strict=True):
            self._before.append(self._last.get(key, -1))
            self._last[key] = len(self._file)
            self._file.append(file)
            self._suite.append(first + suite)
            self._start.append(self._size)
            self._length.append(length)
            self._size += length
        self._bits += executions.bits

    def of(self, key: int, *, attempts_from: int, besides: int) -> list[FileExecutions[Execution]]:
        """The executions that other files than `besides` tell of, of this attempt and later ones."""
        entries = [
            entry
            for entry in self._entries(key)
            if self._file[entry] != besides and self._sources[self._file[entry]].attempt >= attempts_from
        ]
        return [
            batch_of(self._sources[file], [self._execution(entry) for entry in of_file])
            for file, of_file in groupby(sorted(entries), key=lambda entry: self._file[entry])
        ]

    def first_file(self, key: int, attempt: int) -> int:
        """The first file of an attempt that tells of it; -1 when none does."""
        files = (self._file[e] for e in self._entries(key) if self._sources[self._file[e]].attempt == attempt)
        return min(files, default=-1)

    def _entries(self, key: int) -> Iterable[int]:
        entry = self._last.get(key, -1)
        while entry >= 0:
            yield entry
            entry = self._before[entry]

    def _execution(self, entry: int) -> Execution:
        start, length = self._start[entry], self._length[entry]
        if hasattr(os, "pread"):  # forked processes share the position of the stream
            data = os.pread(self._stream.fileno(), length, start)
        else:
            self._stream.seek(start)
            data = self._stream.read(length)
        return Execution(xml.parse(data), self._arounds[self._suite[entry]], self._bits[entry])


def batch_of(source: InputSource, executions: list[Execution]) -> FileExecutions[Execution]:
    place = "/".join(source.parts)
    began = _moment(executions[0].around.started)
    return FileExecutions(source.attempt, source.name, place, executions, began)


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
