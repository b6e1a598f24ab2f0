"""The machine's end of the connection: frames out, beats and wishes in. `machines/frames.py` is the other end.

First a line `@ci-dispatch NONCE`, so that what a login shell prints before is told apart; then frames, each a line
`KIND OFFSET LENGTH` with LENGTH bytes after it:

    o  output of the job from byte OFFSET     l  its live file from byte OFFSET
    f  bytes of a file archive                b  nothing, but alive
    r  the result, JSON: always the last      e  what went wrong, JSON: always the last
"""

from __future__ import annotations

import json
import os
import select
from typing import Any

CHUNK = 64 * 1024

BEAT, CANCEL, KILL = b".", b"c", b"k"  # what the controller sends, one byte each


def greet(nonce: str) -> None:
    _write(f"\n@ci-dispatch {nonce}\n".encode())


def send(kind: bytes, data: bytes = b"", offset: int = 0) -> None:
    _write(b"%s %d %d\n%s" % (kind, offset, len(data), data))


def send_result(result: dict[str, Any]) -> None:
    send(b"r", json.dumps(result).encode())


def send_error(what: str, why: str = "") -> None:
    send(b"e", json.dumps({"what": what, "why": why}).encode())


def receive_line() -> bytes:
    """One line, read byte by byte so that nothing behind it is taken. b"" when the controller is gone."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return b""
        line += byte
    return bytes(line)


def receive_json() -> dict[str, Any] | None:
    """A line with the length of the JSON behind it, and the JSON. None when the controller is gone."""
    line = receive_line()
    if not line:
        return None
    data = receive_exactly(int(line))
    value = json.loads(data.decode()) if data is not None else None
    return value if isinstance(value, dict) else None


def receive_exactly(length: int) -> bytes | None:
    data = bytearray()
    while len(data) < length:
        piece = os.read(0, length - len(data))
        if not piece:
            return None
        data += piece
    return bytes(data)


def wait_for_input(seconds: float) -> bytes | None:
    """What the controller sent: b"" nothing yet, None when it is gone."""
    if not select.select([0], [], [], seconds)[0]:
        return b""
    return os.read(0, 4096) or None


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]
