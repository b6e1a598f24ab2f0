"""Traps of a runner of one's own: something keeps its tests from running, or their failures from being seen."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from tests.integration.traps.trap import INCOMPLETE, NOTHING, RED, Trap
from tests.integration.whole_run import IMPATIENT, repository

WRITES = """
import pathlib
import sys

junit, names = pathlib.Path(sys.argv[1]), sys.argv[2:]
cases = "".join(f'<testcase name="{name}"/>' for name in names)
"""


def command_suite(
    runner: str, tests: str = "one\ntwo\n", *, rest: str = "", command: str = "", more: str = "", **files: str
) -> Callable[[Path], Path]:
    """The runner gets the JUnit file's path and the names of the tests; `more` are further keys of [suite]."""

    def command_in(folder: Path) -> Path:
        call = command or f"{sys.executable} runner.py {{junit}} {{tests}}"
        suite = f'runner = "command"\nlist = "cat tests.txt"\ncommand = "{call}"\n{more}'
        written = {"runner.py": runner, "tests.txt": tests, **{f"{name}.xml": text for name, text in files.items()}}
        return repository(folder, suite, rest=rest or IMPATIENT, **written)

    return command_in


def reports(text: str, then: str = "") -> str:
    """A runner that writes `text` as its report, in which {cases} are those of its tests, and all passed."""
    return f"{WRITES}junit.write_text({text!r}.replace('{{cases}}', cases))\n{then}\n"


def passes(extra: str = "", then: str = "", tag: str = "<testsuite>") -> str:
    return reports(f"{tag}{{cases}}{extra}</testsuite>", then)


CASES = "<testsuites><testsuite name='s'><testcase name='one'/><testcase name='two'><failure>boom</failure></testcase>"
HALVES = [CASES[: CASES.index(cut)] for cut in ("<testcase name='two'", "name='two'", "<failure")]
WITH_LIVE_EVENTS = f"{sys.executable} runner.py {{junit}} {{live}} {{tests}}"
BEGINS = """
import json
import sys

with open(sys.argv[2], "w") as live:
    live.write(json.dumps({"kind": "begin", "id": sys.argv[3]}) + "\\n")
"""
CONTRADICTS = """
import json
import sys

with open(sys.argv[2], "w") as live:
    for name in sys.argv[3:]:
        live.write(json.dumps({"kind": "end", "id": name, "verdict": "passed"}) + "\\n")
with open(sys.argv[1], "w") as junit:
    junit.write('<testsuite><testcase name="one"><failure/></testcase><testcase name="two"/></testsuite>')
"""
BY_ATTRIBUTE = '<testsuite><testcase name="one" status="failed"/><testcase name="two"/></testsuite>'
FLAKY = (
    '<testsuite><testcase name="one"><flakyFailure message="at first"/></testcase><testcase name="two"/></testsuite>'
)
FAILS = '<testcase name="{}"><failure message="boom"/></testcase>'
OF_FILES = '<testsuite><testcase file="one" name="a"/><testcase file="two" name="b"/>'
FLAKY_IS_FAILURE = IMPATIENT.replace("[retry]\n", "[retry]\nflaky_is_failure = true\n")
NOTHING_SAID = "exited 0 and reported none of the 2 tests"
NONE_RAN = {"one": "not run", "two": "not run"}
BOTH_PASSED = {"one": "passed", "two": "passed"}
ONE_FAILED = {"one": "failed", "two": "passed"}

