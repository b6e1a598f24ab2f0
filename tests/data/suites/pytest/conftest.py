from __future__ import annotations

import os

import pytest


def pytest_sessionfinish(session: pytest.Session) -> None:
    if os.environ.get("SAMPLE_MODE") == "complaining":
        session.exitstatus = 1
