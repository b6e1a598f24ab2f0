"""The private keys to try for a host, best first, each loaded once a process: an RSA key costs 150 ms to load."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import paramiko

from ci_dispatch.machines.ssh.settings import Settings


class KeyRing:
    """Keys of the agent and of files, in OpenSSH's order: named files first, the agent's others after."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.notes: list[str] = []  # why a key was not tried, for the error message

    def candidates(self) -> Iterator[tuple[str, paramiko.PKey]]:
        """(what it is called, key). Files are read as they are asked for."""
        agent = {key.asbytes(): key for key in self._agent_keys()}
        for path in self._settings.identity_files:
            public = _public_part(path)
            if public in agent:
                yield f"{path} in the agent", agent.pop(public)
            elif key := self._file_key(path):
                yield str(path), key
        if not self._settings.identities_only:
            for key in agent.values():
                yield f"{key.comment or 'a key'} in the agent", key

    def _agent_keys(self) -> tuple[paramiko.AgentKey, ...]:
        where = self._settings.identity_agent
        if where == "none" or not (where or os.environ.get("SSH_AUTH_SOCK")):
            return ()
        if where and where != os.environ.get("SSH_AUTH_SOCK"):
            self.notes.append(f"IdentityAgent {where} is not the agent of SSH_AUTH_SOCK: not asked")
            return ()
        try:
            return paramiko.Agent().get_keys()
        except (paramiko.SSHException, OSError) as error:
            self.notes.append(f"the agent does not answer: {error}")
            return ()

    def _file_key(self, path: Path) -> paramiko.PKey | None:
        try:
            return _load(path, path.stat().st_mtime_ns)
        except FileNotFoundError:
            return None  # the default names are always listed
        except (paramiko.PasswordRequiredException, TypeError):  # TypeError: cryptography wants a passphrase
            self.notes.append(f"{path} is encrypted: ssh-add {path}")
        except (paramiko.SSHException, ValueError, OSError) as error:
            self.notes.append(f"{path} cannot be used: {type(error).__name__} {error}")
        return None


@cache
def _load(path: Path, _modified: int) -> paramiko.PKey:
    return paramiko.PKey.from_path(path)


def _public_part(path: Path) -> bytes:
    """Of a file that OpenSSH would take for the name of an agent's key; b"" when there is none."""
    try:
        words = Path(f"{path}.pub").read_text(encoding="utf-8").split()
        return paramiko.PKey.from_type_string(words[0], base64.b64decode(words[1])).asbytes()
    except (OSError, ValueError, IndexError, paramiko.SSHException):
        return b""
