"""Connecting to real servers: keys, host keys, hops, shells; each refusal names its stage and what to do."""

from __future__ import annotations

import inspect
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest
from paramiko.common import cMSG_USERAUTH_REQUEST

from ci_dispatch.core.model import MachineName, MachineSpec
from ci_dispatch.machines.ssh import failures, pipelining
from ci_dispatch.machines.ssh.machine import SshMachine
from ci_dispatch.machines.ssh.settings import SshSettings
from ci_dispatch.run.ports import MachineError
from tests.fleet.fixtures import Loopback
from tests.fleet.servers import Keys, SshConfig, make_key, public

pytestmark = pytest.mark.needs("sshd")


class Fleet:
    """Machines with a configuration file of the test's own."""

    def __init__(self, config: SshConfig, work: Path) -> None:
        self.config, self.work = config, work
        self._machines: list[SshMachine] = []

    def machine(self, name: str, **spec: object) -> SshMachine:
        described = MachineSpec(name=MachineName(name), workdir=str(self.work), **spec)  # type: ignore[arg-type]
        machine = SshMachine(described, config_file=str(self.config.path))
        self._machines.append(machine)
        return machine

    def close(self) -> None:
        for machine in self._machines:
            machine.close()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(SshConfig(tmp_path / "client"), tmp_path / "work")
    yield fleet
    fleet.close()


def refusal(machine: SshMachine) -> tuple[str, str]:
    """(the text of the health line, the hint) of a machine that must not be reachable."""
    report = machine.examine(10)
    assert not report.reachable
    return report.dimensions[0].text, "; ".join(report.hints)


@pytest.mark.parametrize("pipelined", [True, False])
def test_a_key_of_the_configuration_opens_the_door(
    loopback: Loopback, fleet: Fleet, monkeypatch: pytest.MonkeyPatch, pipelined: bool
) -> None:
    monkeypatch.setattr(pipelining, "usable", lambda: pipelined)
    server = loopback.server()
    fleet.config.add("m", server.port, key=loopback.keys.user, known=loopback.keys.host)
    machine = fleet.machine("m")
    first, again = machine.examine(10), machine.examine(10)
    assert first.healthy or first.reachable
    assert again.reachable
    assert server.log().count("Accepted publickey") >= 1


@pytest.mark.parametrize("pipelined", [True, False])
def test_an_answer_that_comes_before_anybody_waits_for_it_is_heard(
    loopback: Loopback, fleet: Fleet, monkeypatch: pytest.MonkeyPatch, pipelined: bool
) -> None:
    """On a loaded computer this thread may stand still behind any message that it has sent."""
    monkeypatch.setattr(pipelining, "usable", lambda: pipelined)
    transport: Any = paramiko.Transport
    plainly = transport._send_message

    def late(this: paramiko.Transport, data: paramiko.Message) -> None:
        plainly(this, data)
        if data.asbytes()[:1] == cMSG_USERAUTH_REQUEST:
            time.sleep(0.5)

    monkeypatch.setattr(transport, "_send_message", late)
    server = loopback.server()
    fleet.config.add("m", server.port, key=loopback.keys.user, known=loopback.keys.host)
    assert fleet.machine("m").examine(5).reachable


def test_a_second_check_goes_over_the_same_connection(loopback: Loopback, fleet: Fleet) -> None:
    server = loopback.server("counted")
    fleet.config.add("m", server.port, key=loopback.keys.user, known=loopback.keys.host)
    machine = fleet.machine("m")
    before = server.log().count("Accepted publickey")
    for _ in range(3):
        assert machine.examine(10).reachable
    assert server.log().count("Accepted publickey") - before == 1


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_every_kind_of_key_after_a_useless_one(loopback: Loopback, fleet: Fleet, tmp_path: Path, kind: str) -> None:
    own = make_key(tmp_path / "own", kind)
    server = loopback.server(f"kind-{kind}")
    with (server.folder / "authorized_keys").open("a") as file:
        file.write(public(own) + "\n")
    fleet.config.add(
        "m", server.port, key=loopback.keys.stranger, known=loopback.keys.host, lines=f"  IdentityFile {own}"
    )
    assert fleet.machine("m").examine(10).reachable


def test_the_key_of_the_machine_entry_goes_before_the_configuration(loopback: Loopback, fleet: Fleet) -> None:
    server = loopback.server()
    fleet.config.add("m", server.port, key=loopback.keys.stranger, known=loopback.keys.host)
    assert fleet.machine("m", key=str(loopback.keys.user)).examine(10).reachable


