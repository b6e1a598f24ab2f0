"""What a check found: a topic, how bad it is, what would happen, and the remedy. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from ci_dispatch.core.codec import Value
from ci_dispatch.core.errors import ExitCode, worst


class Level(StrEnum):
    FAILURE = "failure"  # a run would not start, or would not end with a verdict
    WARNING = "warning"  # it works, and something is lost or risked
    UNKNOWN = "unknown"  # it could not be asked; says nothing about the repository
    FINE = "fine"


class Topic(StrEnum):
    """What is looked at; the order is that of a report."""

    SERVER = "server"
    WORKFLOWS = "workflows"
    TRIGGERS = "triggers"
    PERMISSIONS = "permissions"
    SECRETS = "secrets"
    CONCURRENCY = "concurrency"
    LABELS = "labels"
    RUNNERS = "runners"
    TOOLS = "tools"
    REQUIRED_CHECKS = "required checks"
    EXPOSURE = "exposure"


class CheckFinding(Value):
    """One thing that was looked at."""

    topic: Topic
    level: Level
    what: str  # what is so, and what would come of it
    remedy: str = ""
    where: str = ""  # a file and job, a label, a machine
    exit_code: int = 0  # what a run would end with because of it; only of a failure


def failure(
    topic: Topic, what: str, remedy: str, *, where: str = "", exit_code: ExitCode = ExitCode.USAGE
) -> CheckFinding:
    level = Level.FAILURE
    return CheckFinding(topic=topic, level=level, what=what, remedy=remedy, where=where, exit_code=int(exit_code))


def warning(topic: Topic, what: str, remedy: str, *, where: str = "") -> CheckFinding:
    return CheckFinding(topic=topic, level=Level.WARNING, what=what, remedy=remedy, where=where)


def unknown(topic: Topic, what: str, remedy: str) -> CheckFinding:
    return CheckFinding(topic=topic, level=Level.UNKNOWN, what=what, remedy=remedy)


def fine(topic: Topic, what: str, *, where: str = "") -> CheckFinding:
    return CheckFinding(topic=topic, level=Level.FINE, what=what, where=where)


def in_order(findings: Sequence[CheckFinding]) -> list[CheckFinding]:
    """By topic, and in each the worst first."""
    topics, levels = list(Topic), list(Level)
    return sorted(findings, key=lambda found: (topics.index(found.topic), levels.index(found.level)))


def exit_code_of(findings: Sequence[CheckFinding]) -> ExitCode:
    """What a run would end with; 0 when nothing would fail."""
    return worst(ExitCode(found.exit_code) for found in findings if found.level is Level.FAILURE)
