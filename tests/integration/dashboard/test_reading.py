"""Reading the dashboard in a real headless Chromium: one test, trouble, hostile names, and for everybody."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Route, expect

from ci_dispatch.core.events import AttemptFinished, AttemptOutput, MachineLost, Stamped
from ci_dispatch.core.model import LeaseNumber, MachineName
from ci_dispatch.reporters.dashboard import timeline, view_model
from tests.integration.dashboard.room import AXE, SIZES, Opened, Run, nothing_to_complain_about
from tests.unit.report_merge.test_escape import HOSTILE

pytestmark = pytest.mark.needs("chromium")


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
    run.source.put(
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
    earlier = opened.page.get_by_role(
        "img", name="Earlier runs, the newest last: passed, failed, flaky, skipped, not there"
    )
    expect(earlier).to_have_text("▁█▅··")
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
    opened.text("#notices").to_contain_text("No event for 0:20")
    run.now += 600
    opened.text("#word").to_have_text("Lost")
    opened.text("#notices").to_contain_text("ci-dispatch resume 20261120-184512-shop")


def test_a_machine_that_is_silent_is_hatched(runs: Callable[..., Run], show: Callable[..., Opened]) -> None:
    run = runs()
    run.to_second(8)
    run.now += 62
    speaking = MachineName("moruk")
    run.source.put(Stamped(seq=1, at=run.now, event=AttemptOutput(lease=LeaseNumber(1), machine=speaking, text="x")))
    opened = show(run)
    opened.text(".timeline[data-word=quiet] .silence").not_to_have_count(0)
    opened.text(".timeline[data-word=quiet] .word").to_contain_text(["no events for 1:0"])
    opened.text(
        ".timeline[data-word=quiet]",
    ).not_to_contain_text(["moruk"])


def test_what_is_left_out_is_counted_on_the_page(
    runs: Callable[..., Run], show: Callable[..., Opened], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeline, "SPANS", 100)
    monkeypatch.setattr(view_model, "MACHINES", 4)
    monkeypatch.setattr(view_model, "TESTS", 50)
    run = runs()
    opened = show(run)
    opened.text("#connection").to_have_text("Live")
    run.to_end()
    opened.text("#timelines .timeline").to_have_count(4)
    opened.text("#timelines-omitted").to_contain_text(
        re.compile(r"… and 2 more machines not shown; \d+ more test results")
    )
    opened.text("#shown").to_contain_text(re.compile(r"\d+ of 150 tests; \d+ more tests not listed"))
    nothing_to_complain_about(opened, run)


def test_hostile_names_are_only_text(runs: Callable[..., Run], show: Callable[..., Opened]) -> None:
    names = [*HOSTILE, "<img src=x onerror=alert(1)>", "</script><script>alert(2)</script>", "__proto__", "constructor"]
    run = runs(titles=names, tests=len(names) + 20, fleet=(("<b>m</b>", 4, 1.0), ("__proto__", 4, 1.0)), failing=0.2)
    run.to_end()
    opened = show(run)
    opened.text("#word").to_have_text(re.compile("Failed|Passed"))
    opened.text("#timelines").to_contain_text("<b>m</b>")
    opened.text("#timelines").to_contain_text("__proto__")
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
    found = opened.page.evaluate("axe.run(document, {resultTypes: ['violations', 'incomplete']})")
    # axe is sure of a forbidden name on an empty element and doubts it on one with text: neither may be here
    doubted = [one for one in found["incomplete"] if one["id"] == "aria-prohibited-attr"]
    assert [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found["violations"] + doubted] == []
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
