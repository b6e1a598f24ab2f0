"""The journal of a run: JSON lines, written before anything acts on them. Its one writer and reader.

A line holds what one step of the run decided, whole or not at all: one event, or several that belong together
(`"kind": "Step"`, with pairs of kind and data). A last line that was cut (its writer was killed, or is still writing)
is not there yet; any other damage ends the reading with a `UsageError` that names the line. Whoever goes on with a run
takes the damage off first (`recover`). Journals of version 1 (ci-dispatch 0.1) are read too.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeAlias

from ci_dispatch.core import codec
from ci_dispatch.core.codec import Value
from ci_dispatch.core.errors import ControllerError, UsageError
from ci_dispatch.core.events import KINDS, Stamped, Unrecognised
from ci_dispatch.run.ports import Reporter
from ci_dispatch.run.state import RunState

VERSION = 2
CHUNK = 1 << 20  # bytes read at a time
STEP = "Step"  # the kind of a line with several events
_HINT = "give a run's folder, or its events.jsonl, as this version of ci-dispatch or 0.1 wrote it"


class JournalError(ControllerError):
    """The journal could not be written, so the run could not go on: nobody would know what had happened."""


class _Line(Value):
    v: int
    seq: int
    at: float
    kind: str
    data: Any


Entry: TypeAlias = Sequence[Stamped]  # what one line holds; at least one event


def dumps(*entry: Stamped) -> bytes:
    """One line, without the newline, for events that belong together: in order, and all of one time."""
    first = entry[0]
    kind, data = _plain(first)
    if len(entry) > 1:
        kind, data = STEP, [_plain(stamped) for stamped in entry]
    return codec.encode(_Line(v=VERSION, seq=first.seq, at=first.at, kind=kind, data=data))


def _plain(stamped: Stamped) -> tuple[str, Any]:
    event = stamped.event
    return (event.kind, event.data) if isinstance(event, Unrecognised) else (type(event).__name__, event)


def loads(line: bytes) -> Entry:
    """The events of one line.

    Raises:
        ValueError: for a line that is cut or damaged, no line of a journal, or of a version nobody knows here.
    """
    read = codec.decode(_Line, line)
    if read.v not in (1, VERSION):
        raise ValueError(f"journal version {read.v}; this ci-dispatch reads versions 1 and {VERSION}")
    pairs = [(read.kind, read.data)]
    if read.kind == STEP:
        pairs = codec.from_data(list[tuple[str, Any]], read.data)
    if read.v == 1:
        pairs = [_from_version_1(kind, data) for kind, data in pairs]
    return [
        Stamped(seq=seq, at=read.at, event=_event(kind, data)) for seq, (kind, data) in enumerate(pairs, start=read.seq)
    ]


def _event(kind: str, data: Any) -> Any:
    known = KINDS.get(kind)
    return codec.from_data(known, data) if known else Unrecognised(kind=kind, data=data)


class Journal:
    """Each entry is handed to the operating system before anything else happens."""

    def __init__(self, stream: IO[bytes]) -> None:
        """`stream` is open for appending and unbuffered: after `write` the line outlives the process."""
        self._stream = stream

    def write(self, entry: Entry) -> None:
        """One line. Raises JournalError: the run cannot go on."""
        line = dumps(*entry) + b"\n"
        try:
            written = self._stream.write(line)
        except OSError as error:
            raise _cannot_write(str(error)) from error
        if written != len(line):
            raise _cannot_write(f"only {written} of {len(line)} bytes were taken")

    def close(self) -> None:
        self._stream.close()


def _cannot_write(why: str) -> JournalError:
    return JournalError(
        "The run was ended because its journal could not be written",
        why=why,
        hint="free space under .ci-dispatch, then `ci-dispatch resume`",
    )


class JournalReader:
    """The events of a journal, also while another process writes it: `read` goes on where it stopped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.offset = 0  # of the first byte that was not read as a whole line
        self._line = 0
        self._seq = 0

    def read(self) -> list[Entry]:
        """The entries since the last call, at most about a megabyte of them; none when there is nothing new.

        Raises:
            UsageError: for a file that cannot be read or is damaged; what was read before stands.
        """
        try:
            with self._path.open("rb") as stream:
                if os.fstat(stream.fileno()).st_size < self.offset:
                    self.offset, self._line, self._seq = 0, 0, 0  # another run began in the same file
                stream.seek(self.offset)
                chunk = stream.read(CHUNK)
                if b"\n" not in chunk and len(chunk) == CHUNK:
                    chunk += stream.readline()  # one line longer than a chunk
        except OSError as error:
            why = error.strerror or str(error)
            raise UsageError(f"{self._path} cannot be read", why=why, hint=_HINT) from error
        entries: list[Entry] = []
        for line in chunk.split(b"\n")[:-1]:
            try:
                entries.append(self._entry(line))
            except ValueError as error:
                if entries:
                    break  # first what is good; the next call says what is not
                raise UsageError(
                    f"{self._path} cannot be read as a run's journal",
                    why=f"line {self._line + 1}: {error}",
                    hint=_HINT,
                ) from error
            self._line += 1
            self.offset += len(line) + 1
            self._seq = entries[-1][-1].seq
        return entries

    def read_all(self) -> Iterator[Entry]:
        """Every entry there is now. Raises UsageError as `read`."""
        while entries := self.read():
            yield from entries

    def _entry(self, line: bytes) -> Entry:
        entry = loads(line)
        if not entry or entry[0].seq != self._seq + 1:
            raise ValueError(f"event {entry[0].seq} follows event {self._seq}" if entry else "it holds no event")
        return entry


