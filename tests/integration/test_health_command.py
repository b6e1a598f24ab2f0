"""`ci-dispatch health` over real machines, from the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fleet.fixtures import Loopback

ROOT = Path(__file__).parents[2]


def command(folder: Path, *arguments: str, ssh_config: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CI_DISPATCH_SSH_CONFIG": str(ssh_config or "")}
    return subprocess.run(
        [sys.executable, "-m", "ci_dispatch", "health", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    """A fleet of this machine, whatever its load, and one that does not exist."""
    (tmp_path / "ci-dispatch.toml").write_text(
        "[health]\nmax_load_per_core = 1000\nmin_disk_free = '0%'\nmax_memory_used = '100%'\n"
        f"[[machine]]\nname = 'local'\nconnection = 'local'\nworkdir = '{tmp_path}/work'\n"
        "[[machine]]\nname = 'gone'\nhost = '127.0.0.1'\nport = 1\n"
    )
    return tmp_path


def test_one_healthy_machine_is_enough_and_the_other_says_why_not(configured: Path) -> None:
    done = command(configured)
    assert done.returncode == 0, done.stderr
    first, second, remedy, last = done.stdout.splitlines()
    assert first.startswith("[local] OK     SSH ")
    assert " ms / Disk " in first
    assert " % used / Load " in first
    assert second == "[gone]  UNREACHABLE tcp: 127.0.0.1:1 refuses connections"
    assert remedy.strip() == "try: is sshd running there, on this port?"
    assert last == "1/2 machines healthy"


@pytest.mark.parametrize("arguments", [["--machine", "local"], ["local"], ["--machine=local", "local"]])
def test_machines_are_selected_as_for_a_run(configured: Path, arguments: list[str]) -> None:
    done = command(configured, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "1/1 machines healthy"
    both = command(configured, "--machine", "gone", "--machine", "local")
    assert both.stdout.splitlines()[-1] == "1/2 machines healthy"


def test_a_machine_that_is_not_there_is_named(configured: Path) -> None:
    done = command(configured, "--machine", "loca")
    assert done.returncode == 2
    assert "did you mean local?" in done.stderr


def test_a_lone_computer_under_load_is_used_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "ci-dispatch.toml").write_text(
        "[health]\nmax_load_per_core = 0.01\nmin_disk_free = '0%'\nmax_memory_used = '100%'\n"
    )
    if os.getloadavg()[0] / (os.cpu_count() or 1) < 0.05:
        pytest.skip("needs a computer that does something: run it with the other tests")
    done = command(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[local] WARN   SSH ")
    assert "/core, limit 0.01): tests are slow there, and timeouts may strike" in done.stdout


def test_exit_4_when_none_is_healthy(configured: Path) -> None:
    done = command(configured, "gone")
    assert done.returncode == 4
    assert done.stdout.splitlines()[-1] == "0/1 machines healthy"


def test_json_has_the_dimensions_that_were_asked_for(configured: Path) -> None:
    done = command(configured, "--json", "--only", "disk,cpu", "local")
    document = json.loads(done.stdout)
    assert document["healthy"] == 1
    assert set(document["machines"][0]["dimensions"]) == {"ssh", "disk", "cpu"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["loca"], "did you mean local?"), (["x"], "one of local, gone"), (["--only", "dsk"], "--only ssh,disk,memory")],
)
def test_a_mistake_is_told_and_never_a_traceback(configured: Path, arguments: list[str], words: str) -> None:
    done = command(configured, *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_watch_goes_on_until_it_is_interrupted(configured: Path) -> None:
    watching = [sys.executable, "-m", "ci_dispatch", "health", "--watch", "--json", "local"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CI_DISPATCH_HEALTH_INTERVAL": "1s"}
    with subprocess.Popen(watching, cwd=configured, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        rounds = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    assert [len(each["machines"]) for each in rounds] == [1, 1]


@pytest.mark.needs("sshd")
def test_a_real_server_and_an_unknown_host_key(loopback: Loopback, tmp_path: Path) -> None:
    server = loopback.server()
    loopback.config.add("stranger", server.port, key=loopback.keys.user, known=None, host="localhost")
    (tmp_path / "ci-dispatch.toml").write_text(
        f"[health]\nmax_load_per_core = 1000\nmin_disk_free = '0%'\nmax_memory_used = '100%'\nconnect_timeout = '20s'\n"
        f"[[machine]]\nname = 'plain'\nworkdir = '{tmp_path}/work'\n[[machine]]\nname = 'stranger'\n"
    )
    done = command(tmp_path, ssh_config=loopback.config.path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[plain]    OK     SSH " in done.stdout
    assert "[stranger] UNREACHABLE host key: its host key is not known; it offers ssh-ed25519 SHA256:" in done.stdout
    assert f"try: ssh-keyscan -p {server.port} localhost >> {loopback.config.known_hosts}" in done.stdout
