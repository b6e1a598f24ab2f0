"""Where a key stands in a TOML text: good enough to name a line in a message (tomllib keeps no positions).

A key inside a multi-line string may be taken for a real one: then a message names a wrong line, no more.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

Path = tuple[str | int, ...]

_HEADER = re.compile(r"""\s*(\[\[?)\s*((?:"[^"\n]*"|'[^'\n]*'|[A-Za-z0-9_.\s-])+?)\s*\]\]?\s*(?:#.*)?$""")
_KEY = re.compile(
    r"""\s*((?:"[^"\n]*"|'[^'\n]*'|[A-Za-z0-9_-]+)(?:\s*\.\s*(?:"[^"\n]*"|'[^'\n]*'|[A-Za-z0-9_-]+))*)\s*="""
)
_PART = re.compile(r""""([^"\n]*)"|'([^'\n]*)'|([A-Za-z0-9_-]+)""")


def lines_of(toml: str) -> Mapping[Path, int]:
    """Line numbers (from 1) by path; the entries of an array of tables are numbered from 0."""
    found: dict[Path, int] = {}
    seen: Counter[Path] = Counter()
    table: Path = ()
    for number, line in enumerate(toml.split("\n"), 1):
        if header := _HEADER.match(line):
            table = _parts(header[2])
            if header[1] == "[[":
                seen[table] += 1
                found.setdefault(table, number)
                table = (*table, seen[table] - 1)
            found.setdefault(table, number)
        elif key := _KEY.match(line):
            found.setdefault((*table, *_parts(key[1])), number)
    return found


def _parts(dotted: str) -> Path:
    return tuple(part[0] or part[1] or part[2] for part in _PART.findall(dotted))