def test_a_refused_key_is_named_with_the_user(loopback: Loopback, fleet: Fleet) -> None:
    server = loopback.server()
    fleet.config.add("m", server.port, key=loopback.keys.stranger, known=loopback.keys.host)
    text, hint = refusal(fleet.machine("m"))
    assert text.startswith("authentication: user ")
    assert str(loopback.keys.stranger) in text
    assert hint.startswith("ssh-copy-id")


def test_no_key_and_an_encrypted_key_are_said(loopback: Loopback, fleet: Fleet, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(locked)], check=True)
    server = loopback.server()
    fleet.config.add("m", server.port, key=locked, known=loopback.keys.host)
    text, _ = refusal(fleet.machine("m"))
    assert "there is no private key to try" in text
    assert f"ssh-add {locked}" in text


def test_an_unknown_host_key_is_refused_with_its_fingerprint_and_the_command(loopback: Loopback, fleet: Fleet) -> None:
    server = loopback.server()
    fleet.config.add("m", server.port, key=loopback.keys.user, known=None)
    text, hint = refusal(fleet.machine("m"))
    shown = subprocess.run(
        ["ssh-keygen", "-lf", f"{loopback.keys.host}.pub"], capture_output=True, text=True, check=True
    )
    assert shown.stdout.split()[1] in text
    subprocess.run(["/bin/sh", "-c", hint.partition("   (")[0]], check=True, capture_output=True)
    assert fleet.machine("m").examine(10).reachable, "the hint did not help"


def test_a_changed_host_key_is_refused_and_the_remedy_forgets_the_old_one(loopback: Loopback, fleet: Fleet) -> None:
    server = loopback.server()
    fleet.config.add("m", server.port, key=loopback.keys.user, known=loopback.keys.other_host)
    text, hint = refusal(fleet.machine("m"))
    assert "CHANGED" in text
    command = hint.partition("then: ")[2]
    subprocess.run(["/bin/sh", "-c", command], check=True, capture_output=True)
    text, _ = refusal(fleet.machine("m"))
    assert "not known" in text


def test_revoked_keys_and_certificate_authorities_are_refused_in_words(loopback: Loopback, fleet: Fleet) -> None:
    server = loopback.server()
    name, key = f"[127.0.0.1]:{server.port}", public(loopback.keys.host)
    fleet.config.add("m", server.port, key=loopback.keys.user, known=None)
    fleet.config.known_hosts.write_text(f"@cert-authority {name} {key}\n")
    assert "@cert-authority" in refusal(fleet.machine("m"))[0]
    fleet.config.known_hosts.write_text(f"{name} {key}\n@revoked * {key}\n")
    assert "@revoked" in refusal(fleet.machine("m"))[0]


def test_hashed_names_aliases_and_other_types_of_the_same_host(
    loopback: Loopback, fleet: Fleet, tmp_path: Path
) -> None:
    rsa = make_key(tmp_path / "host_rsa", "rsa")
    server = loopback.server("two-types", f"HostKey {rsa}")
    fleet.config.add("m", server.port, key=loopback.keys.user, known=rsa)  # only the RSA key is known
    subprocess.run(["ssh-keygen", "-H", "-f", str(fleet.config.known_hosts)], check=True, capture_output=True)
    assert "127.0.0.1" not in fleet.config.known_hosts.read_text()
    assert fleet.machine("m").examine(10).reachable
    fleet.config.add("n", server.port, key=loopback.keys.user, known=None, lines="  HostKeyAlias lab-machine")
    with fleet.config.known_hosts.open("a") as file:
        file.write(f"lab-* {public(loopback.keys.host)}\n")
    assert fleet.machine("n").examine(10).reachable


def test_over_a_jump_host_and_over_a_proxy_command(loopback: Loopback, fleet: Fleet) -> None:
    target, hop = loopback.server(), loopback.server("hop")
    fleet.config.add("hop", hop.port, key=loopback.keys.user, known=loopback.keys.host)
    fleet.config.add("hop2", target.port, key=loopback.keys.user, known=loopback.keys.host)
    key, host = loopback.keys.user, loopback.keys.host
    fleet.config.add("jump", target.port, key=key, known=host, lines="  ProxyJump hop")
    fleet.config.add("far", target.port, key=key, known=host, lines="  ProxyJump hop,hop2")
    relay = f"{shutil.which('ssh')} -F {fleet.config.path} -W %h:%p hop"
    fleet.config.add("proxy", target.port, key=key, known=host, lines=f"  ProxyCommand {relay}")
    for name in ("jump", "far", "proxy"):
        report = fleet.machine(name).examine(10)
        assert report.reachable, report.text()


