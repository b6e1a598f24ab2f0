"""What a machine says about itself, read from the text of its probe (machines/command_lines.py). Pure.

Unknown lines are ignored.

How much memory is in use is a matter of definition. Linux: total less MemAvailable, as free(1) counts. macOS: what the
Activity Monitor counts, anonymous pages that cannot be purged, wired pages, and what the compressor occupies; "free"
pages alone would call a healthy Mac full (issue 2). In a container its own limit counts when it is the tighter one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_LISTED = re.compile(r"([dl][rwxsStT-]{9})[.+@]?\s+\d+\s+(\d+)\s+\d+\s+\d+\s+\S+\s+\S+\s+\S+\s+(/.*?)(?: -> .*)?$")
"""A line of `ls -ldn`: mode, owner, path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A file system: what is free of it, as shares from 0 to 1."""

    mount: str
    free: float
    inodes_free: float | None = None  # None: it has no fixed number of them


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeOutput:
    """What a machine says about itself; None and empty where it did not say."""

    complete: bool = False  # the text came to its end
    clock: float | None = None  # seconds since the epoch, by the machine's clock
    cores: float | None = None  # less than it has where a container has a quota
    load: float | None = None  # average of one minute
    memory_used: float | None = None  # share, 0 to 1
    memory_critical: bool = False  # macOS: the system itself says so
    disks: tuple[Disk, ...] = ()
    throttled: int | None = None  # Raspberry Pi: the firmware's bits
    orphans: int = 0  # jobs of earlier runs that nobody ended
    missing: tuple[str, ...] = ()  # tools that are not there
    others: str = ""  # which folder, of ours or on the way to it, somebody else can change


def read(text: str, nonce: str) -> ProbeOutput | None:
    """The answer in what a probe's command printed, None when there is none of ours in it."""
    begin = text.find(f"@begin {nonce}\n")
    if begin < 0:
        return None
    end = text.find(f"@end {nonce}", begin)
    sections = _sections(text[begin : end if end >= 0 else len(text)].splitlines())
    first = {key: lines[0] for key, lines in sections.items() if lines}
    mac = first.get("os", "").startswith("Darwin")
    sysctl = dict(line.split(": ", 1) for line in sections.get("sysctl", []) if ": " in line)
    return ProbeOutput(
        complete=end >= 0,
        clock=_number(first.get("date", "")),
        cores=_number(sysctl.get("hw.logicalcpu", "")) if mac else _cores(sections),
        load=_first_number(sysctl.get("vm.loadavg", "") if mac else first.get("load", "")),
        memory_used=_memory_mac(sections, sysctl) if mac else _memory_linux(sections),
        memory_critical=sysctl.get("kern.memorystatus_vm_pressure_level", "").strip() == "4",
        disks=_disks(sections.get("df", []), sections.get("df_inodes", [])),
        throttled=_hexadecimal(first.get("throttled", "")),
        orphans=int(_number(first.get("orphans", "")) or 0),
        missing=tuple(sections.get("missing", ())),
        others=_others(sections.get("way", []), first.get("uid", "")),
    )


def _sections(lines: Iterable[str]) -> dict[str, list[str]]:
    """`@key value` adds a value to its key; lines without a mark belong to the last key."""
    sections: dict[str, list[str]] = {}
    key = ""
    for line in lines:
        if line.startswith("@"):
            key, _, value = line[1:].partition(" ")
            sections.setdefault(key, [])
            if value:
                sections[key].append(value.strip())
        elif line.strip():
            sections.setdefault(key, []).append(line)
    return sections


def _cgroups(sections: Mapping[str, list[str]]) -> dict[str, dict[str, str]]:
    """group -> name -> value"""
    groups: dict[str, dict[str, str]] = {}
    for line in sections.get("cgroup", []):
        path, value = _split(line)
        group, _, name = path.rpartition("/")
        groups.setdefault(group, {})[name] = value
    return groups


def _cores(sections: Mapping[str, list[str]]) -> float | None:
    limits = [_number(line) for line in sections.get("cores", [])]
    for group in _cgroups(sections).values():
        quota, _, period = group.get("cpu.max", "").partition(" ")
        if (share := _ratio(_number(quota), _number(period))) and share > 0:
            limits.append(share)
    return min((limit for limit in limits if limit and limit > 0), default=None)


