"""Sources -> indexes, on as many cores as help; odd and damaged files are rewritten once, and named."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from report_merge.beside import FORKS
from report_merge.files.discover import InputSource
from report_merge.index import FileIndex
from report_merge.limits import MIB, ReadLimits, ReportRefused
from report_merge.model import FileProblem
from report_merge.scan import Odd, scan

_WORTH_A_SECOND_PROCESS = 8 * MIB
_MOST_PROCESSES = 4  # each holds a parser and 1 MiB; reading and joining soon weigh more than parsing


@dataclass(frozen=True, slots=True)
class Indexed:
    """A report that was read: `path` holds the plain bytes, either the file itself or its rewritten copy."""

    source: InputSource
    path: Path
    index: FileIndex


@dataclass(frozen=True, slots=True)
class IndexSettings:
    folder: Path  # for rewritten copies
    limits: ReadLimits
    wanted: AbstractSet[str] = frozenset()  # names of tests whose identity is asked for


def index_all(
    sources: Sequence[InputSource], settings: IndexSettings, processes: int = 1
) -> tuple[list[Indexed], list[FileProblem]]:
    """The index of every source that can be read, in the given order, and what is wrong with the others."""
    indexed: list[Indexed] = []
    problems: list[FileProblem] = []
    one = partial(index_one, settings=settings)
    outcomes = _in_parallel(sources, settings, processes) if processes > 1 else map(one, sources)
    for number, (index, problem) in enumerate(outcomes):
        source = sources[number]
        if index is not None:
            copy = _copy_path(settings, source)
            indexed.append(Indexed(source, copy if copy.exists() else source.path, index))
        if problem is not None:
            problems.append(problem)
    return indexed, problems


IndexOutcome = tuple[FileIndex | None, FileProblem | None]


def worthwhile_processes(sources: Sequence[InputSource]) -> int:
    """How many processes pay off: one for little input, else as many as there are cores, within reason."""
    size = sum(source.path.stat().st_size for source in sources if source.path.exists())
    if not FORKS or len(sources) < 2 or size < _WORTH_A_SECOND_PROCESS:
        return 1
    return min(_MOST_PROCESSES, len(os.sched_getaffinity(0)))


def _in_parallel(sources: Sequence[InputSource], settings: IndexSettings, processes: int) -> Iterator[IndexOutcome]:
    """Forked workers share our hash seed, on which identities rest; that is why only Linux gets them."""
    done = 0
    try:
        with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("fork")) as pool:
            for outcome in pool.map(partial(index_one, settings=settings), sources, chunksize=4):
                yield outcome
                done += 1
    except BrokenProcessPool:  # a worker was killed, most likely for memory: one process needs less
        yield from (index_one(source, settings) for source in sources[done:])


def index_one(source: InputSource, settings: IndexSettings) -> IndexOutcome:
    """Never raises for what the file holds."""
    try:
        with source.path.open("rb") as stream:
            return scan(stream, settings.limits, settings.wanted), None
    except Odd:
        pass
    except ReportRefused as refusal:
        return None, FileProblem(file=source.name, reason=refusal.reason, line=refusal.line)
    except OSError as error:
        return None, FileProblem(file=source.name, reason=f"it cannot be read: {error.strerror or error}")
    return _index_rewritten(source, settings)


def _index_rewritten(source: InputSource, settings: IndexSettings) -> IndexOutcome:
    from report_merge.junit.normalize import tidy  # noqa: PLC0415
    from report_merge.junit.xml import to_bytes  # noqa: PLC0415  lxml takes 20 MiB, and most runs have no odd file

    copy = _copy_path(settings, source)
    try:
        with source.path.open("rb") as stream:
            plain = tidy(stream.read(settings.limits.tree_bytes + 1), settings.limits)
        copy.write_bytes(to_bytes(plain.root))
        with copy.open("rb") as stream:
            index = scan(stream, settings.limits, settings.wanted)
    except (ReportRefused, Odd, OSError) as error:
        copy.unlink(missing_ok=True)
        reason = error.reason if isinstance(error, ReportRefused) else f"it cannot be rewritten: {error!r}"
        return None, FileProblem(file=source.name, reason=reason, line=getattr(error, "line", None))
    if not plain.notes:
        return index, None
    salvaged = len(index.cases.flags)
    return index, FileProblem(file=source.name, reason="; ".join(plain.notes), line=plain.line, salvaged=salvaged)


def _copy_path(settings: IndexSettings, source: InputSource) -> Path:
    return settings.folder / f"plain-{abs(hash(source.path))}.xml"