def test_a_jump_host_that_refuses_is_the_one_that_is_named(loopback: Loopback, fleet: Fleet) -> None:
    target = loopback.server()
    fleet.config.add("hop", 1, key=loopback.keys.user, known=loopback.keys.host)
    key, host = loopback.keys.user, loopback.keys.host
    fleet.config.add("m", target.port, key=key, known=host, lines="  ProxyJump hop")
    assert refusal(fleet.machine("m"))[0] == "tcp: 127.0.0.1:1 refuses connections"


@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "busybox sh", "zsh", "ksh", "mksh", "fish", "tcsh", "csh"])
def test_every_login_shell_passes_the_commands_on_unchanged(loopback: Loopback, fleet: Fleet, shell: str) -> None:
    path = shutil.which(shell.split(maxsplit=1)[0])
    if path is None:
        pytest.skip(f"needs {shell}: apt-get install {shell.split(maxsplit=1)[0]}")
    words = " ".join([path, *shell.split()[1:]])
    server = loopback.server(f"shell-{shell.split(maxsplit=1)[0]}", f'ForceCommand {words} -c "$SSH_ORIGINAL_COMMAND"')
    fleet.config.add("m", server.port, key=loopback.keys.user, known=loopback.keys.host)
    machine = fleet.machine("m")
    assert machine.examine(10).reachable
    assert machine.sweep(10) == 0


def test_what_a_login_shell_prints_first_is_passed_over(loopback: Loopback, fleet: Fleet) -> None:
    noise = 'printf "Welcome \\033[31m@begin\\n@ci-dispatch you\\n"; echo mail >&2; eval "$SSH_ORIGINAL_COMMAND"'
    server = loopback.server("noisy", f"ForceCommand {noise}")
    fleet.config.add("m", server.port, key=loopback.keys.user, known=loopback.keys.host)
    machine = fleet.machine("m")
    assert machine.examine(10).reachable
    assert machine.sweep(10) == 0


def test_a_shell_that_answers_nothing_is_quoted(loopback: Loopback, fleet: Fleet) -> None:
    server = loopback.server("nologin", "ForceCommand echo This account is not available.")
    fleet.config.add("m", server.port, key=loopback.keys.user, known=loopback.keys.host)
    assert "This account is not available." in refusal(fleet.machine("m"))[0]


def test_more_sessions_than_the_server_allows_take_another_connection(loopback: Loopback, fleet: Fleet) -> None:
    server = loopback.server("one-session", "MaxSessions 1")
    fleet.config.add("m", server.port, key=loopback.keys.user, known=loopback.keys.host)
    machine = fleet.machine("m")
    streams = [machine._open("sleep 1; echo done", 10) for _ in range(3)]
    assert [stream.receive(10) for stream in streams] == [b"done\n"] * 3
    for stream in streams:
        stream.close()


def test_bad_names_and_bad_configurations_are_errors_in_words(fleet: Fleet) -> None:
    assert refusal(fleet.machine("m", host="no-such-host.invalid"))[0].startswith("name look-up: ")
    assert refusal(fleet.machine("m", host="-oProxyCommand=touch x"))[0].startswith("configuration: ")
    fleet.config.path.write_text("Host m\n  NoSuchOption yes\n")
    assert "nosuchoption" in refusal(fleet.machine("m"))[0].lower()
    odd = SshMachine(MachineSpec(name=MachineName("m"), workdir="/it's"), config_file=str(fleet.config.path))
    assert refusal(odd)[0].startswith("configuration: ")


def test_every_exception_of_paramiko_has_words_of_its_own(ssh_keys: Keys) -> None:
    settings = SshSettings(alias="m", hostname="h", port=22, user="u")
    arguments = {
        "BadAuthenticationType": ("refused", ["password"]),
        "PartialAuthentication": (["password"],),
        "ChannelException": (2, "Connect failed"),
        "BadHostKeyException": ("h", *[paramiko.Ed25519Key.from_private_key_file(str(ssh_keys.host))] * 2),
        "ProxyCommandFailure": ("nc", 1),
        "NoValidConnectionsError": ({("::1", 22): OSError(111, "refused")},),
    }
    found = [kind for _, kind in inspect.getmembers(paramiko.ssh_exception, inspect.isclass)]
    exceptions = [kind for kind in found if issubclass(kind, Exception) and kind.__module__ == "paramiko.ssh_exception"]
    assert len(exceptions) > 10
    for kind in exceptions:
        error = kind(*arguments.get(kind.__name__, ("because",)))
        explained = failures.explain(error, "key exchange", settings)
        assert isinstance(explained, MachineError)
        broken = kind in {paramiko.SSHException, paramiko.ssh_exception.NoValidConnectionsError}
        assert ("the connection broke" in explained.what) == broken, kind
        assert explained.stage
        assert explained.why
        assert explained.hint
