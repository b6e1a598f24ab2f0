"""The same work on many files: here, or by forked processes beside this one, where that is safe and pays."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from report_merge.files.discover import InputSource
from report_merge.limits import MIB

Result = TypeVar("Result")
FORKS = sys.platform == "linux"  # elsewhere forking is unsafe or absent, and other ways do not share our hash seed
_WORTH_A_SECOND_PROCESS = 16 * MIB  # some 0.3 s of work; making and feeding two processes takes 0.1 s
_MOST_PROCESSES = 2  # each holds a tree; a third gained little beside the process that puts the parts together

_work: Callable[[int], Any]  # in a worker


def worthwhile_processes(sources: Sequence[InputSource]) -> int:
    """How many processes pay off: one for little input, else one for each core, within reason.

    One beside other threads: what such a thread holds locked stays locked in a fork for ever.
    """
    size = sum(source.path.stat().st_size for source in sources if source.path.exists())
    if not FORKS or len(sources) < 2 or size < _WORTH_A_SECOND_PROCESS or threading.active_count() > 1:
        return 1
    return min(_MOST_PROCESSES, len(os.sched_getaffinity(0)))


def on_each(work: Callable[[int], Result], numbers: Sequence[int], processes: int) -> Iterator[Result]:
    """`work` of each number, in their order. What it raises is raised here.

    A worker sees this process as it was when the first result was asked for, and can change files and nothing else.
    """
    if processes < 2 or not FORKS or len(numbers) < 2:
        yield from map(work, numbers)
        return
    done = 0
    try:
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(processes, mp_context=context, initializer=_begin, initargs=(work,)) as pool:
            for result in pool.map(_one, numbers, chunksize=2):
                yield result
                done += 1
    except BrokenProcessPool:  # a worker was killed, most likely for memory: one process needs less
        yield from map(work, numbers[done:])


def _begin(work: Callable[[int], Any]) -> None:
    global _work  # noqa: PLW0603  a forked process has its own
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that forked it hears it, and ends it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if forked_by := multiprocessing.parent_process():
        threading.Thread(target=_end_with, args=(forked_by,), daemon=True).start()


def _end_with(forked_by: BaseProcess) -> None:
    """Workers hold each other's pipes open: one whose process was killed would wait for work for ever."""
    forked_by.join()
    os._exit(1)


def _one(number: int) -> Any:
    return _work(number)
