"""Takes docs/images/dashboard.png: a simulated run, a few seconds before its end.

python -m tests.data.dashboard.picture [FILE]
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from ci_dispatch.reporters.dashboard.journal_source import LiveSource
from ci_dispatch.reporters.dashboard.service import DashboardService
from tests.components import ROOT, chromium
from tests.data.dashboard.simulated import START, Simulation

SECOND = 122.0  # of the run
SIZE = (1240, 1180)


def take(file: Path) -> None:
    source = LiveSource(clock=lambda: START + SECOND)
    for stamped in Simulation().events():
        if stamped.at <= START + SECOND:
            source.put(stamped)
    dashboard = DashboardService(source)
    dashboard.start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
            page = browser.new_page(
                viewport={"width": SIZE[0], "height": SIZE[1]}, device_scale_factor=1.5, reduced_motion="reduce"
            )
            page.goto(dashboard.url)
            page.wait_for_selector("tr[data-n]")
            page.evaluate("document.querySelectorAll('.group').forEach((group, i) => { group.open = i === 0; })")
            page.wait_for_timeout(500)
            page.screenshot(path=file)
            browser.close()
    finally:
        dashboard.stop()


if __name__ == "__main__":
    take(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images" / "dashboard.png")
