"""What every test runner behind the port promises: one result for each expected test, whatever happens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ci_dispatch.core.errors import NothingToRun, UsageError
from ci_dispatch.core.model import Ended, FailureCause, Test, Verdict
from ci_dispatch.run.ports import AttemptPaths, AttemptReading, JobEnd, Suite
from tests.suite_attempts import attempt, name_of, named, open_sample, sample, verdicts

EXITED = JobEnd(ended=Ended.EXITED, exit_code=0)
pytestmark = pytest.mark.slow  # real runners: every attempt is a process


class Case:
    """One runner's sample suite, listed, and how to open and run it."""

    def __init__(self, runner: str, folder: Path) -> None:
        self.runner = runner
        self.folder = folder
        self.root = sample(runner, folder / "tree")
        self.tests = open_sample(runner, self.root).list_tests(60).tests
        self.attempts = 0

    def open(self, mode: str = "") -> Suite:
        return open_sample(self.runner, self.root, mode=mode)

    def run(self, *names: str, mode: str = "", interrupt_when: Callable[[bytes], bool] | None = None) -> AttemptReading:
        """One attempt at the named tests of the first project; of all tests when none is named."""
        self.attempts += 1
        tests = [named(self.tests, name) for name in names] or self.tests
        return self.attempt(tests, mode=mode, interrupt_when=interrupt_when)

    def attempt(
        self,
        tests: tuple[Test, ...] | list[Test],
        *,
        mode: str = "",
        interrupt_when: Callable[[bytes], bool] | None = None,
    ) -> AttemptReading:
        self.attempts += 1
        folder = self.folder / f"attempt-{self.attempts}"
        return attempt(self.open(mode), tests, folder, root=self.root, interrupt_when=interrupt_when)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("playwright", marks=pytest.mark.needs("playwright")),
        "pytest",
        "command",
    ],
)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(request.param, tmp_path_factory.mktemp(request.param))


def test_a_listing_names_every_test_once_and_says_what_may_not_be_cut(case: Case) -> None:
    ids = [test.id for test in case.tests]
    assert len(ids) == len(set(ids)) > 15
    assert all(test.unit and test.title for test in case.tests)


def test_ids_are_the_same_in_every_folder(case: Case) -> None:
    elsewhere = sample(case.runner, case.folder / "another place")
    assert open_sample(case.runner, elsewhere).list_tests(60).tests == case.tests


def test_every_expected_test_has_exactly_one_result(case: Case) -> None:
    reading = case.run()
    assert [result.test for result in reading.results] == [test.id for test in case.tests]
    expected = {"fails": Verdict.FAILED, "is skipped": Verdict.SKIPPED}
    assert verdicts(reading) == {test.id: expected.get(name_of(test), Verdict.PASSED) for test in case.tests}
    assert (reading.cause, reading.unexpected) == (FailureCause.NONE, ())
    assert all(result.seconds is not None for result in reading.results)
    assert all("one is" in result.message for result in reading.results if result.verdict is Verdict.FAILED)
    assert all("not today" in result.reason for result in reading.results if result.verdict is Verdict.SKIPPED)


def test_exactly_the_selected_tests_run_whatever_they_are_called(case: Case) -> None:
    hostile = [test for test in case.tests if "titles" in str(test.file)]
    assert len(hostile) >= 9
    for test in hostile[1::4]:
        reading = case.attempt([test])
        assert verdicts(reading) == {test.id: Verdict.PASSED}
        assert reading.unexpected == ()
    reading = case.attempt(hostile[::2])
    assert set(verdicts(reading).values()) == {Verdict.PASSED}
    assert reading.unexpected == ()
    assert not (case.root / "owned").exists()


def test_a_test_that_is_gone_was_not_run_and_keeps_no_other_from_running(case: Case) -> None:
    reading = case.run("passes", "may go", "comes last", mode="gone")
    assert [result.verdict for result in reading.results] == [Verdict.PASSED, Verdict.NOT_RUN, Verdict.PASSED]
    assert reading.results[1].reason


def test_when_every_test_is_gone_the_attempt_has_a_cause(case: Case) -> None:
    reading = case.run("may go", mode="gone")
    assert [result.verdict for result in reading.results] == [Verdict.NOT_RUN]
    assert reading.cause in (FailureCause.LOAD, FailureCause.USAGE)  # no retry can help
    assert reading.reason


def test_a_runner_that_dies_leaves_its_tests_without_a_verdict_and_a_suspect(case: Case) -> None:
    reading = case.run("passes", "may kill", "comes last", mode="killing")
    assert reading.cause is FailureCause.CRASH
    assert "SIGKILL" in reading.reason
    by_name = dict(zip(("passes", "may kill", "comes last"), reading.results, strict=True))
    assert by_name["may kill"].verdict is Verdict.NOT_RUN
    assert all(result.reason for result in reading.results if result.verdict is Verdict.NOT_RUN)
    if case.runner != "command":  # which writes nothing before its end
        assert by_name["passes"].verdict is Verdict.PASSED
        assert reading.suspects == (by_name["may kill"].test,)


def test_a_test_that_ends_its_process_is_never_passed(case: Case) -> None:
    reading = case.run("passes", "may crash", mode="crashing")
    assert reading.results[1].verdict in (Verdict.FAILED, Verdict.NOT_RUN)
    assert reading.results[1].verdict is Verdict.FAILED or reading.cause is FailureCause.CRASH


