"""The sample suite of `ci-dispatch demo`: about 60 tests that take known times; it needs nothing but Python."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "suite"  # a repository of its own, with its ci-dispatch.toml
SPEED = "DEMO_SPEED"  # environment of a machine: its simulated speed; 1.0 is normal
STATE = "DEMO_STATE"  # environment of the suite: a folder with a file for each failure that happens only once
