"""The HTML templates, in which whatever is not Markup is escaped."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from report_merge.render import charts, escape, wording
from report_merge.render.links import attachment_href, viewer_href


@cache
def macros() -> Any:
    """The macros of `macros.html.j2`."""
    return templates().get_template("macros.html.j2").module


@cache
def templates() -> Environment:
    """Whatever a template is given is escaped, except Markup."""
    environment = Environment(
        loader=PackageLoader("report_merge.render", "html"),
        autoescape=True,
        finalize=lambda value: value if isinstance(value, Markup) else Markup(escape.html(str(value))),  # noqa: S704
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "title": lambda case: Markup(escape.html_name(wording.title(case.key))),  # noqa: S704  escaped for this place
        "name": lambda text: Markup(escape.html_name(text)),  # noqa: S704  escaped for this place
        "web": lambda url: Markup(escape.html_url(url)),  # noqa: S704  escaped for this place
        "failed_on": lambda case: ", ".join(wording.failed_on(case)),
        "duration": wording.duration,
        "count": wording.count,
        "sparkline": charts.sparkline,
        "earlier": charts.earlier,
        "past": wording.past,
        "known": wording.known_words,
        "href": lambda attachment: Markup(escape.html(attachment_href(attachment))),  # noqa: S704  escaped here
        "viewer": lambda attachment: Markup(escape.html(viewer_href(attachment))),  # noqa: S704  escaped here
        "lines": _coloured,
    }
    return environment


def _coloured(text: str) -> Markup:
    """Lines of a difference and of an error in their colours."""
    lines = []
    for line in escape.html(text).split("\n"):
        kind = (
            "plus"
            if line.startswith("+")
            else "minus"
            if line.startswith("-")
            else "error"
            if line.startswith("E ")
            else ""
        )
        lines.append(f'<span class="{kind}">{line}</span>' if kind else line)
    return Markup("\n".join(lines))  # noqa: S704  escaped line by line
