"""One short name for one cause: the same trouble on any machine, worker or line number has the same fingerprint.

Replacing every number would merge `expected 200, got 500` with `got 404`, and leave `gw0` and `gw3` apart. So numbers
go by what they stand for: status and exit codes stay; counters of workers and hosts, times, ports and addresses go.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from report_merge.sanitize import first_line, printable

_REPLACEMENTS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        (r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?", "<time>"),
        (r"\b\d\d:\d\d:\d\d(?:[.,]\d{1,9})?", "<time>"),
        (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "<uuid>"),
        (r"\b0x[0-9a-f]{1,16}\b", "<address>"),
        (r"@[0-9a-f]{5,16}\b", "@<address>"),
        (r"\b(?=[0-9a-f]{0,63}[0-9])(?=[0-9a-f]{0,63}[a-f])[0-9a-f]{7,64}\b", "<hash>"),
        (r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?\b", "<ip>"),
        (r"(?<=://)([^\s/:]{1,255}):\d{1,5}", r"\1:<port>"),
        (r"\b(localhost|port)([ :=]{1,3})\d{1,5}\b", r"\1\2<port>"),
        (r"(?:[\w.@+~-]{0,100}[/\\]){1,40}([\w.@+-]{1,100})", r"\1"),  # paths: the last part only
        (
            r"\b(gw|worker|runner|node|host|machine|shard|slot|pid|thread|process|line)([-_# :=]{0,2})\d{1,12}\b",
            r"\1\2#",
        ),
    )
)
_NUMBER = re.compile(r"(?<![\w.])-?\d{1,30}(?:[.,]\d{1,30}){0,3}(?P<unit> ?(?:ms|s|min|m|h|%|px|[kmgt]?i?b|bytes)\b)?")
_CODE_BEFORE = re.compile(
    r"(?:exit|code|status|errno|signal|http(?:/[\d.]{1,4})?)\W{0,10}(?:code|status)?\W{0,4}$", re.IGNORECASE
)
_STATUS_CODE = re.compile(r"[1-5]\d\d")

_TYPE = re.compile(r"(?:^|[\s:>(])((?:\w{1,80}\.){0,10}\w{0,80}(?:Error|Exception|Failure|Timeout|Warning))\b(?!\()")
_PYTHON_FRAME = re.compile(r'File "([^"\n]{1,300})", line \d{1,9}, in ([\w<>.]{1,200})')
_PYTEST_FRAME = re.compile(r"^([\w./\\-]{1,300}\.py):\d{1,9}: ?(?:in (\w{1,200}))?", re.MULTILINE)
_JS_FRAME = re.compile(
    r"^\s{0,40}at (?:(?:async )?([\w.<>$ \[\]]{1,200}?) \()?"
    r"((?:file://)?[^\s():]{1,300}):\d{1,9}:\d{1,9}\)?$",
    re.MULTILINE,
)
_JAVA_FRAME = re.compile(
    r"^\s{0,40}at ((?:[\w$]{1,80}\.){1,20})([\w$<>]{1,80})\([\w$]{1,80}\.\w{1,10}:\d{1,9}\)", re.MULTILINE
)
FOREIGN = re.compile(
    r"node_modules|site-packages|dist-packages|/lib/python|^node:|internal/|<anonymous>|^<|"
    r"^(?:java|javax|jdk|sun|org\.junit|junit|kotlin|scala)\."
)


def normalise(line: str) -> str:
    """`line` without what differs between two occurrences of one cause."""
    for pattern, replacement in _REPLACEMENTS:
        line = pattern.sub(replacement, line)

    def number(match: re.Match[str]) -> str:
        text, unit = match[0], match["unit"]
        before = line[max(0, match.start() - 30) : match.start()]
        if not unit and (_STATUS_CODE.fullmatch(text) or _CODE_BEFORE.search(before)):
            return text
        return "#" + (unit or "").strip()

    return _NUMBER.sub(number, line)


def exception_type(kind: str, message: str, text: str) -> str:
    """The exception's name without its package: from `kind` when the report gives one, else from the first lines."""
    for source in (kind, message[:2000], text[:8000], text[-8000:]):
        if match := _TYPE.search(source):
            return match[1].rsplit(".", 1)[-1]
    return kind.rsplit(".", 1)[-1][:100]


def top_frame(text: str) -> str:
    """`file:function` of the deepest stack frame that is the project's own code, or empty; never a line number."""
    for file, function in _frames(text[-64_000:]):
        if not FOREIGN.search(file):
            return f"{file.replace(chr(92), '/').rsplit('/', 1)[-1]}:{function.strip()}"
    return ""


def _frames(text: str) -> Iterator[tuple[str, str]]:
    """File and function of every frame, the deepest first. What a text cannot hold is not looked for, to save time."""
    found = False
    for frame in _backwards(_PYTHON_FRAME, 'File "', text):
        found = True
        yield frame[1], frame[2]
    if not found and ".py:" in text:
        pytest = _PYTEST_FRAME.findall(text)
        yield from reversed(pytest)
        found = bool(pytest)
    if not found and "at " in text:
        yield from ((match[2], match[1] or "") for match in _JS_FRAME.finditer(text))
        yield from ((match[1].rstrip("."), match[2]) for match in _JAVA_FRAME.finditer(text))


def _backwards(pattern: re.Pattern[str], start: str, text: str) -> Iterator[re.Match[str]]:
    """The matches of a pattern that begins with `start`, the last one first: mostly no other is needed."""
    at = text.rfind(start)
    while at >= 0:
        if match := pattern.match(text, at):
            yield match
        at = text.rfind(start, 0, at)


def fingerprint(category: str, kind: str, message: str, text: str, *, with_frame: bool) -> str:
    """12 hexadecimal digits over category, exception type, normalised first line and, if asked, the top frame."""
    text = printable(text)
    line = normalise(first_line(message) or first_line(text))
    frame = top_frame(text) if with_frame else ""
    return _digest(category, exception_type(kind, message, text), line, frame)


def loose_fingerprint(category: str, kind: str, message: str, text: str) -> str:
    """12 hexadecimal digits over category and exception type: the second level, which joins variations of one cause."""
    return _digest(category, exception_type(kind, message, printable(text)))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:12]
