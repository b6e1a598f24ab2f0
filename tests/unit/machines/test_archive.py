"""An archive from the other end: whatever it says about itself, it takes no more than it may."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_dispatch.machines import report_archive
from ci_dispatch.machines.supervisor.archive import ArchiveError, Limits, members
from ci_dispatch.run.ports import MachineError

PLENTY = Limits(members=1000, content=1 << 20)


def header(name: str = "a", size: int = 0, kind: bytes = tarfile.REGTYPE) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.USTAR_FORMAT)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % tarfile.BLOCKSIZE)


def packed(*blocks: bytes, end: bytes = bytes(1024)) -> io.BytesIO:
    return io.BytesIO(gzip.compress(b"".join(blocks) + end))


def tar_of(files: dict[str, bytes]) -> io.BytesIO:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return io.BytesIO(whole.getvalue())


def read(stream: io.BytesIO, limits: Limits = PLENTY) -> dict[str, bytes]:
    return {member.name: b"".join(member.pieces()) for member in members(stream, limits)}


def peak_memory(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


NAMES = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=300)


@given(st.dictionaries(NAMES, st.binary(max_size=2000), max_size=8))
def test_what_tarfile_writes_is_read_as_it_was(files: dict[str, bytes]) -> None:
    assert read(tar_of(files)) == files


@pytest.mark.parametrize("names", [["x" * 250], ["ä" * 80, "\udcff raw"], ["a/" * 100 + "b"]])
def test_names_of_every_length_and_encoding(names: list[str]) -> None:
    assert list(read(tar_of(dict.fromkeys(names, b"1")))) == names


def test_a_member_that_nobody_reads_is_passed_over() -> None:
    files = {"a": b"1" * 700, "b": b"2" * 512, "c": b"3"}
    assert [member.name for member in members(tar_of(files), PLENTY)] == list(files)


def test_nothing_behind_the_archive_is_taken() -> None:
    """On the same connection another archive may follow, once it was asked for."""
    first, second = tar_of({"a": b"1"}), tar_of({"b": b"2"})
    stream = io.BytesIO(first.getvalue())
    assert read(stream) == {"a": b"1"}
    stream.write(second.getvalue())
    stream.seek(len(first.getvalue()))
    assert read(stream) == {"b": b"2"}


def test_a_large_header_costs_no_memory() -> None:
    """400 kB made 822 MB: tarfile reads an extended header whole, whatever it weighs."""
    size = 200 << 20
    small = io.BytesIO(gzip.compress(header("x", size, tarfile.XHDTYPE) + bytes(size)))
    assert len(small.getvalue()) < 400_000
    refused: list[MachineError] = []

    def unpack() -> None:
        with pytest.raises(MachineError, match="a header has") as error:
            report_archive.unpack(small, Path("nowhere"))
        refused.append(error.value)

    assert peak_memory(unpack) < 8 << 20
    assert refused


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE, b"S", b"7"])
def test_headers_that_we_never_write_are_members_like_others(kind: bytes) -> None:
    """They cost no memory, count, and are passed over."""
    size = 50 << 20
    blocks = header("x", size, kind), bytes(size)
    with pytest.raises(ArchiveError, match="unpacks to more than"):
        read(packed(*blocks))
    small = packed(*blocks)
    assert peak_memory(lambda: list(members(small, Limits(1, size)))) < 8 << 20


def test_members_that_nobody_wants_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_archive, "MAX_FILES", 10)
    folders = [header(f"folder{n}", kind=tarfile.DIRTYPE) for n in range(11)]
    with pytest.raises(MachineError, match="more than 10 files"):
        report_archive.unpack(packed(*folders), tmp_path)


def test_contents_that_nobody_wants_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_archive, "MAX_BYTES", 1000)
    with pytest.raises(MachineError, match="more than 1,000 bytes"):
        report_archive.unpack(packed(header("../escape", 2000), padded(bytes(2000))), tmp_path)


def test_a_size_in_an_extended_header_is_believed_no_more(tmp_path: Path) -> None:
    records = b"26 size=99999999999999999\n"
    blocks = header("x", len(records), tarfile.XHDTYPE), padded(records), header("a", 5)
    with pytest.raises(ArchiveError, match="unpacks to more than"):
        read(packed(*blocks))


@pytest.mark.parametrize(
    "records",
    [
        b"99 path=a\n",
        b"8 path=a\n",
        b"path=a\n",
        b"-1 path=a\n",
        b"10 path a\n",
        b"0 path=a\n",
        b"11 size=-5\n",
        b"\xff",
    ],
)
def test_a_damaged_extended_header_is_an_error(records: bytes) -> None:
    blocks = header("x", len(records), tarfile.XHDTYPE), padded(records), header("a")
    with pytest.raises(ArchiveError, match="damaged"):
        read(packed(*blocks))


def test_extended_headers_without_a_member_between_them_do_not_go_on_for_ever() -> None:
    record = b"10 path=a\n"
    block = header("x", len(record), tarfile.XHDTYPE) + padded(record)
    with pytest.raises(ArchiveError, match="more than 1000 files"):
        read(packed(block * 5000))


def test_something_behind_the_end_is_an_error() -> None:
    with pytest.raises(ArchiveError, match="follows the end"):
        read(packed(header("a"), end=bytes(1 << 20)))


def test_no_more_is_received_than_could_be_used() -> None:
    """Empty blocks of a gzip stream: bytes without end that unpack to nothing."""
    limits = Limits(members=1, content=100)
    stream = io.BytesIO(gzip.compress(b"")[:10] + b"\0\0\0\xff\xff" * 1_000_000)
    with pytest.raises(ArchiveError, match=f"more than {limits.received} bytes came"):
        read(stream, limits)


@given(st.binary(max_size=300), st.integers(0, 400))
def test_whatever_comes_is_an_archive_or_an_error(noise: bytes, cut: int) -> None:
    whole = tar_of({"a": b"1" * 100, "b" * 120: b"2"}).getvalue()
    for data in (noise, whole[:cut], whole[:cut] + noise, gzip.compress(noise), gzip.compress(header() + noise)):
        try:
            read(io.BytesIO(data))
        except ArchiveError:
            pass
        else:
            assert data.startswith(whole)


def test_a_name_of_a_thousand_folders_makes_none(tmp_path: Path) -> None:
    assert report_archive.unpack(tar_of({"a/" * 1000 + "b": b"1", "fine/b": b"1"}), tmp_path) == 1
    assert os.listdir(tmp_path) == ["fine"]  # noqa: PTH208
