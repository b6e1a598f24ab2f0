"""How long a person waits for --help and --version: milliseconds over a bare Python, started in turns."""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median, quantiles

ROUNDS = 31
BARE = "python -c pass"
COMMANDS: dict[str, list[str]] = {
    BARE: ["-c", "pass"],
    "python -c 'import click'": ["-c", "import click"],
    "ci-dispatch --version": ["-m", "ci_dispatch", "--version"],
    "ci-dispatch --help": ["-m", "ci_dispatch", "--help"],
    "ci-dispatch run --help": ["-m", "ci_dispatch", "run", "--help"],
    "ci-dispatch config": ["-m", "ci_dispatch", "config"],
    "all libraries imported": ["-c", "import click, github, jinja2, junitparser, paramiko, rich.live, slack_sdk"],
}


def seconds(arguments: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


def measure(rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Every command once a round, so that whatever else the computer does meets all of them."""
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for arguments in COMMANDS.values():
        seconds(arguments)  # once for the caches of bytecode and disk
    for _ in range(rounds):
        for name, arguments in COMMANDS.items():
            taken[name].append(seconds(arguments))
    return taken


def main() -> None:
    taken = measure()
    bare = median(taken[BARE])
    print(f"| command | median of {ROUNDS} | over bare Python | p90 over bare Python | times bare Python |")
    print("|---|---:|---:|---:|---:|")
    for name, values in taken.items():
        middle, slow = median(values), quantiles(values, n=10)[-1]
        print(
            f"| `{name}` | {middle * 1000:.0f} ms | {(middle - bare) * 1000:.0f} ms | {(slow - bare) * 1000:.0f} ms "
            f"| {middle / bare:.1f} |"
        )


if __name__ == "__main__":
    main()
