"""Every file in changes/ gets into the changelog: towncrier leaves out what it does not know, without a word."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_each_change_has_a_type_that_the_changelog_knows() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["towncrier"]
    types = "|".join(kind["directory"] for kind in settings["type"])
    name = re.compile(rf"(\+[a-z0-9-]+|\d+)\.({types})\.md")
    for path in (ROOT / settings["directory"]).iterdir():
        assert path.name == "README.md" or name.fullmatch(path.name), path.name
        assert path.read_text(encoding="utf-8").strip(), f"{path.name} is empty"


def test_the_changelog_has_the_place_where_changes_go() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["towncrier"]
    assert settings["start_string"] in (ROOT / settings["filename"]).read_text(encoding="utf-8")
