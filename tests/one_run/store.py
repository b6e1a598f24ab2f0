"""The artifacts of a run, as a folder of archives, with the rules of GitHub's store. Called by the stand-ins' steps.

Names are never used twice, names and paths of files hold no character that upload-artifact refuses, hidden files are
left out, and one alone is unpacked where several get a folder each.
"""

from __future__ import annotations

import fnmatch
import os
import sys
import zipfile
from pathlib import Path

REFUSED = '":<>|*?\r\n'


def upload(store: Path, name: str, lines: list[str], *, if_none: str) -> str:
    """Raises SystemExit with the words of actions/upload-artifact."""
    if set(name) & set(REFUSED + "\\/"):
        sys.exit(f"The artifact name is not valid: {name}")
    given = [line.strip() for line in lines if line.strip()]
    left_out = {Path(line[1:]) for line in given if line.startswith("!")}
    roots = [Path(line) for line in given if not line.startswith("!")]
    files = {
        file: file.relative_to(root if root.is_dir() else root.parent)
        for root in roots
        for file in (sorted(root.rglob("*")) if root.is_dir() else [root])
        if file.is_file() and file not in left_out
    }
    files = {file: inside for file, inside in files.items() if not any(part.startswith(".") for part in inside.parts)}
    for inside in files.values():
        if set(str(inside)) & set(REFUSED):
            sys.exit(f"The path for one of the files in artifact is not valid: {inside}")
    if not files:
        if if_none == "error":
            sys.exit(f"No files were found with the provided path: {' '.join(given)}")
        return "nothing to upload"
    try:
        with (store / f"{name}.zip").open("xb") as handle, zipfile.ZipFile(handle, "w") as archive:
            for file, inside in files.items():
                archive.write(file, inside)
    except FileExistsError:
        sys.exit(
            "Failed to CreateArtifact: (409) Conflict: an artifact with this name already exists on the workflow run"
        )
    return f"{name}: {len(files)} files"


def download(store: Path, pattern: str, into: Path) -> str:
    found = [file for file in sorted(store.glob("*.zip")) if fnmatch.fnmatchcase(file.stem, pattern)]
    for file in found:
        with zipfile.ZipFile(file) as archive:
            archive.extractall(into if len(found) == 1 else into / file.stem)
    return f"{len(found)} artifacts"


if __name__ == "__main__":
    given = os.environ
    place = Path(given["ARTIFACTS"])
    if sys.argv[1] == "upload":
        print(upload(place, given["NAME"], given["FILES"].split("\n"), if_none=given["IF_NONE"]))
    else:
        print(download(place, given["PATTERN"], Path(given["INTO"])))
