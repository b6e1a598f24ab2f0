"""A tar.gz from the other end of the connection, for both ends: read as it comes, and never beyond its limits.

tarfile is not used for reading: it keeps a member's extended header in memory whatever size that claims to have, passes
over what it does not understand without counting it, and takes a gzip stream that was cut for the end of the archive.
https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html#tag_20_92_13
"""

from __future__ import annotations

import tarfile
import zlib
from typing import IO, Iterator, NamedTuple

CHUNK = 64 * 1024
MAX_HEADER = 64 * 1024  # bytes of one member's extended header: its name and its link's target
_BLOCK = tarfile.BLOCKSIZE
_MAX_PADDING = 64 * 1024  # bytes after the last member
_PER_MEMBER = 16 * 1024  # bytes on the wire for the headers of one member


class ArchiveError(ValueError):
    """The archive is damaged, was cut, or is larger than it may be."""


class Limits(NamedTuple):
    """What an archive may hold: headers and members that nobody wants are counted too."""

    members: int
    content: int  # bytes of all members together

    @property
    def received(self) -> int:
        """Bytes on the wire, when nothing can be compressed."""
        return self.content + self.content // 1000 + self.members * _PER_MEMBER + 1024 * 1024


class ArchiveMember:
    """One entry; its content is read by `pieces` before the next is asked for, or passed over."""

    def __init__(self, plain: _Plain, info: tarfile.TarInfo, extended: dict[str, str]) -> None:
        self.name = extended.get("path", info.name)
        self.target = extended.get("linkpath", info.linkname)  # of a symbolic link
        self.mode = info.mode & 0o777
        self.is_file, self.is_link = info.isreg(), info.issym()
        self.size = _number(extended["size"]) if "size" in extended else info.size
        self._plain, self._left = plain, self.size

    def pieces(self) -> Iterator[bytes]:
        while self._left:
            piece = self._plain.read(min(CHUNK, self._left))
            self._left -= len(piece)
            yield piece

    def pass_over(self) -> None:
        for _ in self.pieces():
            pass
        self._plain.read(-self.size % _BLOCK)


def members(stream: IO[bytes], limits: Limits) -> Iterator[ArchiveMember]:
    """The members in order, up to the end of the archive and its checksum; nothing behind it is taken from `stream`.

    `stream` is read with `read1`. Raises ArchiveError, and whatever reading raises.
    """
    plain = _Plain(stream, limits.received)
    count = content = 0
    extended: dict[str, str] = {}
    while True:
        block = plain.read(_BLOCK)
        if not block.strip(b"\0"):
            plain.read_to_end()
            return
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise ArchiveError(f"a header is damaged: {error}") from error
        if info.type == tarfile.XHDTYPE and not extended:
            if not 0 < info.size <= MAX_HEADER:
                raise ArchiveError(f"a header has {info.size} bytes, more than {MAX_HEADER}")
            extended = _records(plain.read(info.size + -info.size % _BLOCK)[: info.size])
            continue
        member = ArchiveMember(plain, info, extended)
        extended = {}
        count, content = count + 1, content + member.size
        if count > limits.members:
            raise ArchiveError(f"it holds more than {limits.members} files")
        if member.size < 0 or content > limits.content:
            raise ArchiveError(f"it unpacks to more than {limits.content:,} bytes")
        yield member
        member.pass_over()


def _records(data: bytes) -> dict[str, str]:
    """The records `LENGTH KEYWORD=VALUE\\n` of an extended header."""
    found = {}
    while data:
        length = _number(data.split(b" ", 1)[0].decode("ascii", "replace"))
        record, data = data[:length], data[length:]
        keyword, equals, value = record.partition(b" ")[2].partition(b"=")
        if not equals or not value.endswith(b"\n") or len(record) != length:
            raise ArchiveError("an extended header is damaged")
        found[keyword.decode("utf-8", "replace")] = value[:-1].decode("utf-8", "surrogateescape")
    return found


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ArchiveError("an extended header is damaged")
    return int(text)


class _Plain:
    """What a gzip stream unpacks to, with at most one piece of it in memory."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self._stream, self._limit, self._received = stream, limit, 0
        self._zip = zlib.decompressobj(wbits=31)  # gzip, and its checksum is compared
        self._packed = b""

    def read(self, size: int) -> bytes:
        """Exactly so many bytes."""
        data = bytearray()
        while len(data) < size:
            piece = self._next(size - len(data))
            if not piece:
                raise ArchiveError("it was cut")
            data += piece
        return bytes(data)

    def read_to_end(self) -> None:
        """Only at the end of the stream is it known to be whole."""
        padding = 0
        while piece := self._next(CHUNK):
            padding += len(piece)
            if padding > _MAX_PADDING:
                raise ArchiveError("something follows the end of the archive")

    def _next(self, size: int) -> bytes:
        """Up to `size` bytes, none at the end of the stream."""
        while not self._zip.eof:
            if not self._packed:
                self._packed = self._stream.read1(CHUNK)  # type: ignore[attr-defined]  # of buffered streams
                self._received += len(self._packed)
                if not self._packed:
                    raise ArchiveError("it was cut")
                if self._received > self._limit:
                    raise ArchiveError(f"more than {self._limit} bytes came")
            try:
                piece = self._zip.decompress(self._packed, size)
            except zlib.error as error:
                raise ArchiveError(f"it is damaged: {error}") from error
            self._packed = self._zip.unconsumed_tail
            if piece:
                return piece
        return b""
