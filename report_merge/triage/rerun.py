"""The tests that failed, one a line, as the runner that reported them takes them back.

pytest        tests/test_cart.py::TestCart::test_total       pytest @failed.txt                  (8.2 and later)
Playwright    [chromium] › cart.spec.ts › cart › pays        playwright test --test-list failed.txt
Java          com.acme.CartTest#total                        mvn test -Dtest="$(paste -sd, failed.txt)"
Go            ^TestTotal$                                    go test -run "$(paste -sd'|' failed.txt)" ./...
others        their name, for a runner's option that filters by name
"""

from __future__ import annotations

import re

from report_merge.model import Case, Report, Verdict
from report_merge.sanitize import one_line

_JS = re.compile(r"\.[cm]?[jt]sx?$")
_PYTHON_METHOD = re.compile(r"(?:test|it|should|describe)_?\w*(?:\[.*\])?$", re.DOTALL)
_JAVA_CLASS = re.compile(r"(?:[a-z_][\w$]*\.)+[A-Z][\w$]*$")
_JAVA_METHOD = re.compile(r"[A-Za-z_$][\w$]*")
_GO_TEST = re.compile(r"(?:Test|Example|Fuzz)[A-Z_0-9]\w*(?:/.+)?$")
_QUOTED = re.compile(r"[\\.+*?()\[\]{}^$|]")


def rerun_lines(report: Report) -> tuple[list[str], int]:
    """Each line once, in the order of the report, and how many tests have none.

    Known failures are among them: they are run like any other. A name that would be several lines is left out, for they
    would be other tests, and one that pytest would take for an option or for a file of options.
    """
    failed = [case for case in report.eventful if case.verdict in (Verdict.FAILED, Verdict.NOT_RUN)]
    lines = [line for line in map(_line, failed) if len(line.splitlines()) == 1 and not line.startswith(("-", "@"))]
    return list(dict.fromkeys(lines)), len(failed) - len(lines)


def _line(case: Case) -> str:
    key = case.key
    if node := _pytest(case):
        return node
    if _JS.search(key.file or key.classname) and ("›" in key.name or key.project):
        project = f"[{key.project}]" if key.project else ""
        return " › ".join(filter(None, (project, key.file or key.classname, key.name)))
    if (method := _JAVA_METHOD.match(key.name)) and _JAVA_CLASS.fullmatch(key.classname):
        return f"{key.classname}#{method[0]}"
    if _GO_TEST.fullmatch(key.name):
        return "/".join(f"^{_QUOTED.sub(lambda match: chr(92) + match[0], part)}$" for part in key.name.split("/"))
    return one_line(key.name, 10_000)


def _pytest(case: Case) -> str:
    """The node id; empty for a test that is none of pytest's."""
    key = case.key
    if "::" in key.classname and ".py" in key.classname:
        return f"{key.classname}::{key.name}"
    parts = key.classname.split(".")
    file = key.file if key.file.endswith(".py") else ""
    if not file and case.source.endswith(".py") and case.source.rsplit("/", 1)[-1][:-3] in parts:
        file = case.source
    if not file:
        modules = [part for part in parts if not part[:1].isupper()]
        if not all(map(str.isidentifier, parts)) or not modules[-1:] or not _PYTHON_METHOD.match(key.name):
            return ""
        if not re.search(r"(?:^|_)tests?(?:_|$)", modules[-1]):
            return ""
        file = "/".join(modules) + ".py"
    stem = file.rsplit("/", 1)[-1].removesuffix(".py")
    classes = parts[parts.index(stem) + 1 :] if stem in parts else []
    return "::".join([file, *classes, key.name])
