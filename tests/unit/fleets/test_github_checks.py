"""What `github check` concludes from GitHub's answers and from a probe's log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from ci_dispatch.core.codec import replace
from ci_dispatch.fleets.actions.check import github_rules as rules
from ci_dispatch.fleets.actions.check import probe
from ci_dispatch.fleets.actions.check.finding import CheckFinding, Level
from ci_dispatch.fleets.actions.check.github_rules import MachineLabels
from ci_dispatch.fleets.actions.check.permission_rules import HELPFUL, needed_permissions
from ci_dispatch.fleets.actions.check.use import uses_of
from ci_dispatch.fleets.actions.check.workflow_file import read_workflow
from ci_dispatch.fleets.actions.rest.settings import (
    CheckView,
    LabelView,
    RepositoryView,
    RuleParameters,
    RuleView,
    RunnerSettings,
)
from tests.components import ROOT
from tests.unit.fleets.test_workflow_checks import DOOR, EXAMPLES, ORCHESTRATOR, SETUP, both

MORUK = MachineLabels("moruk", ("self-hosted", "Moruk"))


def runner(name: str, *labels: str, status: str = "online", version: str = "2.336.0") -> RunnerSettings:
    return RunnerSettings(
        name=name, status=status, version=version, labels=tuple(LabelView(name=label) for label in labels)
    )


def told(findings: list[CheckFinding]) -> list[tuple[str, str, int]]:
    return [(f.level, f.topic, f.exit_code) for f in findings]


@pytest.mark.parametrize(
    ("runners", "complete", "level", "says"),
    [
        ([runner("m", "self-hosted", "moruk")], True, Level.FINE, "taken by m"),
        ([runner("m", "self-hosted", "moruk", status="offline")], True, Level.FAILURE, "offline"),
        ([runner("m", "self-hosted")], True, Level.FAILURE, "no runner has all these labels"),
        ([], True, Level.FAILURE, "no runner has all these labels"),
        ([], False, Level.UNKNOWN, "the organisation's cannot be seen"),
    ],
)
def test_labels_need_a_runner(runners: list[RunnerSettings], complete: bool, level: Level, says: str) -> None:
    first = next(rules.check_runners([MORUK], runners, complete=complete))
    assert (first.level, first.exit_code) == (level, 4 if level is Level.FAILURE else 0)
    assert says in first.what


@pytest.mark.parametrize(
    ("version", "level"),
    [("2.327.0", Level.FAILURE), ("2.327.1", Level.WARNING), ("2.328.9", Level.WARNING), ("2.329.0", Level.FINE),
     ("2.1000.0", Level.FINE), ("3.0.0", Level.FINE), ("", Level.UNKNOWN), ("odd", Level.UNKNOWN)],
)  # fmt: skip
def test_a_runner_has_a_least_version(version: str, level: Level) -> None:
    found = list(rules.check_runners([MORUK], [runner("m", "self-hosted", "moruk", version=version)], complete=True))
    assert [f.level for f in found if f.topic == "runners"] == [level]


def test_a_32_bit_runner_cannot_run_the_actions_and_a_hosted_one_always_can() -> None:
    arm = list(rules.check_runners([MORUK], [runner("pi", "self-hosted", "moruk", "ARM")], complete=True))
    assert "32-bit" in arm[1].what
    hosted = list(rules.check_runners([MachineLabels("x", ("ubuntu-24.04-arm",))], [], complete=True))
    assert told(hosted) == [("fine", "labels", 0)]


def test_a_worker_has_to_be_on_the_default_branch_and_an_orchestrator_has_not() -> None:
    files = both(ORCHESTRATOR.replace("  pull_request:", "  schedule: [{cron: 17 3 * * *}]"))
    found = list(rules.check_default_branch(files, SETUP, {DOOR: False, files[1].path: False}, {}))
    assert told(found) == [("fine", "workflows", 0), ("failure", "workflows", 5)]
    assert "schedule begin to work when main has it" in found[0].what
    off = list(rules.check_default_branch(both(), SETUP, {DOOR: True}, {DOOR: "disabled_inactivity"}))
    assert told(off) == [("fine", "workflows", 0), ("failure", "workflows", 5)]
    assert off[1].remedy == "gh workflow enable e2e.yml"


def test_a_secret_that_github_does_not_have() -> None:
    more = "runners-token: ${{ secrets.more }}\n        env: {A: '${{ secrets.shop }}'}"
    given = f"ssh-key: ${{{{ secrets.KEY }}}}\n          {more}"
    files = [read_workflow(DOOR, ORCHESTRATOR.replace('skip-health-checks: "true"', given))]
    found = list(rules.check_secrets(files, replace(SETUP, suite_secrets=("SHOP",)), frozenset()))
    assert [(f.level, f.what.partition(":")[0]) for f in found] == [
        ("warning", "GitHub has no secret KEY"),
        ("fine", "GitHub has no secret MORE, which is optional"),
        ("failure", "GitHub has no secret SHOP"),
    ]
    assert "its value is empty" in list(rules.check_secrets(files, SETUP, frozenset({"KEY"})))[-1].what
    known = list(rules.check_secrets(files, SETUP, frozenset({"KEY", "MORE", "SHOP"})))
    assert {f.level for f in known} == {Level.FINE}


def test_the_secrets_of_the_reusable_workflow_are_known() -> None:
    caller = [read_workflow(DOOR, (EXAMPLES / "suite.yml").read_text(encoding="utf-8").replace("OWNER", "acme"))]
    found = list(rules.check_secrets(caller, SETUP, frozenset()))
    assert [(f.level, f.what.split()[4].strip(":,")) for f in found] == [
        ("fine", "FLEET_SSH_CONFIG"), ("warning", "FLEET_SSH_KEY"), ("fine", "FLEET_SSH_KNOWN_HOSTS"),
    ]  # fmt: skip
    suite = read_workflow("suite.yml", (ROOT / ".github/workflows/suite.yml").read_text(encoding="utf-8"))
    assert rules.SUITE_SECRETS.keys() == suite.triggers["workflow_call"]["secrets"].keys()
    for use in uses_of([suite], SETUP):
        for name, inputs in rules.SUITE_SECRETS.items():
            value = f"${{{{ secrets.{name} }}}}"
            assert all(use.step.inputs.get(given, value) == value for given in inputs)
        helpful = {HELPFUL[use.command][0]: "read"} if use.command in HELPFUL else {}
        assert suite.permissions_of(use.job) == needed_permissions(use, SETUP) | helpful, use.where


def required(*contexts: str) -> RuleView:
    checks = tuple(CheckView(context=context) for context in contexts)
    return RuleView(type="required_status_checks", parameters=RuleParameters(required_status_checks=checks))


def test_required_checks() -> None:
    def of(door: str, *given: RuleView, protected: tuple[str, ...] = ()) -> list[str]:
        found = rules.check_required([read_workflow(DOOR, door)], SETUP, given, protected)
        return [f"{f.level}: {f.what}" for f in found]

    assert "a red run stops no merge" in of(ORCHESTRATOR)[0]
    skipped = of(ORCHESTRATOR, required("Suite"))
    assert "can be skipped, and GitHub counts that as success" in skipped[0]
    assert skipped[1] == "fine: main requires Suite"
    assert of(ORCHESTRATOR.replace("    if: github", "    if: always() && github"), protected=("Suite",)) == [
        "fine: main requires Suite"
    ]
    cancelled = of(ORCHESTRATOR.replace("    if: github", "    if: ${{ !cancelled() }} #"), required("Suite"))
    assert "can be skipped" in cancelled[0]
    queue = of(ORCHESTRATOR, RuleView(type="merge_queue"))
    assert "failure: main has a merge queue, and `merge_group` does not start" in queue[0]
    assert not [
        line
        for line in of(ORCHESTRATOR.replace("  pull_request:", "  merge_group:"), RuleView(type="merge_queue"))
        if "queue" in line
    ]
    paths = of(ORCHESTRATOR.replace("  pull_request:", "  pull_request: {paths: [src]}"), required("Suite"))
    assert any("the required check stays pending" in line for line in paths)
    assert any(
        "names differ from run to run" in line
        for line in of(
            ORCHESTRATOR.replace("name: Suite", "name: s ${{ github.job }}"), required("s ${{ github.job }}")
        )
    )


def test_the_gate_of_the_reusable_workflow_is_its_last_job() -> None:
    suite = YAML(typ="safe", pure=True).load((ROOT / ".github/workflows/suite.yml").read_text(encoding="utf-8"))
    last = list(suite["jobs"].values())[-1]
    assert (last["name"], last["if"]) == (rules.VERDICT, "always()")
    caller = [read_workflow(DOOR, (EXAMPLES / "suite.yml").read_text(encoding="utf-8"))]
    for names, level in ((["suite / Verdict"], Level.FINE), (["suite / Plan"], Level.WARNING)):
        found = list(rules.check_required(caller, SETUP, [required(*names)], ()))
        assert found[0].level is level, found
    assert "require `suite / Verdict`" in found[0].remedy


def test_a_public_repository_is_warned_about() -> None:
    public = list(rules.check_exposure(both(), SETUP, RepositoryView(private=False), [MORUK]))
    assert told(public) == [("warning", "exposure", 0)]
    assert "approval for all external contributors" in public[0].remedy
    assert told(list(rules.check_exposure(both(), SETUP, RepositoryView(), [MORUK]))) == [("fine", "exposure", 0)]
    assert list(rules.check_exposure(both(), SETUP, RepositoryView(private=False), [])) == []


# -- the probe --------------------------------------------------------------------------------------------------------


def findings(log: str, *, python: str = "python3", node: bool = False) -> list[str]:
    found = probe.check_answer("moruk", probe.read_log(log), python=python, needs_node=node)
    return [f"{f.level}: {f.what}" + (f" > {f.remedy}" if f.remedy else "") for f in found]


def test_the_script_itself_in_the_log_is_no_answer() -> None:
    moment = "2026-11-28T12:00:00.1234567Z"
    echoed = f"{moment} \x1b[36;1mprintf '@probe end\\n'\x1b[0m\n{moment} @probe python python3 3.13.1\n"
    assert findings(echoed) == ["failure: the probe did not come to its end > read the log of its job on GitHub"]
    assert findings("@probe end\n")[0].startswith("failure: there is no python3")
    assert findings(f"{echoed}{moment} @probe end\n")[0] == "fine: python3 is 3.13.1"


@given(st.lists(st.text(max_size=30)))
def test_any_log_is_an_answer(lines: list[str]) -> None:
    text = "".join(f"@probe {line}\n" for line in lines)
    assert findings(f"{text}\n@probe end\n", node=True)
