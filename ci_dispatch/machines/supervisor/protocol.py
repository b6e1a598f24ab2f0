"""The words of docs/supervisor-protocol.md, for both ends, and the machine's end of the connection.

`machines/supervisor_client.py` is the controller's end.
"""

from __future__ import annotations

import json
import os
import select
from typing import Any

# Kinds of frames, from the machine
OUTPUT = b"o"
LIVE = b"l"
ARCHIVE = b"a"
COPY_WANTED = b"c"
HEARTBEAT = b"h"
RESULT = b"r"
ERROR = b"e"

REST = b"rest"  # the data of COPY_WANTED when git has brought the commit

# What the controller sends while a job runs, one byte each
RENEW = b"."
CANCEL = b"c"
KILL = b"k"

HEARTBEAT_SECONDS = 1.0
CHUNK = 64 * 1024


def greet(nonce: str) -> None:
    _write(f"\n@ci-dispatch {nonce}\n".encode())


def send(kind: bytes, data: bytes = b"", offset: int = 0) -> None:
    _write(b"%s %d %d\n%s" % (kind, offset, len(data), data))


def send_result(result: dict[str, Any]) -> None:
    send(RESULT, json.dumps(result).encode())


def send_error(what: str, why: str = "", hint: str = "") -> None:
    send(ERROR, json.dumps({"what": what, "why": why, "hint": hint}).encode())


def receive_json() -> dict[str, Any] | None:
    """A line with the length of the JSON behind it, and the JSON. None when the controller is gone."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)  # nothing behind the line may be taken: it may be an archive
        if not byte:
            return None
        line += byte
    data = _receive_exactly(int(line))
    value = json.loads(data.decode()) if data is not None else None
    return value if isinstance(value, dict) else None


def _receive_exactly(length: int) -> bytes | None:
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
