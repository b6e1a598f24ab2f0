"""Which lines of which files a stack trace names, in the languages that JUnit reports come from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from report_merge.failures.fingerprint import FOREIGN
from report_merge.sanitize import printable

SCANNED = 64_000  # characters of the end of a text
FRAMES = 200

_EXTENSIONS = (
    "py|[cm]?[jt]sx?|vue|svelte|go|rs|java|kt|kts|scala|groovy|cs|fs|vb|php|rb|swift|dart|exs?|erl|cc|cpp|cxx|c|hpp|h|mm?|"
    "lua|pl|t|sh|bats|feature|robot"
)
_FRAME = re.compile(
    r'File "(?P<python>[^"\n]{1,300})", line (?P<python_line>\d{1,7})'
    r"|at (?:[\w.@-]{1,80}/)?(?P<package>(?:[\w$]{1,80}\.){1,20})[\w$<>]{1,80}"
    r"\((?P<java>[\w$]{1,80}\.(?:java|kt|scala|groovy)):(?P<java_line>\d{1,7})\)"
    r"|\bin (?P<net>(?:[A-Za-z]:)?[^\n:]{1,300}):line (?P<net_line>\d{1,7})"
    rf"|(?<![\w./\\@+~\[\]-])(?P<file>(?:[A-Za-z]:)?[\w./\\@+~\[\]-]{{1,300}}\.(?:{_EXTENSIONS}))(?::|\()(?P<line>\d{{1,7}})\b"
)
_DEEPEST_LAST = re.compile(r'^\s{0,20}File "[^"\n]+", line \d|^[\w./\\-]{1,300}\.py:\d{1,7}: ', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class StackFrame:
    file: str  # with forward slashes; of Java the package's folders and the file
    line: int


def frames(text: str) -> list[StackFrame]:
    """What `text` names, the deepest call first, without libraries and the runtime; at most 200."""
    text = printable(text[-SCANNED:])
    matches = [match for _, match in zip(range(FRAMES), _FRAME.finditer(text), strict=False)]
    if _DEEPEST_LAST.search(text):
        matches.reverse()
    matches.sort(key=lambda match: not _in_stack(text, match))  # Playwright's heading names where the test begins
    return [frame for match in matches if (frame := _frame(match)) is not None]


def _in_stack(text: str, match: re.Match[str]) -> bool:
    """Whether it stands in a line of a stack, and not only in what is said about it."""
    if match["file"] is None:
        return True
    start = max(text.rfind("\n", 0, match.start()) + 1, match.start() - 200)
    return text[start : match.start()].lstrip().startswith("at ")


def _frame(match: re.Match[str]) -> StackFrame | None:
    """None for a frame that is not the project's own."""
    if match["java"]:
        if FOREIGN.search(match["package"]):
            return None
        folders = match["package"].rstrip(".").split(".")[:-1]  # the last part is the class
        return StackFrame("/".join([*folders, match["java"]]), int(match["java_line"]))
    file = _own_file(match["python"] or match["net"] or match["file"])
    line = match["python_line"] or match["net_line"] or match["line"]
    return StackFrame(file, int(line)) if file else None


@lru_cache(maxsize=4096)
def _own_file(file: str) -> str:
    """With forward slashes; empty when it is not the project's own."""
    file = file.replace("\\", "/").removeprefix("./")
    if file.startswith("//"):  # of file:///
        file = f"/{file.lstrip('/')}"
    return "" if FOREIGN.search(file) else file
