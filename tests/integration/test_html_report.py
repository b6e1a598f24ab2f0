"""The HTML report in a real headless Chromium: it filters, expands, stays silent and offline, and all can read it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from report_merge.baseline import compare
from report_merge.lighthouse import read
from report_merge.render import html
from tests.components import chromium
from tests.unit.report_merge import sample_reports as sample
from tests.unit.report_merge.test_escape import HOSTILE

pytestmark = pytest.mark.needs("chromium", "npm")

AXE = Path(__file__).parent / "js" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
LIGHTHOUSE = Path(__file__).parent.parent / "data" / "lighthouse" / "lhci"
SIZES = [(360, "light"), (360, "dark"), (1280, "light"), (1280, "dark")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield started
        started.close()


class Opened:
    """A page from a file, with everything it complained about and asked for."""

    def __init__(self, browser: Browser, text: str, folder: Path, **options: Any) -> None:
        file = folder / "report.html"
        file.write_text(text, encoding="utf-8")
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page: Page = browser.new_page(**options)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())
        self.own = file.as_uri()

    def close(self) -> None:
        self.page.close()
        assert self.complaints == []
        assert set(self.requests) == {self.own}


def red_page() -> str:
    return html.page(sample.red(), comparison=compare(sample.red(), sample.green()), lighthouse=read(LIGHTHOUSE))


@pytest.mark.parametrize(("width", "scheme"), SIZES)
@pytest.mark.parametrize("kind", ["red", "green", "incomplete"])
def test_everybody_can_read_it(browser: Browser, tmp_path: Path, kind: str, width: int, scheme: str) -> None:
    assert AXE.exists(), f"run npm ci in {AXE.parent.parent.parent}"
    text = red_page() if kind == "red" else html.page(getattr(sample, kind)())
    opened = Opened(browser, text, tmp_path, viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = opened.page
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    for button in page.locator("#list td button").all()[:2]:
        button.click()
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations', 'incomplete']})")
    told = [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found["violations"]]
    assert told == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    opened.close()


def test_filter_search_order_and_expand(browser: Browser, tmp_path: Path) -> None:
    opened = Opened(browser, red_page(), tmp_path)
    page = opened.page
    rows = page.locator("#list tbody tr")
    expect(rows).to_have_count(18)
    expect(rows.first).to_contain_text("applies a discount")

    page.get_by_role("button", name="flaky 1", exact=True).click()
    expect(rows).to_have_count(1)
    expect(page.get_by_role("status")).to_have_text("1 test")
    page.get_by_role("button", name="remembers the basket").click()
    detail = page.locator("#list .detail")
    expect(detail).to_contain_text("Attempt 1: failed · 3.00s · pi")
    expect(detail).to_contain_text("ERR_CONNECTION_REFUSED")
    expect(detail).to_contain_text("Attempt 2: passed")
    page.get_by_role("button", name="remembers the basket").click()
    expect(detail).to_have_count(0)

    page.get_by_role("button", name="all 18").click()
    page.get_by_label("Search").fill("DISCOUNT mobile")
    expect(rows).to_have_count(1)
    page.get_by_label("Search").fill("nothing is called so")
    expect(page.get_by_role("status")).to_have_text("0 tests")
    page.get_by_label("Search").fill("works")
    page.get_by_label("Order").select_option("slow")
    expect(rows.first).to_contain_text("works 11")
    page.get_by_label("Order").select_option("name")
    expect(rows.first).to_contain_text("works 0")
    opened.close()


def test_ten_thousand_tests(browser: Browser, tmp_path: Path) -> None:
    text = html.page(sample.large(10_000, 300, texts=40))
    assert len(text.encode()) <= 5_000_000
    opened = Opened(browser, text, tmp_path)
    rows = opened.page.locator("#list tbody tr")
    expect(rows).to_have_count(200)
    opened.page.get_by_role("button", name="Show more").click()
    expect(rows).to_have_count(400)
    opened.page.get_by_label("Search").fill("works 9699")
    expect(rows).to_have_count(1)
    opened.close()


def test_verdict_and_failures_need_no_javascript(browser: Browser, tmp_path: Path) -> None:
    opened = Opened(browser, red_page(), tmp_path, java_script_enabled=False)
    page = opened.page
    expect(page.get_by_role("heading", level=1)).to_contain_text("4 of 18 tests failed")
    expect(page.locator("details[open] pre").first).to_contain_text("+ 20.00 €")
    page.locator("summary", has_text="TypeError: Cannot read").click()
    expect(page.get_by_text("The list of all tests needs JavaScript")).to_be_visible()
    expect(page.locator(".controls")).to_be_hidden()
    opened.close()


def test_it_prints_the_failures(browser: Browser, tmp_path: Path) -> None:
    opened = Opened(browser, red_page(), tmp_path)
    opened.page.emulate_media(media="print")
    expect(opened.page.locator(".controls")).to_be_hidden()
    expect(opened.page.locator("pre").first).to_be_visible()
    assert len(opened.page.pdf()) > 10_000
    opened.close()


def test_nothing_foreign_runs(browser: Browser, tmp_path: Path) -> None:
    attacks = [
        *HOSTILE,
        "</script><script>alert(2)</script>",
        "<svg onload=alert(3)>",
        "\\u003cimg src=x onerror=alert(4)\\u003e",
    ]
    cases = [sample.failing(text or "empty", f"{text}\n{text}", machine=text, project=text) for text in attacks]
    opened = Opened(browser, html.page(sample.report(*cases)), tmp_path)
    for button in opened.page.locator("#list td button").all()[: len(attacks)]:
        button.click()
    own = {"SCRIPT": 2, "STYLE": 1}
    for tag, number in own.items():
        assert opened.page.evaluate(f"document.querySelectorAll('{tag}').length") == number
    assert opened.page.evaluate("document.querySelectorAll('img, iframe, [onload], [onerror]').length") == 0
    opened.close()


def test_the_policy_stops_a_script_even_if_one_got_in(browser: Browser, tmp_path: Path) -> None:
    text = red_page().replace("</main>", "<script>document.title = 'owned'</script></main>")
    opened = Opened(browser, text, tmp_path)
    assert opened.page.title() != "owned"
    (complaint,) = opened.complaints
    assert "Content Security Policy" in complaint
    opened.page.close()
