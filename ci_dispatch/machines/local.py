"""This machine: the same supervisor as over SSH, as a child process; the work tree is used where it lies."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from ci_dispatch.core.job_environment import JobEnvironment, without_hidden
from ci_dispatch.core.model import MachineSpec
from ci_dispatch.machines import frozen_tree
from ci_dispatch.machines.supervised import SupervisedMachine, TreeOnMachine
from ci_dispatch.machines.supervisor_client import ConnectionLost, Stream, only_machine_errors
from ci_dispatch.machines.tree_watch import TreeWatch
from ci_dispatch.run.health import HealthPolicy
from ci_dispatch.run.ports import Job, JobEnd, JobListener, MachineError, WorkTree, WorkTreeChanged

_STDERR_BYTES = 2000


class LocalMachine(SupervisedMachine):
    """The machine the controller runs on. Jobs are as detached from it as remote ones: they outlive its sudden death
    by no more than their lease, and a `resume` within the lease finds them."""

    def __init__(
        self, spec: MachineSpec, policy: HealthPolicy | None = None, environment: JobEnvironment | None = None
    ) -> None:
        super().__init__(spec, policy, environment)
        self._watch: TreeWatch | None = None
        # The programs of our own environment (node, the virtual environment's pytest) are the suite's too.
        ours = without_hidden(os.environ, self.environment.hidden)
        self._environment = {**ours, "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"}

    def sync(self, tree: WorkTree, deadline: float) -> str:  # noqa: ARG002  # nothing to wait for
        if not tree.root.is_dir():
            raise MachineError(f"the work tree {tree.root} does not exist", stage="sync")
        with only_machine_errors(f"the work tree {tree.root} cannot be used", "sync"):
            if tree.frozen is not None and self._watch is None:
                with frozen_tree.kept(tree) as (here, _):
                    self._watch = TreeWatch(here)
            self._tree = TreeOnMachine(root=str(folder_of(self.spec)), path=str(tree.root.resolve()))
        return ""

    def run(self, job: Job, listener: JobListener) -> JobEnd:
        """Also raises WorkTreeChanged: before the job, or in place of its end."""
        self._require_unchanged(ran=False)
        end = super().run(job, listener)
        self._require_unchanged(ran=True)
        return end

    def _require_unchanged(self, *, ran: bool) -> None:
        if self._watch is not None and (changed := self._watch.changed()):
            raise WorkTreeChanged(changed, ran=ran)

    def _open(self, command: str, seconds: float) -> Stream:  # noqa: ARG002  # a child starts or fails at once
        return _ChildStream(command, self._environment)


def folder_of(spec: MachineSpec) -> Path:
    """Where it keeps jobs and their files."""
    return Path(spec.workdir).expanduser() if spec.workdir else Path.home() / ".cache" / "ci-dispatch"


class _ChildStream:
    """The pipes of a child process. Raises OSError when there is none to be had."""

    def __init__(self, command: str, environment: dict[str, str]) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # closed in close()
        try:
            self._child = subprocess.Popen(
                ["/bin/sh", "-c", command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env=environment,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is for the controller, which ends jobs in its own order
            )
        except BaseException:
            self._stderr.close()
            raise
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._in, self._out = self._child.stdin, self._child.stdout
        os.set_blocking(self._in.fileno(), False)

    def send(self, data: bytes, seconds: float) -> None:
        until = time.monotonic() + seconds
        while data:
            if not _ready(self._in, select.POLLOUT, until - time.monotonic()):
                raise ConnectionLost("the supervisor takes no more input", stage="command")
            try:
                data = data[os.write(self._in.fileno(), data) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise ConnectionLost("the supervisor ended", stage="command", why=self.stderr_tail()) from error

    def receive(self, seconds: float) -> bytes | None:
        return os.read(self._out.fileno(), 64 * 1024) if _ready(self._out, select.POLLIN, seconds) else None

    def stderr_tail(self) -> str:
        descriptor = self._stderr.fileno()  # its position is the child's too: it may not be moved
        tail = os.pread(descriptor, _STDERR_BYTES, max(0, os.fstat(descriptor).st_size - _STDERR_BYTES))
        return tail.decode("utf-8", "replace").strip()

    def close(self) -> None:
        self._in.close()
        self._out.close()
        try:
            self._child.wait(1.0)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)  # the shell, and what streams below it
            with suppress(subprocess.TimeoutExpired):  # stuck on a disk, it dies when that answers
                self._child.wait(1.0)
        self._stderr.close()


def _ready(pipe: IO[bytes], event: int, seconds: float) -> bool:
    """Whether a pipe can be read or written within `seconds`. poll: select knows only the first 1024 descriptors."""
    poller = select.poll()
    poller.register(pipe, event)
    return bool(poller.poll(max(0.0, seconds) * 1000))
