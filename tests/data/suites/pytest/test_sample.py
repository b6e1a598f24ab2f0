"""SAMPLE_MODE changes what happens here; the samples of the other runners know the same words."""

from __future__ import annotations

import os
import signal
import time

import pytest

MODE = os.environ.get("SAMPLE_MODE", "")
if MODE == "unloadable":
    raise RuntimeError("this file cannot be loaded")


def test_passes() -> None: ...


def test_fails() -> None:
    assert 1 == 2, "one is"


def test_is_skipped() -> None:
    pytest.skip("not today")


def test_may_wait() -> None:
    time.sleep(60 if MODE == "waiting" else 0)


def test_may_kill() -> None:
    if MODE == "killing":
        os.kill(os.getpid(), signal.SIGKILL)


def test_may_crash() -> None:
    if MODE == "crashing":
        os._exit(7)


if MODE != "gone":

    def test_may_go() -> None: ...


def test_comes_last() -> None: ...
