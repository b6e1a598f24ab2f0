"""Work done by a second process while this one goes on, where that is safe and worth it; else right here."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

FORKS = sys.platform == "linux"  # elsewhere forking is unsafe or absent, and other ways do not share our hash seed


@contextmanager
def beside(work: Callable[[], None], *, fork: bool) -> Iterator[None]:
    """Runs `work` during the block, in a forked process if asked and possible, and sees to its end.

    What it raises is raised here. Work in another process can change files and nothing else.
    """
    if not (fork and FORKS):
        work()
        yield
        return
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_report_end, args=(work, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield
        error = ours.recv()
        process.join()
    except EOFError:
        process.join()
        raise OSError(f"the process that wrote the merged file ended with code {process.exitcode}") from None
    finally:
        ours.close()
        if process.is_alive():
            process.kill()
            process.join()
    if error is not None:
        raise error


def _report_end(work: Callable[[], None], connection: Connection) -> None:
    try:
        work()
    except OSError as error:
        connection.send(error)
    except BaseException as error:  # noqa: BLE001  the other side must learn of it, whatever it is
        connection.send(RuntimeError(f"{type(error).__name__}: {error}"))
    else:
        connection.send(None)
