"""The dashboard in a real headless Chromium, while a run goes on, while its server dies, and for everybody."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from ci_dispatch.core.events import AttemptFinished, AttemptOutput, MachineLost, RunFinished, Stamped
from ci_dispatch.core.model import LeaseNumber, MachineName
from ci_dispatch.reporters.dashboard import service
from ci_dispatch.reporters.dashboard.service import Dashboard
from ci_dispatch.reporters.dashboard.sink import Inbox
from tests.components import chromium
from tests.data.dashboard.simulated import START, Simulation
from tests.unit.test_escape import HOSTILE

pytestmark = pytest.mark.needs("chromium")

AXE = Path(__file__).parent / "js" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
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
        self.inbox = Inbox(clock=lambda: self.now)
        self.dashboard = Dashboard(self.inbox, port=port, token=TOKEN)
        self.dashboard.start()

    def until(self, done: Callable[[Stamped], bool]) -> None:
        """Tell everything up to the event for which `done` holds."""
        while self.told < len(self.events):
            stamped = self.events[self.told]
            self.told += 1
            self.now = stamped.at
            self.inbox.put(stamped)
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
        self.page.set_default_timeout(10_000)
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


def test_a_run_from_waiting_to_its_verdict(runs: Callable[..., Run], show: Callable[..., Opened]) -> None:
    run = runs()
    opened = show(run)
    opened.text("#connection").to_have_text("Live")
    opened.text("#word").to_have_text("Waiting for the run")
    run.to_second(8)
    opened.text("#word").to_have_text("Running")
    opened.text("#lanes .lane").to_have_count(6)
    opened.text("#title").to_have_text("shop end to end")
    assert opened.page.url.endswith(f":{run.dashboard.port}/")  # the token has left the address
    run.until(lambda stamped: isinstance(stamped.event, MachineLost))
    opened.text(".lane[data-word=lost] .word").to_contain_text("lost at")
    opened.text("#groups").to_contain_text("pakane was lost")
    run.until(lambda stamped: isinstance(stamped.event, RunFinished))
    opened.text("#verdict").to_have_attribute("data-phase", "failed")
    opened.text("#sentence").to_contain_text("1 machine lost")
    opened.text("#status").to_contain_text("Failed", timeout=8000)
    opened.text("#facts").to_contain_text("the least possible")
    nothing_to_complain_about(opened, run)


def test_a_page_opened_late_shows_the_same_as_one_that_watched(
    runs: Callable[..., Run], show: Callable[..., Opened]
) -> None:
    run = runs()
    watched = show(run)
    watched.text("#connection").to_have_text("Live")
    run.to_second(20)
    watched.text("#word").to_have_text("Running")
    run.to_end()
    watched.text("#word").to_have_text("Failed")
    late = show(run)
    late.text("#word").to_have_text("Failed")
    late.text("tr[data-n]").not_to_have_count(0)
    for part in ("#counts", "#sentence", "#facts", "#lanes", "#groups", "#rows", "#chips"):
        assert watched.page.locator(part).text_content() == late.page.locator(part).text_content(), part
    paths = "[...document.querySelectorAll('.lane path')].map((path) => path.getAttribute('d'))"
    assert watched.page.evaluate(paths) == late.page.evaluate(paths)
    assert len("".join(watched.page.evaluate(paths))) > 2000


def test_the_server_dies_and_comes_back(runs: Callable[..., Run], show: Callable[..., Opened]) -> None:
    run = runs()
    opened = show(run)
    run.to_second(8)
    opened.text("#word").to_have_text("Running")
    run.dashboard.stop()
    opened.text("#connection").to_have_text(re.compile("Disconnected"))
    opened.text("tr[data-n]").not_to_have_count(0)  # what was known stays
    again = runs(port=run.dashboard.port)
    again.to_end()
    opened.text("#connection").to_have_text("Live")
    opened.text("#word").to_have_text("Failed")


def test_a_server_with_another_token_is_said(runs: Callable[..., Run], show: Callable[..., Opened]) -> None:
    run = runs()
    opened = show(run)
    opened.text("#connection").to_have_text("Live")
    run.dashboard.stop()
    other = Dashboard(Inbox(), port=run.dashboard.port)
    other.start()
    try:
        opened.text("#connection").to_contain_text("new link")
    finally:
        other.stop()


def test_a_finished_run_whose_server_ends_is_left_in_peace(
    runs: Callable[..., Run], show: Callable[..., Opened]
) -> None:
    run = runs()
    run.to_end()
    opened = show(run)
    opened.text("#connection").to_have_text("Live")
    run.dashboard.stop()
    opened.text("#connection").to_have_text("Server has ended")
    opened.page.wait_for_timeout(1500)
    nothing_to_complain_about(opened, run)  # no request that could fail


def test_without_a_stream_the_page_asks(
    runs: Callable[..., Run], show: Callable[..., Opened], browser: Browser
) -> None:
    run = runs()
    context = browser.new_context()
    context.route("**/api/events**", lambda route: route.fulfill(status=503, body="a proxy"))
    page = context.new_page()
    page.goto(run.dashboard.url)
    expect(page.locator("#connection")).to_have_text("Every 2 s")
    run.to_end()
    expect(page.locator("#word")).to_have_text("Failed", timeout=10_000)
    context.close()


def test_six_tabs_all_work(runs: Callable[..., Run], browser: Browser) -> None:
    run = runs()
    context = browser.new_context()
    pages = [context.new_page() for _ in range(6)]
    for page in pages:
        page.goto(run.dashboard.url)
        expect(page.locator("#connection")).to_have_text(re.compile("Live|Every 2 s"))
    run.to_end()
    for page in pages:
        expect(page.locator("#word")).to_have_text("Failed", timeout=15_000)
    context.close()


class TestFilter:
    @pytest.fixture
    def opened(self, runs: Callable[..., Run], show: Callable[..., Opened]) -> Opened:
        run = runs(tests=400)
        run.to_end()
        opened = show(run)
        opened.text("#word").to_have_text("Failed")
        return opened

    def test_chips_words_and_the_address_are_one(self, opened: Opened) -> None:
        page = opened.page
        chip = page.get_by_role("button", name=re.compile(r"failed \d+"))
        failed = int(chip.inner_text().split()[-1])
        assert failed > 0
        chip.click()
        expect(chip).to_have_attribute("aria-pressed", "true")
        expect(page.locator("#query")).to_have_value("s:failed")
        expect(page.locator("tr[data-n]")).to_have_count(failed)
        assert "q=s%3Afailed" in page.url
        page.locator("#query").fill("s:failed,flaky machine:moruk")
        expect(page.locator("#shown")).to_contain_text("of 400 tests")
        assert set(page.locator("td.machine span").all_inner_texts()) == {"moruk"}
        page.reload()
        expect(page.locator("#query")).to_have_value("s:failed,flaky machine:moruk")
        expect(page.locator("tr[data-n]").first).to_contain_text("moruk")
        page.locator("#query").fill("no such test anywhere")
        expect(page.locator("#rows")).to_contain_text("No test matches")

    @pytest.mark.parametrize(
        ("query", "holds"),
        [
            ("project:tablet", lambda row: "tablet" in row),
            ('"applies a discount"', lambda row: "applies a discount" in row),
            ("file:cart discount", lambda row: "cart.spec.ts" in row and "discount" in row),
            ("s:not-run", lambda row: "not run" in row),
            ("s:moved", lambda row: True),
        ],
    )
    def test_words(self, opened: Opened, query: str, holds: Callable[[str], bool]) -> None:
        opened.page.locator("#query").fill(query)
        opened.text("#shown").to_contain_text("of 400 tests")
        rows = opened.page.locator("tr[data-n]").all_inner_texts()
        assert rows
        assert all(holds(row) for row in rows)

    @pytest.mark.parametrize("query", ["(", "[", "\\", "s:", "machine:", '"', ":", "*" * 500, "s:<b>", "__proto__"])
    def test_any_text_may_be_typed(self, opened: Opened, query: str) -> None:
        opened.page.locator("#query").fill(query)
        opened.text("#shown").to_contain_text("400 tests")
        assert opened.complaints == []

    def test_only_a_window_of_the_rows_is_there_and_it_follows_the_eye(self, opened: Opened) -> None:
        page = opened.page
        assert page.locator("tr[data-n]").count() < 60
        page.locator("#scroller").evaluate("(node) => { node.scrollTop = node.scrollHeight }")
        expect(page.locator("tr[data-n]").last).to_contain_text("passed")
        bottom = "(node) => node.scrollHeight - node.scrollTop - node.clientHeight"
        assert abs(page.locator("#scroller").evaluate(bottom)) < 2

    def test_by_time(self, opened: Opened) -> None:
        opened.page.get_by_role("button", name="Time").click()
        times = [
            float(t.replace("◷", "").split()[0]) for t in opened.page.locator("td.time").all_inner_texts() if " s" in t
        ]
        assert len(times) > 5
        assert times == sorted(times, reverse=True)
        assert "sort=time" in opened.page.url


def test_by_keyboard_alone(runs: Callable[..., Run], show: Callable[..., Opened]) -> None:
    run = runs()
    run.to_end()
    opened = show(run)
    opened.text("#word").to_have_text("Failed")
    keys = opened.page.keyboard
    keys.press("/")
    opened.text("#query").to_be_focused()
    keys.type("s:passed")
    opened.text("#shown").to_contain_text("of 150")
    first, second = opened.page.locator("tr[data-n] button").nth(0), opened.page.locator("tr[data-n] button").nth(1)
    first.focus()
    keys.press("ArrowDown")
    expect(second).to_be_focused()
    keys.press("ArrowUp")
    expect(first).to_be_focused()
    keys.press("Enter")
    opened.text("#drawer").to_be_visible()
    opened.text("#drawer-title").to_be_focused()
    assert "t=" in opened.page.url
    keys.press("Escape")
    opened.text("#drawer").to_be_hidden()
    expect(first).to_be_focused()
    assert "t=" not in opened.page.url


def test_focus_stays_on_its_test_while_the_table_changes(runs: Callable[..., Run], show: Callable[..., Opened]) -> None:
    run = runs()
    run.to_second(6)
    opened = show(run)
    row = opened.page.locator("tr[data-n]").nth(2)
    n = row.get_attribute("data-n")
    row.locator("button").focus()
    for second in range(7, 16):
        run.to_second(second)
        opened.page.wait_for_timeout(120)
    focused = opened.page.evaluate("document.activeElement.closest('tr')?.dataset.n ?? null")
    assert focused in (n, None)  # on the same test, or that test has left the window: never on another


def test_one_test_with_its_attempts_and_live_output(runs: Callable[..., Run], show: Callable[..., Opened]) -> None:
    run = runs()
    run.until(lambda stamped: isinstance(stamped.event, AttemptOutput) and "✓" in stamped.event.text)
    output = run.events[run.told - 1].event
    assert isinstance(output, AttemptOutput)
    shard = next(
        stamped.event.lease.shard  # type: ignore[union-attr]
        for stamped in run.events
        if getattr(getattr(stamped.event, "lease", None), "number", None) == output.lease
    )
    opened = show(run, f"?t={shard.tests[-1].rpartition('/')[2]}")
    opened.text("#drawer").to_be_visible()
    opened.text("article h3").to_contain_text("running")
    opened.text("article pre").to_contain_text("✓")
    text = "\x1b[31mfresh\x1b[0m <b>output</b>\n"
    run.inbox.put(
        Stamped(seq=1, at=run.now, event=AttemptOutput(lease=output.lease, machine=output.machine, text=text))
    )
    opened.text("article pre").to_contain_text("fresh <b>output</b>")
    run.to_end()
    opened.text("#drawer-state").not_to_contain_text("running")
    nothing_to_complain_about(opened, run)


def test_the_attempts_of_a_failed_test_and_its_command(runs: Callable[..., Run], show: Callable[..., Opened]) -> None:
    run = runs()
    run.to_end()
    opened = show(run, "?q=s:failed")
    opened.page.locator("tr[data-n] button").first.click()
    opened.text("article").not_to_have_count(0)
    opened.text(".reproduce code").to_contain_text("npx playwright test tests/")
    opened.page.get_by_role("button", name="Copy").click()
    opened.text(".reproduce button").to_have_text(re.compile("Copied|Selected"))
    opened.text("article .message").not_to_have_count(0)
    opened.page.get_by_role("button", name="Close").click()
    opened.text("#drawer").to_be_hidden()


def test_a_run_that_died_says_so(runs: Callable[..., Run], show: Callable[..., Opened]) -> None:
    run = runs()
    run.to_second(8)
    opened = show(run)
    opened.text("#word").to_have_text("Running")
    run.now += 20
    opened.page.reload()
    opened.text("#notices").to_contain_text("No news for 0:20")
    run.now += 600
    opened.text("#word").to_have_text("Lost")
    opened.text("#notices").to_contain_text("ci-dispatch resume 20261120-184512-shop")


def test_a_machine_that_is_silent_is_hatched(runs: Callable[..., Run], show: Callable[..., Opened]) -> None:
    run = runs()
    run.to_second(8)
    run.now += 62
    speaking = MachineName("moruk")
    run.inbox.put(Stamped(seq=1, at=run.now, event=AttemptOutput(lease=LeaseNumber(1), machine=speaking, text="x")))
    opened = show(run)
    opened.text(".lane[data-word=quiet] .silence").not_to_have_count(0)
    opened.text(".lane[data-word=quiet] .word").to_contain_text(["no news 1:0"])
    opened.text(
        ".lane[data-word=quiet]",
    ).not_to_contain_text(["moruk"])


def test_hostile_names_are_only_text(runs: Callable[..., Run], show: Callable[..., Opened]) -> None:
    names = [*HOSTILE, "<img src=x onerror=alert(1)>", "</script><script>alert(2)</script>", "__proto__", "constructor"]
    run = runs(titles=names, tests=len(names) + 20, fleet=(("<b>m</b>", 4, 1.0), ("__proto__", 4, 1.0)), failing=0.2)
    run.to_end()
    opened = show(run)
    opened.text("#word").to_have_text(re.compile("Failed|Passed"))
    opened.text("#lanes").to_contain_text("<b>m</b>")
    opened.text("#lanes").to_contain_text("__proto__")
    opened.page.locator("#query").fill("<img src=x")
    opened.page.locator("tr[data-n] button").first.click()
    opened.text("#drawer-title").to_contain_text("<img src=x onerror=alert(1)>")
    assert opened.page.locator("main img, main script, dialog img").count() == 0
    nothing_to_complain_about(opened, run)


@pytest.mark.needs("npm")
@pytest.mark.parametrize(("width", "scheme"), SIZES)
@pytest.mark.parametrize("moment", ["running", "over", "drawer"])
def test_everybody_can_read_it(
    runs: Callable[..., Run], show: Callable[..., Opened], moment: str, width: int, scheme: str
) -> None:
    assert AXE.exists(), f"run npm ci in {AXE.parents[2]}"
    run = runs()
    if moment == "running":
        run.until(lambda stamped: isinstance(stamped.event, MachineLost))
        run.until(lambda stamped: isinstance(stamped.event, AttemptFinished))
    else:
        run.to_end()
    viewport = {"width": width, "height": 800}
    opened = show(run, viewport=viewport, color_scheme=scheme, reduced_motion="reduce")
    opened.text("tr[data-n]").not_to_have_count(0)
    if moment == "drawer":
        opened.page.locator("tr[data-n] button").first.click()
        opened.text("article").not_to_have_count(0)
        opened.page.locator("details.log summary").first.click()
    opened.page.evaluate(AXE.read_text(encoding="utf-8"))
    found = opened.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found["violations"]] == []
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    nothing_to_complain_about(opened, run)


def test_a_reader_who_wants_no_motion_gets_none(runs: Callable[..., Run], show: Callable[..., Opened]) -> None:
    run = runs()
    run.to_second(8)
    moving = "document.getAnimations().length"
    still, lively = show(run, reduced_motion="reduce"), show(run, reduced_motion="no-preference")
    for opened in (still, lively):
        opened.text("#word").to_have_text("Running")
    assert lively.page.evaluate(moving) > 0
    assert still.page.evaluate(moving) == 0


def test_a_hidden_page_lets_its_stream_go(runs: Callable[..., Run], show: Callable[..., Opened]) -> None:
    run = runs()
    opened = show(run)
    opened.text("#connection").to_have_text("Live")
    hide = """(hidden) => {
        Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    opened.page.evaluate(hide, True)
    before = len(opened.requests)
    run.to_end()
    opened.page.wait_for_timeout(600)
    opened.text("#word").to_have_text("Waiting for the run")
    assert len(opened.requests) == before
    opened.page.evaluate(hide, False)
    opened.text("#word").to_have_text("Failed")
    opened.text("#connection").to_have_text("Live")


def test_a_slow_answer_is_not_waited_for_in_vain(runs: Callable[..., Run], browser: Browser) -> None:
    run = runs()
    run.to_end()
    context = browser.new_context()
    asked = []

    def first_one_fails(route: Route) -> None:
        asked.append(time.monotonic())
        if len(asked) == 1:
            route.abort()
        else:
            route.continue_()

    context.route("**/api/state**", first_one_fails)
    page = context.new_page()
    page.goto(run.dashboard.url)
    expect(page.locator("#word")).to_have_text("Failed")
    assert len(asked) == 2
    context.close()
