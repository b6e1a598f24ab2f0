"""`dispatch` takes in what earlier runs left on GitHub: by the double, in real time; and does without."""

from __future__ import annotations

import re
from pathlib import Path

from ci_dispatch.fleets.actions.history_artifact import artifact_name
from ci_dispatch.history.store import HistoryStore
from tests.github_double import zipped
from tests.github_double.faults import Fault, message
from tests.integration.test_github_commands import Desk, desk  # noqa: F401


def known(file: Path) -> list[str]:
    with HistoryStore(file) as store:
        return [str(run.id) for run in store.runs()]


def test_a_run_hands_its_history_on_and_the_next_one_plans_with_it(desk: Desk, tmp_path: Path) -> None:  # noqa: F811
    output = tmp_path / "output"
    code, _, err = desk.run("dispatch", GITHUB_OUTPUT=str(output))
    assert code == 0, err
    told = dict(re.findall(r"^(history-\w+)<<\w+\n(.*)$", output.read_text(), re.MULTILINE))
    ours = desk.folder / ".ci-dispatch" / "history.db"
    [first] = known(Path(told["history-path"]))
    [run] = desk.double.hub.runs.values()
    data = zipped({"history.db": Path(told["history-path"]).read_bytes()})
    artifact = desk.double.hub.upload(run, told["history-name"], data)
    ours.unlink()

    code, _, err = desk.run("dispatch", GITHUB_HEAD_REF="topic", CI_DISPATCH_REF="main")
    assert code == 0, err
    assert "History of earlier runs: of main." in err
    assert known(ours)[0] == first
    assert len(known(ours)) == 2

    artifact.from_fork = True
    ours.unlink()
    code, _, err = desk.run("dispatch")
    assert code == 0, err
    assert first not in known(ours)


def test_one_that_cannot_be_had_is_a_warning_and_no_verdict(desk: Desk) -> None:  # noqa: F811
    refused = Fault(path=r"/actions/artifacts\?", status=403, body=message("Resource not accessible by integration"))
    desk.double.faults.add(refused)
    code, out, err = desk.run("dispatch")
    assert code == 0, err
    assert "PASSED 12 tests" in out
    [summary] = (desk.folder / ".ci-dispatch").rglob("summary.md")
    lines = summary.read_text().replace("\\", "").splitlines()
    [said] = [line for line in lines if line.startswith("> ⚠️ history:")]
    assert f"The artifacts called {artifact_name(desk.folder.name)} could not be listed" in said
    assert "permissions: actions: read" in said
