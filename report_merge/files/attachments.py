"""Files that tests left behind, as reports name them: `[[ATTACHMENT|path]]` in a test's output, or a property.

Jenkins' JUnit attachments began it, Playwright and GitLab write and read it
(https://docs.gitlab.com/ci/testing/unit_test_reports/#view-junit-screenshots-on-gitlab).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from report_merge.model import Attachment, AttachmentKind, Attempt, Case, Report, Verdict
from report_merge.sanitize import one_line, plain

CASES = 5_000  # tests whose attachments are looked for
OF_ONE_ATTEMPT = 20
LOOKED_UP = 4  # folders above a report in which relative paths may begin

_MARKER = re.compile(r"\[\[ATTACHMENT\|([^\]\n|]{1,1000})\]\]")
_KINDS = {
    AttachmentKind.IMAGE: (".png", ".jpg", ".jpeg", ".gif", ".webp"),
    AttachmentKind.VIDEO: (".webm", ".mp4"),
}


def with_attachments(report: Report, roots: Sequence[Path]) -> Report:
    """The failed and flaky tests' attempts get their attachments.

    A path is looked for in each of `roots`, and in the folder of its report and above it as far as a root. What lies
    outside of all roots is named and never opened: reports are foreign.
    """
    left = CASES
    cases = []
    for case in report.cases:
        if left and case.verdict in (Verdict.FAILED, Verdict.FLAKY):
            found = _of_case(case, [root.resolve() for root in roots])
            left -= found is not case
            cases.append(found)
        else:
            cases.append(case)
    return replace(report, cases=tuple(cases))


def roots(paths: Sequence[str]) -> list[Path]:
    """The folders that somebody named, those of the files named, and this one: what may be opened."""
    named = [Path(path) for path in paths]
    folders = [path if path.is_dir() else path.parent for path in named if path.exists()]
    return [
        folder for folder in dict.fromkeys([*folders, Path.cwd()]) if folder.resolve() != Path(folder.anchor or "/")
    ]


def _of_case(case: Case, roots: Sequence[Path]) -> Case:
    attempts = list(case.attempts)
    for place, attempt in enumerate(attempts):
        properties = case.properties if place == len(attempts) - 1 else ()
        names = dict.fromkeys(_names(attempt, properties))
        if names:
            found = [_attachment(name, attempt, roots) for name in list(names)[:OF_ONE_ATTEMPT]]
            attempts[place] = replace(attempt, attachments=tuple(found))
    return replace(case, attempts=tuple(attempts)) if attempts != list(case.attempts) else case


def _names(attempt: Attempt, properties: Iterable[tuple[str, str]]) -> Iterator[str]:
    for text in (attempt.stdout, attempt.stderr, attempt.text):
        yield from (one_line(match[1], 1000) for match in _MARKER.finditer(plain(text)))
    for name, value in properties:
        if name.casefold() in ("attachment", "attachments", "testcase.attachment"):
            yield one_line(_MARKER.sub(r"\1", value), 1000)


def _attachment(name: str, attempt: Attempt, roots: Sequence[Path]) -> Attachment:
    lower = name.lower()
    kind = next((kind for kind, endings in _KINDS.items() if lower.endswith(endings)), AttachmentKind.FILE)
    if lower.endswith(".zip") and "trace" in lower.replace("\\", "/").rsplit("/", 1)[-1]:
        kind = AttachmentKind.TRACE
    if re.match(r"https?://", name):
        return Attachment(name=name, kind=kind)
    return Attachment(name=name, kind=kind, path=str(_found(name, attempt.source, roots) or ""))


def _found(name: str, source: str, roots: Sequence[Path]) -> Path | None:
    try:
        near = Path(source).resolve().parent
        for folder in (near, *near.parents[:LOOKED_UP], *roots):
            file = (folder / name).resolve()
            if file.is_file() and any(file.is_relative_to(root) for root in roots):
                return file
    except (OSError, ValueError, RuntimeError):  # a name with a NUL, a loop of links
        return None
    return None
