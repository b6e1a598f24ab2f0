"""How a run is shown on this stream: pure choices from what the stream and the environment say.

FORCE_COLOR never decides whether cursor movement is sent (rich does: pypa/pip#13354); colour is a switch of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

LEAST_WIDTH = 40  # of a live display

_CI_WITH_COLOUR = ("GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", "CIRCLECI", "TRAVIS", "DRONE")


class Mode(StrEnum):
    LIVE = "live"  # bars that move, permanent lines above
    PLAIN = "plain"  # lines only, with a heartbeat
    JSON = "json"  # the event stream
    NONE = "none"  # only how it ended


CHOICES = ("auto", *Mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class Glyphs:
    """The characters a display is made of; the ASCII ones are words where a sign would be a riddle."""

    full: str
    empty: str
    passed: str
    failed: str
    flaky: str
    skipped: str
    not_run: str
    retried: str
    warning: str
    ellipsis: str
    rule: str


UNICODE = Glyphs(
    full="█", empty="░", passed="✓", failed="✗", flaky="≈", skipped="∅", not_run="?", retried="↻", warning="!",
    ellipsis="…", rule="│",
)  # fmt: skip
ASCII = Glyphs(
    full="#", empty="-", passed="ok ", failed="FAIL ", flaky="flaky ", skipped="skip ", not_run="notrun ",
    retried="retry ", warning="!", ellipsis="...", rule="|",
)  # fmt: skip


def choose(asked: str, *, isatty: bool, environ: Mapping[str, str], width: int) -> Mode:
    """The mode for a stream. `asked` wins; `auto` (or empty) asks CI_DISPATCH_PROGRESS, then the stream.

    Live needs a terminal of at least 40 columns that is not dumb, and no CI. An unknown CI_DISPATCH_PROGRESS counts as
    auto: the command line and the configuration refuse wrong words, a stray variable does not stop a run.
    """
    if asked in ("", "auto"):
        asked = environ.get("CI_DISPATCH_PROGRESS", "auto")
    if asked in tuple(Mode):
        return Mode(asked)
    dumb = environ.get("TERM", "") in ("", "dumb")
    in_ci = environ.get("CI", "").lower() not in ("", "0", "false") or "GITHUB_ACTIONS" in environ
    return Mode.LIVE if isatty and not dumb and not in_ci and width >= LEAST_WIDTH else Mode.PLAIN


def use_colour(*, isatty: bool, environ: Mapping[str, str]) -> bool:
    """Whether to colour: NO_COLOR (non-empty, https://no-color.org), then FORCE_COLOR, a known CI, a terminal."""
    if environ.get("NO_COLOR"):
        return False
    if forced := environ.get("FORCE_COLOR", ""):
        return forced.lower() not in ("0", "false")
    if any(environ.get(name) for name in _CI_WITH_COLOUR):
        return True
    return isatty and environ.get("TERM", "") not in ("", "dumb")


def glyphs_for(encoding: str | None) -> Glyphs:
    """The set that `encoding` can write."""
    try:
        "█░✓✗≈∅↻…│".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


def reflows(environ: Mapping[str, str]) -> bool:
    """Whether the terminal re-wraps lines when it becomes narrower: nearly all do, xterm and GNU screen do not."""
    return not (environ.get("XTERM_VERSION") or environ.get("STY") or environ.get("TERM") == "linux")
