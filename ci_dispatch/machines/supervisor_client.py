"""One command on a machine and the talk with it: greet, hand over the supervisor if need be, ask, listen."""

from __future__ import annotations

import json
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, Self

from ci_dispatch.machines import bootstrap
from ci_dispatch.machines.frames import Frame, FrameReader, NotOurs
from ci_dispatch.run.ports import MachineError


class ConnectionLost(MachineError):
    """The connection ended or fell silent; what runs on the machine goes on until its lease ends."""


class Stream(Protocol):
    """The pipes of one command. `send` and `receive` raise ConnectionLost."""

    def send(self, data: bytes, seconds: float) -> None: ...
    def end_input(self) -> None: ...
    def receive(self, seconds: float) -> bytes | None:
        """Some bytes, b"" at the end of the stream, None when nothing came in `seconds`."""

    def complaints(self) -> str:
        """The last lines of its standard error."""

    def close(self) -> None: ...


Open = Callable[[str, float], Stream]  # (command line, seconds) -> its pipes; raises MachineError


class Conversation:
    """Use as a context manager: leaving it closes the command's pipes, never the connection below."""

    def __init__(
        self, open_: Open, action: str, request: Mapping[str, Any], *, root: str, name: str, seconds: float
    ) -> None:
        """Open the command and ask. Raises MachineError."""
        self._nonce = secrets.token_hex(8)
        self._reader = FrameReader(self._nonce)
        self._ready: deque[Frame] = deque()
        deadline = time.monotonic() + seconds
        self._stream = open_(bootstrap.command(self._nonce, action, root=root, name=name), seconds)
        try:
            data = json.dumps({"seconds": seconds, **request}).encode()
            self._introduce(deadline)
            self.send(b"%d\n%s" % (len(data), data), max(0.1, deadline - time.monotonic()))
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def send(self, data: bytes, seconds: float) -> None:
        self._stream.send(data, seconds)

    def end_input(self) -> None:
        self._stream.end_input()

    def receive(self, seconds: float) -> Frame | None:
        """The next frame, None when none is complete after `seconds`. Raises MachineError."""
        if not self._ready:
            data = self._stream.receive(seconds)
            if data == b"":
                raise self._ended()
            try:
                self._ready.extend(self._reader.feed(data or b""))
            except NotOurs as error:
                raise _unreadable(str(error)) from None
        if not self._ready:
            return None
        frame = self._ready.popleft()
        if frame.kind == "e":
            raise _refusal(frame)
        return frame

    def frames_until_result(self, deadline: float) -> Iterator[Frame]:
        """All frames up to and with the result. Raises MachineError, also at the deadline (time.monotonic())."""
        while True:
            frame = self._receive_by(deadline)
            yield frame
            if frame.kind == "r":
                return

    def _receive_by(self, deadline: float) -> Frame:
        while (left := deadline - time.monotonic()) > 0:
            if frame := self.receive(left):
                return frame
        raise ConnectionLost("the machine did not answer in time", stage="command", why=self._said())

    def _introduce(self, deadline: float) -> None:
        """Wait for the supervisor's greeting; send the supervisor first when the machine asks for it."""
        while True:
            frame = self._receive_by(deadline)
            if frame.kind != "greeting":
                raise _unreadable(f"it began with a frame of kind {frame.kind}")
            match frame.data:
                case bootstrap.NEED:
                    self.send(bootstrap.program().data, max(0.1, deadline - time.monotonic()))
                case bootstrap.NO_PYTHON:
                    raise MachineError(
                        "the machine has no python3",
                        stage="python",
                        why="not on the PATH of a command run over this connection",
                        hint="install Python 3.8 or newer on it",
                    )
                case _:
                    return

    def _ended(self) -> MachineError:
        said = self._said()
        if "No space left" in said:
            return MachineError("the machine's disk is full", stage="command", why=said, hint="make room on it")
        return ConnectionLost("the connection ended before the answer", stage="command", why=said)

    def _said(self) -> str:
        return " / ".join(filter(None, (self._reader.noise, self._stream.complaints())))[-500:]


def _unreadable(why: str) -> MachineError:
    return MachineError(
        "the machine's answer cannot be read", stage="command", why=why, hint="look at its shell profile"
    )


def _refusal(frame: Frame) -> MachineError:
    try:
        told = json.loads(frame.data)
        what, why = str(told["what"]), str(told.get("why", ""))
    except (ValueError, KeyError, TypeError):
        what, why = "the machine refused, in words that cannot be read", ""
    return MachineError(what, stage="machine", why=why)


def result_of(frame: Frame) -> Mapping[str, Any]:
    """The JSON of a result frame. Raises MachineError."""
    try:
        result = json.loads(frame.data)
    except ValueError:
        result = None
    if not isinstance(result, dict):
        raise MachineError("the machine's result cannot be read", stage="command")
    return result
