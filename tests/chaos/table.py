"""What a campaign came to, as the table in docs/reliability.md: `make chaos-table`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.chaos.campaign import RESULTS, SeedResult, read_results
from tests.components import ROOT

PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- chaos: begin -->", "<!-- chaos: end -->"


def table(results: Sequence[SeedResult]) -> str:
    """Markdown: totals, then a row for each fault and fleet with the command that repeats it."""
    bad = [result for result in results if result.violations]
    killed = [result for result in results if result.kills]
    hours = sum(result.seconds for result in results) / 3600
    first, last = min(result.seed for result in results), max(result.seed for result in results)
    revisions = sorted({result.revision for result in results if result.revision})
    total = (
        f"{len(results)} seeds ({first} to {last}) in {hours:.1f} hours of runs: {len(bad)} with violations. In "
        f"{len(killed)} of them the controller was killed with `kill -9` and resumed, "
        f"{sum(result.kills for result in results)} times in all. Revisions of this repository: {', '.join(revisions)}."
    )
    lines = [
        total,
        "",
        "| fault | fleet | seeds | of these with `kill -9` | violations | repeat |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *_rows(results)])


def _rows(results: Sequence[SeedResult]) -> Iterator[str]:
    for fleet in ("SSH", "GitHub"):
        mine = [result for result in results if result.fleet.startswith(fleet)]
        for kind in sorted({kind for result in mine for kind in result.kinds or ("nothing",)}):
            seeds = [result for result in mine if kind in (result.kinds or ("nothing",))]
            killed = sum(bool(result.kills) for result in seeds)
            bad = sum(bool(result.violations) for result in seeds)
            words = f'FAULT="{kind}" ' if kind != "nothing" else ""
            some = ",".join(str(result.seed) for result in seeds[:3])
            repeat = f"`make chaos {words}SEEDS={_all(results)}`" if words else f"`make chaos SEEDS={some}`"
            yield f"| {kind} | {fleet} | {len(seeds)} | {killed} | {bad} | {repeat} |"


def _all(results: Sequence[SeedResult]) -> str:
    return f"{min(result.seed for result in results)}-{max(result.seed for result in results)}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="make chaos-table")
    parser.add_argument("--results", type=Path, default=RESULTS)
    results = list(read_results(parser.parse_args().results).values())
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table(results)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
