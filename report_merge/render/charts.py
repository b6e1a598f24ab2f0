"""Pictures as inline SVG: a machine's timeline, the distribution of durations, the attempts of a test.

Colours come from the page's style by class name. Each picture says in words what it shows, for those who cannot see it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from report_merge.model import Case, Outcome, PlannedFleet, WorkSpan
from report_merge.render import escape
from report_merge.render.wording import count, duration, some
from report_merge.sanitize import one_line

MAX_SPANS = 400  # a picture 600 pixels wide shows no more
MAX_BARS = 20
NAMED_POINTS = 6  # more names would lie upon each other
_EDGES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_LABELS = ("< 0.1s", "0.3s", "1s", "3s", "10s", "30s", "100s", "more")


def timeline(spans: Sequence[WorkSpan], length: float, name: str) -> Markup:
    """One machine's work between 0 and `length` seconds; each span tells its label when pointed at."""
    scale = 1000 / length if length > 0 else 0.0
    bars = []
    for span in spans[:MAX_SPANS]:
        left, width = span.start * scale, max(1.5, (span.end - span.start) * scale - 1)
        tip = escape.html_name(f"{span.label} {duration(span.start)} to {duration(span.end)}: {span.verdict}")
        css = str(span.verdict).replace(" ", "-")
        bars.append(
            f'<rect class="fill-{css}" x="{left:.1f}" width="{width:.1f}" height="20"><title>{tip}</title></rect>'
        )
    words = escape.html_name(f"{name}: {count(len(spans), 'span')} of work over {duration(length)}")
    return _svg(f'viewBox="0 0 1000 20" preserveAspectRatio="none" role="img" aria-label="{words}"', bars)


def share_bar(share: float) -> Markup:
    """A bar as long as `share` of its place; only repeats a number beside it, so it is hidden from screen readers."""
    width = max(0.0, min(1.0, share)) * 100
    return _svg(
        'viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" focusable="false"',
        [f'<rect class="fill-bar" width="{width:.1f}" height="10"/>'],
    )


def durations(seconds: Iterable[float]) -> Markup:
    """How many tests take how long, on a logarithmic scale."""
    buckets = [0] * (len(_EDGES) + 1)
    for value in seconds:
        buckets[bisect_right(_EDGES, value)] += 1
    tallest = max(buckets) or 1
    parts = []
    for index, number in enumerate(buckets):
        left, height = index * 80 + 6, round(90 * number / tallest, 1)
        parts.append(f'<rect class="fill-bar" x="{left}" y="{110 - height}" width="68" height="{height}" rx="2"/>')
        parts.append(f'<text x="{left + 34}" y="{106 - height:.1f}" text-anchor="middle">{number or ""}</text>')
        parts.append(f'<text x="{left + 34}" y="126" text-anchor="middle">{escape.html(_LABELS[index])}</text>')
    words = ", ".join(f"{label}: {number}" for label, number in zip(_LABELS, buckets, strict=True))
    label = escape.html(f"Tests by duration, up to {words}")
    return _svg(f'class="durations" viewBox="0 -8 646 140" role="img" aria-label="{label}"', parts)


