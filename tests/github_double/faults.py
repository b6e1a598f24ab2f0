"""What goes wrong with which request: scripted, never random."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that happens to the next matching requests.

    `status` 0 hangs up without an answer; None answers as ever (for `before`). `processed` says whether the request
    still took effect, as behind a gateway that gave up waiting.
    """

    method: str = "GET"
    path: str  # a regular expression, searched in the path
    status: int | None = 502
    body: str = '{"message": "Server Error"}'
    headers: Mapping[str, str] = field(default_factory=dict)
    times: int = 1
    skip: int = 0  # so many matching requests pass first
    processed: bool = False
    before: Callable[[], None] | None = None  # something that happens at that very moment

    def matches(self, method: str, path: str) -> bool:
        return method == self.method and re.search(self.path, path) is not None


def message(text: str) -> str:
    """An error body as GitHub sends it."""
    return json.dumps({"message": text, "documentation_url": "https://docs.github.com/rest", "status": ""})


def secondary_limit(path: str, *, retry_after: int | None = None, status: int = 403, times: int = 1) -> Fault:
    text = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Fault(path=path, status=status, body=message(text), headers=headers, times=times)


def failed_cancel(*, force: bool = False, status: int = 500, times: int = 1, processed: bool = False) -> Fault:
    """A cancel request that GitHub could not carry out: https://github.com/actions/runner/issues/3329."""
    body = message("Failed to cancel workflow run")
    path = "/force-cancel$" if force else "/cancel$"
    return Fault(method="POST", path=path, status=status, body=body, times=times, processed=processed)


class Faults:
    """The script: faults are tried in the order they were added, each used up by its own matches."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: list[list[int]] = []  # skip, times
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)
            self._left.append([fault.skip, fault.times])

    def take(self, method: str, path: str) -> Fault | None:
        with self._lock:
            for fault, left in zip(self._faults, self._left, strict=True):
                if not fault.matches(method, path) or left[1] <= 0:
                    continue
                if left[0] > 0:
                    left[0] -= 1
                    continue
                left[1] -= 1
                return fault
        return None
