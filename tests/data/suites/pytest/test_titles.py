from __future__ import annotations

import pytest

TITLES = [
    "a › b",
    " blanks ",
    "a::b",
    "a/b",
    "[x]",
    "\"quotes\" 'and' `ticks`",
    "$(touch owned)",
    "größe 価格",
    "@x",
    "a\nb",
    "",
]


@pytest.mark.parametrize("title", TITLES, ids=TITLES)
def test_title(title: str) -> None: ...
