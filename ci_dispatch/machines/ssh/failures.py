"""Every way a connection can fail, as a MachineError that names the stage, the cause and what to try."""

from __future__ import annotations

import errno
import socket

import paramiko

from ci_dispatch.core.errors import CiDispatchError, of_this_computer
from ci_dispatch.machines.ssh.settings import SshSettings
from ci_dispatch.machines.supervisor_client import ConnectionLost
from ci_dispatch.run.ports import MachineError

_BUSY = ("Exceeded MaxStartups", "Not allowed at this time")  # what sshd >= 7.x says instead of an identification


def explain(error: Exception, stage: str, settings: SshSettings, *, first_bytes: str = "") -> CiDispatchError:
    """A MachineError, or a ControllerError where this computer is in the way.

    `stage` is what was being done; `first_bytes` what the peer sent instead of an SSH identification.
    """
    if isinstance(error, CiDispatchError):
        return error
    if ours := of_this_computer(error):
        return ours
    for kind, failed, words, hint in _CAUSES:
        if isinstance(error, kind):
            return _failure(settings, failed, f"{words}: {_text(error)}", hint or settings.command_line("true"))
    if stage == "tcp" and isinstance(error, OSError):
        return _no_tcp(settings, error)
    if stage == "identification":
        return _not_ssh(settings, first_bytes, error)
    return ConnectionLost(
        f"{settings.alias}: the connection broke", stage=stage, why=_text(error), hint=settings.command_line("true")
    )


# (exception, stage that failed, what it means, what to try: "" for the same by hand); the first that fits
_CAUSES: tuple[tuple[type[Exception], str, str, str], ...] = (
    (socket.gaierror, "name look-up", "the name has no address", "check the host name"),
    (paramiko.BadHostKeyException, "host key", "not the key that is known", ""),
    (paramiko.PasswordRequiredException, "authentication", "the private key is encrypted", "ssh-add it to an agent"),
    (paramiko.AuthenticationException, "authentication", "the machine refused", ""),
    (paramiko.ssh_exception.IncompatiblePeer, "key exchange", "no algorithm in common", ""),
    (paramiko.ssh_exception.MessageOrderError, "key exchange", "strict key exchange violated", ""),
    (
        paramiko.ChannelException,
        "session",
        "the machine refuses another session",
        "raise MaxSessions in its sshd_config",
    ),
    (paramiko.ProxyCommandFailure, "proxy", "the ProxyCommand failed", ""),
    (paramiko.ConfigParseError, "configuration", "the SSH configuration cannot be read", ""),
    (paramiko.CouldNotCanonicalize, "name look-up", "the name has no canonical form", "check the host name"),
)


def _text(error: Exception) -> str:
    return str(getattr(error, "strerror", "") or error) or type(error).__name__


def _no_tcp(settings: SshSettings, error: OSError) -> MachineError:
    where = f"{settings.hostname}:{settings.port}"
    if isinstance(error, ConnectionRefusedError):
        return _failure(settings, "tcp", f"{where} refuses connections", "is sshd running there, on this port?")
    why = f"{where} does not answer" if isinstance(error, TimeoutError) else f"{where}: {_text(error)}"
    return _failure(settings, "tcp", why, "is it on, and in this network?")


def _not_ssh(settings: SshSettings, first_bytes: str, error: Exception) -> MachineError:
    if any(words in first_bytes for words in _BUSY):
        return _failure(settings, "identification", f"sshd is busy or holds us off: {first_bytes!r}", "wait a minute")
    if first_bytes:
        why = f"what listens at {settings.hostname}:{settings.port} is not SSH; it says {first_bytes!r}"
        return _failure(settings, "identification", why, "check the port")
    reset = isinstance(error, OSError) and error.errno in {errno.ECONNRESET, errno.EPIPE}
    why = "it was reset" if reset else "it was closed"
    return _failure(
        settings,
        "identification",
        f"the connection was taken, then {why} before SSH began",
        "sshd's MaxStartups, a firewall or hosts.deny; " + settings.command_line("true"),
    )


def no_answer(settings: SshSettings, stage: str, seconds: float) -> MachineError:
    return ConnectionLost(
        f"{settings.alias}: no answer within {seconds:g} s",
        stage=stage,
        why=f"stuck at: {stage}",
        hint=f"time {settings.command_line('true')}",
    )


def unknown_host(settings: SshSettings, kind: str, offered: str) -> MachineError:
    files = [str(file) for file in settings.known_hosts]
    file = files[0] if files else "~/.ssh/known_hosts"
    if settings.proxy_jump or settings.proxy_command or settings.host_key_alias:
        hint = settings.command_line("true")
    else:
        hint = f"ssh-keyscan -p {settings.port} {settings.hostname} >> {file}"
    return _failure(
        settings,
        "host key",
        f"its host key is not known; it offers {kind} {offered}",
        f"{hint}   (when the machine itself shows the same fingerprint: ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub)",
    )


def changed_host_key(settings: SshSettings, kind: str, offered: str, file: str) -> MachineError:
    return _failure(
        settings,
        "host key",
        f"its host key has CHANGED: it offers {kind} {offered}, {file} knows another. Somebody may be in between",
        f"ask why it changed; then: ssh-keygen -f {file} -R '{settings.known_as}'",
    )


def revoked_host_key(settings: SshSettings, kind: str, offered: str) -> MachineError:
    return _failure(
        settings, "host key", f"its host key {kind} {offered} is marked @revoked", "do not use this machine"
    )


def authorities_only(settings: SshSettings) -> MachineError:
    return _failure(
        settings,
        "host key",
        "only @cert-authority lines are known for it, and host certificates are not supported",
        f"ssh-keyscan -p {settings.port} {settings.hostname} >> ~/.ssh/known_hosts   (after comparing fingerprints)",
    )


def refused(settings: SshSettings, tried: list[str], notes: list[str]) -> MachineError:
    """Every key there is was tried, or there was none."""
    if tried:
        why = f"user {settings.user} was refused with {', '.join(tried)}"
        hint = f"ssh-copy-id -p {settings.port} {settings.user}@{settings.hostname}"
    else:
        why = "there is no private key to try"
        hint = f"ssh-keygen -t ed25519, then ssh-copy-id -p {settings.port} {settings.user}@{settings.hostname}"
    return _failure(settings, "authentication", "; ".join([why, *notes]), hint)


def _failure(settings: SshSettings, stage: str, why: str, hint: str) -> MachineError:
    return MachineError(f"{settings.alias}: {stage} failed", stage=stage, why=why, hint=hint)
