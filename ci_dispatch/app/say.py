"""What a command prints: results on stdout, everything else on stderr. No line of it is a workflow command."""

from __future__ import annotations

import json
import sys
from typing import Any

from report_merge.render.escape import json_log, no_workflow_command


def say(text: str = "", *, err: bool = False) -> None:
    """Print `text` and a newline at once; text from elsewhere must have been escaped for a terminal."""
    stream = sys.stderr if err else sys.stdout
    if stream is not None:  # closed by whoever started us
        stream.write(f"{no_workflow_command(text)}\n")
        stream.flush()


def say_json(document: Any, *, indent: int | None = 1) -> None:
    """Print a result for programs."""
    say(json_log(json.dumps(document, ensure_ascii=False, indent=indent)))
