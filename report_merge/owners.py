"""Whose a test is, by the repository's CODEOWNERS: of all lines that fit its file the last one says it.

https://docs.github.com/repositories/managing-your-repositorys-settings-and-features/customizing-your-repository/about-code-owners
GitLab's sections are passed over; their lines are read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from report_merge.model import Case, Report

LINES = 20_000
_PARTS = re.compile(r"\*\*/|\*\*|\*|\?|[^*?]+")
_MEANINGS = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}


@dataclass(frozen=True, slots=True, eq=False)
class CodeOwners:
    lines: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...]

    def of(self, path: str) -> tuple[str, ...]:
        """The owners of a file of the repository; none when no line fits, or the last one that does names none."""
        return next((owners for pattern, owners in reversed(self.lines) if pattern.match(path)), ())


def parse(text: str) -> CodeOwners:
    """Raises ValueError when not one line can be understood: it is no CODEOWNERS then."""
    lines = []
    for line in text.splitlines()[:LINES]:
        pattern, *owners = re.sub(r"(?:^|\s)#.*", "", line).replace("\\ ", "\0").split() or [""]
        if not pattern or pattern.startswith(("[", "^[", "!")):
            continue
        lines.append((_compiled(pattern.replace("\0", " ")), tuple(owners)))
    if not any(owners for _, owners in lines):
        raise ValueError("it names no owner of anything; a line is a pattern and its owners")
    return CodeOwners(tuple(lines))


def _compiled(pattern: str) -> re.Pattern[str]:
    anchored = "/" in pattern.rstrip("/")
    folder, body = pattern.endswith("/"), pattern.strip("/")
    expression = "".join(_MEANINGS.get(part) or re.escape(part) for part in _PARTS.findall(body))
    # A name stands for the folder and all below it; `docs/*` only for what lies directly in it.
    below = "/.*" if folder else "" if body.endswith("/*") else "(?:/.*)?"
    return re.compile(f"{'' if anchored else '(?:.*/)?'}{expression}{below}\\Z")


def with_owners(report: Report, owners: CodeOwners) -> Report:
    """The eventful tests get the owners of their file."""
    of = lru_cache(maxsize=65_536)(owners.of)

    def owned(case: Case) -> Case:
        found = of(case.source or case.key.file)
        return replace(case, owners=found) if found else case

    return report.with_eventful(owned)
