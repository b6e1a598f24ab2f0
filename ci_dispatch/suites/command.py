"""Any other runner: a command that lists tests, one a line, and a command that runs some and writes JUnit.

    [suite]
    runner = "command"
    list = "bin/tests --names"
    command = "bin/tests --junit {junit} --only-from {tests_file}"

Nothing goes through a shell: names of tests are foreign text. `{tests}` alone is one argument for each test, and at the
end of an option (`--only={tests}`) all of them joined with commas.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ci_dispatch.config.choices import Split
from ci_dispatch.config.sections import SuiteConfig
from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import NothingToRun, UsageError
from ci_dispatch.core.model import Test, TestId, TestResult, UnitId
from ci_dispatch.run.ports import AttemptPaths, AttemptReading, Invocation, JobEnd, Listing
from ci_dispatch.suites import runner_files
from ci_dispatch.suites.attempts import assemble, output_end
from ci_dispatch.suites.junit_results import JUnitResults, junit_results
from ci_dispatch.suites.listing import NOT_LISTED, run_listing, same_names, secret_name, suite_folder
from ci_dispatch.suites.live_events import BAD, WORST_FIRST, LiveEvents, live_result, read_live_file
from report_merge.sanitize import one_line

PLACEHOLDERS = ("tests", "tests_file", "shard", "workers", "junit", "live", "attempt", "tree")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_JOINED = re.compile(r"-[\w-]*=\{tests\}")


class CommandSuite:
    """The suite that `list` and `command` describe, in `workdir`, a folder of the work tree `root`."""

    name = "command"

    def __init__(self, settings: SuiteConfig, root: Path) -> None:
        """`junit`: the file that `command` writes when it cannot be given a path, relative to `workdir`.

        Raises UsageError for commands that cannot work.
        """
        self.title = settings.title
        self._settings = settings
        self._root = root
        self._list = _words("list", settings.list)
        self._command = _words("command", settings.command)
        self._writes_junit = bool(settings.junit) or "{junit}" in settings.command
        _check(self._command, settings.junit)

    def tools(self) -> tuple[str, ...]:
        program = self._command[0]
        return () if "/" in program else (program,)

    def list_tests(self, deadline: float) -> Listing:
        cwd = suite_folder(self._root, self._settings.workdir)
        env = self._settings.env
        listed = run_listing(self._list, cwd=cwd, env=env, deadline=deadline, settings=self._settings)
        if listed.exit_code:
            raise UsageError(
                NOT_LISTED,
                why=f"`{self._list[0]}` exited {listed.exit_code}: {one_line(listed.errors or listed.output, 500)}",
                hint=f"run it by hand in {self._settings.workdir}; `list` in the section [suite] says what is called",
            )
        if listed.masked:
            raise secret_name()
        names = [line for line in listed.output.splitlines() if line.strip()]
        if not names:
            raise NothingToRun("There is nothing to run", why=f"`{self._list[0]}` printed no tests")
        copies = Counter(TestId(name) for name in names)
        return Listing(tests=tuple(_test(name, self._settings.split) for name in copies), notes=same_names(copies))

    def invocation(
        self, tests: Sequence[Test], place: AttemptPaths, *, workers: int, shard: int, extra: Sequence[str]
    ) -> Invocation:
        names = [test.runner_id for test in tests]
        cwd = posixpath.normpath(posixpath.join(place.tree, self._settings.workdir))
        junit = posixpath.join(place.attempt, "junit.xml")
        values = {
            "tests": ",".join(names),
            "tests_file": posixpath.join(place.attempt, "tests.txt"),
            "shard": str(shard),
            "workers": str(workers),
            "junit": junit,
            "live": posixpath.join(place.attempt, "live.jsonl"),
            "attempt": place.attempt,
            "tree": place.tree,
        }
        argv = [*_filled(self._command, names, values), *extra]
        files = {"tests.txt": "".join(f"{name}\n" for name in names).encode()}
        if self._settings.junit:
            launcher = posixpath.join(place.attempt, "command_launcher.py")
            argv = ["python3", launcher, posixpath.join(cwd, self._settings.junit), junit, *argv]
            files["command_launcher.py"] = runner_files.content("command_launcher.py")
        return Invocation(argv=tuple(argv), cwd=cwd, env=self._settings.env, files=files)

    def live_result(self, line: bytes) -> TestResult | None:
        return live_result(line)

    def read(self, tests: Sequence[Test], folder: Path, end: JobEnd) -> AttemptReading:
        """What the live file and the JUnit file say; where they differ, the worse.

        Of a job that was interrupted the JUnit file does not say which failures are older than that.
        """
        events = read_live_file(folder, end.undisturbed_lines)
        junit = junit_results(folder / "junit.xml", tests) if self._writes_junit else JUnitResults()
        disturbed = end.undisturbed_lines is not None
        evidence = "; ".join(_evidence(events, junit))
        for result in junit.results:
            told = events.ended.get(result.test, result)
            if disturbed and result.verdict in BAD and (told is result or told.verdict not in BAD):
                events.disturbed.add(result.test)
            worse = min(told, result, key=lambda each: WORST_FIRST.index(each.verdict))
            events.ended[result.test] = replace(worse, classname=result.classname, name=result.name)
        others = [other for other in junit.others if not any(name in events.ended for name in other.names)]
        output = "; its output: ".join(filter(None, (evidence, output_end(folder).strip())))
        return assemble(tests, events, end, output=output, others=others)


def _evidence(events: LiveEvents, junit: JUnitResults) -> Iterator[str]:
    """What a person needs who wonders why tests have no result."""
    if events.unreadable:
        yield f"a line of its live file is no event: {events.unreadable}"
    if junit.problem:
        yield f"its JUnit file: {junit.problem}"
    elif junit.others and not junit.results:
        yield f"its JUnit file names {junit.others[0].test.id!r} and no test as `list` does"


def _test(name: str, split: Split) -> Test:
    file, separator, title = name.partition("::")
    by_file = split is Split.FILE and separator
    return Test(
        id=TestId(name),
        unit=UnitId(file if by_file else name),
        file=file if separator else "",
        title=(title or name,),
        runner_id=name,
    )


def _filled(command: Sequence[str], names: Sequence[str], values: Mapping[str, str]) -> Iterator[str]:
    for word in command:
        if word == "{tests}":
            yield from names
        else:
            yield _PLACEHOLDER.sub(lambda match: values[match[1]], word)


def _words(key: str, command: str) -> tuple[str, ...]:
    """The command's words. Raises UsageError when there are none or a quote is open."""
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise UsageError(f"`{key}` in the section [suite] cannot be read", why=f"{error}: {command}") from error
    if not words:
        raise UsageError(
            f"`{key}` in the section [suite] is empty",
            why='runner = "command" needs both: `list` prints the tests, `command` runs them',
            hint=f'{key} = "..."; docs/suites.md has examples',
        )
    return words


def _check(command: Sequence[str], junit: str) -> None:
    """Raise UsageError for a command that gets no tests, or whose results nobody would see."""
    text = " ".join(command)
    unknown = sorted(set(_PLACEHOLDER.findall(text)) - {*PLACEHOLDERS, "total"})
    problems = [f"{{{name}}} is not known; known: {', '.join(PLACEHOLDERS)}" for name in unknown]
    if "{total}" in text:
        problems.append(
            "{total} cannot be given: how many shards there will be is not known when one starts; leave it out, for "
            "{tests} and {tests_file} already say which tests a shard has, and {shard} differs between attempts"
        )
    if "{tests}" not in text and "{tests_file}" not in text:
        problems.append("neither {tests} nor {tests_file} occurs: it would run everything everywhere")
    if not junit and "{junit}" not in text and "{live}" not in text:
        problems.append("neither {junit} nor {live} occurs, and `junit` names no file: no result would be seen")
    if any("{tests}" in word and word != "{tests}" and not _JOINED.fullmatch(word) for word in command):
        problems.append("{tests} inside a longer word: names of tests are foreign text; use it alone, or {tests_file}")
    if problems:
        raise UsageError("`command` in the section [suite] cannot work", why="; ".join(problems))
