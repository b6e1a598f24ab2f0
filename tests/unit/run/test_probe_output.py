"""What a probe printed, read as values; tests/unit/run/test_health.py judges the same texts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_dispatch.run.probe_output import read

DATA = Path(__file__).parents[2] / "data" / "health"


def test_what_a_login_shell_prints_before_the_answer_changes_nothing() -> None:
    text = (DATA / "linux.txt").read_text()
    assert text.startswith("Welcome to moruk!\nYou have mail.")
    quiet = read(text[text.index("@begin") :], "NONCE")
    assert read(text, "NONCE") == quiet
    assert quiet is not None
    assert quiet.complete


def test_an_answer_that_was_cut_is_no_answer() -> None:
    text = (DATA / "linux.txt").read_text()
    cut = read(text[: text.index("@df\n")], "NONCE")
    assert cut is not None
    assert not cut.complete
    assert read(text, "OTHER") is None


@given(st.text())
def test_text_without_our_mark_is_no_answer(text: str) -> None:
    assert read(text.replace("@begin", ""), "NONCE") is None


LINES = """
drwx------ 5 1000 1000 4096 Nov 28 09:11 /srv/a b/ci/.
lrwxrwxrwx 1 1000 1000   12 Nov 28 09:11 /srv/a b/ci -> /data/ci
drwxrwxr-x 5 1000 1000 4096 Nov 28 09:11 /srv/a b
drwxrwxrwt 5    0    0 4096 Nov 28 09:11 /srv
drwxr-xr-x@ 20   0    0  640 Jan  1  2026 /
"""


@pytest.mark.parametrize(
    ("was", "becomes", "others"),
    [
        ("", "", ""),
        ("drwx------ 5 1000", "drwxrwxrwt 5 1000", "everybody may write in /srv/a b/ci"),
        ("drwxrwxr-x 5", "drwxrwxrwx 5", "everybody may write in /srv/a b"),
        ("lrwxrwxrwx 1 1000", "lrwxrwxrwx 1 1001", "/srv/a b/ci belongs to user 1001"),
        ("drwxrwxrwt 5    0", "drwxr-xr-x 5 2000", "/srv belongs to user 2000"),
    ],
)
def test_who_else_can_change_our_folder(was: str, becomes: str, others: str) -> None:
    text = f"@begin NONCE\n@uid 1000\n@way\n{LINES.replace(was, becomes)}@end NONCE\n"
    output = read(text, "NONCE")
    assert output is not None
    assert output.others == others
