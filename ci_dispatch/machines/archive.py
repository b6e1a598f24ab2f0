"""What comes back from a machine is foreign: its archive may put nothing outside of the folder it is meant for."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from ci_dispatch.run.ports import MachineError

MAX_FILES = 20_000
MAX_BYTES = 512 * 1024 * 1024  # of all files together, unpacked


def unpack(archive: IO[bytes], into: Path) -> int:
    """The regular files of a tar.gz, below `into`; everything else in it is passed over. Returns how many there were.

    The rules of tarfile's "data" filter and stricter (no links at all), for Pythons that have none.
    https://docs.python.org/3/library/tarfile.html#extraction-filters
    Raises MachineError for an archive that is broken or too big, or a disk that is full.
    """
    count = total = 0
    try:
        with gzip.GzipFile(fileobj=archive) as plain, tarfile.open(fileobj=plain, mode="r|") as tar:
            for member in tar:
                if not member.isfile() or not _harmless(member.name):
                    continue
                count, total = count + 1, total + member.size
                if count > MAX_FILES or total > MAX_BYTES:
                    raise _broken(f"more than {MAX_FILES} files or {MAX_BYTES // 1024**2} MB")
                source = tar.extractfile(member)
                assert source is not None  # it is a regular file
                path = into / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as file:
                    shutil.copyfileobj(source, file)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _broken(str(error)) from error
    except OSError as error:
        raise MachineError(
            "the reports cannot be stored", stage="collect", why=f"{error.strerror}: {error.filename}", hint="make room"
        ) from error
    return count


def _harmless(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name and bool(path.parts)


def _broken(why: str) -> MachineError:
    return MachineError("the machine's archive of reports cannot be used", stage="collect", why=why)
