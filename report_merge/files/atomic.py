"""Writing results: a file is there whole or not at all, and a step summary keeps what others wrote to it before."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A stream whose content takes the place of `path` when the block ends well; until then nothing is touched.

    What is no regular file (/dev/stdout, a pipe) is written directly.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as stream:
            yield stream
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
        temporary.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    write_pieces(path, [text])


def write_pieces(path: Path, pieces: Iterable[str]) -> None:
    """A text that comes piece by piece, because it may be a million lines."""
    with replacing(path) as stream:
        for piece in pieces:
            stream.write(piece.encode("utf-8", "replace"))


def append_text(path: Path, text: str) -> None:
    """For GITHUB_STEP_SUMMARY: other writers of the same step keep theirs."""
    with path.open("ab") as stream:
        stream.write(text.encode("utf-8", "replace"))
