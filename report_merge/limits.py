"""How much input is read, so that monsters end in one clear message (docs/report-merge-security.md)."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLimits:
    """Upper bounds; what lies above is refused by name and never sinks the rest. The defaults are the contract."""

    file_bytes: int = 512 * MIB  # one report; it is held as a tree, some 5 to 8 times its size
    repair_bytes: int = 256 * MIB  # one report that has to be repaired
    depth: int = 64  # nested elements; real reports stay below 12
    files: int = 100_000
    archive_members: int = 10_000
    archive_bytes: int = 4096 * MIB  # of all members of one archive, unpacked
    archive_ratio: int = 200  # unpacked : packed of one member above 1 MiB; XML reaches 60
    directory_bytes: int = 16 * MIB  # an archive's list of its members
    kept_text_bytes: int = 8 * MIB  # traces and output held in memory for the renderers, of all tests together
    text_bytes: int = 64 * 1024  # of one trace or output held in memory; the merged XML always keeps all of it


class Rejected(Exception):
    """A file that is not a JUnit report, or not one we can read. The reason is for people."""

    def __init__(self, reason: str, line: int | None = None, *, no_tests: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line
        self.no_tests = no_tests  # it is well-formed, and of a kind that never holds tests: coverage, a build file
