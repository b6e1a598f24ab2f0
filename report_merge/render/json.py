"""A Report as JSON and back, losing nothing: the file that `--json` writes and `--baseline` reads.

`report.schema.json` describes it. `causes` says which tests failed for one reason; it is for readers of the file and is
worked out again, not read back.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import Enum
from functools import cache, lru_cache
from math import isfinite
from operator import attrgetter
from typing import Any

from report_merge import failures
from report_merge.lighthouse.results import LighthouseReport
from report_merge.model import Case, Report, SuiteContext, UneventfulTest

FORMAT = "report-merge"
VERSION = 2
_TESTS_AT_ONCE = 1024  # in one piece
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(", ", ": "))
READ_VERSIONS = (1, 2)  # 1 has neither causes nor Lighthouse results


class NotAReport(ValueError):
    """The text is not a report this version can read; the message says what it is instead."""


@dataclass(frozen=True, slots=True)
class SavedReport:
    """What a file of `--json` holds."""

    report: Report
    lighthouse: LighthouseReport | None = None


def dumps(
    report: Report, lighthouse: LighthouseReport | None = None, rules: failures.FailureRules | None = None
) -> str:
    """All of it as one JSON object; fields that have their default value are left out."""
    return "".join(written(report, lighthouse, rules))


def written(
    report: Report, lighthouse: LighthouseReport | None = None, rules: failures.FailureRules | None = None
) -> Iterator[str]:
    """The same piece by piece: a report may hold a million tests."""
    groups = failures.group(report.eventful, rules=rules)
    places = {id(case): -1 for group in groups for case in group.cases}
    about = {"format": FORMAT, "version": VERSION}
    if lighthouse is not None:
        about["lighthouse"] = _plain(replace(lighthouse, baseline=()))
    yield f'{_json(about)[:-1]}, "report": {_json(_plain(replace(report, cases=())))[:-1]}, "cases": ['
    lines: list[str] = []
    for place, test in enumerate(report.tests):
        if isinstance(test, UneventfulTest):
            lines.append(_line(test))
        else:
            lines.append(_uneventful(test) or _json(_plain(test)))
            if id(test) in places:
                places[id(test)] = place
        if len(lines) == _TESTS_AT_ONCE:
            yield ",\n".join(lines)
            lines = [""]  # what comes before the next separator
    yield ",\n".join(lines)
    yield f']}}, "causes": {_json([_cause(group, places) for group in groups])}}}\n'


def _uneventful(case: Case) -> str:
    """A test with names, one outcome and a time, which most are, as `_json` writes it but faster; else ''.

    A test holds that it looks at every field.
    """
    if (
        len(case.attempts) != 1 or case.line is not None or case.properties or case.reason or case.source
        or case.owners or case.history or case.since or case.known is not None
    ):  # fmt: skip
        return ""
    (one,), key = case.attempts, case.key
    if (
        one.kind or one.text or one.stdout or one.stderr or one.started or one.attachments
        or one.cause is not None or not isfinite(one.seconds or 0.0)
    ):  # fmt: skip
        return ""
    suite = SuiteContext(
        title=case.suite,
        project=key.project,
        machine=one.machine,
        shard=one.shard,
        source=one.source,
        attempt=one.number,
    )
    names = (key.name, key.classname, key.file, key.ordinal)
    return _line(UneventfulTest(suite, *names, one.seconds, one.outcome, one.message))


def _line(test: UneventfulTest) -> str:
    """As `_json` writes the case of it."""
    suite, name, classname, file, ordinal, seconds, outcome, message = test
    before, between, number, after = _around(suite)
    key = (
        before
        + (f'"file": {_quoted(file)}, ' if file else "")
        + (f'"classname": {_quoted(classname)}, ' if classname else "")
        + (f'"name": {_quoted(name)}, ' if name else "")
        + (f'"ordinal": {ordinal}, ' if ordinal else "")
    )[:-2]
    took = "" if seconds is None else f', "seconds": {seconds!r}'
    said = f', "message": {_quoted(message)}' if message else ""
    return f'{{"key": {{{key}}}, {between}"attempts": [{{"outcome": "{outcome.value}"{number}{took}{said}{after}}}]}}'


@lru_cache(maxsize=64)
def _around(suite: SuiteContext) -> tuple[str, str, str, str]:
    """What is the same for all tests of a suite: within the key, before the attempts, and twice within the attempt."""
    project = f'"project": {_quoted(suite.project)}, ' if suite.project else ""
    title = f'"suite": {_quoted(suite.title)}, ' if suite.title else ""
    number = f', "number": {suite.attempt}' if suite.attempt != 1 else ""
    about = ("machine", suite.machine), ("shard", suite.shard), ("source", suite.source)
    return project, title, number, "".join(f', "{name}": {_quoted(value)}' for name, value in about if value)


def _quoted(text: str) -> str:
    return json.encoder.encode_basestring(text if text.isascii() else _plain(text))


def _json(value: Any) -> str:
    return _ENCODER.encode(value)


def _cause(group: failures.FailureGroup, places: Mapping[int, int]) -> dict[str, Any]:
    """Its `tests` are places in the list of cases, from 0."""
    return {
        "fingerprint": group.fingerprint,
        "verdict": group.verdict.value,
        "category": group.finding.category,
        "rule": group.finding.rule,
        "title": _plain(group.title),
        "evidence": _plain(group.finding.evidence),
        "hint": _plain(group.finding.hint),
        "machines": _plain(group.machines),
        "tests": [places[id(case)] for case in group.cases],
    }


def loads(text: str) -> Report:
    """The report `dumps` was given. Raises NotAReport for anything else, and for versions it does not know."""
    return saved(text).report


def saved(text: str) -> SavedReport:
    """All that `dumps` was given. Raises NotAReport for anything else, and for versions it does not know."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotAReport(f"not JSON: {error}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise NotAReport('not a report of report-merge: there is no "format": "report-merge" in it')
    version = document.get("version")
    if version not in READ_VERSIONS:
        raise NotAReport(
            f"a report of format version {version!r:.40}; this report-merge reads versions 1 to {VERSION}. "
            "Write it again with this version, or use the version that wrote it."
        )
    report: Report = _value(Report, document.get("report"), "report")
    lighthouse = document.get("lighthouse")
    return SavedReport(report, lighthouse and _value(LighthouseReport, lighthouse, "lighthouse"))


