"""A run as one HTML file that needs nothing else: no network, no other file, JavaScript only for the list of all tests.

Its content security policy names the one style and the one script by hash, so that even a mistake of ours could not run
anything else (https://www.w3.org/TR/CSP3/#match-element-to-source-list).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources

from markupsafe import Markup

from report_merge.baseline import Comparison
from report_merge.failures import FailureRules
from report_merge.lighthouse import LighthouseReport
from report_merge.model import Report
from report_merge.render import escape, wording
from report_merge.render.budget import Filled, fill, size
from report_merge.render.html_sections import body_sections
from report_merge.render.html_templates import templates
from report_merge.render.html_tests import ListedTests, listed_tests
from report_merge.render.lighthouse_words import lighthouse_trouble
from report_merge.render.view import View, context_parts, view
from report_merge.render.wording import Status, count, signed

POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:"
STATUS_GLYPH = {
    Status.INTERRUPTED: "✗",
    Status.INCOMPLETE: "✗",
    Status.FAILED: "✗",
    Status.UNREADABLE: "!",
    Status.PASSED: "✓",
}
LIST_SHARE = 0.6  # of the budget, for the list of all tests; it gets what the rest does not need


# Where the two large parts go. Foreign text cannot hold these words: its < is escaped.
_BODY, _DATA = Markup("<put-body>"), Markup("<put-data>")


def page(
    report: Report,
    *,
    comparison: Comparison | None = None,
    lighthouse: LighthouseReport | None = None,
    rules: FailureRules | None = None,
    pictures: Mapping[str, bytes] | None = None,
    budget_bytes: int = 5_000_000,
) -> str:
    """The whole page, in at most `budget_bytes` bytes; what it leaves out it names in its last line.

    `pictures` are shown within it as far as there is room, each by the address of its attachment (`links`).

    Raises ValueError when `budget_bytes` is below 100,000: less cannot hold the style, the script and a verdict.
    """
    pieces = written(
        report,
        comparison=comparison,
        lighthouse=lighthouse,
        rules=rules,
        pictures=pictures,
        budget_bytes=budget_bytes,
    )
    return "".join(pieces)


def written(
    report: Report,
    *,
    comparison: Comparison | None = None,
    lighthouse: LighthouseReport | None = None,
    rules: FailureRules | None = None,
    pictures: Mapping[str, bytes] | None = None,
    budget_bytes: int = 5_000_000,
) -> Iterator[str]:
    """`page` piece by piece: one character beyond the basic plane makes a text four times as large in memory."""
    if budget_bytes < 100_000:
        raise ValueError(f"an HTML report needs at least 100,000 bytes, not {budget_bytes:,}")
    shown = view(report, comparison, rules)
    fixed = size("".join(_assemble(shown, lighthouse, Filled("", 0, 0), ListedTests())))
    room = budget_bytes - fixed - 2000
    body = fill(body_sections(shown, lighthouse), round(room * (1 - LIST_SHARE)))
    tests = listed_tests(shown, room - size(body.text), pictures or {})
    yield from _assemble(shown, lighthouse, body, tests)


def _assemble(shown: View, lighthouse: LighthouseReport | None, body: Filled, tests: ListedTests) -> Iterator[str]:
    status = wording.status(shown.report, lighthouse)
    css, js = _asset("report.css"), _asset("report.js")
    context = shown.report.context
    links = [(text, url) for text, url in (("Run", context.url),) if escape.html_url(url)]
    totals = shown.report.totals
    before = shown.comparison.totals if shown.comparison else None
    names = ("tests", "passed", "failed", "flaky", "skipped", "not_run")
    numbers = [
        (name.replace("_", " "), now, signed(now - getattr(before, name)) if before else "")
        for name in names
        if isinstance(now := getattr(totals, name), int)
    ]
    whole = (
        templates()
        .get_template("report.html.j2")
        .render(
            status=status,
            symbol=STATUS_GLYPH[status],
            headline="; ".join([wording.headline(shown.report), *lighthouse_trouble(lighthouse)]),
            context=context_parts(shown.report, shown.comparison),
            links=links,
            totals=numbers,
            chips=[(name, number) for name, number, _ in numbers[1:] if number],
            csp=f"{POLICY}; style-src {_hash(css)}; script-src {_hash(js)}",
            css=Markup(css),  # noqa: S704  our own file
            js=Markup(js),  # noqa: S704  our own file
            body=_BODY,
            data=_DATA,
            listed=len(tests.rows),
            unlisted=tests.unlisted,
            left_out=_left_out(body, tests),
        )
    )
    head, _, rest = whole.partition(_BODY)
    middle, _, end = rest.partition(_DATA)
    yield from (head, body.text, middle)
    yield from tests.written()
    yield end


def _left_out(body: Filled, tests: ListedTests) -> str:
    words = [f"{count(body.dropped, 'entry')} left out"] if body.dropped else []
    words += [f"{count(body.shortened, 'cause')} shortened"] if body.shortened else []
    words += [f"{count(tests.unlisted, 'test')} not listed"] if tests.unlisted else []
    return ("To keep this file small: " + ", ".join(words) + ".") if words else "Everything is shown."


@cache
def _asset(name: str) -> str:
    return resources.files("report_merge.render").joinpath("html", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
