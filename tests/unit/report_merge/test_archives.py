"""Zip archives: what is in them is read under limits, and nothing they say of themselves is believed."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import pytest

from report_merge.files.archives import Unpacked, unpack
from report_merge.limits import ReadLimits

REPORT = b'<testsuite name="s"><testcase name="t"/></testsuite>'


def archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return path


def unpacked(path: Path, **limits: int) -> Unpacked:
    folder = path.parent / "unpacked"
    folder.mkdir(exist_ok=True)
    return unpack(path, folder, ReadLimits(**limits))


def reasons(got: Unpacked) -> list[str]:
    return [problem.reason for problem in got.problems]


def test_every_report_is_unpacked_under_a_number_and_other_files_are_not(tmp_path: Path) -> None:
    names = ("a.xml", "deep/er/b.XML", "../../c.xml", "/etc/d.xml", "con.xml", "notes.txt", "folder/")
    got = unpacked(archive(tmp_path / "a.zip", dict.fromkeys(names, REPORT)))
    assert [member.name for member in got.members] == [
        f"{tmp_path}/a.zip!{name}" for name in ("a.xml", "deep/er/b.XML", "../../c.xml", "/etc/d.xml", "con.xml")
    ]
    assert {member.path.parent for member in got.members} == {tmp_path / "unpacked"}
    assert all(member.path.read_bytes() == REPORT for member in got.members)
    assert got.problems == []


def test_archives_inside_are_named_and_not_opened(tmp_path: Path) -> None:
    inner = archive(tmp_path / "inner.zip", {"a.xml": REPORT}).read_bytes()
    got = unpacked(archive(tmp_path / "a.zip", {"x/inner.zip": inner}))
    assert got.archives == [f"{tmp_path}/a.zip!x/inner.zip"]
    assert got.members == []


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"archive_ratio": 2}, "it unpacks to more than the"),
        ({"archive_bytes": 1000}, "it unpacks to more than the 1000 bytes"),
        ({"file_bytes": 2000}, "it unpacks to more than the 2000 bytes"),
        ({"archive_members": 1}, "the archive holds more than 1 files"),
        ({"directory_bytes": 60}, "the archive's list of members is larger than 60 bytes"),
    ],
)
def test_what_is_beyond_a_limit_is_refused(tmp_path: Path, limits: dict[str, int], reason: str) -> None:
    bomb = b" " * 3_000_000
    got = unpacked(archive(tmp_path / "a.zip", {"a.xml": bomb, "b.xml": bomb}), **limits)
    assert reason in reasons(got)[0]
    assert got.members == []
    assert sum(file.stat().st_size for file in (tmp_path / "unpacked").iterdir()) < 3_000_000


def test_a_list_of_a_million_members_is_refused_before_it_is_taken_apart(tmp_path: Path) -> None:
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0) + b"a.xml"
    for count, reason in ((200_000, "more than 10000 files"), (1_000_000, "larger than")):
        directory = entry * count
        end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(directory), 0, 0)  # it says there is one
        path = tmp_path / f"{count}.zip"
        path.write_bytes(directory + end)
        assert reason in reasons(unpacked(path))[0]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
def test_a_damaged_archive_is_a_problem(tmp_path: Path, damage: str) -> None:
    path = archive(tmp_path / "a.zip", {"a.xml": REPORT * 50})
    whole = path.read_bytes()
    flipped = whole[:45] + bytes(8) + whole[53:]
    path.write_bytes({"cut": whole[:40], "flipped": flipped, "empty": b"", "text": b"no zip"}[damage])
    got = unpacked(path)
    assert got.members == []
    assert len(got.problems) == 1


def test_one_bad_member_does_not_sink_the_others(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"a.xml": REPORT, "b.xml": REPORT}, zipfile.ZIP_STORED)
    data = path.read_bytes()
    path.write_bytes(data.replace(REPORT, REPORT.replace(b"t", b"u"), 1))  # its checksum tells
    got = unpacked(path)
    assert [member.name.rpartition("!")[2] for member in got.members] == ["b.xml"]
    assert "CRC" in reasons(got)[0]


def test_an_encrypted_member_is_a_problem(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"a.xml": REPORT})
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[6] |= 1
    data[at + 8] |= 1
    path.write_bytes(data)
    assert "password" in reasons(unpacked(path))[0]


def test_a_file_that_is_gone_is_a_problem(tmp_path: Path) -> None:
    assert "cannot be read" in reasons(unpacked(tmp_path / "gone.zip"))[0]
