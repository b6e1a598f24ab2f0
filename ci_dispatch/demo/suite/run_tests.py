"""A test runner small enough to read: prints its tests, or runs some of them and writes JUnit and live events.

    run_tests.py list
    run_tests.py run [--workers N] --junit FILE --live FILE NAME...

Exit code 0: all passed; 1: some failed; 2: a name is unknown, then nothing ran; 130: interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from shop_tests import body, tests  # type: ignore[import-not-found]  # beside this script when it runs


@dataclass
class Results:
    """Writes at once how each test ends, and keeps it for the JUnit file."""

    live: Path
    messages: dict[str, str] = field(default_factory=dict)  # by test; empty: it passed
    seconds: dict[str, float] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def write(self, **event: object) -> None:
        with self.lock, self.live.open("a", encoding="utf-8") as live:
            live.write(json.dumps(event) + "\n")

    def run(self, name: str) -> None:
        self.write(kind="begin", id=name)
        began = time.monotonic()
        message, detail = "", ""
        try:
            time.sleep(tests()[name] / float(os.environ.get("DEMO_SPEED", "1")))
            body(name)()
        except AssertionError as error:
            message, detail = f"AssertionError: {error}", traceback.format_exc()
        self.messages[name], self.seconds[name] = message, time.monotonic() - began
        verdict = "failed" if message else "passed"
        self.write(kind="end", id=name, verdict=verdict, seconds=self.seconds[name], message=message, detail=detail)
        sys.stdout.write(f"{verdict:6}  {name}\n")
        sys.stdout.flush()

    def junit(self, file: Path) -> None:
        suite = ElementTree.Element("testsuite", name="corner shop")
        for name, message in self.messages.items():
            feature, _, title = name.partition("::")
            case = ElementTree.SubElement(suite, "testcase", classname=feature, name=title)
            case.set("time", f"{self.seconds[name]:.3f}")
            if message:
                ElementTree.SubElement(case, "failure", message=message)
        ElementTree.ElementTree(suite).write(file, encoding="utf-8", xml_declaration=True)


def run(names: list[str], *, workers: int, junit: Path, live: Path) -> int:
    if unknown := [name for name in names if name not in tests()]:
        sys.stderr.write(f"no such test: {unknown[0]}\n")
        return 2
    results = Results(live)
    pool = ThreadPoolExecutor(workers)
    try:
        for done in [pool.submit(results.run, name) for name in names]:
            done.result()
    except KeyboardInterrupt:
        pool.shutdown(cancel_futures=True)
        return 130
    finally:
        results.junit(junit)
    return 1 if any(results.messages.values()) else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the tests of the corner shop.")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list")
    runs = actions.add_parser("run")
    runs.add_argument("--workers", type=int, default=1)
    runs.add_argument("--junit", type=Path, required=True)
    runs.add_argument("--live", type=Path, required=True)
    runs.add_argument("names", nargs="+")
    given = parser.parse_args()
    if given.action == "list":
        sys.stdout.write("".join(f"{name}\n" for name in tests()))
        return 0
    return run(given.names, workers=given.workers, junit=given.junit, live=given.live)


if __name__ == "__main__":
    sys.exit(main())
