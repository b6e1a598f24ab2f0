"""A machine that is reached by running the supervisor on it: everything `local` and `ssh` have in common."""

from __future__ import annotations

import base64
import io
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ci_dispatch.core.model import MachineSpec
from ci_dispatch.machines.archive import MAX_BYTES, unpack
from ci_dispatch.machines.conversation import Conversation, Stream, result_of
from ci_dispatch.machines.following import Following, folder_name
from ci_dispatch.machines.work_tree import snapshot
from ci_dispatch.ports import Job, JobEnd, JobListener, MachineError, Place, Tree


class SupervisedMachine:
    """Everything of the Machine port but how a command is opened (`_open`) and how health is asked (`check`)."""

    def __init__(self, spec: MachineSpec) -> None:
        self.spec = spec
        self._wishes: dict[str, bytes] = {}
        self._wishes_lock = threading.Lock()
        self._root = ""  # absolute, on the machine; known after sync
        self._tree = ""
        self._tree_state = ""  # of a tree we brought there; "" for one that lies where it is

    def _open(self, command: str, seconds: float) -> Stream:
        raise NotImplementedError

    def talk(self, action: str, request: Mapping[str, Any], *, name: str = "-", seconds: float) -> Conversation:
        """Ask the supervisor for something. Raises MachineError."""
        return Conversation(self._open, action, request, root=self.spec.workdir, name=name, seconds=seconds)

    # The port

    def sync(self, tree: Tree, deadline: float) -> None:
        until = time.monotonic() + deadline
        here = snapshot(tree)
        request = {"state": here.state, "sha": tree.sha, "remote_url": tree.remote_url}
        with self.talk("sync", request, name=here.name(), seconds=deadline) as talk:
            for frame in talk.frames_until_result(until):
                if frame.kind == "b":  # it has not got this content: it wants the copy
                    here.write(io.BufferedWriter(_Sender(talk, until)))
                    talk.end_input()
        result = result_of(frame)
        self._root, self._tree, self._tree_state = str(result["root"]), str(result["tree"]), here.state

    def place(self, job_id: str) -> Place:
        if not self._root:
            raise MachineError("the work tree is not on the machine yet", stage="sync", try_="sync it first")
        return Place(tree=self._tree, attempt=f"{self._root}/jobs/{folder_name(job_id)}")

    def run(self, job: Job, listener: JobListener) -> JobEnd:
        try:
            return Following(self, job, listener).follow()
        finally:
            with self._wishes_lock:
                self._wishes.pop(job.id, None)

    def cancel(self, job_id: str) -> None:
        with self._wishes_lock:
            self._wishes.setdefault(job_id, b"c")

    def kill(self, job_id: str) -> None:
        with self._wishes_lock:
            self._wishes[job_id] = b"k"

    def wish(self, job_id: str) -> bytes:
        """b"" or how the job shall be ended."""
        with self._wishes_lock:
            return self._wishes.get(job_id, b"")

    def collect(self, job_id: str, into: Path, deadline: float) -> None:
        until = time.monotonic() + deadline
        with (
            self.talk("collect", {"limit": MAX_BYTES // 2}, name=folder_name(job_id), seconds=deadline) as talk,
            tempfile.TemporaryFile() as archive,
        ):
            for frame in talk.frames_until_result(until):
                if frame.kind == "f":
                    archive.write(frame.data)
            archive.seek(0)
            unpack(archive, into)

    def sweep(self, deadline: float) -> int:
        until = time.monotonic() + deadline
        with self.talk("sweep", {}, seconds=deadline) as talk:
            frames = list(talk.frames_until_result(until))
        return int(result_of(frames[-1]).get("ended", 0))

    def close(self) -> None:
        pass

    def job_spec(self, job: Job) -> dict[str, Any]:
        """The job in the supervisor's words."""
        invocation = job.invocation
        return {
            "argv": list(invocation.argv),
            "cwd": invocation.cwd,
            "env": {**self.spec.env, **invocation.env},
            "files": {name: base64.b64encode(data).decode() for name, data in invocation.files.items()},
            "interrupt_grace": invocation.interrupt_grace,
            "terminate_grace": invocation.terminate_grace,
            "lease": job.lease_seconds,
            "timeout": job.timeout,
            "tree": self._tree if self._tree_state else "",
            "state": self._tree_state,
        }


class _Sender(io.RawIOBase):
    """Writes to the machine."""

    def __init__(self, talk: Conversation, until: float) -> None:
        self._talk, self._until = talk, until

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._talk.send(bytes(data), max(0.1, self._until - time.monotonic()))
        return len(data)
