"""Whose folder a machine's folder may be, and who may write in it and on the way to it."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path

import pytest

from ci_dispatch.machines.supervisor import private_folder
from ci_dispatch.machines.supervisor.private_folder import NotPrivate, make_private

NOBODY = 65534
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o755)
    return folder


def refused(path: Path) -> NotPrivate:
    with pytest.raises(NotPrivate) as caught:
        make_private(str(path))
    assert str(path) in str(caught.value)
    assert "another `workdir`" in caught.value.hint
    return caught.value


def test_a_folder_is_made_for_us_alone(home: Path) -> None:
    umask = os.umask(0o077)
    try:
        make_private(str(home / ".cache" / "ci-dispatch"))
    finally:
        os.umask(umask)
    assert stat.S_IMODE((home / ".cache" / "ci-dispatch").stat().st_mode) == 0o700
    assert stat.S_IMODE((home / ".cache").stat().st_mode) == 0o700
    make_private(str(home / ".cache" / "ci-dispatch"))


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o1700])
def test_a_folder_of_ours_that_others_cannot_write_is_used(home: Path, mode: int) -> None:
    (home / "work").mkdir()
    (home / "work").chmod(mode)
    make_private(str(home / "work"))
    assert stat.S_IMODE((home / "work").stat().st_mode) == mode, "as it was"


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702])
def test_a_folder_that_everybody_can_write_is_refused(home: Path, mode: int) -> None:
    (home / "work").mkdir()
    (home / "work").chmod(mode)
    error = refused(home / "work")
    assert error.why == f"everybody may write in {home}/work (mode {mode:o})"
    assert error.hint.startswith(f"chmod go-w {home}/work")


def test_a_folder_below_one_that_everybody_can_write_is_refused(home: Path) -> None:
    (home / "work").mkdir(mode=0o700)
    home.chmod(0o777)
    assert f"everybody may write in {home} " in refused(home / "work").why
    assert f"everybody may write in {home} " in refused(home / "new").why
    assert not (home / "new").exists()


def test_a_sticky_folder_on_the_way_is_as_good_as_tmp(home: Path) -> None:
    home.chmod(0o1777)
    make_private(str(home / "work"))
    assert stat.S_IMODE((home / "work").stat().st_mode) == 0o700


def test_a_group_may_write_only_when_it_is_our_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "work").mkdir()
    (home / "work").chmod(0o775)
    monkeypatch.setattr(private_folder, "_is_own_group", lambda group: group == os.getgid())
    make_private(str(home / "work"))
    monkeypatch.setattr(private_folder, "_is_own_group", lambda _group: False)
    assert refused(home / "work").hint.startswith(f"chmod g-w {home}/work")


def test_whose_group_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: pwd.struct_passwd(("ann", *"xxxxxx")))
    groups = {1: ("ann", []), 2: ("ann", ["ann"]), 3: ("ann", ["bob"]), 4: ("staff", [])}

    def group_of(number: int) -> object:
        name, members = groups[number]
        return grp.struct_group((name, "x", number, members))

    monkeypatch.setattr(grp, "getgrgid", group_of)
    assert [private_folder._is_own_group(number) for number in (1, 2, 3, 4, 5)] == [True, True, False, False, False]


@as_root
def test_a_folder_of_somebody_else_is_refused(home: Path) -> None:
    (home / "work").mkdir(mode=0o700)
    os.chown(home / "work", NOBODY, NOBODY)
    assert "work belongs to nobody" in refused(home / "work").why


@as_root
def test_a_folder_below_somebody_else_s_is_refused(home: Path) -> None:
    (home / "work").mkdir(mode=0o700)
    os.chown(home, NOBODY, NOBODY)
    assert f"{home} belongs to nobody" in refused(home / "work").why


def test_a_symbolic_link_of_ours_is_followed(home: Path) -> None:
    (home / "disk" / "deep").mkdir(parents=True, mode=0o700)
    (home / "cache").symlink_to("disk/../disk/deep")
    make_private(str(home / "cache" / "work"))
    assert (home / "disk" / "deep" / "work").is_dir()
    (home / "disk").chmod(0o777)
    assert "/disk " in refused(home / "cache" / "work").why


@as_root
def test_a_symbolic_link_of_somebody_else_is_refused(home: Path) -> None:
    home.chmod(0o1777)
    (home / "target").mkdir(mode=0o700)
    (home / "work").symlink_to("target")
    os.chown(home / "work", NOBODY, NOBODY, follow_symlinks=False)
    assert "work belongs to nobody" in refused(home / "work").why


def test_links_in_a_circle_are_an_error(home: Path) -> None:
    (home / "a").symlink_to("b")
    (home / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        make_private(str(home / "a" / "work"))
