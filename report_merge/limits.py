"""How much input is read, so that monsters end in one clear message (docs/report-merge-security.md)."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLimits:
    """Upper bounds; what lies above is refused by name and never sinks the rest. The defaults are the contract."""

    file_bytes: int = 2048 * MIB  # one report; offsets are kept in 32 bits
    tree_bytes: int = 256 * MIB  # one report that has to be repaired or rewritten: that needs it in memory as a whole
    depth: int = 64  # nested elements; real reports stay below 12
    files: int = 100_000
    archive_members: int = 10_000
    archive_bytes: int = 4096 * MIB  # of all members of one archive, unpacked
    archive_ratio: int = 200  # unpacked : packed of one member above 1 MiB; XML reaches 60
    kept_text_bytes: int = 8 * MIB  # traces and output held in memory for the renderers, of all tests together
    text_bytes: int = 64 * 1024  # of one trace or output held in memory; the merged XML always keeps all of it
    kept_cases: int = 20_000  # tests held for the renderers, unless all are asked for


class ReportRefused(Exception):
    """A file that is not a JUnit report, or not one we can read. The reason is for people."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line
