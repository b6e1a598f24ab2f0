"""The HTML report in a real headless Chromium: it filters, expands, stays silent and offline, and all can read it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from ci_dispatch.core.codec import replace
from report_merge.baseline import compare
from report_merge.lighthouse import read
from report_merge.model import Attachment, AttachmentKind, CaseKey, Report
from report_merge.render import html
from tests.components import chromium
from tests.unit.report_merge import sample_reports as sample
from tests.unit.report_merge.test_escape import HOSTILE

pytestmark = pytest.mark.needs("chromium", "npm")

AXE = Path(__file__).parent / "js" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
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
@pytest.mark.parametrize("kind", ["red", "green", "incomplete", "with files"])
def test_everybody_can_read_it(browser: Browser, tmp_path: Path, kind: str, width: int, scheme: str) -> None:
    assert AXE.exists(), f"run npm ci in {AXE.parent.parent.parent}"
    match kind:
        case "red":
            text = red_page()
        case "with files":
            text = html.page(with_files(), pictures={"./shots/a.png": PNG})
        case _:
            text = html.page(getattr(sample, kind)())
    opened = Opened(browser, text, tmp_path, viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = opened.page
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    for button in page.locator("#list td button").all()[:2]:
        button.click()
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
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
    page = opened.page
    rows = page.locator("#list tbody tr:not([aria-hidden])")
    expect(rows.first).to_contain_text("breaks 0")
    assert rows.count() < 1000, "only what is near the window is drawn"
    page.get_by_role("contentinfo").scroll_into_view_if_needed()
    expect(page.get_by_text("works 9699", exact=False).last).to_be_visible()
    assert rows.count() < 1000
    page.get_by_label("Search").fill("works 9699")
    expect(rows).to_have_count(1)
    opened.close()


def test_what_is_opened_stays_open_when_it_is_drawn_again(browser: Browser, tmp_path: Path) -> None:
    opened = Opened(browser, html.page(sample.large(3000, 3000, texts=2)), tmp_path)
    page = opened.page
    page.locator("#shown").scroll_into_view_if_needed()
    page.evaluate("window.scrollBy(0, 3000)")
    page.locator("#list td button", has_text="breaks 150 [").click()
    expect(page.locator("#list .detail")).to_have_count(1)
    page.get_by_label("Order").focus()
    page.get_by_role("contentinfo").scroll_into_view_if_needed()
    expect(page.locator("#list .detail")).to_have_count(0)
    page.locator("#shown").scroll_into_view_if_needed()
    page.evaluate("window.scrollBy(0, 3000)")
    expect(page.locator("#list .detail")).to_have_count(1)
    opened.close()


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("s:failed", 4),
        ("s:failed s:flaky", 5),
        ("s:failed p:mobile", 1),
        ("m:pi", 1),  # where it ended: the flaky one failed there first
        ('"applies a" s:failed', 2),
        ("f:cart.spec", 18),
        ("@smoke", 0),
        ("s:nonsense", 0),
        ("works 1", 3),
    ],
)
def test_a_filter_has_an_address(browser: Browser, tmp_path: Path, query: str, found: int) -> None:
    opened = Opened(browser, red_page(), tmp_path)
    page = opened.page
    page.get_by_label("Search").fill(query)
    status = page.locator("#shown")
    expect(status).to_have_text(f"{found} test{'' if found == 1 else 's'}")
    address = page.url
    assert "#?q=" in address
    page.goto("about:blank")
    page.goto(address)
    expect(page.get_by_label("Search")).to_have_value(query)
    expect(status).to_have_text(f"{found} test{'' if found == 1 else 's'}")
    opened.requests[:] = [opened.own]
    opened.close()


def test_a_tag_is_a_whole_word(browser: Browser, tmp_path: Path) -> None:
    cases = [sample.case(f"pays {tag}") for tag in ("@smoke", "@smoke-slow", "@smokes", "smoke")]
    opened = Opened(browser, html.page(sample.report(*cases)), tmp_path)
    opened.page.get_by_label("Search").fill("@smoke")
    expect(opened.page.locator("#shown")).to_have_text("1 test")
    opened.close()


def test_a_test_and_a_cause_have_addresses(browser: Browser, tmp_path: Path) -> None:
    opened = Opened(browser, red_page(), tmp_path)
    page = opened.page
    page.get_by_label("Search").fill("signs in")
    page.locator("#list td button").click()
    page.get_by_role("link", name="link to this test").click()
    expect(page.locator("#shown")).to_have_text("1 test, by its address")
    expect(page.locator("#list .detail")).to_contain_text("TypeError: Cannot read")
    page.goto(page.url.replace("signs%20in", "was%20deleted"))
    expect(page.locator("#shown")).to_contain_text("is not in the list: cart.spec.ts › was deleted")
    page.get_by_role("link", name="All its tests in the list").first.click()
    expect(page.locator("#shown")).to_have_text("2 tests")
    opened.requests[:] = [opened.own]
    opened.close()


def test_the_tree_of_files_leads_to_their_tests(browser: Browser, tmp_path: Path) -> None:
    cases = [
        sample.case("a", file="web/e2e/cart.spec.ts"),
        replace(sample.failing("b"), key=replace(sample.failing("b").key, file="web/e2e/pay me.spec.ts", name="b")),
        replace(sample.case("c"), key=CaseKey(classname="com.acme.CartTest", name="c")),
    ]
    opened = Opened(browser, html.page(sample.report(*cases)), tmp_path)
    page = opened.page
    page.locator("#files > summary").click()
    tree = page.locator("#files .tree").first
    expect(tree).to_contain_text("web/e2e/ 2, 1 failed")
    expect(tree).to_contain_text("com/acme/ 1")
    page.get_by_role("link", name="pay me.spec.ts").click()
    expect(page.get_by_label("Search")).to_have_value('f:"web/e2e/pay me.spec.ts"')
    expect(page.locator("#shown")).to_have_text("1 test")
    opened.requests[:] = [opened.own]
    opened.close()


def test_a_failure_can_be_copied(browser: Browser, tmp_path: Path) -> None:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    file = tmp_path / "report.html"
    file.write_text(red_page(), encoding="utf-8")
    page = context.new_page()
    page.goto(file.as_uri())
    page.locator(".group .copy").first.click()
    expect(page.locator(".group .copy").first).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("cart.spec.ts › applies a discount [desktop]\n")
    assert "+ 20.00 €" in copied
    page.get_by_label("Search").fill("signs in")
    page.locator("#list td button").click()
    page.locator("#list .copy").click()
    expect(page.locator("#list .copy")).to_have_text("Copied")
    assert "Attempt 2: failed · 12.3s · moruk\nTypeError" in page.evaluate("navigator.clipboard.readText()")
    context.close()


def with_files() -> Report:
    image = Attachment(name="shots/a.png", kind=AttachmentKind.IMAGE, path="shots/a.png")
    lie = Attachment(name="shots/b.png", kind=AttachmentKind.IMAGE, path="shots/b.png")
    trace = Attachment(name="https://ci.example/trace.zip", kind=AttachmentKind.TRACE)
    local = Attachment(name="trace.zip", kind=AttachmentKind.TRACE, path="it's/trace.zip")
    no_text = Attachment(name="other.zip", kind=AttachmentKind.TRACE, path="caf\udce9/trace.zip")
    gone = Attachment(name="javascript:alert(1)")
    broken = Attachment(name="http://[/trace.zip", kind=AttachmentKind.TRACE)
    first, last = sample.failing("pays").attempts
    left_behind = (image, lie, trace, local, no_text, gone, broken)
    last = replace(last, attachments=left_behind, stdout="out\n" * 99, stderr="the last word")
    case = replace(
        sample.failing("pays"),
        attempts=(first, last),
        owners=("@acme/shop",),
        history="..F~.-?",
        properties=(("browser", "chromium"),),
        source="e2e/cart.spec.ts",
        line=41,
    )
    run = sample.report(case, sample.case("a"))
    return replace(run, context=replace(run.context, files_url="https://github.com/o/r/blob/abc/"))


def test_what_a_test_left_behind_is_shown_or_linked(browser: Browser, tmp_path: Path) -> None:
    pictures = {"./shots/a.png": PNG, "./shots/b.png": b"<svg onload=alert(1)>"}
    opened = Opened(browser, html.page(with_files(), pictures=pictures), tmp_path)
    page = opened.page
    page.locator("#list td button").first.click()
    detail = page.locator("#list .detail")
    expect(detail.locator("img")).to_have_count(1)
    expect(detail.locator("pre .plus").first).to_have_text("+ 20.00 €")
    assert detail.locator("img").evaluate("image => image.complete && image.naturalWidth") == 1
    viewer = detail.get_by_role("link", name="open in the trace viewer")
    expect(viewer).to_have_attribute("href", "https://trace.playwright.dev/?trace=https%3A%2F%2Fci.example%2Ftrace.zip")
    expect(detail).to_contain_text("npx playwright show-trace './it'\\''s/trace.zip'")
    expect(detail).to_contain_text("npx playwright show-trace './caf%E9/trace.zip'")
    expect(detail).to_contain_text("javascript:alert(1) (not beside this page)")
    expect(detail.get_by_role("link", name="e2e/cart.spec.ts:41")).to_have_attribute(
        "href", "https://github.com/o/r/blob/abc/e2e/cart.spec.ts#L41"
    )
    expect(detail).to_contain_text("owner @acme/shop")
    expect(detail.get_by_role("img", name="earlier runs: passed, passed, failed, flaky, passed")).to_be_visible()
    detail.locator("summary", has_text="stderr").click()
    expect(detail).to_contain_text("the last word")
    detail.locator("summary", has_text="properties (1)").click()
    expect(detail).to_contain_text("chromium")
    page.get_by_label("Search").fill("o:acme")
    expect(page.locator("#shown")).to_have_text("1 test")
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
