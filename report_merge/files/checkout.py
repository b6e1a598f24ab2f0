"""The files of the repository, to find the one a report means: reports name files in every way there is."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

FILES = 200_000
# Many files, and none of them a test of this repository.
_NOT_OURS = ("node_modules", "vendor", "venv", "target", "__pycache__")
# Where GitHub's runners check out: /home/runner/work/shop/shop/e2e/cart.spec.ts
_WORK_FOLDER = re.compile(r"^.{0,300}?/_?work/([^/]{1,100})/\1/")


class Checkout:
    """Names of files from the repository's root on; without any, only names that need no search are found."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._by_last: defaultdict[str, list[str]] = defaultdict(list)
        for name in names:
            self._by_last[name.rsplit("/", 1)[-1]].append(name)

    @classmethod
    def around(cls, folder: Path) -> Self:
        """The files of the repository that `folder` is in; nothing when it is in none."""
        folder = folder.resolve()
        root = next((one for one in (folder, *folder.parents) if (one / ".git").exists()), None)
        return cls() if root is None else cls(name for _, name in zip(range(FILES), _names(root), strict=False))

    def find(self, path: str) -> str:
        """The repository's name for `path`; empty when none or several could be meant."""
        path = path.replace("\\", "/")
        while path.startswith("./"):
            path = path[2:]
        if not path or "\n" in path:
            return ""
        if not self._by_last:
            path = _WORK_FOLDER.sub("", path)
            outside = path.startswith("/") or path[1:2] == ":" or ".." in path.split("/")
            return "" if outside else path
        parts = path.strip("/").split("/")
        same = [(self._alike(name, parts), name) for name in self._by_last.get(parts[-1], ())]
        most = max((alike for alike, _ in same), default=0)
        best = [name for alike, name in same if alike == most]
        return best[0] if len(best) == 1 and most else ""

    @staticmethod
    def _alike(name: str, parts: list[str]) -> int:
        """How many of the last parts are the same; 0 unless one of the two is wholly the end of the other."""
        own = name.split("/")
        length = min(len(own), len(parts))
        return length if own[-length:] == parts[-length:] else 0


def _names(root: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _NOT_OURS)
        relative = Path(folder).relative_to(root)
        yield from ((relative / file).as_posix() for file in files)
