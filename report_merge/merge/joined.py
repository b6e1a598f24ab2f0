"""One suite for each name: shards and machines cut a suite into many, and some readers show a row for each part."""

from __future__ import annotations

from typing import IO

from report_merge.junit import xml
from report_merge.junit.dialects import WALL, instant, microseconds, seconds_text
from report_merge.junit.xml import Element
from report_merge.limits import Rejected

_COUNTED = ("tests", "failures", "errors", "skipped")
_DIFFERS = frozenset({*_COUNTED, "time", "timestamp", "id"})
_OUTPUT = ("system-out", "system-err")


def join_suites(merged: bytes, output: IO[bytes], most: int) -> None:
    """`merged`, a report of ours, with suites that say the same of themselves joined where the first one stands.

    The same means every attribute but counts, time, timestamp and id: suites of two machines stay two. Tests, nested
    suites, properties and output of all are kept; the start is the earliest. Raises Rejected above `most` bytes,
    because it is held as a tree.
    """
    if len(merged) > most:
        raise Rejected(f"the merged report has {len(merged):,} bytes; suites are joined up to {most:,}")
    root = xml.parse(merged)
    first: dict[tuple[tuple[str, str], ...], Element] = {}
    for suite in root.findall("testsuite"):
        same = tuple(sorted((str(k), str(v)) for k, v in suite.attrib.items() if k not in _DIFFERS))
        if same in first:
            _join(first[same], suite)
            root.remove(suite)
        else:
            first[same] = suite
    output.write(xml.to_bytes(root, declaration=True) + b"\n")


def _join(one: Element, other: Element) -> None:
    for name in _COUNTED:
        one.set(name, str(int(one.get(name) or 0) + int(other.get(name) or 0)))
    one.set("time", seconds_text((microseconds(one.get("time")) or 0) + (microseconds(other.get("time")) or 0)))
    starts = [start for start in (one.get("timestamp"), other.get("timestamp")) if start]
    if starts:
        one.set("timestamp", min(starts, key=lambda start: (instant(start) is None, instant(start) or 0.0)))
    for child in list(other):
        if child.tag == "properties":
            _join_properties(one, child)
        elif child.tag in _OUTPUT and (own := one.find(str(child.tag))) is not None:
            own.text = f"{xml.text_of(own)}\n{xml.text_of(child)}"
        else:
            one.append(child)
    _order(one)


def _join_properties(suite: Element, properties: Element) -> None:
    """Each name and value once; the wall times of parts say nothing of the whole."""
    own = suite.find("properties")
    if own is None:
        own = xml.new("properties")
        suite.insert(0, own)
    known = {(one.get("name"), one.get("value")) for one in own}
    own.extend([one for one in properties if (one.get("name"), one.get("value")) not in known])
    for wall in [one for one in own if one.get("name") == WALL]:
        own.remove(wall)


def _order(suite: Element) -> None:
    """Output stands behind the tests."""
    for name in _OUTPUT:
        for element in suite.findall(name):
            suite.append(element)
