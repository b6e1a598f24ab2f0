"""Files, folders, patterns and zip archives -> the report files to read, each with its attempt and shard."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from report_merge.files.archives import unpack
from report_merge.limits import ReadLimits
from report_merge.model import FileProblem

# attempt-2, attempt_2, run_attempt-2, try2 between separators; retry-1 and rerun-1 are the second attempt.
DEFAULT_ATTEMPT = re.compile(
    r"(?:^|[/\\_.-])(?:run[_-]?)?(?:attempt|try)[_-]?(?P<attempt>\d{1,6})(?=$|[/\\_.-])"
    r"|(?:^|[/\\_.-])(?:retry|rerun)[_-]?(?P<retry>\d{1,6})(?=$|[/\\_.-])",
    re.IGNORECASE,
)
_SUREFIRE = re.compile(r"(?:^|[/\\!])TEST-[^/\\!]*$")  # the rest of the name is a class: com.acme.Try2 is no attempt
_SHARD = re.compile(r"shard", re.IGNORECASE)
_READ_IN_FOLDERS = (".xml", ".trx", ".zip")


class NoAttemptNumber(ValueError):
    """What a pattern of the user's takes for the attempt of a file is no number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSource:
    """One report file: where its bytes are, what people call it, and which attempt and shard it tells of."""

    path: Path
    name: str
    attempt: int = 1
    parts: tuple[str, ...] = ()  # of its name, without the attempt: what an expected shard is looked for in
    named: bool = True  # by the user; else found in a folder, by a pattern or in an archive

    @staticmethod
    def parts_of(name: str) -> tuple[str, ...]:
        return tuple(re.sub(r"\.(?:xml|zip)$", "", part) for part in re.split(r"[/\\!]", name) if part)

    @property
    def shard(self) -> str:
        return next((part for part in self.parts if _SHARD.search(part)), "")


@dataclass(slots=True)
class Found:
    sources: list[InputSource] = field(default_factory=list)
    problems: list[FileProblem] = field(default_factory=list)
    notes: list[FileProblem] = field(default_factory=list)  # what was passed over, and is no error

    def tell(self, file: str, reason: str, *, named: bool = True) -> None:
        (self.problems if named else self.notes).append(FileProblem(file=file, reason=reason))


def find(
    arguments: Sequence[str],
    *,
    unpack_into: Path,
    attempt_from: re.Pattern[str] = DEFAULT_ATTEMPT,
    outputs: Iterable[Path] = (),
    exclude: Sequence[str] = (),
    limits: ReadLimits | None = None,
) -> Found:
    """Every report below the arguments, by attempt and name, each file once.

    Folders are searched for *.xml, *.trx and *.zip, without following links to folders; a pattern may match nothing, a
    path must exist and hold a report. `outputs` of the run that asks are never read. `exclude`: patterns for paths that
    are left out, in which * stands for any characters. Raises NoAttemptNumber.
    """
    limits = limits or ReadLimits()
    found = Found()
    seen = {path.resolve() for path in outputs}
    written = frozenset(seen)
    for argument in arguments:
        for path, named in _expand(argument, found):
            resolved = path.resolve()
            if resolved in written and named:
                found.tell(str(path), "it is an output of this run, so it is not read", named=False)
            if resolved in seen or any(fnmatchcase(path.as_posix(), pattern) for pattern in exclude):
                continue
            seen.add(resolved)
            _add(path, found, unpack_into, attempt_from, limits, named=named)
    found.sources.sort(key=lambda source: (source.attempt, _natural(source.name)))
    if len(found.sources) > limits.files:
        reason = f"only the first {limits.files} of {len(found.sources)} files were read"
        found.tell(found.sources[limits.files].name, reason)
        del found.sources[limits.files :]
    return found


def _expand(argument: str, found: Found) -> Iterator[tuple[Path, bool]]:
    """Each file, and whether the argument names it."""
    path = Path(argument)
    if path.is_dir():
        unsearched: list[OSError] = []
        inside = list(_walk(path, unsearched))
        for error in unsearched:
            found.tell(str(error.filename), f"it cannot be searched: {error.strerror or error}")
        if not inside and not unsearched:
            found.tell(argument, "the folder holds no .xml, .trx or .zip file")
        yield from ((file, False) for file in inside)
    elif path.exists() or not glob.has_magic(argument):
        yield path, True
    else:
        for match in sorted(glob.glob(argument, recursive=True), key=_natural):  # noqa: PTH207  it takes absolute patterns
            if not Path(match).is_dir():
                yield Path(match), False


def _walk(folder: Path, unsearched: list[OSError]) -> Iterator[Path]:
    for root, folders, files in os.walk(folder, onerror=unsearched.append):
        folders.sort(key=_natural)
        for name in sorted(files, key=_natural):
            if name.lower().endswith(_READ_IN_FOLDERS):
                yield Path(root, name)


def _natural(name: str) -> list[tuple[int, str]]:
    """shard-2 before shard-10."""
    parts = re.split(r"([0-9]{1,18})", name)
    return [(int(part), "") if number % 2 else (-1, part) for number, part in enumerate(parts)]


def _add(
    path: Path, found: Found, unpack_into: Path, attempt_from: re.Pattern[str], limits: ReadLimits, *, named: bool
) -> None:
    try:
        status = path.stat()
    except OSError as error:
        found.tell(str(path), f"it cannot be read: {error.strerror or error}")
        return
    if not stat.S_ISREG(status.st_mode):
        found.tell(str(path), "it is not a regular file")
    elif path.suffix.lower() == ".zip":
        unpacked = unpack(path, unpack_into, limits)
        found.sources += [_source(member.path, member.name, attempt_from, named=False) for member in unpacked.members]
        found.problems += unpacked.problems
        for archive in unpacked.archives:
            found.tell(archive, "archives inside an archive are not opened", named=named)
        if not unpacked.members and not unpacked.problems:
            found.tell(str(path), "the archive holds no .xml or .trx file", named=named)
    elif status.st_size > limits.file_bytes:
        found.tell(str(path), f"it is larger than {limits.file_bytes} bytes")
    else:
        found.sources.append(_source(path, str(path), attempt_from, named=named))


def _source(path: Path, name: str, attempt_from: re.Pattern[str], *, named: bool) -> InputSource:
    attempt, rest = 1, name
    searched = _SUREFIRE.search(name) if attempt_from is DEFAULT_ATTEMPT else None
    for match in attempt_from.finditer(name, 0, searched.start() + 1 if searched else len(name)):
        attempt = _number(match, name)  # the last one is the most specific
        rest = name[: match.start()] + "/" + name[match.end() :]
    return InputSource(path=path, name=name, attempt=attempt, parts=InputSource.parts_of(rest), named=named)


def _number(match: re.Match[str], name: str) -> int:
    groups = match.groupdict()
    retry = groups.get("retry")
    text = groups.get("attempt") or retry or next(filter(None, match.groups()), None)
    if text is None or not (text.isascii() and text.isdigit() and len(text) <= 18):
        taken = f"the pattern takes {text or ''!r:.60} for the attempt of {name}"
        raise NoAttemptNumber(f"{taken}: it must be a number of at most 18 digits")
    return max(1, int(text) + (text is retry))
