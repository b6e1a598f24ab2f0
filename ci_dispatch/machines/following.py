"""Follow one job to its end, over as many connections as that takes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import quote

from ci_dispatch.core.model import Ended
from ci_dispatch.machines.frames import Frame
from ci_dispatch.machines.supervisor_client import ConnectionLost, Conversation, result_of
from ci_dispatch.run.ports import Job, JobEnd, JobListener, MachineError

_BEAT_SECONDS = 1.0
_SILENCE_SECONDS = 6.0  # the machine beats once a second: longer silence is a dead connection or a frozen machine
_CONNECT_SECONDS = 5.0
_LOOK_SECONDS = 0.25  # how often wishes to cancel are looked at
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 2.0  # between connections


class Supervised(Protocol):
    """What following needs of a machine."""

    def talk(self, action: str, request: Mapping[str, Any], *, name: str, seconds: float) -> Conversation: ...
    def wish(self, job_id: str) -> bytes: ...
    def job_spec(self, job: Job) -> dict[str, Any]: ...


class Following:
    """Byte offsets and the lease of one job; `follow` may be called once."""

    def __init__(self, machine: Supervised, job: Job, listener: JobListener) -> None:
        self._machine, self._job, self._listener = machine, job, listener
        self._name = folder_name(job.id)
        self._offsets = {"o": job.output_offset, "l": job.live_offset}
        self._may_run = bool(job.output_offset or job.live_offset)  # a request to start it may have arrived
        self._started = False
        self._heard = time.monotonic()

    def follow(self) -> JobEnd:
        """The job's end; LOST when the machine was out of reach for as long as the lease, for then it has ended it too.

        A job that never began because the machine could not be asked is NOT_STARTED.
        """
        pause = _FIRST_PAUSE
        while True:
            heard = self._heard
            try:
                return self._attend()
            except ConnectionLost as error:
                trouble: MachineError = error
            except MachineError as error:
                trouble = error
                if not self._may_run:
                    return JobEnd(ended=Ended.NOT_STARTED, reason=str(error))
            if self._machine.wish(self._job.id) and not self._may_run:
                return JobEnd(ended=Ended.CANCELLED, reason="cancelled before it began")
            if time.monotonic() - self._heard > self._job.lease_seconds:
                ended = Ended.LOST if self._may_run else Ended.NOT_STARTED
                return JobEnd(ended=ended, reason=f"no connection within the lease; {trouble}")
            pause = _FIRST_PAUSE if self._heard != heard else min(_LONGEST_PAUSE, pause * 2)
            time.sleep(pause)

    def _attend(self) -> JobEnd:
        """One connection's worth. Raises MachineError when it breaks."""
        wish = self._machine.wish(self._job.id)
        if wish and not self._may_run:
            return JobEnd(ended=Ended.CANCELLED, reason="cancelled before it began")
        request = {
            "spec": None if self._started else self._machine.job_spec(self._job),
            "live": self._job.invocation.live,
            "output_offset": self._offsets["o"],
            "live_offset": self._offsets["l"],
            "lease": self._job.lease_seconds,
        }
        with self._machine.talk("run", request, name=self._name, seconds=self._connect_seconds()) as talk:
            self._may_run = True
            return self._listen(talk)

    def _connect_seconds(self) -> float:
        """No attempt goes on for long after the lease: by then the work is somebody else's."""
        left = self._job.lease_seconds - (time.monotonic() - self._heard)
        return min(_CONNECT_SECONDS, max(1.0, left))

    def _listen(self, talk: Conversation) -> JobEnd:
        told = b""
        beaten = 0.0
        connected = time.monotonic()
        silence = min(_SILENCE_SECONDS, max(2.0, self._job.lease_seconds / 2))
        while True:
            now = time.monotonic()
            wish = self._machine.wish(self._job.id)
            if wish not in (b"", told) or now - beaten >= min(_BEAT_SECONDS, self._job.lease_seconds / 3):
                talk.send(wish or b".", silence)
                told, beaten = wish, now
            frame = talk.receive(_LOOK_SECONDS)
            if frame is None:
                if time.monotonic() - max(self._heard, connected) > silence:
                    raise ConnectionLost(f"nothing was heard for {silence:g} s", stage="silence")
                continue
            self._heard = time.monotonic()
            if not self._started:
                self._started = True
                self._listener.started()
            if frame.kind == "r":
                return _job_end(result_of(frame))
            self._take(frame)

    def _take(self, frame: Frame) -> None:
        match frame.kind:
            case "o" | "l":
                data = frame.data[max(0, self._offsets[frame.kind] - frame.offset) :]
                if frame.offset > self._offsets[frame.kind]:
                    raise ConnectionLost("the stream has a gap", stage="command")
                if data:
                    self._offsets[frame.kind] += len(data)
                    (self._listener.output if frame.kind == "o" else self._listener.live)(data)
            case "b":
                self._listener.beat()


def folder_name(job_id: str) -> str:
    """The attempt's folder for a job: its id when that is plain, else something as unique."""
    return quote(job_id, safe="").replace(".", "%2E")


def _job_end(status: Mapping[str, Any]) -> JobEnd:
    """The supervisor's status as our value. Raises MachineError for one that is not in its words."""
    try:
        return JobEnd(
            ended=Ended(status["ended"]),
            exit_code=status.get("exit_code"),
            signal=status.get("signal"),
            seconds=float(status.get("seconds", 0.0)),
            reason=str(status.get("reason", "")),
            leaked=int(status.get("leaked", 0)),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise MachineError("the job's status cannot be read", stage="command", why=repr(error)) from error