def _memory_linux(sections: Mapping[str, list[str]]) -> float | None:
    memory = {key.rstrip(":"): _number(value) or 0.0 for key, value in map(_split, sections.get("mem", []))}
    total = memory.get("MemTotal")
    if not total:
        return None
    available = memory.get("MemAvailable", 0.0)
    if not 0 < available <= total:  # Linux before 3.14 has none, some container file systems a wrong one
        names = ("MemFree", "Buffers", "Cached", "SReclaimable")
        available = sum(memory.get(name, 0.0) for name in names) - memory.get("Shmem", 0.0)
    used = [1 - min(available, total) / total]
    for group in _cgroups(sections).values():
        limit, current = _number(group.get("memory.max", "")), _number(group.get("memory.current", ""))
        if limit and current is not None and limit < total * 1024:
            used.append((current - (_number(group.get("inactive_file", "")) or 0.0)) / limit)
    return max(used)


def _memory_mac(sections: Mapping[str, list[str]], sysctl: Mapping[str, str]) -> float | None:
    lines = sections.get("vm_stat", [])
    page = re.search(r"page size of (\d+) bytes", lines[0]) if lines else None
    total = _number(sysctl.get("hw.memsize", ""))
    pages = {found[1]: int(found[2]) for line in lines if (found := re.match(r'"?([^":]+)"?:\s+(\d+)\.?\s*$', line))}
    wired = pages.get("Pages wired down")
    if not page or not total or wired is None:
        return None
    if "Anonymous pages" in pages:
        program = pages["Anonymous pages"] - pages.get("Pages purgeable", 0)
    else:  # before OS X 10.9
        program = pages.get("Pages active", 0)
    return (program + wired + pages.get("Pages occupied by compressor", 0)) * int(page[1]) / total


def _disks(blocks: Iterable[str], inodes: Iterable[str]) -> tuple[Disk, ...]:
    """Free of total: on APFS the used column counts one volume only, the total is the whole container's (issue 2)."""
    nodes = {mount: free for mount, free in map(_df, inodes) if mount}
    found = {mount: free for mount, free in map(_df, blocks) if mount and free is not None}
    return tuple(Disk(mount=mount, free=free, inodes_free=nodes.get(mount)) for mount, free in found.items())


def _df(line: str) -> tuple[str, float | None]:
    """POSIX: device, total, used, available, capacity, mount point; both ends may hold blanks."""
    found = re.match(r"\S.*?\s(\d+)\s+(-?\d+)\s+(-?\d+)\s+(?:-?\d+%|-)\s+(/.*)$", line)
    return (found[4], _ratio(float(found[3]), float(found[1]))) if found else ("", None)


def _others(listed: Iterable[str], uid: str) -> str:
    """The first folder that is not ours alone to change, by `ls -ldn` of our own one and those above it, "" for none.

    The rules of machines/supervisor/private_folder.py, which decides, but for groups: only the machine knows them.
    """
    found = [_LISTED.match(line) for line in listed]
    way = [(match[1], match[2], match[3].removesuffix("/.") or "/") for match in found if match]
    trusted = {"0", uid, *(owner for _, owner, path in way if path == "/")}
    for place, (mode, owner, path) in enumerate(way):
        if owner not in trusted:
            return f"{path} belongs to user {owner}"
        sticky = mode[9] in "tT" and place > 0
        if mode[0] == "d" and mode[8] == "w" and not sticky:
            return f"everybody may write in {path}"
    return ""


def _ratio(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def _split(line: str) -> tuple[str, str]:
    key, _, value = line.partition(" ")
    return key, value.strip()


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\s*-?\d{1,18}(\.\d{1,9})?\s*", text) else None


def _first_number(text: str) -> float | None:
    """The first of a list like "0.18 0.20 0.15 1/234 5678" or "{ 2,51 1,53 1,02 }"."""
    words = text.strip("{} ").replace(",", ".").split()
    return _number(words[0]) if words else None


def _hexadecimal(text: str) -> int | None:
    return int(text, 16) if re.fullmatch(r"(0x)?[0-9a-fA-F]{1,8}", text) else None
