"""The controller's end of the supervisor's stream: bytes in, frames out, no I/O. supervisor/channel.py is the other."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MAX_NOISE = 256 * 1024  # what login shells print before we are greeted
_MAX_LENGTH = 1024 * 1024
_HEADER = re.compile(rb"([a-z]) (\d{1,18}) (\d{1,7})")


class NotOurs(ValueError):
    """What came cannot be from our supervisor."""


@dataclass(frozen=True, slots=True)
class Frame:
    kind: str  # one letter, see supervisor/channel.py; "greeting" for the first line, with its word in data
    data: bytes = b""
    offset: int = 0


class FrameReader:
    """Feed it whatever arrives; it gives the frames that are complete and keeps at most one frame's worth of bytes."""

    def __init__(self, nonce: str) -> None:
        self._greeting = re.compile(rb"(?:^|\n)@ci-dispatch " + re.escape(nonce.encode()) + rb"(?: ([a-z-]+))?\n")
        self._greeted = False
        self._buffer = bytearray()

    @property
    def noise(self) -> str:
        """What came instead of a greeting, for an error message."""
        return "" if self._greeted else self._buffer[:2000].decode("utf-8", "replace").strip()

    def feed(self, data: bytes) -> list[Frame]:
        """Raises NotOurs when the other end does not speak our protocol."""
        self._buffer += data
        frames = []
        while frame := self._frame() if self._greeted else self._greet():
            frames.append(frame)
        return frames

    def _greet(self) -> Frame | None:
        found = self._greeting.search(self._buffer)
        if not found:
            if len(self._buffer) > _MAX_NOISE:
                raise NotOurs(f"{_MAX_NOISE // 1024} KB of text came, and no answer to our command")
            return None
        word = bytes(found[1] or b"")
        self._greeted = not word  # a word is a question from the shell; the supervisor's own greeting follows
        del self._buffer[: found.end()]
        return Frame("greeting", word)

    def _frame(self) -> Frame | None:
        end = self._buffer.find(b"\n", 0, 64)
        if end < 0:
            if len(self._buffer) > 64:
                raise NotOurs(f"not a frame: {bytes(self._buffer[:64])!r}")
            return None
        header = _HEADER.fullmatch(self._buffer[:end])
        if not header or int(header[3]) > _MAX_LENGTH:
            raise NotOurs(f"not a frame: {bytes(self._buffer[:end])!r}")
        stop = end + 1 + int(header[3])
        if len(self._buffer) < stop:
            return None
        frame = Frame(header[1].decode(), bytes(self._buffer[end + 1 : stop]), int(header[2]))
        del self._buffer[:stop]
        return frame
