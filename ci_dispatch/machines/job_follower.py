"""Follow one job to its end, over as many connections as that takes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import quote

from ci_dispatch.core.codec import replace
from ci_dispatch.core.model import Ended
from ci_dispatch.machines.supervisor import protocol
from ci_dispatch.machines.supervisor_client import ConnectionLost, Frame, SupervisorClient, result_of
from ci_dispatch.run.ports import Job, JobEnd, JobListener, MachineError

if TYPE_CHECKING:
    from ci_dispatch.machines.supervised import SupervisedMachine

RENEWAL_SECONDS = 1.0
SILENCE_SECONDS = 6.0  # without a heartbeat of the machine: a dead connection or a frozen machine
_CONNECT_SECONDS = 5.0
_POLL_SECONDS = 0.25  # how often a cancellation is looked for
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 2.0  # between connections


class JobFollower:
    """Byte offsets and the lease of one job; `follow` may be called once.

    With secrets a stream is masked, so what the listener has of it says nothing about what the machine has sent: a job
    of an earlier controller is read from its beginning then, and as much of what that comes to is passed over.
    """

    def __init__(self, machine: SupervisedMachine, job: Job, listener: JobListener) -> None:
        self._machine, self._job, self._listener = machine, job, listener
        self._name = folder_name(job.id)
        known = {protocol.OUTPUT: job.output_offset, protocol.LIVE: job.live_offset}
        self._masked = {kind: machine.mask.stream() for kind in known} if machine.mask else {}
        self._offsets = dict.fromkeys(known, 0) if self._masked else known  # of the machine's bytes
        self._passed_over = known if self._masked else dict.fromkeys(known, 0)  # still to be, of masked bytes
        self._may_run = bool(job.output_offset or job.live_offset)  # a request to start it may have arrived
        self._started = False
        self._last_frame = time.monotonic()

    def follow(self) -> JobEnd:
        """The job's end; LOST when the machine was out of reach for as long as the lease, for then it has ended it too.

        A job that never began because the machine could not be asked is NOT_STARTED.
        """
        pause = _FIRST_PAUSE
        while True:
            last_frame = self._last_frame
            try:
                return self._follow_connection()
            except ConnectionLost as lost:
                error: MachineError = lost
            except MachineError as refused:
                error = refused
                if not self._may_run:
                    return JobEnd(ended=Ended.NOT_STARTED, reason=str(error))
            if self._machine.cancellation(self._job.id) and not self._may_run:
                return JobEnd(ended=Ended.CANCELLED, reason="cancelled before it began")
            if time.monotonic() - self._last_frame > self._job.lease_seconds:
                ended = Ended.LOST if self._may_run else Ended.NOT_STARTED
                return JobEnd(ended=ended, reason=f"no connection within the lease; {error}")
            pause = _FIRST_PAUSE if self._last_frame != last_frame else min(_LONGEST_PAUSE, pause * 2)
            time.sleep(pause)

    def _follow_connection(self) -> JobEnd:
        """As long as one connection lasts. Raises MachineError when it breaks."""
        if self._machine.cancellation(self._job.id) and not self._may_run:
            return JobEnd(ended=Ended.CANCELLED, reason="cancelled before it began")
        request = {
            "spec": None if self._started else self._machine.job_spec(self._job),
            "standby": folder_name(self._job.standby) if self._job.standby else "",
            "live": self._job.invocation.live,
            "output_offset": self._offsets[protocol.OUTPUT],
            "live_offset": self._offsets[protocol.LIVE],
            "lease": self._job.lease_seconds,
        }
        with self._machine.ask("run", request, name=self._name, seconds=self._connect_seconds()) as client:
            self._may_run = True
            return self._receive_frames(client)

    def _connect_seconds(self) -> float:
        """No attempt goes on for long after the lease: by then the work is somebody else's."""
        left = self._job.lease_seconds - (time.monotonic() - self._last_frame)
        return min(_CONNECT_SECONDS, max(1.0, left))

    def _receive_frames(self, client: SupervisorClient) -> JobEnd:
        sent, last_renewal = b"", 0.0
        connected = time.monotonic()
        silence = min(SILENCE_SECONDS, max(2.0, self._job.lease_seconds / 2))
        while True:
            now = time.monotonic()
            cancellation = self._machine.cancellation(self._job.id)
            due = now - last_renewal >= min(RENEWAL_SECONDS, self._job.lease_seconds / 3)
            if due or cancellation not in (b"", sent):
                client.send(cancellation or protocol.RENEW, silence)
                sent, last_renewal = cancellation, now
            frame = client.receive(_POLL_SECONDS)
            if frame is None:
                if time.monotonic() - max(self._last_frame, connected) > silence:
                    raise ConnectionLost(f"nothing was received for {silence:g} s", stage="silence")
                continue
            self._last_frame = time.monotonic()
            if not self._started:
                self._started = True
                self._listener.started()
            if frame.kind == protocol.RESULT:
                for kind, stream in self._masked.items():
                    self._tell(kind, stream.end())
                end = result_of(frame, JobEnd)
                return replace(end, reason=self._machine.mask.text(end.reason))
            self._take(frame)

    def _take(self, frame: Frame) -> None:
        match frame.kind:
            case protocol.OUTPUT | protocol.LIVE:
                data = frame.data[max(0, self._offsets[frame.kind] - frame.offset) :]
                if frame.offset > self._offsets[frame.kind]:
                    raise ConnectionLost("the stream has a gap", stage="command")
                self._offsets[frame.kind] += len(data)
                self._tell(frame.kind, self._masked[frame.kind].feed(data) if self._masked else data)
            case protocol.HEARTBEAT:
                self._listener.beat()

    def _tell(self, kind: bytes, data: bytes) -> None:
        over = min(self._passed_over[kind], len(data))
        self._passed_over[kind] -= over
        if data := data[over:]:
            (self._listener.output if kind == protocol.OUTPUT else self._listener.live)(data)


def folder_name(job_id: str) -> str:
    """The attempt's folder for a job: its id when that is plain, else something as unique."""
    return quote(job_id, safe="").replace(".", "%2E")