def replay(entries: Iterable[Entry], state: RunState, reporters: Sequence[Reporter] = ()) -> None:
    """Fold recorded events and show them: replay and run are the same to every reporter."""
    for entry in entries:
        for stamped in entry:
            state.apply(stamped)
        for stamped in entry:
            for reporter in reporters:
                reporter.handle(stamped, state)


def recover(path: Path, state: RunState) -> str:
    """Fold all of a journal that can be read and take off the rest, so that its run can be gone on with.

    Returns what was lost, in a sentence, or "". The bytes taken off are kept beside the journal. What is no journal at
    all is left as it is. Only for whoever holds the run.
    Raises UsageError as `JournalReader.read`, and JournalError when the rest cannot be taken off.
    """
    reader, why = JournalReader(path), ""
    try:
        replay(reader.read_all(), state)
    except UsageError as error:
        if state.started is None:
            raise
        why = error.why
    kept = path.with_name(path.name + ".lost")
    try:
        lost = path.stat().st_size - reader.offset
        if not lost or state.started is None:
            return ""
        _take_off(path, reader.offset, kept)
    except OSError as error:
        hint = f"free space, or check who owns {path.parent}"
        raise JournalError("The run cannot be gone on with", why=f"{path}: {error}", hint=hint) from error
    why = why or "its last line was cut"
    return f"{lost} bytes at its end could not be read ({why}); what they told is found out again; see {kept.name}"


def _take_off(path: Path, offset: int, kept: Path) -> None:
    """Move what comes after `offset` to the end of `kept`: killed in between, it is there twice and never gone."""
    with path.open("r+b") as stream, kept.open("ab") as aside:
        stream.seek(offset)
        shutil.copyfileobj(stream, aside)
        aside.flush()
        os.fsync(aside.fileno())
        stream.truncate(offset)
        os.fsync(stream.fileno())


def _from_version_1(kind: str, data: Any) -> tuple[str, Any]:
    """A line of ci-dispatch 0.1 in today's words."""
    data = dict(data) if isinstance(data, Mapping) else data
    match kind, data:
        case "MachineFenced", _:
            return "MachineQuarantined", data
        case "AttemptFinished", {"result": {"trouble": trouble, **result}}:
            data["result"] = {**result, "cause": trouble}
        case "LeaseGranted", {"lease": {"shard": {"kind": "moved", **shard}, **lease}}:
            data["lease"] = {**lease, "shard": {**shard, "kind": "reassigned"}}
        case "RetryScheduled", dict():
            counts = data.pop("counts", False)
            renamed = {"avoid": "avoid_machine", "alone": "isolate"}
            data = {renamed.get(name, name): value for name, value in data.items()}
            data["charged_to"] = "test" if counts else "machine"
        case "RunStarted", {"tests": list(tests)}:
            data["tests"] = [{("atomic" if n == "together" else n): value for n, value in t.items()} for t in tests]
        case _:
            pass
    return kind, data
