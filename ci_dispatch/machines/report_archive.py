"""An attempt's files, as they come back from a machine."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from ci_dispatch.core.errors import ControllerError, of_this_computer
from ci_dispatch.core.masking import SecretMask
from ci_dispatch.machines.supervisor.archive import ArchiveError, Limits, members
from ci_dispatch.run.ports import MachineError

MAX_FILES = 20_000  # of one attempt
MAX_BYTES = 512 * 1024 * 1024  # of all its files together, unpacked
_MAX_DEPTH = 64  # folders


def unpack(archive: IO[bytes], into: Path, mask: SecretMask | None = None) -> int:
    """The regular files of a machine's tar.gz, below `into`; the rest of it is passed over. Returns their number.

    Texts are masked before they are written. What has a NUL in its first piece is none.
    What comes from a machine is foreign: nothing of it may land outside of that folder.
    The rules of tarfile's "data" filter and stricter (no links at all), for Pythons that have none.
    https://docs.python.org/3/library/tarfile.html#extraction-filters
    Raises MachineError for an archive that is broken or too big, or names what no file can be called; ControllerError
    where nothing can be stored here.
    """
    count = 0
    try:
        for member in members(archive, Limits(members=MAX_FILES, content=MAX_BYTES)):
            if member.is_file and _harmless(member.name):
                count += 1
                path = into / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as file:
                    file.writelines(_masked(member.pieces(), mask) if mask else member.pieces())
    except ArchiveError as error:
        raise MachineError(
            "the machine's archive of reports cannot be used", stage="collect", why=str(error)
        ) from error
    except OSError as error:
        why = f"{error.strerror}: {error.filename}"
        if error.errno in (errno.EACCES, errno.EPERM) or of_this_computer(error):
            raise ControllerError("The reports cannot be stored", why=why, hint="make room, or check owners") from error
        raise MachineError("the machine's archive of reports cannot be used", stage="collect", why=why) from error
    return count


def _masked(pieces: Iterable[bytes], mask: SecretMask) -> Iterator[bytes]:
    stream = mask.stream()
    for number, piece in enumerate(pieces):
        if number == 0 and b"\0" in piece:
            yield piece
            yield from pieces
            return
        yield stream.feed(piece)
    yield stream.end()


def _harmless(name: str) -> bool:
    path = PurePosixPath(name)
    inside = not path.is_absolute() and ".." not in path.parts and "\0" not in name
    return inside and 0 < len(path.parts) <= _MAX_DEPTH
