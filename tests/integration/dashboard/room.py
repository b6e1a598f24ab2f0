"""A dashboard and a real headless Chromium that looks at it: fixtures and their types."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from ci_dispatch.core.events import Stamped
from ci_dispatch.reporters.dashboard import service
from ci_dispatch.reporters.dashboard.journal_source import LiveSource
from ci_dispatch.reporters.dashboard.service import DashboardService
from tests.components import chromium
from tests.data.dashboard.simulated import START, Simulation
from tests.integration.conftest import PAGE_MILLISECONDS

AXE = Path(__file__).parent.parent / "js" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
SIZES = [(360, "light"), (360, "dark"), (1280, "light"), (1280, "dark")]
TOKEN = "a-token-for-these-tests"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield started
        started.close()


class Run:
    """A dashboard whose run goes as far as a test lets it, on a clock of its own."""

    def __init__(self, events: list[Stamped], port: int = 0) -> None:
        self.events, self.told, self.now = events, 0, START
        self.source = LiveSource(clock=lambda: self.now)
        self.dashboard = DashboardService(self.source, port=port, token=TOKEN, earlier=lambda *_: ".F~-?")
        self.dashboard.start()

    def until(self, done: Callable[[Stamped], bool]) -> None:
        """Tell everything up to the event for which `done` holds."""
        while self.told < len(self.events):
            stamped = self.events[self.told]
            self.told += 1
            self.now = stamped.at
            self.source.put(stamped)
            if done(stamped):
                return

    def to_second(self, seconds: float) -> None:
        self.until(lambda stamped: stamped.at >= START + seconds)

    def to_end(self) -> None:
        self.until(lambda _: False)


class Opened:
    """A page with everything it complained about and asked for."""

    def __init__(self, browser: Browser, run: Run, query: str = "", **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(PAGE_MILLISECONDS)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(run.dashboard.url + query)

    def text(self, name: str) -> Any:
        return expect(self.page.locator(name))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Run]]:
    monkeypatch.setattr(service, "INTERVAL", 0.1)
    made: list[Run] = []

    def make(port: int = 0, **options: Any) -> Run:
        made.append(Run(list(Simulation(**{"tests": 150, **options}).events()), port))
        return made[-1]

    yield make
    for run in made:
        run.dashboard.stop()
        assert run.dashboard.failure == ""


@pytest.fixture
def show(browser: Browser) -> Iterator[Callable[..., Opened]]:
    opened: list[Opened] = []

    def open_page(run: Run, query: str = "", **options: Any) -> Opened:
        opened.append(Opened(browser, run, query, **options))
        return opened[-1]

    yield open_page
    for each in opened:
        each.context.close()


def nothing_to_complain_about(opened: Opened, run: Run) -> None:
    assert opened.complaints == []
    assert opened.requests
    assert all(url.startswith(f"http://127.0.0.1:{run.dashboard.port}/") for url in opened.requests)
