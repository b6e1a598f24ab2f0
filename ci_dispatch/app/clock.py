"""The real clock: wall time that never runs backwards, whatever the system's clock is set to meanwhile."""

from __future__ import annotations

import time


class SystemClock:
    """Seconds since the epoch, moved forward by the monotonic clock from where it stood at the start."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        return time.monotonic() + self._offset
