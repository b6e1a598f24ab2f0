"""The list of all tests inside the HTML report, as compact JSON: what needs attention first, within its bytes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from report_merge.model import Attachment, Attempt, Case, Outcome, Report, UneventfulTest, Verdict
from report_merge.render.budget import size
from report_merge.render.escape import NAME_LIMIT, script_json
from report_merge.render.links import attachment_href
from report_merge.render.view import View, excerpt, shown_test, without_markers
from report_merge.render.wording import count, known_words, past
from report_merge.sanitize import one_line, printable

ATTEMPTS = 20  # of one test
PROPERTIES = 30
OUTPUT_LINES = 40
_ROWS_AT_ONCE = 1024  # in one piece
_ORDER = (Verdict.FAILED, Verdict.NOT_RUN, Verdict.FLAKY, Verdict.SKIPPED, Verdict.PASSED)
_SKIPPED, _PASSED = _ORDER.index(Verdict.SKIPPED), _ORDER.index(Verdict.PASSED)
# What a picture is, by its first bytes: whatever is in the file, a browser is told no other type.
_PICTURES = ((b"\x89PNG\r\n", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF8", "gif"), (b"RIFF", "webp"))


@dataclass(frozen=True, slots=True)
class ListedTests:
    head: str = "{"  # of the JSON, safe within <script>: what the rows refer to
    rows: Sequence[str] = ()  # each without its closing bracket
    unlisted: int = 0

    def written(self) -> Iterator[str]:
        """The JSON piece by piece: it is most of a page."""
        yield f'{self.head}"rows":['
        for start in range(0, len(self.rows), _ROWS_AT_ONCE):
            yield ("," if start else "") + "],".join(self.rows[start : start + _ROWS_AT_ONCE]) + "]"
        yield "]}"


class _Names:
    """A list in which each shown name stands once, for rows to refer to by number."""

    def __init__(self, shown: Callable[[Any], Any]) -> None:
        self._shown = shown
        self._met: dict[Any, int] = {}  # by what the report says
        self.numbers: dict[Any, int] = {}  # by what is shown of it
        self.bytes = 0

    def __call__(self, said: Any) -> int:
        number = self._met.get(said)
        if number is None:
            name = self._shown(said)
            if name not in self.numbers:
                self.numbers[name] = len(self.numbers)
                self.bytes += _size(name)
            number = self._met[said] = self.numbers[name]
        return number


class _Rows:
    """Rows as JSON, each without its closing bracket, and the names they refer to."""

    def __init__(self) -> None:
        self.places, self.projects, self.machines = _Names(_place), _Names(_name), _Names(_name)

    def row(self, test: Case | UneventfulTest) -> str:
        if isinstance(test, UneventfulTest):
            suite, name, classname, file, ordinal, seconds, outcome, _ = test
            verdict = _PASSED if outcome is Outcome.PASSED else _SKIPPED
            project, machine = suite.project, suite.machine
        else:
            key, last = test.key, test.last
            name, classname, file, ordinal, project = key.name, key.classname, key.file, key.ordinal, key.project
            seconds, machine = (last.seconds, last.machine) if last else (None, "")
            verdict = _ORDER.index(test.verdict)
        title = _name(f"{name} ({ordinal + 1})" if ordinal else name)
        took = "null" if seconds is None or not abs(seconds) < 1e9 else repr(round(seconds, 3))
        place = self.places((classname, file))
        return f"[{verdict},{place},{_quoted(title)},{self.projects(project)},{self.machines(machine)},{took}"

    @property
    def bytes(self) -> int:
        """Of the names."""
        return self.places.bytes + self.projects.bytes + self.machines.bytes


def _quoted(text: str) -> str:
    return script_json(json.encoder.encode_basestring(text))


def listed_tests(shown: View, budget_bytes: int, pictures: Mapping[str, bytes]) -> ListedTests:
    """Rows ``[verdict, place, name, project, machine, seconds, detail?, cause?]`` and, beside them, what happened.

    Rows come first; texts of attempts get what then is left, failed tests before flaky ones, and at last `pictures`,
    by the path of their attachment.
    """
    groups = (*shown.attention, *shown.elsewhere)
    causes = {id(case): n for n, group in enumerate(groups) for case in group.group.cases}
    rows = _Rows()
    made: list[str] = []
    eventful: list[tuple[int, Case]] = []  # with the numbers of their rows
    used = 500 + 16 * len(groups)
    for test in _by_need(shown.report):
        row = rows.row(test)
        told = None if isinstance(test, UneventfulTest) or _uneventful(test) else test
        cost = size(row) + (18 if told else 3)  # bracket and comma, and the numbers of its detail and its cause
        if used + cost + rows.bytes > budget_bytes:
            break
        used += cost
        if told:
            eventful.append((len(made), told))
        made.append(row)
    left = budget_bytes - used - rows.bytes
    details: list[Any] = []
    for at, case in eventful:
        cause = causes.get(id(case))
        detail = next((d for d in _details(case, shown.report.context.files_url) if _size(d) <= left), None)
        if detail is not None:
            left -= _size(detail)
            made[at] += f",{len(details)}"
            details.append(detail)
        if cause is not None:
            made[at] += f",{cause}" if detail is not None else f",null,{cause}"
    _add_pictures(details, pictures, left)
    document = {
        "verdicts": [str(verdict) for verdict in _ORDER],
        "places": list(rows.places.numbers),
        "projects": list(rows.projects.numbers),
        "machines": list(rows.machines.numbers),
        "causes": [group.group.fingerprint for group in groups],
        "details": details,
    }
    return ListedTests(f"{script_json(_dumps(document))[:-1]},", made, shown.report.totals.tests - len(made))


def _by_need(report: Report) -> Iterator[Case | UneventfulTest]:
    """What needs attention first; the others as they come, because they are not held all at once."""
    first = [case for case in report.eventful if case.verdict is not Verdict.PASSED]
    yield from sorted(first, key=lambda case: _ORDER.index(case.verdict))
    told = {id(case) for case in first}
    yield from (test for test in report.tests if id(test) not in told)


def _uneventful(case: Case) -> bool:
    passed_at_once = case.verdict is Verdict.PASSED and len(case.attempts) == 1
    return passed_at_once and not (case.owners or case.history or case.since or case.known)


def _name(text: str) -> str:
    return one_line(text, NAME_LIMIT)


def _place(said: tuple[str, str]) -> tuple[str, ...]:
    """What the tests of a class or file stand under and, where it is another, the path they have in the tree."""
    classname, file = said
    title, path = _name(classname or file), _name(file or _as_path(classname))
    return (title, path) if path != title else (title,)


def _as_path(classname: str) -> str:
    """`com.acme.CartTest` as folders, for the tree; what is no dotted name stays as it is."""
    parts = classname.split(".")
    return "/".join(parts) if all(part.isidentifier() for part in parts) else classname


def _details(case: Case, files_url: str) -> Iterator[dict[str, Any]]:
    """What is known of a test: in full, in a few lines, without a text."""
    test = shown_test(case, files_url)
    known = {
        "place": one_line(test.place),
        "url": test.url,
        "owners": [one_line(owner, 100) for owner in case.owners],
        "history": case.history,
        "past": one_line(past(case)),
        "known": one_line(known_words(case)),
        "values": [test.values.expected, test.values.received] if test.values else None,
        "properties": [[one_line(n, 100), one_line(v)] for n, v in case.properties[:PROPERTIES]],
    }
    about = {name: value for name, value in known.items() if value}
    if not case.attempts:
        yield {**about, "attempts": [[str(Verdict.NOT_RUN), None, "", printable(case.reason)]]}
        return
    more = len(case.attempts) - ATTEMPTS
    rest = [[f"and {count(more, 'more attempt')}", None, "", ""]] if more > 0 else []
    for head, tail, output in ((100, 30, OUTPUT_LINES), (6, 3, 0), (0, 0, 0)):
        attempts = [_attempt(attempt, head, tail, output) for attempt in case.attempts[:ATTEMPTS]]
        yield {**about, "attempts": [*attempts, *rest]}


def _attempt(attempt: Attempt, head: int, tail: int, output: int) -> list[Any]:
    """``[outcome, seconds, machine, text, {stdout, stderr, files}?]``."""
    seconds = attempt.seconds
    streams = (("stdout", attempt.stdout), ("stderr", attempt.stderr)) if output else ()
    more: dict[str, Any] = {
        name: tail_text
        for name, text in streams
        if (tail_text := excerpt(without_markers(printable(text))[-60_000:], 0, output)).strip()
    }
    if attempt.attachments:
        more["files"] = [_file(attachment) for attachment in attempt.attachments]
    return [
        str(attempt.outcome),
        seconds if seconds is None or abs(seconds) < 1e9 else None,
        one_line(attempt.machine, NAME_LIMIT),
        printable(excerpt(attempt.text or attempt.message, head, tail)) if head and attempt.outcome.bad else "",
        *([more] if more else []),
    ]


def _file(attachment: Attachment) -> list[str]:
    """``[name, kind, address, picture?]``."""
    return [one_line(attachment.name), str(attachment.kind), attachment_href(attachment)]


def _add_pictures(details: list[Any], pictures: Mapping[str, bytes], left: int) -> None:
    for detail in details:
        for attempt in detail["attempts"]:
            for file in attempt[4].get("files", ()) if len(attempt) > 4 else ():
                data = pictures.get(file[2], b"")
                kind = next((kind for start, kind in _PICTURES if data.startswith(start)), "")
                cost = len(data) * 4 // 3 + 40
                if kind and cost <= left:
                    left -= cost
                    file.append(f"data:image/{kind};base64,{base64.b64encode(data).decode()}")


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _size(value: Any) -> int:
    """Bytes of `value` in the page, where some characters are written as escapes."""
    return size(script_json(_dumps(value))) + 1
