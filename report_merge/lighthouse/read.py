"""Reads what Lighthouse CI leaves behind, one row for each URL, and says whether its gates hold.

Lighthouse 12 and 13 are read alike: categories and audits are taken as they come, none is expected
(https://github.com/GoogleChrome/lighthouse/blob/main/types/lhr/lhr.d.ts). Bad files are problems, never exceptions.
"""

from __future__ import annotations

import json
import os
import statistics
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from report_merge.lighthouse.results import Assertion, LighthouseReport, Page, Spread
from report_merge.model import FileProblem

MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_FILES = 2000
METRICS = ("largest-contentful-paint", "total-blocking-time", "cumulative-layout-shift", "first-contentful-paint")


def read(directory: Path) -> LighthouseReport:
    """Everything Lighthouse CI wrote into `directory`: `.lighthouseci`, an `outputDir`, or single `*.json` results.

    Every file that cannot be used is a problem with a reason; the rest is still reported. Nothing outside `directory`
    is opened: a manifest's paths, which name the machine it was written on, are looked up by their last part.
    """
    reader = _Reader(directory)
    try:
        names = sorted(entry.name for entry in os.scandir(directory) if entry.name.endswith(".json"))
    except OSError as error:
        return LighthouseReport(
            problems=(FileProblem(file=str(directory), reason=f"cannot be read: {error.strerror}"),)
        )
    if len(names) > MAX_FILES:
        reader.problem(str(directory), f"holds {len(names)} files; only the first {MAX_FILES} are read")
    for name in names[:MAX_FILES]:
        reader.take(name)
    if not reader.runs and not reader.assertions and not reader.problems:
        reader.problem(str(directory), "holds no Lighthouse result (lhr-*.json, manifest.json, assertion-results.json)")
    pages = tuple(_page(url, runs, reader.links.get(url, "")) for url, runs in reader.runs.items())
    return LighthouseReport(
        pages=pages,
        assertions=tuple(reader.assertions),
        problems=tuple(reader.problems),
        notes=tuple(reader.notes),
    )


