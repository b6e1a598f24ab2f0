"""What a command prints: results on stdout, everything else on stderr."""

from __future__ import annotations

import sys


def say(text: str = "", *, err: bool = False) -> None:
    """Print `text` and a newline at once; text from elsewhere must be escaped before."""
    stream = sys.stderr if err else sys.stdout
    if stream is not None:  # closed by whoever started us
        stream.write(f"{text}\n")
        stream.flush()