def _plain(value: Any) -> Any:
    """`value` as what JSON knows; a report has a million of them, so the frequent kinds come first."""
    kind: Any = type(value)
    if kind is str:
        return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")  # no lone surrogates
    if kind is int or kind is bool or value is None:
        return value
    if kind is float:
        return value if isfinite(value) else None  # JSON has neither NaN nor infinity
    if kind is tuple:
        return [_plain(item) for item in value]
    if (shape := _shape(kind)) is not None:
        names, defaults, values = shape
        told = zip(names, values(value), defaults, strict=True)
        return {name: _plain(item) for name, item, default in told if item is not default and item != default}
    return value.value if isinstance(value, Enum) else [_plain(item) for item in value]


@cache
def _shape(kind: Any) -> tuple[tuple[str, ...], tuple[Any, ...], Callable[[Any], tuple[Any, ...]]] | None:
    """The names and defaults of a dataclass's fields, and what gets their values; None for another kind."""
    if not is_dataclass(kind):
        return None
    names = tuple(field.name for field in fields(kind))
    getter = attrgetter(*names) if len(names) > 1 else lambda value: (getattr(value, names[0]),)
    return names, tuple(field.default for field in fields(kind)), getter


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _value(kind: Any, value: Any, where: str) -> Any:
    """`value` as `kind`, which is one of the few kinds the model is made of."""
    origin = typing.get_origin(kind)
    if origin is types.UnionType:  # X | None, or a number or text
        kinds = typing.get_args(kind)
        fitting = (one for one in kinds if type(value) is one or (one is float and type(value) is int))
        return None if value is None and type(None) in kinds else _value(next(fitting, kinds[0]), value, where)
    if origin is tuple or origin is Sequence:
        return _sequence(typing.get_args(kind), value, where)
    if is_dataclass(kind):
        return _record(typing.cast(type, kind), value, where)
    if isinstance(kind, type) and issubclass(kind, Enum):
        if value not in [member.value for member in kind]:
            raise NotAReport(f"{where} must be one of {', '.join(str(member.value) for member in kind)}")
        return kind(value)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise NotAReport(f"{where} must be of type {kind.__name__}")
    return value


def _sequence(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise NotAReport(f"{where} must be a list")
    if len(kinds) > 1 and kinds[-1] is not Ellipsis:
        if len(value) != len(kinds):
            raise NotAReport(f"{where} must have {len(kinds)} values")
        return tuple(_value(kind, item, where) for kind, item in zip(kinds, value, strict=True))
    return tuple(_value(kinds[0], item, f"{where}[{number}]") for number, item in enumerate(value))


def _record(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise NotAReport(f"{where} must be an object")
    hints = _hints(kind)
    if unknown := value.keys() - hints.keys():
        raise NotAReport(f"{where} has the unknown field {min(unknown)!r:.80}")
    try:
        return kind(**{name: _value(hints[name], item, f"{where}.{name}") for name, item in value.items()})
    except TypeError as error:
        raise NotAReport(f"{where}: {str(error).split(') ', 1)[-1]}") from None
