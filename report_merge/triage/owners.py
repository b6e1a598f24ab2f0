"""Whose a test is, by the repository's CODEOWNERS: of all lines that fit its file the last one says it.

https://docs.github.com/repositories/managing-your-repositorys-settings-and-features/customizing-your-repository/about-code-owners
GitLab's sections are passed over; their lines are read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby

from report_merge.model import Case, Report

LINES = 20_000
_STARS = re.compile(r"\*+")


@dataclass(frozen=True, slots=True, eq=False)
class CodeOwners:
    lines: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...]

    def of(self, path: str) -> tuple[str, ...]:
        """The owners of a file of the repository; none when no line fits, or the last one that does names none."""
        return next((owners for pattern, owners in reversed(self.lines) if pattern.match(path)), ())


def parse(text: str) -> CodeOwners:
    """Raises ValueError when not one line can be understood, for it is no CODEOWNERS then, and above 20,000 lines."""
    lines = []
    read = text.splitlines()
    if len(read) > LINES:
        raise ValueError(f"it has {len(read):,} lines, and {LINES:,} are read; the last ones would decide")
    for line in read:
        pattern, *owners = re.sub(r"(?:^|\s)#.*", "", line).replace("\\ ", "\0").split() or [""]
        if not pattern or pattern.startswith(("[", "^[", "!")):
            continue
        lines.append((_compiled(pattern.replace("\0", " ")), tuple(owners)))
    if not any(owners for _, owners in lines):
        raise ValueError("it names no owner of anything; a line is a pattern and its owners")
    return CodeOwners(tuple(lines))


def _compiled(pattern: str) -> re.Pattern[str]:
    """The pattern as an expression that never tries a place twice: who may change CODEOWNERS may not stop the run.

    Between two `**`, and between two `*` of a name, the first place that fits is as good as any later one.
    """
    segments = pattern.strip("/").split("/")
    if "/" not in pattern.rstrip("/"):  # a name alone is found in every folder
        segments.insert(0, "**")
    # A name stands for the folder and all below it; `docs/*` only for what lies directly in it.
    directly = segments[-1] == "*" and "/" in pattern.strip("/")
    below = "/.*" if pattern.endswith("/") else "" if directly else "(?:/.*)?"
    if segments[-1] == "**":
        below = "/.*/.*" if pattern.endswith("/") else "/.*"
    runs = [list(run) for deep, run in groupby(segments, key="**".__eq__) if not deep]
    if not runs:
        return re.compile(below.removeprefix("/"))
    expression = "/".join(map(_segment, runs.pop(0))) if segments[0] != "**" else ""
    for number, run in enumerate(runs, 1):
        before = "/" if expression else ""
        there = "/".join(map(_segment, run)) + r"(?=/|\Z)"
        last = number == len(runs) and not below  # it has to be at the end, which need not be the first place
        expression += f"{before}(?:[^/]+/)*{there}" if last else f"{before}(?>(?:[^/]+/)*?{there})"
    return re.compile(rf"{expression}{below}\Z")


def _segment(name: str) -> str:
    first, *others = ("".join("[^/]" if one == "?" else re.escape(one) for one in part) for part in _STARS.split(name))
    if not others:
        return first
    *middle, last = others
    return first + "".join(f"(?>[^/]*?{part})" for part in middle) + f"[^/]*{last}"


def with_owners(report: Report, owners: CodeOwners) -> Report:
    """The eventful tests get the owners of their file."""
    of = lru_cache(maxsize=65_536)(owners.of)

    def owned(case: Case) -> Case:
        found = of(case.source or case.key.file)
        return replace(case, owners=found) if found else case

    return report.with_eventful(owned)
