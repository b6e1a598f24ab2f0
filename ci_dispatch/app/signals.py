"""INT and TERM as messages: the loop decides what they mean."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ci_dispatch.run import messages as m


@contextmanager
def signals(post: Callable[[m.Signalled], None]) -> Iterator[None]:
    """Post each INT and TERM while this is open; `post` must be safe in a signal handler."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda received, _frame: post(m.Signalled(received)))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
