"""Secret values in what tests write become `***`, in whole texts and in streams that are cut anywhere.

A value of several lines is hidden line by line, and each line also as JSON, XML, URLs and Python's `repr` write it.
What a test encodes in another way (base64, compressed traces) is not found.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import product
from urllib.parse import quote, quote_plus

MASK = b"***"
SHORTEST = 4  # characters of a value that can be hidden: less is found everywhere


class SecretMask:
    """Knows what to hide; hides nothing when there are no values. May be used from several threads."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        lines = {line for value in values for line in secret_lines(value)}
        forms = {form.encode("utf-8", "surrogateescape") for line in lines for form in _forms(line)}
        self.forms = tuple(sorted(forms, key=len, reverse=True))  # the longest first: one may begin with another
        self.longest = len(self.forms[0]) if self.forms else 0
        self.pattern = re.compile(b"|".join(map(re.escape, self.forms)) or b"(?!)")

    def __bool__(self) -> bool:
        return bool(self.forms)

    def data(self, data: bytes) -> bytes:
        return self.pattern.sub(MASK, data) if self.is_in(data) else data

    def is_in(self, data: bytes) -> bool:
        """Whether there is anything to hide; faster than the pattern."""
        return any(form in data for form in self.forms)

    def text(self, text: str) -> str:
        return self.data(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")

    def stream(self) -> MaskedStream:
        return MaskedStream(self)


class MaskedStream:
    """One stream, masked as it comes: all pieces together are what `SecretMask.data` makes of the whole."""

    def __init__(self, mask: SecretMask) -> None:
        self._mask = mask
        self._held = b""

    def feed(self, piece: bytes) -> bytes:
        """What can be shown by now. The beginning of what may become a secret is held back."""
        mask, data = self._mask, self._held + piece
        may_begin = list(self._may_begin(data))
        out, at, holds = [], 0, mask.is_in(data)
        while True:
            hold = next((place for place in may_begin if place >= at), len(data))
            found = mask.pattern.search(data, at) if holds else None
            if found is None or found.start() >= hold:
                break
            out += [data[at : found.start()], MASK]
            at = found.end()
        self._held = data[hold:]
        return b"".join([*out, data[at:hold]])

    def end(self) -> bytes:
        """The rest, at the end of the stream. After a stream that broke off it is not to be shown."""
        rest, self._held = self._mask.data(self._held), b""
        return rest

    def _may_begin(self, data: bytes) -> Iterator[int]:
        """The places from which on all that there is may be the beginning of a secret."""
        for place in range(max(0, len(data) - self._mask.longest + 1), len(data)):
            rest = data[place:]
            if any(len(form) > len(rest) and form.startswith(rest) for form in self._mask.forms):
                yield place


def secret_lines(value: str) -> list[str]:
    """The lines of a secret value that can be hidden: those of a few characters are not."""
    return [line for line in map(str.strip, value.splitlines()) if len(line) >= SHORTEST]


def _forms(line: str) -> Iterator[str]:
    yield line
    yield repr(line)[1:-1]
    for ascii_only in (True, False):
        written = json.dumps(line, ensure_ascii=ascii_only)[1:-1]
        yield written
        yield written.replace("/", "\\/")
    yield quote(line, safe="")
    yield quote(line)
    yield quote_plus(line)
    escaped = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for double, single in product(('"', "&quot;", "&#34;"), ("'", "&apos;", "&#39;", "&#x27;")):
        yield escaped.replace('"', double).replace("'", single)
