"""A machine that is reached by running the supervisor on it: everything `local` and `ssh` have in common."""

from __future__ import annotations

import base64
import io
import secrets
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci_dispatch.core.codec import Value, replace
from ci_dispatch.core.events import MachineChecked
from ci_dispatch.core.job_environment import JobEnvironment
from ci_dispatch.core.masking import SecretMask
from ci_dispatch.core.model import MachineSpec
from ci_dispatch.machines import command_lines, frozen_tree
from ci_dispatch.machines.frozen_tree import Snapshot
from ci_dispatch.machines.job_follower import JobFollower, folder_name
from ci_dispatch.machines.report_archive import MAX_BYTES, unpack
from ci_dispatch.machines.supervisor import protocol
from ci_dispatch.machines.supervisor_client import (
    ConnectionLost,
    Frame,
    Stream,
    SupervisorClient,
    only_machine_errors,
    result_of,
)
from ci_dispatch.run.health import HealthPolicy, HealthReport, ProbeResult, judge
from ci_dispatch.run.ports import AttemptPaths, Job, JobEnd, JobListener, MachineError, WorkTree
from ci_dispatch.run.probe_output import ProbeOutput, read

_MAX_PROBE_BYTES = 256 * 1024
_SHOWN_FILES = 5


@dataclass(frozen=True, slots=True)
class TreeOnMachine:
    """Where a machine has the work tree; absolute paths."""

    root: str  # the folder for everything we put there
    path: str
    state: str = ""  # what identifies the content of a tree we brought there; "" for one that is used where it lies
    name: str = ""
    owner: str = ""  # what it is ours by


