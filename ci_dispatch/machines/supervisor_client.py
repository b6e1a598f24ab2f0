"""The controller's end of docs/supervisor-protocol.md: one command on a machine, its frames, its result.

`supervisor/protocol.py` has the protocol's words and is the machine's end.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

from ci_dispatch.core import codec
from ci_dispatch.core.errors import ControllerError, of_this_computer
from ci_dispatch.machines import command_lines
from ci_dispatch.machines.supervisor import protocol
from ci_dispatch.run.ports import MachineError

T = TypeVar("T")

GREETING = b"@"  # our kind for the line that comes before all frames
_MAX_NOISE = 256 * 1024  # what login shells print before the greeting
_MAX_LENGTH = 1024 * 1024
_HEADER = re.compile(rb"([a-z]) (\d{1,18}) (\d{1,7})")


class ConnectionLost(MachineError):
    """The connection ended or fell silent; what runs on the machine goes on until its lease ends."""


class ProtocolError(ValueError):
    """What came cannot be from our supervisor."""


@dataclass(frozen=True, slots=True)
class Frame:
    kind: bytes  # of supervisor/protocol.py; GREETING for the first line, with the shell's question in `data`
    data: bytes = b""
    offset: int = 0


class Stream(Protocol):
    """The pipes of one command. `send` and `receive` raise ConnectionLost."""

    def send(self, data: bytes, seconds: float) -> None: ...
    def receive(self, seconds: float) -> bytes | None:
        """Some bytes, b"" at the end of the stream, None when nothing came in `seconds`."""

    def stderr_tail(self) -> str:
        """The last lines of its standard error."""

    def close(self) -> None: ...


OpenStream = Callable[[str, float], Stream]  # (command line, seconds) -> its pipes; raises MachineError


@contextmanager
def only_machine_errors(what: str, stage: str, kind: type[MachineError] = MachineError) -> Iterator[None]:
    """Whatever else is raised becomes a MachineError, or a ControllerError where this computer lacks something."""
    try:
        yield
    except (MachineError, ControllerError):
        raise
    except Exception as error:
        if ours := of_this_computer(error):
            raise ours from error
        raise kind(what, stage=stage, why=describe(error)) from error


def describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")


class SupervisorClient:
    """One request to the supervisor. Leaving it as a context closes the command's pipes, never the connection below."""

    def __init__(
        self, open_stream: OpenStream, action: str, request: Mapping[str, Any], *, root: str, name: str, seconds: float
    ) -> None:
        """Open the command and send the request, and the supervisor first if it is missing. Raises MachineError."""
        self._nonce = secrets.token_hex(8)
        self._reader = FrameReader(self._nonce)
        self._ready: deque[Frame] = deque()
        deadline = time.monotonic() + seconds
        self._stream = open_stream(command_lines.supervisor(self._nonce, action, root=root, name=name), seconds)
        try:
            data = json.dumps({"seconds": seconds, **request}).encode()
            self._wait_for_greeting(deadline)
            self.send(b"%d\n%s" % (len(data), data), max(0.1, deadline - time.monotonic()))
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def send(self, data: bytes, seconds: float) -> None:
        """Raises MachineError."""
        with only_machine_errors("the connection broke", "command", ConnectionLost):
            self._stream.send(data, seconds)

    def receive(self, seconds: float) -> Frame | None:
        """The next frame, None when none is complete after `seconds`. Raises MachineError."""
        if not self._ready:
            with only_machine_errors("the connection broke", "command", ConnectionLost):
                data = self._stream.receive(seconds)
            if data == b"":
                raise self._ended()
            try:
                self._ready.extend(self._reader.feed(data or b""))
            except ProtocolError as error:
                raise _unreadable(str(error)) from None
        if not self._ready:
            return None
        frame = self._ready.popleft()
        if frame.kind == protocol.ERROR:
            raise _refusal(frame)
        return frame

    def frames_until_result(self, deadline: float) -> Iterator[Frame]:
        """All frames up to and with the result. Raises MachineError, also at the deadline (time.monotonic())."""
        while True:
            frame = self._receive_by(deadline)
            yield frame
            if frame.kind == protocol.RESULT:
                return

    def _receive_by(self, deadline: float) -> Frame:
        while (left := deadline - time.monotonic()) > 0:
            if frame := self.receive(left):
                return frame
        raise ConnectionLost("the machine did not answer in time", stage="command", why=self._printed())

    def _wait_for_greeting(self, deadline: float) -> None:
        """Send the supervisor when the machine asks for it, then wait for its greeting."""
        while True:
            frame = self._receive_by(deadline)
            if frame.kind != GREETING:
                raise _unreadable(f"it began with a frame of kind {frame.kind!r}")
            match frame.data:
                case command_lines.NEED:
                    self.send(command_lines.program().data, max(0.1, deadline - time.monotonic()))
                case command_lines.NO_PYTHON:
                    raise MachineError(
                        "the machine has no python3",
                        stage="python",
                        why="not on the PATH of a command run over this connection",
                        hint="install Python 3.8 or newer on it",
                    )
                case _:
                    return

    def _ended(self) -> MachineError:
        printed = self._printed()
        if "No space left" in printed:
            return MachineError("the machine's disk is full", stage="command", why=printed, hint="make room on it")
        return ConnectionLost("the connection ended before the answer", stage="command", why=printed)

    def _printed(self) -> str:
        return " / ".join(filter(None, (self._reader.noise, self._stream.stderr_tail())))[-500:]


