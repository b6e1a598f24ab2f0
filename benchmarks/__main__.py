"""`python -m benchmarks [NAME...]`: run these benchmarks, or all, one after the other, and print their tables.

Each runs in a process of its own: what one holds in memory is not another's.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

NAMES = (
    "startup",
    "plan",
    "learning",
    "policies",
    "pulls",
    "controller",
    "terminal",
    "dashboard",
    "report_merge",
    "health",
    "fleet_run",
    "github",
)


def main(names: Sequence[str]) -> int:
    if unknown := sorted(set(names) - set(NAMES)):
        sys.stderr.write(f"error: no such benchmark: {', '.join(unknown)}\n  try: {', '.join(NAMES)}\n")
        return 2
    failed = []
    for name in names or NAMES:
        print(f"\n## {name}\n", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode:
            failed.append(name)
            print(f"{name} was not measured: see above", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
