"""Which display a stream gets: pure choices, every row of the table. And what no display lets through."""

from __future__ import annotations

import io
import json
import re

import pytest

from ci_dispatch.core.codec import replace
from ci_dispatch.core.events import (
    AttemptFinished,
    AttemptOutput,
    Event,
    LeaseGranted,
    MachineLost,
    RunFinished,
    Stamped,
    TestFinished,
    VerdictReached,
    Warned,
)
from ci_dispatch.core.model import (
    AttemptResult,
    Ended,
    FailureCause,
    Lease,
    LeaseNumber,
    MachineName,
    MachineSpec,
    Makespan,
    Shard,
    ShardId,
    ShardKind,
    TestResult,
    Verdict,
)
from ci_dispatch.reporters.terminal import Mode, choose, progress, reflows, use_colour
from ci_dispatch.reporters.terminal.cells import ASCII, UNICODE, glyphs_for
from tests.recorded_runs import play
from tests.simulation import make_tests, run_started

A = MachineName("a")

TERMINAL = {"TERM": "xterm-256color"}


@pytest.mark.parametrize(
    ("asked", "isatty", "environ", "width", "mode"),
    [
        ("auto", True, TERMINAL, 80, Mode.LIVE),
        ("", True, TERMINAL, 80, Mode.LIVE),
        ("auto", True, TERMINAL, 40, Mode.LIVE),
        ("auto", True, TERMINAL, 39, Mode.PLAIN),
        ("auto", True, {"TERM": "dumb"}, 80, Mode.PLAIN),
        ("auto", True, {}, 80, Mode.PLAIN),
        ("auto", False, TERMINAL, 80, Mode.PLAIN),
        ("auto", False, {**TERMINAL, "FORCE_COLOR": "1"}, 80, Mode.PLAIN),
        ("auto", True, {**TERMINAL, "CI": "true"}, 80, Mode.PLAIN),
        ("auto", True, {**TERMINAL, "CI": "0"}, 80, Mode.LIVE),
        ("auto", True, {**TERMINAL, "GITHUB_ACTIONS": "true"}, 80, Mode.PLAIN),
        ("auto", True, {**TERMINAL, "CI_DISPATCH_PROGRESS": "json"}, 80, Mode.JSON),
        ("auto", True, {**TERMINAL, "CI_DISPATCH_PROGRESS": "nonsense"}, 80, Mode.LIVE),
        ("plain", True, {**TERMINAL, "CI_DISPATCH_PROGRESS": "json"}, 80, Mode.PLAIN),
        ("live", False, {}, 20, Mode.LIVE),
        ("none", True, TERMINAL, 80, Mode.NONE),
        ("json", False, {}, 80, Mode.JSON),
    ],
)
def test_mode(asked: str, isatty: bool, environ: dict[str, str], width: int, mode: Mode) -> None:
    assert choose(asked, isatty=isatty, environ=environ, width=width) is mode


@pytest.mark.parametrize(
    ("isatty", "environ", "colour"),
    [
        (True, TERMINAL, True),
        (False, TERMINAL, False),
        (True, {"TERM": "dumb"}, False),
        (True, {**TERMINAL, "NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        (True, {**TERMINAL, "NO_COLOR": ""}, True),
        (False, {"FORCE_COLOR": "1"}, True),
        (False, {"FORCE_COLOR": "0", "GITHUB_ACTIONS": "true"}, False),
        (True, {**TERMINAL, "FORCE_COLOR": "false"}, False),
        (False, {"GITHUB_ACTIONS": "true"}, True),
        (False, {"CI": "true"}, False),
    ],
)
def test_colour(isatty: bool, environ: dict[str, str], colour: bool) -> None:
    assert use_colour(isatty=isatty, environ=environ) is colour


@pytest.mark.parametrize(
    ("encoding", "glyphs"),
    [("utf-8", UNICODE), ("ascii", ASCII), ("latin-1", ASCII), ("cp437", ASCII), (None, ASCII), ("no-such", ASCII)],
)
def test_glyphs(encoding: str | None, glyphs: object) -> None:
    assert glyphs_for(encoding) is glyphs


def test_the_terminals_that_do_not_wrap_anew() -> None:
    assert reflows({"TERM": "xterm-256color"})
    assert not reflows({"TERM": "xterm", "XTERM_VERSION": "XTerm(390)"})
    assert not reflows({"TERM": "screen", "STY": "1.pts-0"})


HOSTILE = "##[error]a\r::add-mask::b\n  ::error::c\n##[group]d\u2028::stop-commands::e"


def hostile_run() -> list[Stamped]:
    tests = [replace(test, title=(HOSTILE,), file=HOSTILE, project=HOSTILE) for test in make_tests(2)]
    started = replace(run_started(tests, [MachineSpec(name=A, cores=1)], {}), title=HOSTILE)
    first, second = (test.id for test in tests)
    failed = TestResult(test=first, verdict=Verdict.FAILED, message=HOSTILE, detail=HOSTILE, kind=HOSTILE)
    shard = Shard(id=ShardId("s"), kind=ShardKind.HEAD, tests=(first, second))
    crashed = AttemptResult(ended=Ended.EXITED, cause=FailureCause.CRASH, reason=HOSTILE, results=(failed,))
    events: list[Event] = [
        started,
        Warned(source=HOSTILE, text=HOSTILE),
        LeaseGranted(lease=Lease(number=LeaseNumber(1), shard=shard, machine=A, granted=0.0)),
        AttemptOutput(lease=LeaseNumber(1), machine=A, text=HOSTILE + "\n"),
        TestFinished(lease=LeaseNumber(1), result=failed),
        AttemptFinished(lease=LeaseNumber(1), machine=A, result=crashed),
        MachineLost(machine=A, reason=HOSTILE),
        VerdictReached(test=first, verdict=Verdict.FAILED, reason=HOSTILE),
        VerdictReached(test=second, verdict=Verdict.NOT_RUN, reason=HOSTILE),
        RunFinished(exit_code=4, makespan=Makespan(planned=0, realised=1, lower_bound=0), reason=HOSTILE),
    ]
    return [Stamped(seq=seq, at=float(seq), event=event) for seq, event in enumerate(events, 1)]


@pytest.mark.parametrize("colour", ["0", "1"])
@pytest.mark.parametrize("mode", ["plain", "json", "live", "none"])
def test_in_a_github_job_no_text_of_a_test_is_a_command(mode: str, colour: str) -> None:
    """By the runner's own rules: lines end at \\r and \\n, blanks before `::` do not count, `##[` counts anywhere."""
    out, err = io.StringIO(), io.StringIO()
    environ = {"GITHUB_ACTIONS": "true", "FORCE_COLOR": colour, "TERM": "xterm"}
    play(hostile_run(), progress(mode, stdout=out, stderr=err, environ=environ, follow="a"))
    lines = re.split(r"[\r\n]", out.getvalue() + "\n" + err.getvalue())
    commands = [line.strip() for line in lines if line.strip().startswith("::")]
    assert len([line for line in commands if line.startswith("::group::")]) == (mode == "plain")
    assert [line for line in commands if not line.startswith("::group::")] == ["::endgroup::"] * (mode == "plain")
    assert not [line for line in lines if "##[" in line and not line.startswith("::group::")]
    assert "##" in out.getvalue() + err.getvalue()
    if mode == "json":
        told = [json.loads(line) for line in out.getvalue().rstrip("\n").split("\n")]
        assert told[0]["data"]["title"] == HOSTILE, "JSON means what it meant"
