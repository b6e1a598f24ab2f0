"""What a failed assertion expected and what it got, where its message says so in words that test runners use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from report_merge.sanitize import one_line, printable

SCANNED = 16_000  # characters of the beginning: runners say it before the stack
LENGTH = 200

_LABELS = (
    # Jest, Playwright, Vitest: `Expected string: "a"`, `Received: "b"`; xUnit, JUnit 4, NUnit, testify, AssertJ.
    (r"Expected(?: [a-z]{1,20}){0,2}: {1,20}(.+)", r"Received(?: [a-z]{1,20}){0,2}: {1,20}(.+)"),
    (r"Expected ?: {1,20}(.+)", r"(?:Actual|But was|But got|Got) {0,3}: {0,20}(.+)"),
)
_PAIRS = tuple(tuple(re.compile(rf"\n[ \tE]{{0,20}}{label}", re.IGNORECASE) for label in pair) for pair in _LABELS)
_SENTENCES = tuple(
    re.compile(pattern)
    for pattern in (
        r"expected: ?<(?P<expected>[^\n]{0,300}?)> but was: ?<(?P<received>[^\n]{0,300}?)>",  # JUnit, Hamcrest
        r"[Ff]ailed asserting that (?P<received>[^\n]{1,300}?) matches expected (?P<expected>[^\n]{1,300}?)\.(?:\n|$)",
        r"expected (?P<received>[^\n]{1,200}?) to (?:deeply |strictly )?equal (?P<expected>[^\n]{1,200})",  # Chai
    )
)

_DIFFERENCE = re.compile(r"\n- Expected\b[^\n]*\+ Received[^\n]*\n((?:[^\n]*\n){1,12})")  # Jest, Playwright


@dataclass(frozen=True, slots=True)
class Values:
    expected: str
    received: str


@lru_cache(maxsize=4096)  # several outputs show them
def values(message: str, text: str) -> Values | None:
    """The pair on one line each, at most 200 characters; None when the texts do not say it in words known here."""
    said = printable(
        f"\n{message[:SCANNED]}\n{text[:SCANNED]}"
    )  # each line has its newline before it, which is found fast
    for expected, received in _PAIRS:
        if (one := expected.search(said)) and (other := received.search(said)):
            return Values(one_line(one[1], LENGTH), one_line(other[1], LENGTH))
    if difference := _DIFFERENCE.search(said):
        changed = [line for line in difference[1].splitlines() if line[:2] in ("- ", "+ ")]
        if [line[0] for line in changed] == ["-", "+"]:  # one line each: more of them need the whole picture
            return Values(one_line(changed[0][2:], LENGTH), one_line(changed[1][2:], LENGTH))
    for sentence in _SENTENCES:
        if match := sentence.search(said):
            return Values(one_line(match["expected"], LENGTH), one_line(match["received"], LENGTH))
    return None
