"""A runner that writes JUnit at its end and nothing before. SAMPLE_MODE as in the samples of the other runners, and:

empty      writes a report without tests and exits 0        silent     writes nothing and exits 0
truncated  writes half a report                             noisy      exits 1 although all is well
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from xml.sax.saxutils import quoteattr

MODE = os.environ.get("SAMPLE_MODE", "")
TITLES = ["a › b", " blanks ", "a::b", "-k x", "\"quotes\" 'and' `ticks`", "$(touch owned)", "größe 価格", "@x", "a,b"]
SAMPLE = ["passes", "fails", "is skipped", "may wait", "may kill", "may crash", "may go", "comes last"]
NAMES = [f"sample::{name}" for name in SAMPLE if (MODE, name) != ("gone", "may go")] + [f"titles::{t}" for t in TITLES]


def case(name: str) -> str:
    classname, _, title = name.partition("::")
    inner = {"fails": '<failure message="one is not two"/>', "is skipped": '<skipped message="not today"/>'}.get(
        title, ""
    )
    return f'<testcase classname={quoteattr(classname)} name={quoteattr(title)} time="0.01">{inner}</testcase>'


def main(action: str, *arguments: str) -> int:
    if MODE == "unloadable":
        sys.stderr.write("this suite cannot be loaded\n")
        return 3
    if action == "list":
        sys.stdout.write("".join(f"{name}\n" for name in NAMES) if MODE != "none" else "")
        return 0
    junit, names = Path(arguments[0]), [name for name in arguments[1:] if name in NAMES]
    if MODE == "waiting" and "sample::may wait" in names:
        time.sleep(60)
    if MODE == "killing" and "sample::may kill" in names:
        os.kill(os.getpid(), signal.SIGKILL)
    if MODE == "crashing" and "sample::may crash" in names:
        os._exit(7)
    cases = "".join(case(name) for name in names) if MODE != "empty" else ""
    report = f"<testsuite>{cases}</testsuite>"
    if MODE != "silent":
        junit.write_text(report[: len(report) // 2] if MODE == "truncated" else report, encoding="utf-8")
    return 1 if ("sample::fails" in names and MODE not in ("empty", "silent")) or MODE == "complaining" else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
