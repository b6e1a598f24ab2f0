"""What every test gets: skips that say how to get what is missing, golden files, unit tests without a world."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn
from zlib import crc32

import pytest
from hypothesis import HealthCheck, settings

from tests.components import HOW_TO_GET, present

pytest_plugins = ["tests.fleet.fixtures"]  # real machines: ssh_keys, loopback, lab, ssh_machine, local_machine

# Settings of whoever started pytest are not the tests'.
for _name in [name for name in os.environ if name.startswith("CI_DISPATCH_")]:
    del os.environ[_name]

# Whoever started pytest may ignore signals (a script's `&`, nohup, cron), and every child would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("default")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite the golden files with what the code gives now"
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests begin first, or the last of them would run alone; the other files are mixed.

    xdist gives each worker an equal part of the list at the start, so each part begins with its share of the long ones.
    In the order of their names one worker would get the files that wait for machines, another those that only compute.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    long = [item for item in items if item.get_closest_marker("long")]
    rest = [item for item in items if not item.get_closest_marker("long")]
    if workers > 1:
        rest.sort(key=lambda item: crc32(item.nodeid.partition("::")[0].encode()))
    others = iter(rest)
    ordered: list[pytest.Item] = []
    for worker in range(workers):
        size = len(items) * (worker + 1) // workers - len(ordered)
        first = long[worker::workers]
        ordered += [*first, *islice(others, max(0, size - len(first)))]
    items[:] = [*ordered, *others]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A missing real component skips the test; in CI it fails it, for a skipped test proves nothing."""
    for marker in item.iter_markers("needs"):
        for component in marker.args:
            if not present(component):
                reason = f"needs {component}: {HOW_TO_GET[component]}"
                if os.environ.get("CI") == "true":
                    pytest.fail(reason, pytrace=False)
                pytest.skip(reason)


@pytest.fixture(autouse=True)
def _no_world_in_unit_tests(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below tests/unit, sockets, processes and sleeping raise: what needs them belongs to an edge and its own tests."""
    if "unit" not in Path(request.node.path).relative_to(Path(__file__).parent).parts:
        return

    def refuse(name: str) -> Callable[..., NoReturn]:
        def raiser(*_args: Any, **_kwargs: Any) -> NoReturn:
            raise AssertionError(f"a unit test called {name}")

        return raiser

    monkeypatch.setattr(socket.socket, "connect", refuse("socket.connect"))
    monkeypatch.setattr(subprocess.Popen, "__init__", refuse("subprocess.Popen"))
    monkeypatch.setattr(time, "sleep", refuse("time.sleep"))


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden(name, text)`: text equals tests/golden/expected/NAME, or replaces it under --update-golden."""

    def check(name: str, text: str) -> None:
        path = Path(__file__).parent / "golden" / "expected" / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"{path} does not exist yet: run pytest --update-golden and read what it wrote"
        assert text == path.read_text(encoding="utf-8")

    return check