def test_an_interrupted_runner_keeps_what_it_had(case: Case) -> None:
    if case.runner == "command":
        pytest.skip("the sample's runner reports nothing before its end")
    begun = lambda live: live.count(b'"begin"') >= 2  # noqa: E731
    reading = case.run("passes", "may wait", "comes last", mode="waiting", interrupt_when=begun)
    assert [result.verdict for result in reading.results] == [Verdict.PASSED, Verdict.NOT_RUN, Verdict.NOT_RUN]
    assert all(result.reason for result in reading.results[1:])
    assert reading.suspects == ()


def test_a_pass_is_none_when_its_own_runner_reports_a_failure(case: Case) -> None:
    reading = case.run("passes", mode="complaining")
    assert [result.verdict for result in reading.results] == [Verdict.NOT_RUN]
    assert reading.results[0].reason.startswith("it passed, but ")
    assert reading.cause is FailureCause.CRASH
    assert reading.reason


def test_a_lost_machine_leaves_a_reason_for_every_test(case: Case, tmp_path: Path) -> None:
    reading = case.open().read(case.tests, tmp_path, JobEnd(ended=Ended.LOST, reason="no heartbeat for 15 s"))
    assert {result.verdict for result in reading.results} == {Verdict.NOT_RUN}
    assert {result.reason for result in reading.results} == {"no heartbeat for 15 s"}


def test_exit_code_0_without_any_result_is_no_pass(case: Case, tmp_path: Path) -> None:
    reading = case.open().read(case.tests, tmp_path, EXITED)
    assert {result.verdict for result in reading.results} == {Verdict.NOT_RUN}
    assert reading.cause is FailureCause.USAGE


@pytest.mark.parametrize("code", [126, 127])
def test_a_runner_that_is_not_there_is_a_failure_of_the_machines_setup(case: Case, tmp_path: Path, code: int) -> None:
    (tmp_path / "output.log").write_text("node: command not found\n")
    reading = case.open().read(case.tests, tmp_path, JobEnd(ended=Ended.EXITED, exit_code=code))
    assert reading.cause is FailureCause.SETUP
    assert "node: command not found" in reading.reason


HOSTILE_LINES = [
    b"", b"\n", b"null", b"[]", b"7", b'"end"', b'{"kind":"end"}', b'{"kind":"end","id":7,"verdict":"passed"',
    b'{"kind":"end","id":"x","verdict":"great"}', b"\xff\xfe", b'{"kind":["end"]}', b"[" * 100_000,
    b'{"kind":"plan","tests":7}', b'{"kind":"plan","tests":[7,{"id":{}}]}', b'{"kind":"problem"}',
]  # fmt: skip


def test_strange_lines_are_no_events(case: Case, tmp_path: Path) -> None:
    suite = case.open()
    assert [suite.live_result(line) for line in HOSTILE_LINES] == [None] * len(HOSTILE_LINES)
    (tmp_path / "live.jsonl").write_bytes(b"\n".join(HOSTILE_LINES))
    reading = suite.read(case.tests, tmp_path, EXITED)
    assert {result.verdict for result in reading.results} == {Verdict.NOT_RUN}


def test_live_results_are_what_the_end_says(case: Case) -> None:
    if case.runner == "command":
        pytest.skip("the sample's runner reports nothing before its end")
    reading = case.run("passes", "fails", "is skipped")
    live = (case.folder / f"attempt-{case.attempts}" / "live.jsonl").read_bytes()
    live_results = [result for line in live.splitlines() if (result := case.open().live_result(line))]
    assert sorted(live_results, key=lambda result: result.test) == sorted(
        reading.results, key=lambda result: result.test
    )


def test_an_invocation_is_exact_whatever_the_order_and_touches_only_its_place(case: Case) -> None:
    suite = case.open()
    place = AttemptPaths(tree="/far/tree", attempt="/far/attempt 1")
    call = suite.invocation(case.tests, place, workers=3, shard=2, extra=())
    assert call.cwd == "/far/tree"
    assert all(not Path(name).is_absolute() and ".." not in name for name in call.files)
    assert str(case.root) not in json.dumps([call.argv, dict(call.env)])


def test_a_folder_that_does_not_exist_is_named(case: Case) -> None:
    suite = open_sample(case.runner, case.folder / "nowhere")
    with pytest.raises(UsageError, match="does not exist"):
        suite.list_tests(60)


def test_a_suite_that_cannot_be_loaded_is_not_sent_anywhere(case: Case) -> None:
    with pytest.raises(UsageError) as caught:
        case.open("unloadable").list_tests(60)
    assert "cannot be loaded" in str(caught.value)


def test_a_missing_runner_is_named(case: Case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"(node|python3) cannot be started"):
        case.open().list_tests(60)


def test_listing_ends_by_its_deadline(case: Case) -> None:
    with pytest.raises(UsageError, match="did not end within"):
        case.open().list_tests(0.01)


def test_a_suite_without_tests_is_nothing_to_run(case: Case, tmp_path: Path) -> None:
    root = sample(case.runner, tmp_path / "tree")
    for file in [*root.glob("test_*.py"), *root.glob("tests/*.spec.js")]:
        file.unlink()
    with pytest.raises(NothingToRun):
        open_sample(case.runner, root, mode="none").list_tests(60)
