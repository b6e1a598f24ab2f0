"""Downloads artifacts without trusting them: the storage gets no token, digest and zip are checked, sizes have limits.

An artifact may come from code nobody reviewed. What is wrong with one costs its shard and nothing else.
https://docs.github.com/actions/reference/security/secure-use
"""

from __future__ import annotations

import hashlib
import io
import stat
import time
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import requests

from ci_dispatch.core.errors import GitHubRefused
from ci_dispatch.fleets.actions.rest.api import GitHubApi
from ci_dispatch.fleets.actions.rest.errors import RequestRefused, Unavailable
from ci_dispatch.fleets.actions.rest.models import ArtifactView

CONNECT_SECONDS, READ_SECONDS = 5.0, 15.0
TOTAL_SECONDS = 120.0
_PIECE = 1 << 16
_ZIP_MAGIC = b"PK\x03\x04"
_EMPTY_ZIP_MAGIC = b"PK\x05\x06"
_ENTRY_BYTES = 512  # of a file's entry in the table at a zip's end, with its name; twelve times that in memory
_MAX_DEPTH = 64  # folders


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactLimits:
    """How large an artifact may be; `download` and `unpacked` in bytes."""

    download: int = 200 << 20
    unpacked: int = 1 << 30
    files: int = 20_000


class BadArtifact(GitHubRefused):
    """The artifact was downloaded and cannot be used, or it has expired."""


def fetch(github: GitHubApi, artifact: ArtifactView, into: Path, limits: ArtifactLimits) -> None:
    """Download `artifact` and unpack it below `into`.

    Raises:
        BadArtifact: expired, damaged, too large or hostile. Nothing outside `into` is ever written.
        Unavailable, RateLimited: it may be there later.
    """
    what = f"The artifact {artifact.name} was not used"
    if artifact.expired:
        raise BadArtifact(what, why="it has expired", hint="keep artifacts longer: retention-days of upload-artifact")
    try:
        address = github.artifact_address(artifact)
    except RequestRefused as refused:
        raise BadArtifact(what, why=refused.why, hint=refused.hint) from refused
    data = download(what, address, limits)
    _check_digest(what, artifact, data)
    unpack(what, data, into, limits)


def download(what: str, address: str, limits: ArtifactLimits) -> bytes:
    """The bytes behind a signed address, which gets no header of ours."""
    deadline = time.monotonic() + TOTAL_SECONDS
    data = bytearray()
    try:
        with requests.get(address, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)) as answer:
            if answer.status_code != 200:
                raise Unavailable(what, why=f"its storage answered {answer.status_code}")
            for piece in answer.iter_content(_PIECE):
                data += piece
                if len(data) > limits.download:
                    raise BadArtifact(what, why=f"it is larger than {limits.download >> 20} MB")
                if time.monotonic() > deadline:
                    raise Unavailable(what, why=f"it did not arrive within {TOTAL_SECONDS:.0f} s")
    except requests.RequestException as error:
        raise Unavailable(what, why=f"its storage did not answer: {type(error).__name__}") from error
    return bytes(data)


def _check_digest(what: str, artifact: ArtifactView, data: bytes) -> None:
    algorithm, _, expected = artifact.digest.partition(":")
    if algorithm == "sha256" and hashlib.sha256(data).hexdigest() != expected:
        raise BadArtifact(what, why="its bytes do not have the digest that GitHub names: it was damaged on the way")


def unpack(what: str, data: bytes, into: Path, limits: ArtifactLimits) -> None:
    """Unpack a zip below `into`. Sizes are counted as they come out: what a zip says about itself is not believed."""
    if not data.startswith((_ZIP_MAGIC, _EMPTY_ZIP_MAGIC)):
        raise BadArtifact(
            what, why="it is no zip", hint="upload it with `archive: true`, the default of upload-artifact"
        )
    left = limits.unpacked
    try:
        with zipfile.ZipFile(_ZipBytes(data, largest=max(_PIECE, limits.files * _ENTRY_BYTES))) as archive:
            members = archive.infolist()
            if len(members) > limits.files:
                raise BadArtifact(what, why=f"it holds {len(members)} files, more than {limits.files}")
            for member in members:
                target = into / _safe(what, member)
                if member.is_dir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                left -= _write(what, archive, member, target, left)
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        NotImplementedError,
        RuntimeError,
        EOFError,
        ValueError,
        zlib.error,
    ) as error:
        raise BadArtifact(what, why=f"the zip is damaged: {error}") from error
    except OSError as error:
        raise BadArtifact(what, why=f"it cannot be unpacked: {error.strerror or error}") from error


class _ZipBytes(io.BytesIO):
    """The bytes of a zip; zipfile reads its table of files whole, and makes an object of each, before one can count."""

    def __init__(self, data: bytes, *, largest: int) -> None:
        super().__init__(data)
        self._largest = largest

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > self._largest:
            raise zipfile.BadZipFile(f"its table of files has {size >> 20} MB")
        return super().read(size)


def _safe(what: str, member: zipfile.ZipInfo) -> PurePosixPath:
    """The member's path, when it stays inside: no `..`, no absolute or drive path, no link, no device, not too deep."""
    path = PurePosixPath(member.filename.replace("\\", "/"))
    mode = stat.S_IFMT(member.external_attr >> 16)
    odd = mode not in (0, stat.S_IFREG, stat.S_IFDIR) or len(path.parts) > _MAX_DEPTH
    if odd or path.is_absolute() or ".." in path.parts or ":" in member.filename or "\0" in member.filename:
        raise BadArtifact(what, why=f"it holds a path that leads elsewhere: {member.filename!r}")
    return path


def _write(what: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, left: int) -> int:
    written = 0
    with archive.open(member) as source, target.open("wb") as file:
        while piece := source.read(_PIECE):
            written += len(piece)
            if written > left:
                raise BadArtifact(what, why="it unpacks to more than it may: a zip bomb")
            file.write(piece)
    return written