class SupervisedMachine:
    """Everything of the Machine port but how a command is opened (`_open`). May be used from several threads."""

    def __init__(
        self, spec: MachineSpec, policy: HealthPolicy | None = None, environment: JobEnvironment | None = None
    ) -> None:
        self.spec = spec
        self.policy = policy or HealthPolicy()
        self.environment = environment or JobEnvironment()
        self.mask = SecretMask(self.environment.secrets.values())
        self._cancellations: dict[str, bytes] = {}
        self._cancellations_lock = threading.Lock()
        self._tree: TreeOnMachine | None = None  # replaced as a whole, so that no thread sees half of it

    def _open(self, command: str, seconds: float) -> Stream:
        """Run a command line on the machine. Raises MachineError, or whatever the system refuses it with."""
        raise NotImplementedError

    def open_stream(self, command: str, seconds: float) -> Stream:
        """Run a command line on the machine. Raises MachineError."""
        with only_machine_errors(f"no command can be run on {self.spec.name}", "command"):
            return self._open(command, seconds)

    def ask(self, action: str, request: Mapping[str, Any], *, name: str = "-", seconds: float) -> SupervisorClient:
        """Send the supervisor a request. Raises MachineError."""
        return SupervisorClient(self.open_stream, action, request, root=self.spec.workdir, name=name, seconds=seconds)

    # The port

    def check(self, deadline: float, *, busy: bool = False) -> MachineChecked:
        policy = replace(self.policy, load_decides=False) if busy else self.policy
        return self.examine(deadline, policy=policy).event()

    def examine(
        self, seconds: float, only: frozenset[str] = frozenset(), policy: HealthPolicy | None = None
    ) -> HealthReport:
        """Its health in detail, or the dimensions named in `only`. Raises ControllerError and nothing else."""
        asked, began = time.time(), time.monotonic()
        output, took = None, 0.0
        error = hint = ""
        try:
            with only_machine_errors(f"{self.spec.name} could not be checked", "command"):
                output, took, error = self._probe(seconds)
        except MachineError as failed:
            error, hint = f"{failed.stage}: {failed.why or failed.what}", failed.hint
        result = ProbeResult(
            machine=self.spec.name,
            asked=asked,
            seconds=took or time.monotonic() - began,
            output=output,
            error=error,
            hint=hint,
        )
        return judge(result, policy or self.policy, only)

    def _probe(self, seconds: float) -> tuple[ProbeOutput | None, float, str]:
        """What the machine says about itself, the seconds until its first byte, and what is wrong with the answer.

        Raises MachineError.
        """
        nonce = secrets.token_hex(8)
        command = command_lines.probe(
            nonce, root=self.spec.workdir, path=self.spec.env.get("PATH", ""), tools=self.policy.tools
        )
        text, took = self._run_to_mark(command, f"@end {nonce}", seconds)
        output = read(text, nonce)
        complete = output is not None and output.complete
        return output, took, "" if complete else f"command: the answer is not complete: {text.strip()[-200:]!r}"

    def _run_to_mark(self, command: str, end_mark: str, seconds: float) -> tuple[str, float]:
        """What a command prints up to a mark in it, and the seconds until its first byte. Raises MachineError."""
        began, first = time.monotonic(), 0.0
        until = began + seconds
        stream = self.open_stream(command, seconds)
        answer = b""
        try:
            while end_mark.encode() not in answer and len(answer) < _MAX_PROBE_BYTES:
                left = until - time.monotonic()
                data = stream.receive(left) if left > 0 else None
                if not data:
                    what = f"no answer within {seconds:g} s" if data is None else "it ended without an answer"
                    raise ConnectionLost(what, stage="command", why=_why_incomplete(answer, stream))
                first = first or time.monotonic() - began
                answer += data
        finally:
            stream.close()
        return answer.decode("utf-8", "replace"), first

    def sync(self, tree: WorkTree, deadline: float) -> str:
        until = time.monotonic() + deadline
        with (
            only_machine_errors(f"the work tree {tree.root} cannot be sent", "sync"),
            frozen_tree.kept(tree) as (here, folder),
        ):
            return self._sync(tree, here, folder, until)

    def _sync(self, tree: WorkTree, here: Snapshot, folder: Path, until: float) -> str:
        state, owner, seconds = here.state, f"{tree.run} {self.spec.name}", until - time.monotonic()
        request = {
            "state": state,
            "owner": owner,
            "files": len(here.entries),
            "size": sum(entry.size for entry in here.entries),
            "sha": here.sha,
            "remote_url": tree.remote_url,
            "authorization": tree.authorization,
            "rest": len(here.rest),
            "exclude": tree.exclude,
        }
        with self.ask("sync", request, name=here.name, seconds=seconds) as client:
            for frame in client.frames_until_result(until):
                if frame.kind == protocol.COPY_WANTED:
                    sender = io.BufferedWriter(_Sender(client, until))
                    frozen_tree.write_copy(folder, sender, rest=frame.data == protocol.REST)
                    sender.flush()
        synced = result_of(frame, _Synced)
        self._tree = TreeOnMachine(synced.root, synced.tree, state, here.name, owner)
        return synced.generation

    def release(self, deadline: float) -> None:
        tree = self._tree
        if tree is not None and tree.owner:
            with self.ask("release", {"owner": tree.owner}, name=tree.name, seconds=deadline) as client:
                _last(client.frames_until_result(time.monotonic() + deadline))

    def place(self, job_id: str) -> AttemptPaths:
        tree = self._tree_there()
        return AttemptPaths(tree=tree.path, attempt=f"{tree.root}/jobs/{folder_name(job_id)}")

    def _tree_there(self) -> TreeOnMachine:
        if self._tree is None:
            raise MachineError("the work tree is not on the machine yet", stage="sync", hint="sync it first")
        return self._tree

    def run(self, job: Job, listener: JobListener) -> JobEnd:
        try:
            return JobFollower(self, job, listener).follow()
        finally:
            with self._cancellations_lock:
                self._cancellations.pop(job.id, None)

    def cancel(self, job_id: str) -> None:
        with self._cancellations_lock:
            self._cancellations.setdefault(job_id, protocol.CANCEL)

    def kill(self, job_id: str) -> None:
        with self._cancellations_lock:
            self._cancellations[job_id] = protocol.KILL

    def cancellation(self, job_id: str) -> bytes:
        """What to send for a job that shall end, b"" for one that shall go on."""
        with self._cancellations_lock:
            return self._cancellations.get(job_id, b"")

    def collect(self, job_id: str, into: Path, deadline: float) -> None:
        until = time.monotonic() + deadline
        with (
            only_machine_errors("the attempt's files cannot be stored", "collect"),
            self.ask("collect", {"limit": MAX_BYTES // 2}, name=folder_name(job_id), seconds=deadline) as client,
            tempfile.TemporaryFile() as archive,
        ):
            for frame in client.frames_until_result(until):
                if frame.kind == protocol.ARCHIVE:
                    archive.write(frame.data)
                    if archive.tell() > MAX_BYTES:
                        raise MachineError(
                            "the machine sends more than was asked for",
                            stage="collect",
                            why=f"over {MAX_BYTES // 1024**2} MB of reports",
                        )
            archive.seek(0)
            unpack(archive, into, self.mask)
        left_out = result_of(frame, _Collected).left_out
        if left_out:
            more = [f"and {len(left_out) - _SHOWN_FILES} more"] if len(left_out) > _SHOWN_FILES else []
            shown = [*left_out[:_SHOWN_FILES], *more]
            raise MachineError(
                f"{len(left_out)} of the attempt's files were not fetched",
                stage="collect",
                why=f"all files together may have {MAX_BYTES // 2 // 1024**2} MB: {', '.join(shown)}",
                hint="write fewer videos and traces, or write them elsewhere",
            )

    def sweep(self, deadline: float) -> int:
        until = time.monotonic() + deadline
        with self.ask("sweep", {}, seconds=deadline) as client:
            return result_of(_last(client.frames_until_result(until)), _Swept).ended

    def close(self) -> None:
        pass

    def job_spec(self, job: Job) -> dict[str, Any]:
        """The job as the supervisor's `run` takes it."""
        invocation = job.invocation
        tree = self._tree if self._tree and self._tree.state else None
        return {
            "argv": list(invocation.argv),
            "cwd": invocation.cwd,
            "hidden": self.environment.hidden,
            "env": {**self.spec.env, **invocation.env, **self.environment.secrets},
            "live": invocation.live,
            "files": {
                name: base64.b64encode(data).decode()
                for name, data in invocation.files.items()
                if not (job.waits and name in invocation.late)
            },
            "waits": job.waits,
            "interrupt_grace": invocation.interrupt_grace,
            "terminate_grace": invocation.terminate_grace,
            "lease": job.lease_seconds,
            "timeout": job.timeout,
            "tree": tree.path if tree else "",
            "state": tree.state if tree else "",
        }


class _Synced(Value):
    """The result of `sync`."""

    root: str
    tree: str
    generation: str


class _Collected(Value):
    """The result of `collect`."""

    left_out: tuple[str, ...] = ()


class _Swept(Value):
    """The result of `sweep`."""

    ended: int


def _last(frames: Iterator[Frame]) -> Frame:
    """The result; what came before is not kept."""
    return deque(frames, maxlen=1)[0]


def _why_incomplete(answer: bytes, stream: Stream) -> str:
    printed = (answer[-200:].decode("utf-8", "replace").strip(), stream.stderr_tail()[-200:])
    text = " / ".join(filter(None, printed))
    return f"no complete answer; it printed {text!r}" if text else "no answer"


class _Sender(io.RawIOBase):
    """Writes to the machine."""

    def __init__(self, client: SupervisorClient, until: float) -> None:
        self._client, self._until = client, until

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._client.send(bytes(data), max(0.1, self._until - time.monotonic()))
        return len(data)
