"""Whether a machine is fit for work: the output of its probe and limits in, one judgement a dimension out. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ci_dispatch.core.events import MachineChecked
from ci_dispatch.core.model import MachineName
from ci_dispatch.run.probe_output import ProbeOutput
from report_merge.sanitize import one_line

# https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
_THROTTLING = ((0, "under-voltage"), (1, "frequency capped"), (2, "throttled"), (3, "soft temperature limit"))


class Grade(StrEnum):
    OK = "ok"
    WARN = "warn"  # worth a look, no reason to stay away
    FAIL = "fail"  # no work for this machine
    UNKNOWN = "unknown"  # the machine did not say: never a reason to stay away


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthPolicy:
    """The limits. Shares are from 0 to 1, times in seconds."""

    connect_timeout: float = 5.0  # for every stage together, from name look-up to the answer
    min_disk_free: float = 0.10  # of bytes and of inodes
    max_memory_used: float = 0.95
    max_load_per_core: float = 2.0
    load_decides: bool = True  # else a load above the limit is said, and the machine used all the same
    max_clock_skew: float = 30.0
    tools: tuple[str, ...] = ()  # programs that must be there


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """One thing that was looked at. `value` and `limit` are in the dimension's own unit, for programs."""

    name: str
    grade: Grade
    text: str
    value: float | None = None
    limit: float | None = None
    hint: str = ""  # what to try when it fails


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """What came of probing one machine."""

    machine: MachineName
    asked: float  # seconds since the epoch, by our clock, when the question left
    seconds: float  # until the answer began to arrive
    output: ProbeOutput | None = None
    error: str = ""  # why there is no output, or no complete one
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """The judgement on one machine, in dimensions that can each be used alone."""

    machine: MachineName
    dimensions: tuple[Dimension, ...]
    reachable: bool
    seconds: float
    cores: int = 0
    hints: tuple[str, ...] = ()  # what to try, one for each failure

    @property
    def healthy(self) -> bool:
        return self.reachable and all(dimension.grade is not Grade.FAIL for dimension in self.dimensions)

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(each.text for each in self.dimensions if each.grade in (Grade.FAIL, Grade.WARN))

    def text(self, name_width: int = 0) -> str:
        """One line: `[moruk] OK    SSH 122 ms / Disk 91 % free / Memory 23.0 % used / Load 0.18 (0.01/core)`."""
        verdict = "FAILED" if self.reachable else "UNREACHABLE"
        if self.healthy:
            verdict = "WARN" if self.problems else "OK"
        label = f"[{self.machine}]".ljust(name_width + 2)
        shown = [one_line(each.text) for each in self.dimensions if each.text]
        return f"{label} {verdict:6} {' / '.join(shown)}"

    def event(self) -> MachineChecked:
        return MachineChecked(
            machine=self.machine,
            healthy=self.healthy,
            reachable=self.reachable,
            cores=self.cores,
            seconds=round(self.seconds, 3),
            text=self.text(),
            problems=(*self.problems, *(f"try: {hint}" for hint in self.hints)),
        )

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "machine": self.machine,
            "healthy": self.healthy,
            "reachable": self.reachable,
            "seconds": round(self.seconds, 3),
            "cores": self.cores,
            "problems": list(self.problems),
            "try": "; ".join(self.hints),
            "dimensions": {
                each.name: {"grade": each.grade.value, "text": each.text, "value": each.value, "limit": each.limit}
                for each in self.dimensions
            },
        }


def judge(result: ProbeResult, policy: HealthPolicy, only: frozenset[str] = frozenset()) -> HealthReport:
    """All dimensions, or those named in `only`; ssh is always among them, for without it there are no others."""
    reachable = result.output is not None and not result.error
    dimensions = [_ssh(result, policy)]
    output = result.output
    if output is not None:
        wanted = only or frozenset(DIMENSIONS)
        dimensions += [check(output, policy) for name, check in _CHECKS.items() if name in wanted]
        if "clock" in wanted:
            dimensions.append(_clock(result, output, policy))
    return HealthReport(
        machine=result.machine,
        dimensions=tuple(dimensions),
        reachable=reachable,
        seconds=result.seconds,
        cores=int(output.cores or 0) if output else 0,
        hints=tuple(filter(None, (result.hint, *(each.hint for each in dimensions)))),
    )


def summary(reports: Mapping[MachineName, HealthReport]) -> str:
    """The last line of the health command."""
    healthy = sum(report.healthy for report in reports.values())
    return f"{healthy}/{len(reports)} machines healthy"


def _ssh(result: ProbeResult, policy: HealthPolicy) -> Dimension:
    limit = policy.connect_timeout
    if result.error:
        return Dimension(name="ssh", grade=Grade.FAIL, text=result.error, value=result.seconds, limit=limit)
    text = f"SSH {result.seconds * 1000:.0f} ms"
    return Dimension(name="ssh", grade=Grade.OK, text=text, value=result.seconds, limit=limit)


def _disk(output: ProbeOutput, policy: HealthPolicy) -> Dimension:
    limit = policy.min_disk_free
    if not output.disks:
        return _unknown("disk", "Disk", limit)
    tightest = min(output.disks, key=lambda disk: min(disk.free, _or_one(disk.inodes_free)))
    free, inodes = tightest.free, _or_one(tightest.inodes_free)
    if min(free, inodes) > limit:
        return Dimension(name="disk", grade=Grade.OK, text=f"Disk {_percent(free)} free", value=free, limit=limit)
    share, what = (free, "free") if free <= limit else (inodes, "of inodes free")
    text = f"Disk {_percent(share)} {what} on {tightest.mount}, needs {_percent(limit)}"
    mount, largest = shlex.quote(one_line(tightest.mount)), "-xh" if what == "free" else "--inodes -x"
    hint = f"free space: du {largest} {mount} | sort -h | tail; old work trees are in ~/.cache/ci-dispatch/trees"
    return Dimension(name="disk", grade=Grade.FAIL, text=text, value=share, limit=limit, hint=hint)