class _Refusal(codec.Value):
    """The data of an error frame."""

    what: str
    why: str = ""
    hint: str = ""


def _refusal(frame: Frame) -> MachineError:
    try:
        refusal = codec.decode(_Refusal, frame.data)
    except ValueError:
        refusal = _Refusal(what="the machine refused, and its reason cannot be read")
    return MachineError(refusal.what, stage="machine", why=refusal.why, hint=refusal.hint)


def result_of(frame: Frame, cls: type[T]) -> T:
    """The value in a result frame. Raises MachineError."""
    try:
        return codec.decode(cls, frame.data)
    except ValueError as error:
        raise MachineError("the machine's result cannot be read", stage="command", why=str(error)) from error


def _unreadable(why: str) -> MachineError:
    return MachineError(
        "the machine's answer cannot be read", stage="command", why=why, hint="look at its shell profile"
    )


class FrameReader:
    """Bytes in, frames out, no I/O: keeps at most one frame's worth of bytes."""

    def __init__(self, nonce: str) -> None:
        self._greeting = re.compile(rb"(?:^|\n)@ci-dispatch " + re.escape(nonce.encode()) + rb"(?: ([a-z-]+))?\n")
        self._greeted = False
        self._buffer = bytearray()

    @property
    def noise(self) -> str:
        """What came instead of a greeting, for an error message."""
        return "" if self._greeted else self._buffer[:2000].decode("utf-8", "replace").strip()

    def feed(self, data: bytes) -> list[Frame]:
        """Raises ProtocolError."""
        self._buffer += data
        frames = []
        while frame := self._next_frame() if self._greeted else self._next_greeting():
            frames.append(frame)
        return frames

    def _next_greeting(self) -> Frame | None:
        found = self._greeting.search(self._buffer)
        if not found:
            if len(self._buffer) > _MAX_NOISE:
                raise ProtocolError(f"{_MAX_NOISE // 1024} KB of text came, and no answer to our command")
            return None
        question = bytes(found[1] or b"")
        self._greeted = not question  # a question is the shell's; the supervisor's own greeting follows
        del self._buffer[: found.end()]
        return Frame(GREETING, question)

    def _next_frame(self) -> Frame | None:
        end = self._buffer.find(b"\n", 0, 64)
        if end < 0:
            if len(self._buffer) > 64:
                raise ProtocolError(f"not a frame: {bytes(self._buffer[:64])!r}")
            return None
        header = _HEADER.fullmatch(self._buffer[:end])
        if not header or int(header[3]) > _MAX_LENGTH:
            raise ProtocolError(f"not a frame: {bytes(self._buffer[:end])!r}")
        stop = end + 1 + int(header[3])
        if len(self._buffer) < stop:
            return None
        frame = Frame(bytes(header[1]), bytes(self._buffer[end + 1 : stop]), int(header[2]))
        del self._buffer[:stop]
        return frame
