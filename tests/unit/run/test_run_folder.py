"""A run's folder: found by what a person types, held by one controller, never half written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ci_dispatch.core.errors import ExitCode, UsageError
from ci_dispatch.core.model import RunId
from ci_dispatch.run import run_folder
from ci_dispatch.run.run_folder import RunFolder, RunFolderError


def runs(base: Path, *names: str) -> list[RunFolder]:
    """Runs that began."""
    folders = [run_folder.create(base, RunId(name)) for name in names]
    for folder in folders:
        folder.journal.write_bytes(b"{}\n")
    return folders


def test_a_new_run_has_its_places_and_git_does_not_see_it(tmp_path: Path) -> None:
    [folder] = runs(tmp_path, "2026-a")
    assert folder.attempts.is_dir()
    assert folder.id == "2026-a"
    assert (tmp_path / ".gitignore").read_text() == "*\n"


def test_somebodys_own_gitignore_stays(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("runs\n")
    runs(tmp_path, "2026-a")
    assert (tmp_path / ".gitignore").read_text() == "runs\n"


def test_a_run_is_found_by_nothing_its_beginning_its_name_or_its_path(tmp_path: Path) -> None:
    old, new = runs(tmp_path, "2026-a", "2026-b")
    assert run_folder.find(tmp_path) == new
    assert run_folder.find(tmp_path, "2026-a") == old
    assert run_folder.find(tmp_path / "elsewhere", str(old.path)) == old
    assert run_folder.all_runs(tmp_path) == [old, new]


@pytest.mark.parametrize("written", [".", "./", "../2026-a", "../2026-a/", "../../runs/2026-a/."])
def test_a_path_in_any_form_gives_the_run_its_own_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    """An empty id would give every job another name: it would run again instead of being attached to."""
    [run] = runs(tmp_path, "2026-a")
    monkeypatch.chdir(run.path)
    found = run_folder.find(tmp_path / "elsewhere", written)
    assert found.id == "2026-a"
    assert found == run


def test_a_link_to_a_run_gives_the_id_of_the_run(tmp_path: Path) -> None:
    [run] = runs(tmp_path, "2026-a")
    (tmp_path / "latest").symlink_to(run.path)
    assert run_folder.find(tmp_path, str(tmp_path / "latest")) == run


def test_a_run_that_cannot_be_told_is_not_guessed(tmp_path: Path) -> None:
    runs(tmp_path, "2026-a", "2026-b")
    with pytest.raises(UsageError, match="may be any of 2 runs"):
        run_folder.find(tmp_path, "2026")
    with pytest.raises(UsageError, match="There is no run 1999") as error:
        run_folder.find(tmp_path, "1999")
    assert "2026-b" in str(error.value)
    with pytest.raises(UsageError, match="There is no run yet"):
        run_folder.find(tmp_path / "elsewhere")


def test_a_folder_without_a_journal_is_no_run(tmp_path: Path) -> None:
    [real] = runs(tmp_path, "2026-a")
    run_folder.create(tmp_path, RunId("2026-b"))
    run_folder.create(tmp_path, RunId("2026-c")).journal.touch()
    assert run_folder.all_runs(tmp_path) == [real]


def test_one_controller_at_a_time_holds_a_run(tmp_path: Path) -> None:
    [folder] = runs(tmp_path, "2026-a")
    with folder.held(), pytest.raises(UsageError, match="driven by another controller"), folder.held():
        raise AssertionError("both hold it")
    with folder.held():
        pass


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), OSError(28, "No space left on device", "x")])
def test_an_error_of_the_run_is_not_an_error_of_its_lock(tmp_path: Path, error: OSError) -> None:
    """Whoever read our output has left: that is no reason to speak of free space."""
    [folder] = runs(tmp_path, "2026-a")
    with pytest.raises(OSError, match=str(error.strerror)) as raised, folder.held():
        raise error
    assert raised.value is error
    with folder.held():
        pass


def test_a_lock_that_cannot_be_taken_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [folder] = runs(tmp_path, "2026-a")

    def fails(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", fails)
    with pytest.raises(RunFolderError, match="could not be written: No locks available"), folder.held():
        raise AssertionError("it holds nothing")


def test_the_journal_is_appended_to_and_unbuffered(tmp_path: Path) -> None:
    folder = run_folder.create(tmp_path, RunId("2026-a"))
    for line in (b"one\n", b"two\n"):
        with folder.open_journal() as journal:
            journal.write(line)
            assert folder.journal.read_bytes().endswith(line), "it is there at once"
    assert folder.journal.read_bytes() == b"one\ntwo\n"


def test_the_last_attempt_is_what_the_disk_has(tmp_path: Path) -> None:
    folder = run_folder.create(tmp_path, RunId("2026-a"))
    assert folder.last_attempt() == 0
    for name in ("2", "10", "9", "x", "11.old"):
        (folder.attempts / name).mkdir()
    assert folder.last_attempt() == 10


def test_only_its_owner_reads_a_run(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        run = run_folder.create(tmp_path / "deep" / ".ci-dispatch", RunId("2026-a"))
        run.open_journal().close()
        with run.held():
            pass
    finally:
        os.umask(before)
    for folder in (run.path.parent.parent, run.path.parent, run.path, run.attempts):
        assert folder.stat().st_mode & 0o777 == 0o700, folder
    for file in (run.journal, run.path / "controller.lock"):
        assert file.stat().st_mode & 0o777 == 0o600, file
    assert (tmp_path / "deep").stat().st_mode & 0o777 == 0o755, "not ours"


def test_a_run_that_lost_its_journal_is_mentioned_and_no_other_taken_for_it(tmp_path: Path) -> None:
    [whole] = runs(tmp_path, "2026-b")
    for name in ("2026-a", "2026-c"):
        (run_folder.create(tmp_path, RunId(name)).attempts / "1").mkdir()
    for asked in ("", "2026-c", "2026-a"):
        with pytest.raises(UsageError, match=f"Run {asked or '2026-c'} has lost its journal"):
            run_folder.find(tmp_path, asked)
    assert run_folder.find(tmp_path, "2026-b") == whole


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "deep" / "run.json"
    run_folder.write_whole(file, b"old")
    assert file.stat().st_mode & 0o777 == 0o600
    run_folder.write_whole(tmp_path / "x.prom", b"", mode=0o644)
    assert (tmp_path / "x.prom").stat().st_mode & 0o777 == 0o644

    def fails(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(RunFolderError, match=r"run\.json could not be written") as error:
        run_folder.write_whole(file, b"new")
    assert "No space left on device" in str(error.value)
    assert error.value.exit_code == ExitCode.INCOMPLETE
    assert file.read_bytes() == b"old"
    assert [path.name for path in file.parent.iterdir()] == ["run.json"], "nothing half written stays"


@pytest.mark.parametrize("name", ["/nowhere/runs", "../x", ".", "x" * 5000, "a\0b", "[", "*"])
def test_a_name_of_no_run_is_only_not_found(tmp_path: Path, name: str) -> None:
    begun = run_folder.create(tmp_path, RunId("20270101-000000-aaaa"))
    begun.journal.write_bytes(b"{}\n")
    for find in (run_folder.find, run_folder.find_journal):
        with pytest.raises(UsageError, match="There is no run"):
            find(tmp_path, name)
