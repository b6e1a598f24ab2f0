"""Figures as Prometheus text and as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ci_dispatch.reporters.metrics.figures import Figure, Histogram, Labels
from report_merge.render.escape import prometheus_label

PREFIX = "ci_dispatch_"


def prometheus(figures: Iterable[Figure]) -> str:
    """The text format 0.0.4, without timestamps: node_exporter's textfile collector refuses files that have any.

    https://github.com/prometheus/node_exporter#textfile-collector
    """
    lines: list[str] = []
    for figure in figures:
        if not figure.values:
            continue
        name = PREFIX + figure.name
        lines += [f"# HELP {name} {figure.help}", f"# TYPE {name} {figure.type}"]
        for labels, value in figure.values:
            if isinstance(value, Histogram):
                lines += _buckets(name, labels, value)
            else:
                lines.append(f"{name}{_braces(labels)} {value:.12g}")
    return "\n".join(lines) + "\n"


def _buckets(name: str, labels: Labels, value: Histogram) -> Iterable[str]:
    for bound, count in zip((*(f"{bound:g}" for bound in value.bounds), "+Inf"), value.counts, strict=True):
        yield f"{name}_bucket{_braces((*labels, ('le', bound)))} {count}"
    yield f"{name}_sum{_braces(labels)} {value.sum:.12g}"
    yield f"{name}_count{_braces(labels)} {value.counts[-1]}"


def _braces(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{prometheus_label(value)}"' for key, value in labels) + "}"


def as_json(figures: Iterable[Figure]) -> dict[str, Any]:
    """By name: a number, or a list of labelled values; histograms as bounds, cumulated counts and sum."""
    return {figure.name: _json_value(figure) for figure in figures}


def _json_value(figure: Figure) -> Any:
    if len(figure.values) == 1 and not figure.values[0][0]:
        return _plain(figure.values[0][1])
    return [{**dict(labels), "value": _plain(value)} for labels, value in figure.values]


def _plain(value: float | Histogram) -> Any:
    if isinstance(value, Histogram):
        return {"le": list(value.bounds), "counts": list(value.counts), "sum": value.sum}
    return value
