"""The reports inside a zip archive, such as a CI artifact, under limits on count, size and ratio."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from report_merge.limits import MIB, ReadLimits
from report_merge.model import FileProblem


@dataclass(frozen=True, slots=True)
class Member:
    path: Path  # where its bytes are now
    name: str  # archive!member


def unpack(archive: Path, folder: Path, limits: ReadLimits) -> tuple[list[Member], list[FileProblem]]:
    """Every *.xml in the archive, each in a numbered file of its own: no name in an archive ever becomes a path.

    Archives inside the archive are not opened. What cannot be unpacked is a problem and does not sink the rest.
    """
    members: list[Member] = []
    problems: list[FileProblem] = []
    try:
        with zipfile.ZipFile(archive) as opened:
            infos = [info for info in opened.infolist() if not info.is_dir()]
            if len(infos) > limits.archive_members:
                reason = f"the archive holds more than {limits.archive_members} files"
                return [], [FileProblem(file=str(archive), reason=reason)]
            left = limits.archive_bytes
            for number, info in enumerate(infos):
                if not info.filename.lower().endswith(".xml"):
                    continue
                name = f"{archive}!{info.filename}"
                target = folder / f"unpacked-{abs(hash(archive))}-{number}.xml"
                allowed = min(limits.file_bytes, left, max(MIB, info.compress_size * limits.archive_ratio))
                size, reason = _unpack_one(opened, info, target, allowed)
                left -= size
                if reason:
                    problems.append(FileProblem(file=name, reason=reason))
                else:
                    members.append(Member(target, name))
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        problems.append(FileProblem(file=str(archive), reason=f"the archive cannot be read: {error}"))
    return members, problems


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
