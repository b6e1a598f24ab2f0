"""`python -m report_merge` and the command `report-merge`."""

from __future__ import annotations

import os
import sys


def main() -> None:
    from report_merge.cli import run

    sys.exit(run(sys.argv[1:], os.environ))


if __name__ == "__main__":
    main()
