"""Files, folders, patterns and zip archives -> the report files to read, each with its attempt and shard."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from report_merge.files.archives import unpack
from report_merge.limits import ReadLimits
from report_merge.model import FileProblem

# attempt-2, attempt_2, run_attempt-2, try2, a2 between separators; retry-1 and rerun-1 are the second attempt.
DEFAULT_ATTEMPT = re.compile(
    r"(?:^|[/\\_.-])(?:(?:run[_-]?)?(?:attempt|try)|a)[_-]?(?P<attempt>\d{1,6})(?=$|[/\\_.-])"
    r"|(?:^|[/\\_.-])(?:retry|rerun)[_-]?(?P<retry>\d{1,6})(?=$|[/\\_.-])",
    re.IGNORECASE,
)
_SHARD = re.compile(r"shard", re.IGNORECASE)
_READ_IN_FOLDERS = (".xml", ".zip")


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSource:
    """One report file: where its bytes are, what people call it, and which attempt and shard it tells of."""

    path: Path
    name: str
    attempt: int = 1
    parts: tuple[str, ...] = ()  # of its name, without the attempt: what an expected shard is looked for in

    @staticmethod
    def parts_of(name: str) -> tuple[str, ...]:
        return tuple(re.sub(r"\.(?:xml|zip)$", "", part) for part in re.split(r"[/\\!]", name) if part)

    @property
    def shard(self) -> str:
        return next((part for part in self.parts if _SHARD.search(part)), "")


@dataclass(slots=True)
class Found:
    sources: list[InputSource]
    problems: list[FileProblem]


def find(
    arguments: Sequence[str],
    *,
    unpack_into: Path,
    attempt_from: re.Pattern[str] = DEFAULT_ATTEMPT,
    leave_out: Iterable[Path] = (),
    limits: ReadLimits | None = None,
) -> Found:
    """Every report below the arguments, by attempt and name, each file once.

    Folders are searched for *.xml and *.zip, without following links to folders; a pattern may match nothing, a path
    must exist. `leave_out` are our own outputs of an earlier run: they are read only when named.
    """
    limits = limits or ReadLimits()
    found = Found([], [])
    seen: set[Path] = set()
    left_out = {path.resolve() for path in leave_out}
    for argument in arguments:
        for path in _expand(argument, left_out):
            if path.resolve() in seen:
                continue
            seen.add(path.resolve())
            _add(path, found, unpack_into, attempt_from, limits)
    found.sources.sort(key=lambda source: (source.attempt, _natural(source.name)))
    if len(found.sources) > limits.files:
        reason = f"only the first {limits.files} of {len(found.sources)} files were read"
        found.problems.append(FileProblem(file=found.sources[limits.files].name, reason=reason))
        del found.sources[limits.files :]
    return found


def _expand(argument: str, left_out: set[Path]) -> Iterator[Path]:
    path = Path(argument)
    if path.is_dir():
        yield from (inside for inside in _walk(path) if inside.resolve() not in left_out)
    elif path.exists() or not glob.has_magic(argument):
        yield path
    else:
        for match in sorted(glob.glob(argument, recursive=True), key=_natural):  # noqa: PTH207  it takes absolute patterns
            if Path(match).is_dir():
                continue
            if Path(match).resolve() not in left_out:
                yield Path(match)


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders.sort(key=_natural)
        for name in sorted(files, key=_natural):
            if name.lower().endswith(_READ_IN_FOLDERS):
                yield Path(root, name)


def _natural(name: str) -> list[tuple[int, str]]:
    """shard-2 before shard-10."""
    parts = re.split(r"([0-9]{1,18})", name)
    return [(int(part), "") if number % 2 else (-1, part) for number, part in enumerate(parts)]


def _add(path: Path, found: Found, unpack_into: Path, attempt_from: re.Pattern[str], limits: ReadLimits) -> None:
    try:
        status = path.stat()
    except OSError as error:
        found.problems.append(FileProblem(file=str(path), reason=f"it cannot be read: {error.strerror or error}"))
        return
    if not stat.S_ISREG(status.st_mode):
        found.problems.append(FileProblem(file=str(path), reason="it is not a regular file"))
    elif path.suffix.lower() == ".zip":
        members, problems = unpack(path, unpack_into, limits)
        found.sources += [_source(member.path, member.name, attempt_from) for member in members]
        found.problems += problems
    elif status.st_size > limits.file_bytes:
        found.problems.append(FileProblem(file=str(path), reason=f"it is larger than {limits.file_bytes} bytes"))
    else:
        found.sources.append(_source(path, str(path), attempt_from))


def _source(path: Path, name: str, attempt_from: re.Pattern[str]) -> InputSource:
    attempt, rest = 1, name
    for match in attempt_from.finditer(name):  # the last one is the most specific
        attempt = _number(match)
        rest = name[: match.start()] + "/" + name[match.end() :]
    return InputSource(path=path, name=name, attempt=attempt, parts=InputSource.parts_of(rest))


def _number(match: re.Match[str]) -> int:
    named = match.groupdict()
    text = named.get("attempt") or (match[1] if match.re.groups and "retry" not in named else "")
    if text and text.isdigit():
        return max(1, int(text[:6]))
    retry = named.get("retry")
    return int(retry) + 1 if retry and retry.isdigit() else 1
