"""Which host keys are trusted for a name, and which private keys are tried at it.

Known hosts have OpenSSH's format, as sshd(8) and ssh-keygen(1) describe it. It is read here because paramiko's reader
gives up a whole file for one line it does not like (`@cert-authority`, `@revoked`, a damaged key) and does not know
patterns. Bad lines are passed over, as OpenSSH does.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import paramiko

from ci_dispatch.machines.ssh.settings import SshSettings


@dataclass(frozen=True, slots=True)
class KnownKeys:
    """What the files say about one name."""

    trusted: frozenset[tuple[str, bytes]] = frozenset()  # (type, key)
    revoked: frozenset[bytes] = frozenset()
    authorities: bool = False  # there are @cert-authority lines for it, which paramiko cannot use
    file: str = ""  # where the first trusted key was found

    @property
    def types(self) -> frozenset[str]:
        return frozenset(kind for kind, _ in self.trusted)


def known_keys(name: str, files: Iterable[Path]) -> KnownKeys:
    """The keys for `name` in all these known_hosts files together; those that cannot be read are passed over."""
    texts = {}
    for file in files:
        try:
            texts[str(file)] = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
    return read_known_hosts(name, texts)


def read_known_hosts(name: str, texts: dict[str, str]) -> KnownKeys:
    """The keys for `name` in known_hosts texts by file name; no I/O."""
    trusted, revoked = set(), set()
    authorities, found_in = False, ""
    for file, text in texts.items():
        for line in text.splitlines():
            words = line.split()
            marker = words.pop(0) if words and words[0].startswith("@") else ""
            if len(words) < 3 or words[0].startswith("#") or not _matches(words[0], name):
                continue
            try:
                key = base64.b64decode(words[2], validate=True)
            except (binascii.Error, ValueError):
                continue
            if marker == "@revoked":
                revoked.add(key)
            elif marker == "@cert-authority":
                authorities = True
            elif not marker:
                trusted.add((words[1], key))
                found_in = found_in or file
    return KnownKeys(frozenset(trusted), frozenset(revoked), authorities, found_in)


def fingerprint(key: bytes) -> str:
    """As `ssh-keygen -l` prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def _matches(patterns: str, name: str) -> bool:
    name = name.lower()
    if patterns.startswith("|1|"):
        return _matches_hash(patterns, name)
    matched = False
    for pattern in patterns.lower().split(","):
        if pattern.startswith("!"):
            if _matches_pattern(pattern[1:], name):
                return False
        elif _matches_pattern(pattern, name):
            matched = True
    return matched


def _matches_pattern(pattern: str, name: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))  # brackets are letters here: [host]:port


def _matches_hash(hashed: str, name: str) -> bool:
    try:
        _, _, salt, digest = hashed.split("|")
        wanted = base64.b64decode(digest, validate=True)
        made = hmac.new(base64.b64decode(salt, validate=True), name.encode(), "sha1").digest()
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(made, wanted)


class KeyRing:
    """Keys of the agent and of files, in OpenSSH's order: named files first, the agent's others after."""

    def __init__(self, settings: SshSettings) -> None:
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


@cache  # an RSA key costs 150 ms to load
def _load(path: Path, _modified: int) -> paramiko.PKey:
    return paramiko.PKey.from_path(path)


def _public_part(path: Path) -> bytes:
    """Of a file that OpenSSH would take for the name of an agent's key; b"" when there is none."""
    try:
        words = Path(f"{path}.pub").read_text(encoding="utf-8").split()
        return paramiko.PKey.from_type_string(words[0], base64.b64decode(words[1])).asbytes()
    except (OSError, ValueError, IndexError, paramiko.SSHException):
        return b""