def fleet_curve(planned: Sequence[PlannedFleet], took: float, used: int) -> Markup:
    """Machines from left to right, seconds upwards: what each number of them was planned to take, and the run itself.

    `used`: how many machines ran tests in it. The points are equally far apart, however many machines lie between.
    """
    width, height, left, top = 780, 150, 100, 22
    highest = max(took, *(fleet.seconds for fleet in planned)) or 1.0
    numbers = [len(fleet.machines) for fleet in planned]

    def at(place: float, seconds: float) -> tuple[float, float]:
        across = place / (len(planned) - 1) if len(planned) > 1 else 0.5
        return left + across * (width - 2 * left), top + height * (1 - seconds / highest)

    points = [at(place, fleet.seconds) for place, fleet in enumerate(planned)]
    x, y = at(_place_of(used, numbers), took)
    base = top + height
    parts = [
        f'<line class="axis" x1="{left - 20}" x2="{width - left + 20}" y1="{base}" y2="{base}"/>',
        f'<polyline class="planned-line" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}"/>',
    ]
    before: tuple[str, ...] = ()
    for fleet, (a, b) in zip(planned, points, strict=True):
        joins = [name for name in fleet.machines if name not in before]
        number = count(len(fleet.machines), "machine")
        words = escape.html_name(f"with {some(joins, 3)}: {number}, planned {duration(fleet.seconds)}")
        parts.append(f'<circle class="fill-bar" cx="{a:.1f}" cy="{b:.1f}" r="4"><title>{words}</title></circle>')
        over = b + (18 if 0 <= b - y < 24 else -9)  # below where the line of the run itself would cross the words
        parts.append(f'<text x="{a:.1f}" y="{over:.1f}" text-anchor="middle">{duration(fleet.seconds)}</text>')
        parts.append(f'<text x="{a:.1f}" y="{base + 16}" text-anchor="middle">{len(fleet.machines)}</text>')
        if len(planned) <= NAMED_POINTS:
            shown = ("+ " if before else "") + escape.html_name(one_line(some(joins, 1), 16))
            parts.append(f'<text x="{a:.1f}" y="{base + 30}" text-anchor="middle">{shown}</text>')
        before = fleet.machines
    parts.append(f'<line class="took-line" x1="{left - 20}" x2="{width - left + 20}" y1="{y:.1f}" y2="{y:.1f}"/>')
    parts.append(f'<rect class="fill-took" x="{x - 5:.1f}" y="{y - 5:.1f}" width="10" height="10"/>')
    parts.append(f'<text x="{width - left + 24}" y="{y + 4:.1f}">took {duration(took)}</text>')
    parts.append(f'<text x="{width / 2}" y="{base + 48}" text-anchor="middle">machines</text>')
    told = ", ".join(f"{len(fleet.machines)}: {duration(fleet.seconds)}" for fleet in planned)
    label = escape.html(f"Planned time by number of machines, {told}; the run took {duration(took)} with {used}")
    return _svg(f'class="durations" viewBox="0 0 {width} {base + 54}" role="img" aria-label="{label}"', parts)


def _place_of(number: int, numbers: Sequence[int]) -> float:
    """Where a number lies among growing ones: 0.5 is half way from the first to the second."""
    after = bisect_right(numbers, number)
    if after in (0, len(numbers)):
        return max(0, after - 1)
    low, high = numbers[after - 1], numbers[after]
    return after - 1 + (number - low) / (high - low)


def sparkline(case: Case) -> Markup:
    """One bar an attempt, oldest first: its colour is the outcome, its height how long it took."""
    longest = max((attempt.seconds or 0 for attempt in case.attempts), default=0.0)
    bars, words = [], []
    for index, attempt in enumerate(case.attempts[:MAX_BARS]):
        height = 6 + 10 * ((attempt.seconds or 0) / longest if longest else 1)
        kind = "failed" if attempt.outcome.bad else "skipped" if attempt.outcome is Outcome.SKIPPED else "passed"
        bars.append(
            f'<rect class="fill-{kind}" x="{index * 7}" y="{16 - height:.1f}" width="5" height="{height:.1f}" rx="1"/>'
        )
        words.append(kind)
    width = max(5, 7 * len(bars) - 2)
    more = f" and {len(case.attempts) - MAX_BARS} more" if len(case.attempts) > MAX_BARS else ""
    label = f"attempts: {', '.join(words)}{more}"
    return _svg(f'class="spark" viewBox="0 0 {width} 16" width="{width}" role="img" aria-label="{label}"', bars)


def earlier(history: str) -> Markup:
    """How a test ended in earlier runs, oldest first."""
    kinds = {".": ("passed", 6), "F": ("failed", 16), "~": ("flaky", 11), "-": ("skipped", 4)}
    shown = [kinds.get(one) for one in history[-MAX_BARS:]]
    bars = [
        f'<rect class="fill-{kind[0]}" x="{index * 5}" y="{16 - kind[1]}" width="4" height="{kind[1]}" rx="1"/>'
        for index, kind in enumerate(shown)
        if kind
    ]
    label = ", ".join(kind[0] if kind else "not there" for kind in shown)
    width = 5 * len(shown)
    return _svg(
        f'class="spark" viewBox="0 0 {width} 16" width="{width}" role="img" aria-label="earlier runs: {label}"', bars
    )


def _svg(attributes: str, parts: Iterable[str]) -> Markup:
    return Markup(f'<svg xmlns="http://www.w3.org/2000/svg" {attributes}>{"".join(parts)}</svg>')  # noqa: S704  built here
