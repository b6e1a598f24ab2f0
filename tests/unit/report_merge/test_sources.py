"""Which files are read, in which order, as which attempt and shard; archives; the plan of what must come."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path

import pytest

from report_merge.files.discover import Found, NoAttemptNumber, find
from report_merge.limits import ReadLimits
from report_merge.merge.expected import BadPlan, parse
from report_merge.merge.pipeline import merge_files
from report_merge.model import Report

SUITE = '<testsuite name="s"><testcase classname="a.b" name="{}"/></testsuite>'


def put(folder: Path, name: str, test: str = "t") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SUITE.format(test), encoding="utf-8")
    return path


def found(*arguments: Path | str, folder: Path, **options: object) -> Found:
    unpacked = folder / "unpacked"
    unpacked.mkdir(exist_ok=True)
    return find([str(argument) for argument in arguments], unpack_into=unpacked, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "attempt"),
    [
        ("attempt-2/shard-1.xml", 2),
        ("reports/run_attempt-3/x.xml", 3),
        ("junit-shard-4-a2.xml", 1),
        ("TEST-com.acme.Try2.xml", 1),
        ("attempt-3/TEST-com.acme.Try2.xml", 3),
        ("junit_try_5.xml", 5),
        ("retry-1/x.xml", 2),
        ("x.rerun1.xml", 2),
        ("Attempt2.xml", 2),
        ("attempt-1/x-attempt-2.xml", 2),
        ("shard-7.xml", 1),
        ("sha-a1b2c3.xml", 1),
        ("data-2.xml", 1),
        ("attempt-0.xml", 1),
    ],
)
def test_the_attempt_is_in_the_path(path: str, attempt: int, tmp_path: Path) -> None:
    put(tmp_path, path)
    assert [source.attempt for source in found(tmp_path, folder=tmp_path).sources] == [attempt]


def test_a_pattern_of_your_own(tmp_path: Path) -> None:
    put(tmp_path, "round7.xml")
    got = found(tmp_path, folder=tmp_path, attempt_from=re.compile(r"round(\d+)"))
    assert [source.attempt for source in got.sources] == [7]


def test_folders_patterns_and_files_each_file_once_in_natural_order(tmp_path: Path) -> None:
    for name in ("r/shard-10.xml", "r/shard-2.xml", "r/deep/er/shard-1.xml", "r/notes.txt"):
        put(tmp_path, name)
    got = found(tmp_path / "r", tmp_path / "r/shard-2.xml", f"{tmp_path}/r/*.xml", folder=tmp_path)
    assert [source.path.name for source in got.sources] == ["shard-1.xml", "shard-2.xml", "shard-10.xml"]
    assert [source.shard for source in got.sources] == ["shard-1", "shard-2", "shard-10"]


def test_a_missing_path_is_named_and_a_pattern_without_matches_is_not(tmp_path: Path) -> None:
    got = found(tmp_path / "gone.xml", f"{tmp_path}/none-*.xml", folder=tmp_path)
    assert [(Path(problem.file).name, problem.reason) for problem in got.problems] == [
        ("gone.xml", "it cannot be read: No such file or directory")
    ]


def test_our_own_output_is_not_read_even_when_named(tmp_path: Path) -> None:
    merged = put(tmp_path, "merged.xml")
    put(tmp_path, "a.xml")
    assert [s.path.name for s in found(tmp_path, folder=tmp_path, outputs=[merged]).sources] == ["a.xml"]
    got = found(merged, folder=tmp_path, outputs=[merged])
    assert got.sources == []
    assert [note.file for note in got.notes] == [str(merged)]


def test_what_is_excluded_is_not_read(tmp_path: Path) -> None:
    for name in ("target/a.xml", "reports/a.xml", "reports/old/b.xml"):
        put(tmp_path, name)
    got = found(tmp_path, folder=tmp_path, exclude=["*/target/*", "*/b.xml"])
    assert [source.name for source in got.sources] == [f"{tmp_path}/reports/a.xml"]


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.xml")  # reading it would wait for ever
    got = found(tmp_path, folder=tmp_path)
    assert [problem.reason for problem in got.problems] == ["it is not a regular file"]


def test_a_folder_that_may_not_be_searched_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "shard-1/a.xml")
    locked = put(tmp_path, "shard-2/b.xml").parent
    search = os.scandir

    def scandir(folder: str) -> object:
        if Path(folder) == locked:
            raise PermissionError(13, "Permission denied", str(folder))
        return search(folder)

    monkeypatch.setattr(os, "scandir", scandir)  # whoever runs the tests may be root
    got = found(tmp_path, folder=tmp_path)
    assert [source.path.name for source in got.sources] == ["a.xml"]
    assert [(p.file, p.reason) for p in got.problems] == [(str(locked), "it cannot be searched: Permission denied")]
    got = found(locked, folder=tmp_path)
    assert [(p.file, p.reason) for p in got.problems] == [(str(locked), "it cannot be searched: Permission denied")]


def test_two_numbers_that_begin_alike_are_two_attempts(tmp_path: Path) -> None:
    for number in ("17294016655", "17294016656"):
        put(tmp_path, f"run-{number}.xml")
    got = found(tmp_path, folder=tmp_path, attempt_from=re.compile(r"run-(\d+)"))
    assert [source.attempt for source in got.sources] == [17294016655, 17294016656]
    put(tmp_path, f"run-{'9' * 19}.xml")
    with pytest.raises(NoAttemptNumber, match="it must be a number of at most 18 digits"):
        found(tmp_path, folder=tmp_path, attempt_from=re.compile(r"run-(\d+)"))


def test_a_file_above_the_limit_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "a.xml")
    got = found(tmp_path, folder=tmp_path, limits=ReadLimits(file_bytes=10))
    assert "larger than 10 bytes" in got.problems[0].reason


def archive(path: Path, members: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, text in members.items():
            packed.writestr(name, text)
    return path


def test_archives_are_read_and_no_name_in_them_becomes_a_path(tmp_path: Path) -> None:
    path = archive(
        tmp_path / "reports.zip",
        {
            "attempt-1/shard-1.xml": SUITE.format("t").replace("/>", "><failure/></testcase>", 1),
            "../../attempt-2/shard-1.xml": SUITE.format("t"),
            "/etc/evil.xml": SUITE.format("u"),
            "readme.txt": "x",
        },
    )
    report = merge_files([path])
    assert (report.totals.tests, report.totals.flaky, report.problems) == (2, 1, ())
    assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (ReadLimits(archive_ratio=2), "unpacks to more than"),
        (ReadLimits(archive_bytes=1000), "unpacks to more than"),
        (ReadLimits(archive_members=1), "more than 1 files"),
    ],
)
def test_archive_bombs_end_in_a_message(limits: ReadLimits, reason: str, tmp_path: Path) -> None:
    bomb = SUITE.format("x" * 3_000_000)
    path = archive(tmp_path / "bomb.zip", {"a.xml": bomb, "b.xml": bomb})
    got = found(path, folder=tmp_path, limits=limits)
    assert reason in got.problems[0].reason
    assert sum(file.stat().st_size for file in (tmp_path / "unpacked").iterdir()) < 3_000_000


def test_a_broken_archive_is_a_problem(tmp_path: Path) -> None:
    whole = archive(tmp_path / "a.zip", {"a.xml": SUITE.format("t") * 50}).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[:40])
    (tmp_path / "flipped.zip").write_bytes(whole[:45] + bytes(8) + whole[53:])
    got = found(tmp_path / "cut.zip", tmp_path / "flipped.zip", folder=tmp_path)
    assert len(got.problems) == 2
    assert got.sources == []


def expect(plan: str, *paths: Path) -> Report:
    return merge_files(paths, expected=parse(plan))


def missing(report: Report) -> list[tuple[str, str]]:
    return [(missing.what, missing.name) for missing in report.missing]


def test_missing_shards_attempts_and_tests_are_named(tmp_path: Path) -> None:
    here = [put(tmp_path, "attempt-1/shard-0.xml", "one"), put(tmp_path, "attempt-2/shard-0.xml", "two")]
    plan = """{"shards": ["shard-0", "shard-1", {"name": "shard-0", "attempts": 3}],
               "tests": ["a/b.py::one", "a/b.py::gone", {"name": "two", "classname": "a.b"},
                         {"name": "two", "project": "x"}]}"""
    assert missing(expect(plan, *here)) == [
        ("shard", "shard-1"),
        ("attempt", "shard-0, attempt 3"),
        ("test", "a/b.py::gone"),
        ("test", "x two"),
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<testsuite name='s'/>", "its report holds no test"),
        ("<testsuite name='s'><testcase name='a'/><testcase na", "unclosed token"),
        ("", "it is empty"),
        ("<html/>", "HTML"),
    ],
)
def test_a_shard_whose_report_is_empty_cut_or_foreign_is_missing(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "shard-0.xml"
    path.write_text(text, encoding="utf-8")
    report = expect('{"shards": ["shard-0"]}', path, put(tmp_path, "other.xml"))
    assert missing(report) == [("shard", "shard-0")]
    assert reason in report.missing[0].reason


def test_a_repair_without_loss_is_no_missing_shard(tmp_path: Path) -> None:
    path = tmp_path / "shard-0.xml"
    path.write_text("<testsuite name='s'><testcase name='a\x1b'/></testsuite>", encoding="utf-8")
    report = expect('{"shards": ["shard-0"]}', path)
    assert report.missing == ()
    assert report.problems[0].salvaged == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"shard": []}',
        '{"shards": [3]}',
        '{"tests": [{"title": "x"}]}',
        '{"shards": "x"}',
        "[" * 99_999,
    ],
)
def test_a_plan_that_cannot_be_understood_is_refused(text: str) -> None:
    with pytest.raises(BadPlan):
        parse(text)
