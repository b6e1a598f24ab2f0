"""The dashboard with 10,000 tests on 100 machines: its page in a headless Chromium, its thread's CPU and memory."""

from __future__ import annotations

import resource
import time
from random import Random
from statistics import median

from playwright.sync_api import Page, sync_playwright

from ci_dispatch.core.events import Stamped
from ci_dispatch.reporters.dashboard.journal_source import LiveSource
from ci_dispatch.reporters.dashboard.service import DashboardService
from ci_dispatch.reporters.dashboard.view_model import ViewModel
from tests.components import HOW_TO_GET, chromium
from tests.data.dashboard.simulated import Simulation

TESTS, MACHINES = 10_000, 100
QUERIES = ("s:failed", "cart", "machine:m042", "project:mobile s:passed voucher", "", "zzz", "applies")
ROUNDS = 3

FILTER = """(query) => {
    const input = document.getElementById("query");
    const began = performance.now();
    input.value = query;
    input.dispatchEvent(new Event("input"));
    document.getElementById("scroller").offsetHeight;  // layout included
    return performance.now() - began;
}"""
PAINTED = """() => {
    const entries = performance.getEntriesByType("paint");
    return entries.find((entry) => entry.name === "first-contentful-paint").startTime;
}"""


def memory() -> float:
    """The largest this process has been, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def a_run() -> list[Stamped]:
    random = Random(3)
    fleet = [(f"m{n:03}", random.choice((4, 8, 16)), random.choice((0.5, 0.8, 1.0))) for n in range(MACHINES)]
    return list(Simulation(tests=TESTS, fleet=fleet, lost="m007", quarantined="m013").events())


def folding(events: list[Stamped]) -> tuple[float, float, float]:
    """Seconds of CPU for a whole run at 2 flushes a second, the length of the run, and the size of the last state."""
    model = ViewModel("b")
    before, due = time.process_time(), events[0].at
    for stamped in events:
        if stamped.at >= due:
            model.flush(stamped.at)
            due = stamped.at + 0.5
        model.apply(stamped)
    model.flush(events[-1].at)
    used = time.process_time() - before
    return used, events[-1].at - events[0].at, len(model.snapshot(events[-1].at)) / 2**20


def in_browser(page: Page, dashboard: DashboardService) -> tuple[float, float, float]:
    """Milliseconds to the first paint, to the first rows, and for the slowest filter."""
    began = time.monotonic()
    page.goto(dashboard.url)
    page.wait_for_selector("tr[data-n]")
    rows = (time.monotonic() - began) * 1000
    page.wait_for_timeout(500)
    painted = float(page.evaluate(PAINTED))
    return painted, rows, max(float(page.evaluate(FILTER, query)) for query in QUERIES)


def main() -> None:
    if not (executable := chromium()):
        print(f"The dashboard was not measured: no Chromium. {HOW_TO_GET['chromium']}")
        return
    events = a_run()
    held = memory()
    cpu, length, size = folding(events)
    source = LiveSource(clock=lambda: events[-1].at)
    for stamped in events:
        source.put(stamped)
    dashboard = DashboardService(source)
    dashboard.start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
            seen = [in_browser(browser.new_page(), dashboard) for _ in range(ROUNDS)]
            browser.close()
    finally:
        dashboard.stop()
    painted, rows, slowest = (median(each) for each in zip(*seen, strict=True))
    print(f"{TESTS:,} tests, {MACHINES} machines, {len(events):,} events; median of {ROUNDS} pages")
    print(
        "| first paint | first rows | slowest filter | CPU of a run | share of one core | whole state | memory for it |"
    )
    print("|---:|---:|---:|---:|---:|---:|---:|")
    print(
        f"| {painted:.0f} ms | {rows:.0f} ms | {slowest:.0f} ms | {cpu:.2f} s | {cpu / length:.1%} | {size:.1f} MiB "
        f"| {memory() - held:.0f} MiB |"
    )


if __name__ == "__main__":
    main()