def _or_one(share: float | None) -> float:
    return 1.0 if share is None else share


def _memory(output: ProbeOutput, policy: HealthPolicy) -> Dimension:
    limit, used = policy.max_memory_used, output.memory_used
    if used is None:
        return _unknown("memory", "Memory", limit)
    text, grade = f"Memory {used:.1%} used".replace("%", " %"), Grade.OK
    if used >= limit:
        text, grade = f"{text}, limit {_percent(limit)}", Grade.FAIL
    elif output.memory_critical:
        text, grade = f"{text}, memory pressure critical", Grade.FAIL
    hint = "see what holds it (ps axo rss,args | sort -n | tail), or raise health.max_memory_used"
    return Dimension(name="memory", grade=grade, text=text, value=used, limit=limit, hint=_if_failed(grade, hint))


def _cpu(output: ProbeOutput, policy: HealthPolicy) -> Dimension:
    limit = policy.max_load_per_core
    if output.load is None or not output.cores:
        return _unknown("cpu", "Load", limit)
    a_core = output.load / output.cores
    text, grade = f"Load {output.load:.2f} ({a_core:.2f}/core)", Grade.OK
    if a_core >= limit:
        text, grade = f"Load {output.load:.2f} ({a_core:.2f}/core, limit {limit:g})", Grade.FAIL
        if not policy.load_decides:
            text, grade = f"{text}: tests are slow there, and timeouts may strike", Grade.WARN
    hint = "wait until its other work is done, or raise health.max_load_per_core"
    return Dimension(name="cpu", grade=grade, text=text, value=a_core, limit=limit, hint=_if_failed(grade, hint))


def _if_failed(grade: Grade, hint: str) -> str:
    return hint if grade is Grade.FAIL else ""


def _clock(result: ProbeResult, output: ProbeOutput, policy: HealthPolicy) -> Dimension:
    """Against our clock half way between question and answer, give or take that half and half a second."""
    limit = policy.max_clock_skew
    if output.clock is None:
        return _unknown("clock", "", limit)
    ahead = output.clock + 0.5 - (result.asked + result.seconds / 2)
    surely = max(0.0, abs(ahead) - result.seconds / 2 - 0.5)
    if surely <= limit:
        return Dimension(name="clock", grade=Grade.OK, text="", value=ahead, limit=limit)
    text = f"Clock {abs(ahead):.0f} s {'ahead' if ahead > 0 else 'behind'}, limit {limit:g} s"
    hint = "switch its time service on (timedatectl set-ntp true), or raise health.max_clock_skew"
    return Dimension(name="clock", grade=Grade.FAIL, text=text, value=ahead, limit=limit, hint=hint)


def _tools(output: ProbeOutput, _policy: HealthPolicy) -> Dimension:
    if output.missing:
        text = f"not found: {', '.join(output.missing)}"
        hint = (
            "install it there, or give the machine's `env` a PATH with its folder: that of a command over SSH is short"
        )
        missing = float(len(output.missing))
        return Dimension(name="tools", grade=Grade.FAIL, text=text, value=missing, limit=0.0, hint=hint)
    if not output.complete:
        return _unknown("tools", "Tools", 0.0)
    return Dimension(name="tools", grade=Grade.OK, text="", value=0.0, limit=0.0)


def _power(output: ProbeOutput, _policy: HealthPolicy) -> Dimension:
    """Only a Raspberry Pi reports it. It is slow, but it works: no reason to stay away."""
    now = [name for bit, name in _THROTTLING if (output.throttled or 0) >> bit & 1]
    text = f"Pi: {', '.join(now)}" if now else ""
    return Dimension(name="power", grade=Grade.WARN if now else Grade.OK, text=text, value=float(len(now)))


def _orphans(output: ProbeOutput, _policy: HealthPolicy) -> Dimension:
    count = output.orphans
    text = f"{count} job{'s' if count != 1 else ''} of an earlier run left behind" if count else ""
    return Dimension(name="orphans", grade=Grade.WARN if count else Grade.OK, text=text, value=float(count))


def _folder(output: ProbeOutput, _policy: HealthPolicy) -> Dimension:
    """Whether our folder is ours alone: the supervisor runs nothing from one that is not."""
    if not output.others:
        return Dimension(name="folder", grade=Grade.OK, text="", value=0.0)
    hint = "take that away (chmod go-w, chown), or give the machine another `workdir`"
    return Dimension(name="folder", grade=Grade.FAIL, text=f"Folder: {output.others}", value=1.0, hint=hint)


_CHECKS: Mapping[str, Callable[[ProbeOutput, HealthPolicy], Dimension]] = {
    "disk": _disk,
    "memory": _memory,
    "cpu": _cpu,
    "tools": _tools,
    "power": _power,
    "orphans": _orphans,
    "folder": _folder,
}
DIMENSIONS = ("ssh", *_CHECKS, "clock")


def _unknown(name: str, label: str, limit: float) -> Dimension:
    return Dimension(name=name, grade=Grade.UNKNOWN, text=f"{label} unknown" if label else "", limit=limit)


def _percent(share: float) -> str:
    """91 %, and 9.6 % rather than a 10 % that is not one."""
    rounded = round(share * 100)
    return f"{rounded} %" if abs(share * 100 - rounded) < 0.05 or share >= 0.2 else f"{share * 100:.1f} %"
