"""`python -m report_merge` and the command `report-merge`."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    from report_merge.cli import run

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: nothing half done is left behind
    sys.exit(run(sys.argv[1:], os.environ))


if __name__ == "__main__":
    main()