class _Reader:
    """Sorts files by what is in them, since their names vary between lhci, lighthouse and people."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.runs: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self.assertions: list[Assertion] = []
        self.links: dict[str, str] = {}
        self.problems: list[FileProblem] = []
        self.notes: list[FileProblem] = []

    def problem(self, file: str, reason: str) -> None:
        self.problems.append(FileProblem(file=file, reason=reason))

    def take(self, name: str) -> None:
        path = self.directory / name
        try:
            if path.is_symlink() or not path.is_file():
                return self.problem(name, "is not an ordinary file")
            if path.stat().st_size > MAX_FILE_BYTES:
                return self.problem(name, f"is larger than {MAX_FILE_BYTES // 2**20} MiB")
            document = json.loads(path.read_bytes())
        except OSError as error:
            return self.problem(name, f"cannot be read: {error.strerror}")
        except (ValueError, RecursionError) as error:
            return self.problem(name, f"is not JSON: {error}")
        return self._sort(name, document)

    def _sort(self, name: str, document: Any) -> None:
        if isinstance(document, dict) and "lighthouseVersion" in document:
            url = _text(document.get("requestedUrl")) or _text(document.get("finalDisplayedUrl"))
            if not url:
                return self.problem(name, "is a Lighthouse result without a URL")
            self.runs[url].append(document)
        elif name.startswith("assertion-results"):
            self._take_assertions(name, document)
        elif name == "manifest.json":
            self._take_manifest(name, document)
        elif name == "links.json" and isinstance(document, dict):
            self.links |= {str(url): _text(link) for url, link in document.items()}
        else:
            self.notes.append(FileProblem(file=name, reason="is not a Lighthouse result"))
        return None

    def _take_assertions(self, name: str, document: Any) -> None:
        entries = _list(document)
        found = [assertion for entry in entries if (assertion := _assertion(entry)) is not None]
        self.assertions += found
        if not isinstance(document, list) or len(found) < len(entries):
            unusable = len(entries) - len(found)
            self.problem(name, f"holds {unusable} unusable assertions" if entries else "is not a list of assertions")

    def _take_manifest(self, name: str, document: Any) -> None:
        for entry in _list(document):
            path = _text(entry.get("jsonPath")) if isinstance(entry, dict) else ""
            file = path.replace("\\", "/").rsplit("/", 1)[-1]
            if not file or not (self.directory / file).is_file():
                self.problem(name, f"names {file or 'a result'}, which is not next to it")


def _assertion(entry: Any) -> Assertion | None:
    if (
        not isinstance(entry, dict)
        or not isinstance(entry.get("auditId"), str)
        or not isinstance(entry.get("passed"), bool)
    ):
        return None
    property_ = _text(entry.get("auditProperty"))
    audit = entry["auditId"] if entry["auditId"] != "categories" else ""
    expected = entry.get("expected")
    return Assertion(
        url=_text(entry.get("url")),
        name=_text(entry.get("name")),
        audit=".".join(filter(None, (audit, property_))),
        title=_text(entry.get("auditTitle")),
        expected=_number(expected) if _number(expected) is not None else _text(expected),  # type: ignore[arg-type]
        actual=_number(entry.get("actual")),
        values=tuple(n for n in map(_number, _list(entry.get("values"))) if n is not None),
        operator=_text(entry.get("operator")),
        level=_text(entry.get("level")) or "error",
        passed=entry["passed"],
        docs=_text(entry.get("auditDocumentationLink")),
    )


def _page(url: str, runs: list[dict[str, Any]], link: str) -> Page:
    good = [run for run in runs if not _error(run)]
    config = _table((good or runs)[-1].get("configSettings"))
    benchmarks = [_number(_table(run.get("environment")).get("benchmarkIndex")) for run in runs]
    known = [benchmark for benchmark in benchmarks if benchmark is not None]
    warnings = {_text(w) for run in runs for w in _list(run.get("runWarnings")) if isinstance(w, str)}
    return Page(
        url=url,
        runs=len(runs),
        scores=tuple(_scores(good)),
        metrics=tuple(_metrics(good)),
        error="" if good else next(filter(None, map(_error, runs)), ""),
        warnings=tuple(sorted(warnings)),
        link=link,
        versions=tuple(sorted({_text(run.get("lighthouseVersion")) for run in runs})),
        form_factor=_text(config.get("formFactor")),
        throttling=_text(config.get("throttlingMethod")),
        benchmark=statistics.median(known) if known else None,
    )


def _error(run: dict[str, Any]) -> str:
    error = _table(run.get("runtimeError"))
    return f"{_text(error.get('code'))}: {_text(error.get('message'))}" if error.get("code") else ""


def _scores(runs: list[dict[str, Any]]) -> Iterator[Spread]:
    seen: dict[str, str] = {}
    for run in runs:
        for id_, category in _table(run.get("categories")).items():
            seen.setdefault(str(id_), _text(_table(category).get("title")))
    for id_, title in seen.items():
        scores = [_number(_table(_table(run.get("categories")).get(id_)).get("score")) for run in runs]
        yield _spread(id_, title, [score * 100 for score in scores if score is not None], "")


def _metrics(runs: list[dict[str, Any]]) -> Iterator[Spread]:
    for id_ in METRICS:
        audits = [audit for run in runs if (audit := _table(_table(run.get("audits")).get(id_)))]
        values = [value for audit in audits if (value := _number(audit.get("numericValue"))) is not None]
        if values:
            yield _spread(id_, _text(audits[0].get("title")), values, _text(audits[0].get("numericUnit")))


def _spread(id_: str, title: str, values: list[float], unit: str) -> Spread:
    if not values:
        return Spread(id=id_, title=title or id_, median=None, unit=unit)
    return Spread(
        id=id_,
        title=title or id_,
        median=statistics.median(values),
        low=min(values),
        high=max(values),
        runs=len(values),
        unit=unit,
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    """`value` when it is a finite number: NaN and Infinity are what Python reads from broken JSON."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e15:
        return None
    return float(value)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
