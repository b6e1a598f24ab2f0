"""Parts of report files by offset: start tags, single tests, what surrounds them; all that the second pass parses."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import IO, Self

from report_merge.index import GIVE_PROJECT
from report_merge.indexing import Indexed
from report_merge.junit import xml
from report_merge.junit.document import inside
from report_merge.junit.testcase import Surroundings
from report_merge.junit.xml import Element
from report_merge.limits import MIB

_START_TAG = re.compile(rb"<[^\s/>]++(?:[^\"'>]++|\"[^\"]*+\"|'[^']*+')*+>")
_ATTRIBUTE = re.compile(rb"([^\s=<>/\"']+)\s*=\s*(\"[^\"]*\"|'[^']*')")
_OPEN_FILES = 64
_REMEMBERED_SUITES = 1024


class Fragments:
    """Reads from any of the files by its number, keeping a bounded number of them open."""

    def __init__(self, files: Sequence[Indexed]) -> None:
        self.files = files
        self._streams: OrderedDict[int, IO[bytes]] = OrderedDict()
        self._surroundings: OrderedDict[tuple[int, int], Surroundings] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in self._streams.values():
            stream.close()

    def read(self, file: int, start: int, end: int) -> bytes:
        """The bytes from start to end, fewer at the end of the file."""
        stream = self._stream(file)
        stream.seek(start)
        return stream.read(end - start)

    def copy(self, file: int, start: int, end: int, target: IO[bytes]) -> None:
        stream = self._stream(file)
        stream.seek(start)
        while start < end and (chunk := stream.read(min(MIB, end - start))):
            target.write(chunk)
            start += len(chunk)

    def start_tag(self, file: int, at: int) -> bytes:
        size = 1024
        while True:
            data = self.read(file, at, at + size)
            if match := _START_TAG.match(data):
                return match[0]
            if len(data) < size:
                raise EOFError(f"{self.files[file].path} changed while it was read")
            size *= 8

    def end_of(self, file: int, at: int, tag: bytes) -> int:
        """The offset behind an element, from the offset of its end tag or, when it is empty, of its end."""
        size = 64
        while True:
            data = self.read(file, at, at + size)
            if not data.startswith(b"</" + tag):
                return at
            if (close := data.find(b">")) >= 0:
                return at + close + 1
            size *= 8

    def case_end(self, file: int, case: int) -> int:
        return self.end_of(file, self.files[file].index.cases.end[case], b"testcase")

    def case(self, file: int, case: int) -> Element:
        start = self.files[file].index.cases.start[case]
        data = self.read(file, start, self.case_end(file, case))
        root = _lenient(data)
        return root if root is not None else xml.new("testcase")

    def around_case(self, file: int, case: int) -> Surroundings:
        return self.around(file, self.files[file].index.cases.suite[case])

    def around(self, file: int, suite: int) -> Surroundings:
        """What holds inside a suite."""
        known = self._surroundings.get((file, suite))
        if known is None:
            known = self._read_around(file, suite)
            self._surroundings[file, suite] = known
            if len(self._surroundings) > _REMEMBERED_SUITES:
                self._surroundings.popitem(last=False)
        return known

    def _read_around(self, file: int, suite: int) -> Surroundings:
        indexed = self.files[file]
        source, suites = indexed.source, indexed.index.suites
        if suite < 0:
            return Surroundings(source=source.name, shard=source.shard, attempt=source.attempt)
        tag = self.start_tag(file, suites.start[suite])
        playwright = suites.flags[suite] & GIVE_PROJECT != 0
        project = indexed.index.projects.get(suite, "")
        return inside(decoded_attributes(tag), self.around(file, suites.parent[suite]), playwright, project)

    def _stream(self, file: int) -> IO[bytes]:
        stream = self._streams.get(file)
        if stream is None:
            stream = self.files[file].path.open("rb", buffering=0)
            self._streams[file] = stream
            if len(self._streams) > _OPEN_FILES:
                self._streams.popitem(last=False)[1].close()
        else:
            self._streams.move_to_end(file)
        return stream


def raw_attributes(tag: bytes) -> list[tuple[bytes, bytes]]:
    """Names and quoted values of a start tag that a parser has accepted, as they are written."""
    return _ATTRIBUTE.findall(tag)


def decoded_attributes(tag: bytes) -> dict[str, str]:
    alone = tag[:-1].rstrip(b"/") + b"/>"
    root = _lenient(alone)
    return {} if root is None else {str(name): str(value) for name, value in root.attrib.items()}


def _lenient(data: bytes) -> Element | None:
    """A part that a parser has accepted as such, even where it uses a prefix that a suite around it declares."""
    try:
        return xml.parse(data)
    except xml.XmlError:
        return xml.recover(data)[0]
