"""A machine that is reached by running the supervisor on it: everything `local` and `ssh` have in common."""

from __future__ import annotations

import base64
import io
import math
import secrets
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ci_dispatch.core.codec import replace
from ci_dispatch.core.events import MachineChecked
from ci_dispatch.core.model import MachineSpec
from ci_dispatch.machines import probe
from ci_dispatch.machines.archive import MAX_BYTES, unpack
from ci_dispatch.machines.following import Following, folder_name
from ci_dispatch.machines.supervisor_client import ConnectionLost, Conversation, Stream, result_of
from ci_dispatch.machines.work_tree import snapshot
from ci_dispatch.run.health import Answer, HealthPolicy, HealthReport, judge
from ci_dispatch.run.ports import AttemptPaths, Job, JobEnd, JobListener, MachineError, WorkTree
from ci_dispatch.run.probe_output import read

_LONGEST_ANSWER = 256 * 1024


class SupervisedMachine:
    """Everything of the Machine port but how a command is opened (`_open`)."""

    def __init__(self, spec: MachineSpec, policy: HealthPolicy | None = None) -> None:
        self.spec = spec
        self.policy = policy or HealthPolicy()
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

    def check(self, deadline: float, *, busy: bool = False) -> MachineChecked:
        policy = replace(self.policy, max_load_per_core=math.inf) if busy else self.policy
        return self.examine(deadline, policy=policy).event()

    def examine(
        self, seconds: float, only: frozenset[str] = frozenset(), policy: HealthPolicy | None = None
    ) -> HealthReport:
        """Its health in detail, or the dimensions named in `only`. Never raises."""
        asked, began = time.time(), time.monotonic()
        nonce = secrets.token_hex(8)
        facts, trouble, stage, remedy = None, "", "", ""
        took = 0.0
        try:
            command = probe.command(
                nonce, root=self.spec.workdir, path=self.spec.env.get("PATH", ""), tools=self.policy.tools
            )
            text, took = self._ask(command, f"@end {nonce}", seconds)
            facts = read(text, nonce)
            if facts is None or not facts.complete:
                trouble, stage = f"command: the answer is not complete: {text.strip()[-200:]!r}", "command"
        except MachineError as error:
            trouble, stage, remedy = f"{error.stage}: {error.why or error.what}", error.stage, error.hint
        answer = Answer(
            machine=self.spec.name,
            asked=asked,
            seconds=took or time.monotonic() - began,
            facts=facts,
            trouble=trouble,
            stage=stage,
            remedy=remedy,
        )
        return judge(answer, policy or self.policy, only)

    def _ask(self, command: str, end_mark: str, seconds: float) -> tuple[str, float]:
        """What a command prints up to a mark in it, and the seconds until its first byte. Raises MachineError."""
        began, first = time.monotonic(), 0.0
        until = began + seconds
        stream = self._open(command, seconds)
        answer = b""
        try:
            while end_mark.encode() not in answer and len(answer) < _LONGEST_ANSWER:
                left = until - time.monotonic()
                data = stream.receive(left) if left > 0 else None
                if data is None:
                    raise ConnectionLost(f"no answer within {seconds:g} s", stage="command", why=_tail(answer, stream))
                if not data:
                    raise ConnectionLost("it ended without an answer", stage="command", why=_tail(answer, stream))
                first = first or time.monotonic() - began
                answer += data
        finally:
            stream.close()
        return answer.decode("utf-8", "replace"), first

    def sync(self, tree: WorkTree, deadline: float) -> None:
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

    def place(self, job_id: str) -> AttemptPaths:
        if not self._root:
            raise MachineError("the work tree is not on the machine yet", stage="sync", hint="sync it first")
        return AttemptPaths(tree=self._tree, attempt=f"{self._root}/jobs/{folder_name(job_id)}")

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


def _tail(answer: bytes, stream: Stream) -> str:
    said = " / ".join(filter(None, (answer[-200:].decode("utf-8", "replace").strip(), stream.complaints()[-200:])))
    return f"no complete answer; it said {said!r}" if said else "no answer"


class _Sender(io.RawIOBase):
    """Writes to the machine."""

    def __init__(self, talk: Conversation, until: float) -> None:
        self._talk, self._until = talk, until

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._talk.send(bytes(data), max(0.1, self._until - time.monotonic()))
        return len(data)
