"""The dashboard in a real headless Chromium, while a run goes on and while its server dies."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Route, expect

from ci_dispatch.core.events import MachineLost, RunFinished
from ci_dispatch.reporters.dashboard.journal_source import LiveSource
from ci_dispatch.reporters.dashboard.service import DashboardService
from tests.integration.dashboard.room import Opened, Run, nothing_to_complain_about

pytestmark = pytest.mark.needs("chromium")


def test_a_run_from_waiting_to_its_verdict(runs: Callable[..., Run], show: Callable[..., Opened]) -> None:
    run = runs()
    opened = show(run)
    opened.text("#connection").to_have_text("Live")
    opened.text("#word").to_have_text("Waiting for the run")
    run.to_second(8)
    opened.text("#word").to_have_text("Running")
    opened.text("#timelines .timeline").to_have_count(6)
    opened.text("#title").to_have_text("shop end to end")
    assert opened.page.url.endswith(f":{run.dashboard.port}/")  # the token has left the address
    run.until(lambda stamped: isinstance(stamped.event, MachineLost))
    opened.text(".timeline[data-word=lost] .word").to_contain_text("lost at")
    opened.text("#groups").to_contain_text("pakane was lost")
    run.until(lambda stamped: isinstance(stamped.event, RunFinished))
    opened.text("#verdict").to_have_attribute("data-phase", "failed")
    opened.text("#sentence").to_contain_text("1 machine lost")
    opened.text("#status").to_contain_text("Failed")
    opened.text("#facts").to_contain_text("the least possible")
    opened.text("#facts").to_contain_text("runner overhead")
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
    for part in ("#counts", "#sentence", "#facts", "#timelines", "#groups", "#rows", "#chips"):
        assert watched.page.locator(part).text_content() == late.page.locator(part).text_content(), part
    paths = "[...document.querySelectorAll('.timeline path')].map((path) => path.getAttribute('d'))"
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
    other = DashboardService(LiveSource(), port=run.dashboard.port)
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
    expect(page.locator("#word")).to_have_text("Failed")
    context.close()


def test_a_server_that_dies_while_a_stream_opens_is_streamed_from_when_it_is_back(
    runs: Callable[..., Run], browser: Browser
) -> None:
    run = runs()
    run.to_second(8)
    context = browser.new_context()
    asked: list[str] = []
    alive: list[bool] = []

    def dies_after_the_first_answer(route: Route) -> None:
        asked.append(route.request.url)
        if len(asked) == 1 or alive:
            route.continue_()
        else:
            route.abort()

    context.route("**/api/**", dies_after_the_first_answer)
    page = context.new_page()
    page.goto(run.dashboard.url)
    expect(page.locator("#connection")).to_have_text(re.compile("Disconnected"))
    assert "/api/events" in asked[1]
    alive.append(True)
    expect(page.locator("#connection")).to_have_text("Live")
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
        expect(page.locator("#word")).to_have_text("Failed")
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
    expect(opened.page).to_have_url(re.compile("t="))
    keys.press("Escape")
    opened.text("#drawer").to_be_hidden()
    expect(first).to_be_focused()
    expect(opened.page).not_to_have_url(re.compile("t="))


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
