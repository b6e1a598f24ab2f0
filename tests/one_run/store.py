"""The artifacts of a run, as a folder of archives, with the rules of GitHub's store. Called by the stand-ins' steps.

Names are used twice only where that is asked for, and one alone is unpacked where several get a folder each.
"""

from __future__ import annotations

import fnmatch
import os
import sys
import zipfile
from pathlib import Path

from tests.artifact_rules import archive


def upload(store: Path, name: str, path: str, *, if_none: str, overwrite: bool = False) -> str:
    """Raises SystemExit with the words of actions/upload-artifact."""
    data = archive(name, path, if_none=if_none)
    if not data:
        return "nothing to upload"
    try:
        with (store / f"{name}.zip").open("wb" if overwrite else "xb") as file:
            file.write(data)
    except FileExistsError:
        sys.exit(
            "Failed to CreateArtifact: (409) Conflict: an artifact with this name already exists on the workflow run"
        )
    return name


def download(store: Path, pattern: str, into: Path) -> str:
    found = [file for file in sorted(store.glob("*.zip")) if fnmatch.fnmatchcase(file.stem, pattern)]
    for file in found:
        with zipfile.ZipFile(file) as packed:
            packed.extractall(into if len(found) == 1 else into / file.stem)
    return f"{len(found)} artifacts"


if __name__ == "__main__":
    given = os.environ
    place = Path(given["ARTIFACTS"])
    if sys.argv[1] == "upload":
        overwrite = given["OVERWRITE"] == "true"
        print(upload(place, given["NAME"], given["FILES"], if_none=given["IF_NONE"], overwrite=overwrite))
    else:
        print(download(place, given["PATTERN"], Path(given["INTO"])))
