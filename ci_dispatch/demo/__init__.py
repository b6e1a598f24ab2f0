"""The sample suite of `ci-dispatch demo`: about 60 tests that take known times; it needs nothing but Python."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "suite"  # a repository of its own, with its ci-dispatch.toml
SPEED = "DEMO_SPEED"  # environment of a machine: how fast it pretends to be; 1.0 is normal
STATE = "DEMO_STATE"  # environment of the suite: a folder that remembers what has gone wrong once already
