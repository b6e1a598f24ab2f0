"""The reports inside a zip archive, such as a CI artifact, under limits on count, size and ratio."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from report_merge.limits import MIB, ReadLimits
from report_merge.model import FileProblem

_DIRECTORY_ENTRY = b"PK\x01\x02"


@dataclass(frozen=True, slots=True)
class Member:
    path: Path  # where its bytes are now
    name: str  # archive!member


@dataclass(slots=True)
class Unpacked:
    members: list[Member] = field(default_factory=list)
    problems: list[FileProblem] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)  # inside it, which are not opened


class _TooLarge(Exception):
    """The list of members goes beyond the limits."""


class _ArchiveFile(io.FileIO):
    """A file that gives zipfile no more of the list of members than the limits allow: it reads that list as a whole."""

    def __init__(self, path: Path, limits: ReadLimits) -> None:
        super().__init__(path, "rb")
        self._limits = limits
        self.opened = False

    def read(self, size: int | None = -1, /) -> bytes:
        if self.opened:
            return super().read(-1 if size is None else size) or b""
        if size is not None and size > self._limits.directory_bytes:
            raise _TooLarge(f"the archive's list of members is larger than {self._limits.directory_bytes} bytes")
        data = super().read(-1 if size is None else size) or b""
        if data.count(_DIRECTORY_ENTRY) > self._limits.archive_members:
            raise _TooLarge(f"the archive holds more than {self._limits.archive_members} files")
        return data


def unpack(archive: Path, folder: Path, limits: ReadLimits) -> Unpacked:
    """Every *.xml and *.trx of the archive, in a numbered file of its own: no name in an archive ever becomes a path.

    Archives inside the archive are not opened. What cannot be unpacked is a problem and does not sink the rest.
    """
    unpacked = Unpacked()
    try:
        with _ArchiveFile(archive, limits) as file, zipfile.ZipFile(file) as opened:
            file.opened = True
            left = limits.archive_bytes
            for number, info in enumerate(opened.infolist()):
                name = f"{archive}!{info.filename}"
                if info.filename.lower().endswith(".zip"):
                    unpacked.archives.append(name)
                if info.is_dir() or not info.filename.lower().endswith((".xml", ".trx")):
                    continue
                target = folder / f"unpacked-{abs(hash(archive))}-{number}.xml"
                allowed = min(limits.file_bytes, left, max(MIB, info.compress_size * limits.archive_ratio))
                size, reason = _unpack_one(opened, info, target, allowed)
                left -= size
                if reason:
                    unpacked.problems.append(FileProblem(file=name, reason=reason))
                else:
                    unpacked.members.append(Member(target, name))
    except _TooLarge as error:
        unpacked.problems.append(FileProblem(file=str(archive), reason=str(error)))
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        unpacked.problems.append(FileProblem(file=str(archive), reason=f"the archive cannot be read: {error}"))
    return unpacked


def _unpack_one(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, allowed: int) -> tuple[int, str]:
    """The bytes written, and why they are not all of it. The sizes an archive states are not believed."""
    size = 0
    with target.open("wb") as unpacked:
        try:
            for chunk in _chunks(archive, info):
                size += len(chunk)
                if size > allowed:
                    return size, f"it unpacks to more than the {allowed} bytes allowed for it"
                unpacked.write(chunk)
        except Exception as error:  # noqa: BLE001  zipfile lets through what each decompressor raises
            return size, f"it cannot be unpacked: {error}"
    return size, ""


def _chunks(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    with archive.open(info) as packed:
        while chunk := packed.read(MIB):
            yield chunk