TRAPS = (
    Trap(
        traps={"a list command that prints nothing": "green"},
        code=NOTHING,
        suite=command_suite("", tests="\n\n"),
        said=("`cat` printed no tests",),
    ),
    Trap(
        traps={"a name in the list that the runner drops without a word": "exit 0"},
        code=INCOMPLETE,
        suite=command_suite(reports('<testsuite><testcase name="one"/></testsuite>'), tests="one\nstale\n"),
        verdicts={"one": "passed", "stale": "not run"},
    ),
    Trap(
        traps={"exit code 0 and no report": "green"},
        code=INCOMPLETE,
        suite=command_suite(""),
        verdicts=NONE_RAN,
        said=(NOTHING_SAID,),
    ),
    Trap(
        traps={"an empty report": "green"},
        code=INCOMPLETE,
        suite=command_suite(reports('<testsuites tests="0" failures="0"/>')),
        verdicts=NONE_RAN,
        said=(NOTHING_SAID,),
    ),
    Trap(
        traps={"a report of no bytes": "green"},
        code=INCOMPLETE,
        suite=command_suite(reports("")),
        verdicts=NONE_RAN,
        said=("its JUnit file",),
    ),
    Trap(
        traps={"a report that is another page": "green"},
        code=INCOMPLETE,
        suite=command_suite(reports("<html><body>Sign in</body></html>")),
        verdicts=NONE_RAN,
        said=("it is HTML (<html>), not JUnit",),
    ),
    *(
        Trap(
            traps={"half a report": "green"},
            code=INCOMPLETE,
            suite=command_suite(reports(half)),
            verdicts={"one": "passed", "two": "not run"},
        )
        for half in HALVES
    ),
    Trap(
        traps={"a report of an earlier run": "green"},
        code=INCOMPLETE,
        suite=command_suite(
            "",
            command=f"{sys.executable} runner.py {{tests}}",
            more='junit = "report.xml"\nexclude = ["report.xml"]',
            report='<testsuite><testcase name="one"/><testcase name="two"/></testsuite>',
        ),
        verdicts=NONE_RAN,
        said=(NOTHING_SAID,),
    ),
    Trap(
        traps={"the runner is not there": "every test is missing"},
        code=INCOMPLETE,
        suite=command_suite("", command="no-such-runner {junit} {tests}"),
        verdicts=NONE_RAN,
        said=("no-such-runner",),
    ),
    Trap(
        traps={"half a report where the list names files": "green"},
        code=INCOMPLETE,
        suite=command_suite(reports(OF_FILES)),
        verdicts=NONE_RAN,
        said=("it passed, but its JUnit file is damaged",),
    ),
    Trap(
        traps={"a report about other tests": "green"},
        code=INCOMPLETE,
        suite=command_suite(reports('<testsuite><testcase name="three"/></testsuite>')),
        verdicts=NONE_RAN,
        said=("names 'three' and no test as `list` does",),
    ),
    Trap(
        traps={"a report that counts a failure and shows none": "green"},
        code=INCOMPLETE,
        suite=command_suite(passes(tag='<testsuite tests="2" failures="1">')),
        verdicts=NONE_RAN,
        said=("it counts 1 failures and shows none",),
    ),
    Trap(
        traps={"exit code 1 although no test failed": "a green report"},
        code=INCOMPLETE,
        suite=command_suite(passes(then="sys.exit(3)")),
        verdicts=NONE_RAN,
        said=("exited 3 although no test failed",),
    ),
    Trap(
        traps={"the runner is killed after it has written its report": "a green report"},
        code=INCOMPLETE,
        suite=command_suite(passes(then="import os\nos.kill(os.getpid(), 9)")),
        verdicts=NONE_RAN,
        said=("the runner was ended by SIGKILL",),
    ),
    Trap(
        traps={"exit code 0 in the middle of a test": "green"},
        code=RED,
        suite=command_suite(BEGINS, tests="one\n", command=WITH_LIVE_EVENTS),
        verdicts={"one": "failed"},
        said=("the runner exited 0 while it ran one",),
    ),
    Trap(
        traps={"a failing case that the list does not name": "green"},
        code=RED,
        suite=command_suite(passes(FAILS.format("unlisted"))),
        verdicts={**BOTH_PASSED, "unlisted": "failed"},
        said=("the listing does not name it, and nobody asked for it",),
    ),
    Trap(
        traps={"an error of a whole suite, outside of its tests": "green"},
        code=RED,
        suite=command_suite(passes('<error message="the teardown broke"/>')),
        verdicts={**BOTH_PASSED, "(suite)": "failed"},
    ),
    Trap(
        traps={"two cases of one name, of which one fails": "green"},
        code=RED,
        suite=command_suite(passes(FAILS.format("one"))),
        verdicts=ONE_FAILED,
    ),
    Trap(
        traps={"a case that failed by its attribute only": "green"},
        code=RED,
        suite=command_suite(reports(BY_ATTRIBUTE)),
        verdicts=ONE_FAILED,
    ),
    Trap(
        traps={"live events that pass what the report fails": "green"},
        code=RED,
        suite=command_suite(CONTRADICTS, command=WITH_LIVE_EVENTS),
        verdicts=ONE_FAILED,
    ),
    Trap(
        traps={"a flaky test, with `retry.flaky_is_failure`": "green"},
        code=RED,
        suite=command_suite(reports(FLAKY), rest=FLAKY_IS_FAILURE),
        verdicts={"one": "flaky", "two": "passed"},
    ),
)
