"""What a probe printed, read as values; tests/unit/run/test_health.py judges the same texts."""

from __future__ import annotations

from pathlib import Path

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
