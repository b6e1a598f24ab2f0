"""How a machine is reached, as OpenSSH reads the user's configuration.

OpenSSH itself is asked (`ssh -G`): paramiko's own reader ignores Include and takes every Match it does not know for
true, which applies the wrong user (issue 2).
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import of_this_computer
from ci_dispatch.core.model import MachineSpec
from ci_dispatch.run.ports import MachineError


@dataclass(frozen=True, slots=True, kw_only=True)
class SshSettings:
    """Everything OpenSSH would use to reach one host."""

    alias: str  # what the user calls it
    hostname: str
    port: int
    user: str
    identity_files: tuple[Path, ...] = ()
    identities_only: bool = False
    identity_agent: str = ""  # a socket, "" for the one of the environment, "none"
    known_hosts: tuple[Path, ...] = ()
    host_key_alias: str = ""
    proxy_jump: str = ""
    proxy_command: str = ""
    config_file: str = ""

    @property
    def known_as(self) -> str:
        """The name its host keys are listed under."""
        if self.host_key_alias:
            return self.host_key_alias
        return self.hostname if self.port == 22 else f"[{self.hostname}]:{self.port}"

    def over(self, proxy_jump: str) -> SshSettings:
        """The same, reached over these jump hosts."""
        return replace(self, proxy_jump=proxy_jump)

    def command_line(self, *words: str) -> str:
        """What a person would type to do the same by hand."""
        options = ["-F", self.config_file] if self.config_file else []
        return shlex.join(["ssh", *options, "-p", str(self.port), "-l", self.user, self.alias, *words])


def resolve(spec: MachineSpec, *, config_file: str = "", seconds: float = 5.0) -> SshSettings:
    """Ask OpenSSH about a machine; what the machine's own entry says goes first. Raises MachineError."""
    options = []
    if spec.port:
        options += ["-p", str(spec.port)]
    if spec.user:
        options += ["-l", spec.user]
    if spec.key:
        try:
            key = Path(spec.key).expanduser()
        except RuntimeError as error:
            raise _unusable(spec.host or spec.name, str(error)) from error
        options += ["-i", str(key), "-o", "IdentitiesOnly=yes"]
    return ask_openssh(spec.host or spec.name, options, config_file=config_file, seconds=seconds)


def ask_openssh(host: str, options: Sequence[str], *, config_file: str, seconds: float) -> SshSettings:
    """`ssh -G` for a host. It opens no connection. Raises MachineError."""
    if host.startswith("-") or not host.strip() or "\0" in host:
        raise MachineError(f"{host!r} is not a host name", stage="configuration")
    config = ["-F", config_file] if config_file else []
    try:
        asked = subprocess.run(
            ["ssh", *config, *options, "-G", host],
            capture_output=True,
            text=True,
            errors="surrogateescape",  # names of files are any bytes
            timeout=max(0.1, seconds),
            check=False,
        )
    except FileNotFoundError:
        raise MachineError(
            "there is no ssh program here", stage="configuration", hint="install OpenSSH's client (openssh-client)"
        ) from None
    except subprocess.TimeoutExpired:
        raise MachineError(
            f"reading the SSH configuration of {host} took more than {seconds:g} s",
            stage="configuration",
            hint="look for Match exec and CanonicalizeHostname in it",
        ) from None
    except OSError as error:
        if ours := of_this_computer(error):
            raise ours from error
        raise MachineError(
            f"the SSH configuration of {host} was not read: {error.strerror}",
            stage="configuration",
            why=f"ssh cannot be started: {error}",
        ) from error
    if asked.returncode:
        raise _unusable(host, asked.stderr.strip()[-500:])
    return parse(asked.stdout, alias=host, config_file=config_file)


def _unusable(host: str, why: str) -> MachineError:
    return MachineError(f"the SSH configuration of {host} cannot be used", stage="configuration", why=why)


def parse(text: str, *, alias: str, config_file: str = "") -> SshSettings:
    """The lines of `ssh -G` as SshSettings. Raises MachineError when they lack what every OpenSSH prints."""
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        values.setdefault(key.lower(), []).append(value)
    first: Mapping[str, str] = {key: found[0] for key, found in values.items()}
    try:
        hostname, port, user = first["hostname"], int(first["port"]), first["user"]
    except (KeyError, ValueError):
        raise MachineError(f"ssh -G {alias} printed no configuration", stage="configuration") from None
    try:
        files = shlex.split(first.get("userknownhostsfile", "")) + shlex.split(first.get("globalknownhostsfile", ""))
        known_hosts = tuple(Path(file).expanduser() for file in files)
        identity_files = tuple(Path(file).expanduser() for file in values.get("identityfile", []))
    except (ValueError, RuntimeError) as error:  # a quote without its end, a home directory that nobody has
        raise _unusable(alias, str(error)) from error
    return SshSettings(
        alias=alias,
        hostname=hostname,
        port=port,
        user=user,
        identity_files=identity_files,
        identities_only=first.get("identitiesonly") == "yes",
        identity_agent=_unless_none(first.get("identityagent", ""), keep_none=True),
        known_hosts=known_hosts,
        host_key_alias=_unless_none(first.get("hostkeyalias", "")),
        proxy_jump=_unless_none(first.get("proxyjump", "")),
        proxy_command=_unless_none(first.get("proxycommand", "")),
        config_file=config_file,
    )


def _unless_none(value: str, *, keep_none: bool = False) -> str:
    if value in {"SSH_AUTH_SOCK", "${SSH_AUTH_SOCK}"}:
        return ""
    return "" if value == "none" and not keep_none else value


def jump_hops(proxy_jump: str) -> list[tuple[str, list[str]]]:
    """`user@host:port,host` as (host, options for `ssh -G`), nearest first."""
    hops = []
    for hop in proxy_jump.split(","):
        rest = hop.removeprefix("ssh://").rstrip("/")
        user, _, address = rest.rpartition("@")
        options = ["-l", user] if user else []
        host, _, port = address.rpartition(":")
        if port.isdigit() and (host.startswith("[") or ":" not in host):
            options += ["-p", port]
        else:
            host = address
        hops.append((host.strip("[]"), options))
    return hops
