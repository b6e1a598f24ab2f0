"""`python -m ci_dispatch` and the command `ci-dispatch`."""

from __future__ import annotations

import os
import sys


def main() -> None:
    from ci_dispatch.cli.errors import guarded
    from ci_dispatch.cli.main import cli

    sys.exit(guarded(cli, sys.argv[1:], os.environ))


if __name__ == "__main__":
    main()
