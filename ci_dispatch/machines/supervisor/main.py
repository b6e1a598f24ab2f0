"""The commands a controller gives: run, sync, collect, sweep. Arguments are plain words, data comes on stdin."""

from __future__ import annotations

import io
import os
import signal
import tarfile
from typing import Any

from . import channel, orphans, trees
from .attach import attach
from .folder import Folder
from .job import start


def main(arguments: list[str]) -> int:
    """NONCE COMMAND ROOT NAME; exits 0 whenever it could say what happened."""
    nonce, command, root, name = arguments
    signal.alarm(60)  # whatever happens, this process goes
    channel.greet(nonce)
    try:
        os.makedirs(root, mode=0o700, exist_ok=True)
        request = channel.receive_json()
        if request is not None:
            signal.alarm(int(request["seconds"]) + 5)
            channel.send_result(_COMMANDS[command](root, name, request))
    except ConnectionError:  # the controller is gone: nobody to tell
        return 0
    except (OSError, EOFError, ValueError, tarfile.TarError) as error:
        _tell(error)
    return 0


def _tell(error: Exception) -> None:
    try:
        if isinstance(error, OSError) and error.strerror:
            where = f": {error.filename}" if error.filename else ""
            channel.send_error(f"{error.strerror}{where}")
        else:
            channel.send_error(str(error) or type(error).__name__)
    except OSError:
        return


def _run(root: str, name: str, request: dict[str, Any]) -> dict[str, Any]:
    path = os.path.join(root, "jobs", name)
    if request.get("spec"):
        trouble = start(path, request["spec"])
        if trouble:
            return {"ended": "not started", "reason": trouble}
    if not os.path.isdir(path):
        return {"ended": "lost", "reason": "the machine does not know this job any more: was its disk cleared?"}
    return attach(
        Folder(path),
        live=request["live"],
        output_offset=request["output_offset"],
        live_offset=request["live_offset"],
        lease=request["lease"],
    )


def _sync(root: str, name: str, request: dict[str, Any]) -> dict[str, Any]:
    return trees.sync(root, name, request, io.BufferedReader(io.FileIO(0, closefd=False)))


def _collect(root: str, name: str, request: dict[str, Any]) -> dict[str, Any]:
    folder = os.path.join(root, "jobs", name)
    if not os.path.isdir(folder):
        raise OSError("the machine does not know this job any more: was its disk cleared?")
    with io.BufferedWriter(_Frames(), channel.CHUNK) as archive:
        return trees.collect(folder, archive, request["limit"])


def _sweep(root: str, _name: str, _request: dict[str, Any]) -> dict[str, Any]:
    return orphans.sweep(root)


_COMMANDS = {"run": _run, "sync": _sync, "collect": _collect, "sweep": _sweep}


class _Frames(io.RawIOBase):
    """An archive written as frames."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        channel.send(b"f", bytes(data))
        return len(data)
