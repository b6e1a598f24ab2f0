"""Files that tests left behind, as reports name them: `[[ATTACHMENT|path]]` in a test's output, or a property.

Jenkins' JUnit attachments began it, Playwright and GitLab write and read it
(https://docs.gitlab.com/ci/testing/unit_test_reports/#view-junit-screenshots-on-gitlab).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from report_merge.model import Attachment, AttachmentKind, Attempt, Case, Report, Verdict
from report_merge.render.links import attachment_href
from report_merge.sanitize import one_line, printable

CASES = 5_000  # tests whose attachments are looked for
OF_ONE_ATTEMPT = 20
PICTURE_BYTES = 1_000_000  # of one picture inside a page
PICTURES_BYTES = 4_000_000  # of all that are read for it; the page takes what its own budget has room for
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
    resolved = [root.resolve() for root in roots]
    left = CASES

    def attached(case: Case) -> Case:
        nonlocal left
        if not left or case.verdict not in (Verdict.FAILED, Verdict.FLAKY):
            return case
        found = _of_case(case, resolved)
        left -= found is not case
        return found

    return report.with_eventful(attached)


def linked_from(report: Report, folder: Path) -> Report:
    """The attachments' paths as a page in `folder` may link to them."""

    def moved(attachment: Attachment) -> Attachment:
        if not attachment.path:
            return attachment
        try:
            return replace(attachment, path=os.path.relpath(attachment.path, folder))
        except ValueError:  # on another drive
            return replace(attachment, path="")

    def moved_all(case: Case) -> Case:
        if not any(attempt.attachments for attempt in case.attempts):
            return case
        attempts = (replace(a, attachments=tuple(map(moved, a.attachments))) for a in case.attempts)
        return replace(case, attempts=tuple(attempts))

    return report.with_eventful(moved_all)


def pictures(report: Report, folder: Path) -> dict[str, bytes]:
    """The images among the attachments by their address in a page in `folder`, each and all of them up to a limit."""
    found: dict[str, bytes] = {}
    left = PICTURES_BYTES
    for case in report.eventful:
        for attachment in (one for attempt in case.attempts for one in attempt.attachments):
            if attachment.kind is not AttachmentKind.IMAGE or not attachment.path:
                continue
            try:
                with Path(os.path.normpath(folder / attachment.path)).open("rb") as file:
                    data = file.read(PICTURE_BYTES + 1)
            except OSError:
                continue
            if len(data) <= min(PICTURE_BYTES, left):
                left -= len(data)
                found[attachment_href(attachment)] = data
    return found


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
        if "ATTACHMENT|" in text:
            yield from (one_line(match[1], 1000) for match in _MARKER.finditer(printable(text)))
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
    if name.replace("\\", "/").startswith("//"):  # of another machine, which on Windows would be told who asks
        return None
    try:
        near = Path(source).resolve().parent
        for folder in (near, *near.parents[:LOOKED_UP], *roots):
            file = (folder / name).resolve()
            if any(file.is_relative_to(root) for root in roots) and file.is_file():
                here = Path.cwd()
                return file.relative_to(here) if file.is_relative_to(here) else file
    except (OSError, ValueError, RuntimeError):  # a name with a NUL, a loop of links
        return None
    return None
