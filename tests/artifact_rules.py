"""What actions/upload-artifact does with its input `path`: patterns, exclusions, the least common folder, bad names.

https://github.com/actions/upload-artifact#readme, and the validation in @actions/artifact. The stand-ins' steps use it
with a Python that has nothing installed.
"""

from __future__ import annotations

import io
import os
import re
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

REFUSED = re.compile(r'["\x3a<>|*?\r\n]')


def root_of(pattern: str) -> Path:
    """The folder that a pattern searches: what comes before its first wildcard."""
    path = Path(re.split(r"[^/]*[*?\[]", pattern, maxsplit=1)[0])
    return path if path.is_dir() else path.parent


def below(patterns: Iterable[str]) -> set[Path]:
    """The files of these patterns; a folder means all that is in it."""
    found: set[Path] = set()
    for pattern in patterns:
        root = root_of(pattern)
        rest = str(Path(pattern).relative_to(root))
        for path in root.glob(rest) if rest != "." else [root]:
            found |= set(path.rglob("*")) if path.is_dir() else {path}
    return {path for path in found if path.is_file()}


def archive(name: str, path: str, *, if_none: str) -> bytes:
    """The artifact of that name as a zip, b"" for none where that is fine.

    `path` has a pattern a line. Raises SystemExit with the words of actions/upload-artifact.
    """
    lines = [line.strip() for line in path.split("\n") if line.strip()]
    wanted = [line for line in lines if not line.startswith("!")]
    root = os.path.commonpath([root_of(line) for line in wanted])
    files = below(wanted) - below(line[1:] for line in lines if line.startswith("!"))
    names = {str(file.relative_to(root)): file for file in sorted(files)}
    names = {inside: file for inside, file in names.items() if not re.search(r"(^|/)\.", inside)}  # no hidden ones
    if bad := [inside for inside in names if REFUSED.search(inside)]:
        sys.exit(f"The path for one of the files in artifact is not valid: {bad[0]!r}")
    if REFUSED.search(name) or re.search(r"[\\/]", name):
        sys.exit(f"The artifact name is not valid: {name}")
    if not names and if_none == "error":
        sys.exit("No files were found with the provided path")
    if not names:
        return b""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for inside, file in names.items():
            made.write(file, inside)
    return buffer.getvalue()
