"""What goes wrong on purpose. PARCELS_MODE is a comma-separated list of:

failing     a test fails every time
flaky       a test fails the first time (PARCELS_STATE, a folder, remembers)
slow        a test sleeps PARCELS_SLOW seconds (5)
crashing    a test ends its process
unloadable  a test file raises while it is imported
vanished    a test that was there is gone
"""

from __future__ import annotations

import os
from pathlib import Path

SLOW_SECONDS = float(os.environ.get("PARCELS_SLOW", "5"))


def mode(name: str) -> bool:
    return name in os.environ.get("PARCELS_MODE", "").split(",")


def first_time(name: str) -> bool:
    mark = Path(os.environ["PARCELS_STATE"]) / name
    if mark.exists():
        return False
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    return True
