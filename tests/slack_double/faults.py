"""What can go wrong between a client and Slack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class RateLimited:
    """429: the request is not carried out."""

    retry_after: str | int = 1


@dataclass(frozen=True)
class ServerError:
    """5xx; `done`: carried out all the same."""

    status: int = 500
    done: bool = False


@dataclass(frozen=True)
class DropBefore:
    """The connection breaks before the request is carried out."""


@dataclass(frozen=True)
class DropAfter:
    """The connection breaks after the request was carried out: the answer is lost."""


@dataclass(frozen=True)
class Slow:
    """The answer takes this many seconds."""

    seconds: float = 5.0


@dataclass(frozen=True)
class Html:
    """A proxy answers instead, with a page."""

    status: int = 200


@dataclass(frozen=True)
class Refuse:
    """`ok: false` with this error."""

    error: str
    messages: tuple[str, ...] = ()


Fault: TypeAlias = RateLimited | ServerError | DropBefore | DropAfter | Slow | Html | Refuse
