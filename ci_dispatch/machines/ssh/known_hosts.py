"""Which host keys are trusted for a name: OpenSSH's known_hosts format, as sshd(8) and ssh-keygen(1) describe it.

Read here because paramiko's reader gives up a whole file for one line it does not like (`@cert-authority`, `@revoked`,
a damaged key) and does not know patterns. Bad lines are passed over, as OpenSSH does.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


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
    """All files together; those that cannot be read say nothing."""
    texts = {}
    for file in files:
        try:
            texts[str(file)] = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
    return read(name, texts)


def read(name: str, texts: dict[str, str]) -> KnownKeys:
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
