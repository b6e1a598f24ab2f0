"""The tests that a page of docs/ names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = [
    (page.name, file, name)
    for page in sorted((ROOT / "docs").rglob("*.md"))
    for file, name in re.findall(r"`(tests/[a-z0-9_/]+\.py)(?:::(\w+))?`", page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize(("page", "file", "name"), NAMED)
def test_what_a_page_names_is_there(page: str, file: str, name: str) -> None:
    source = (ROOT / file).read_text(encoding="utf-8")
    assert not name or re.search(rf"^ *(?:async )?def {name}\b", source, re.MULTILINE), page


def test_pages_name_tests() -> None:
    assert len([name for page, _, name in NAMED if page == "security.md" and name]) > 20
