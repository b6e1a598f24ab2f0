"""Workflows, action.yml, the command line and the documentation say the same, and every linter there is agrees."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from ruamel.yaml import YAML

from ci_dispatch.cli import github, waves
from ci_dispatch.config.sections import SETTINGS
from tests.components import JS, ROOT, tool

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
EXAMPLES = sorted((ROOT / "examples" / "github").glob("*.yml"))
ACTION = ROOT / "action.yml"
BIN = Path(sys.executable).parent
BAD = """
on: push
permissions: {}
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: echo ${{ github.event.head_commit.message }} ${{ steps.nobody.outputs.x }}
      - uses: actions/checkout@v4
        wiht: {}
"""


def load(file: Path) -> dict[str, Any]:
    return dict(YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8")))


def ran(*command: str | Path) -> tuple[int, str]:
    answer = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=120, cwd=ROOT)
    return answer.returncode, answer.stdout + answer.stderr


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A workflow that every linter must object to: one that never does proves nothing."""
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    (folder / "bad.yml").write_text(BAD)
    return folder / "bad.yml"


@pytest.mark.needs("actionlint")
def test_actionlint_is_content(bad: Path) -> None:
    program = tool("actionlint")
    assert program is not None
    assert ran(program, *WORKFLOWS, *EXAMPLES) == (0, "")
    code, text = ran(program, bad)
    assert code == 1
    assert "wiht" in text


def test_zizmor_is_content_even_when_pedantic(bad: Path) -> None:
    options = ("--offline", "--persona=pedantic", "--no-progress", "--strict-collection", "--no-exit-codes")
    code, text = ran(BIN / "zizmor", *options[:-1], ".github", "examples/github", "action.yml")
    assert code == 0, text
    assert "No findings to report" in text
    code, text = ran(BIN / "zizmor", "--offline", "--persona=pedantic", "--no-progress", bad)
    assert "template-injection" in text or code != 0


def test_the_schemas_hold(bad: Path) -> None:
    code, text = ran(BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS, *EXAMPLES)
    assert code == 0, text
    code, text = ran(BIN / "check-jsonschema", "--builtin-schema", "vendor.github-actions", ACTION)
    assert code == 0, text
    assert ran(BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", bad)[0] == 1


@pytest.mark.needs("workflow-tools")
def test_githubs_own_language_service_is_content(bad: Path) -> None:
    folder = JS / "workflow-tools"
    command = ("node", "--no-warnings", "--import", folder / "json-imports.mjs", folder / "check.mjs")
    assert ran(*command, *WORKFLOWS, *EXAMPLES, ACTION) == (0, "")
    code, text = ran(*command, bad)
    assert code == 1
    assert "wiht" in text


def jobs_of(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    """Those with steps of their own."""
    return [job for job in workflow["jobs"].values() if "steps" in job]


def test_runs_of_the_example_wait_for_one_another_and_none_is_dropped() -> None:
    """Not those of this repository, which act has to understand: it does not know `queue` (0.2.89)."""
    suite = load(ROOT / "examples" / "github" / "e2e.yml")["jobs"]["suite"]
    assert suite["concurrency"] == {"group": "fleet", "queue": "max"}


def test_the_project_is_tested_by_the_python_that_was_set_up() -> None:
    """sudo's `secure_path` wins over --preserve-env=PATH: the system's Python would be tested four times."""
    jobs = load(ROOT / ".github/workflows/ci.yml")["jobs"].values()
    commands = [step["run"] for job in jobs for step in job["steps"] if "sudo" in step.get("run", "")]
    assert commands
    assert all(command.startswith('sudo env "PATH=$PATH" ') for command in commands)


def test_the_documentation_names_the_oldest_runner_and_warns_about_public_repositories() -> None:
    text = (ROOT / "docs" / "github-actions.md").read_text(encoding="utf-8")
    assert "2.329.0 or newer" in text
    assert "Not for public repositories" in text


def test_every_workflow_is_pinned_timed_and_without_rights_it_does_not_need() -> None:
    for file in (*WORKFLOWS, *EXAMPLES):
        workflow = load(file)
        assert workflow["permissions"] == {}, file
        assert all("permissions" in job for job in workflow["jobs"].values()), file
        for job in jobs_of(workflow):
            assert "timeout-minutes" in job, file
            for used in (step["uses"] for step in job["steps"] if "uses" in step):
                assert re.fullmatch(r"\./|OWNER/ci-dispatch@v1|[\w/-]+@[0-9a-f]{40}", used), (file, used)


def test_nothing_is_interpolated_into_a_script() -> None:
    for file in (*WORKFLOWS, *EXAMPLES):
        for job in jobs_of(load(file)):
            assert not [step for step in job["steps"] if "${{" in step.get("run", "")], file
    assert not [step for step in load(ACTION)["runs"]["steps"] if "${{" in step.get("run", "")]


def test_self_hosted_machines_are_reached_by_a_dispatch_or_through_a_plan_that_refuses_strangers() -> None:
    for file in (*WORKFLOWS, *EXAMPLES):
        workflow = load(file)
        jobs = workflow["jobs"]
        machines = [job for job in jobs_of(workflow) if "matrix.labels" in job["runs-on"]]
        assert {job["runs-on"] for job in jobs_of(workflow) if job not in machines} <= {
            "ubuntu-latest", "${{ inputs.runs-on }}",
        }, file  # fmt: skip
        if "plan" in jobs:
            for stranger in ("head.repo.full_name == github.repository", "user.login != 'dependabot[bot]'"):
                assert stranger in jobs["plan"]["if"], file
            waves = [name for name, job in jobs.items() if job in machines]
            assert waves == ["wave-1", "wave-2", "wave-3"]
            assert all("plan" in jobs[name]["needs"] for name in waves)  # skipped with it
        elif file.name == "probe.yml":  # no code of the repository, and no action
            assert set(workflow["on"]) == {"workflow_dispatch"}, file
            assert ["uses" in step for step in machines[0]["steps"]] == [False]
        elif machines:
            assert set(workflow["on"]) == {"workflow_dispatch", "workflow_call"}, file
            assert machines[0]["continue-on-error"] == "${{ !(inputs.dispatch_id || inputs.last) }}"
            assert set(workflow["on"]["workflow_dispatch"]["inputs"]) == {"matrix", "plan", "dispatch_id"}
            assert "${{ inputs.dispatch_id }}" in workflow["run-name"]
            assert all(job["strategy"]["fail-fast"] is False for job in machines)


def test_only_the_gate_decides_about_a_run_of_waves() -> None:
    """A skipped job counts as passed, and a red shard that a later wave has mended must not make the run red."""
    for file in (ROOT / ".github/workflows/suite.yml", ROOT / "examples/github/one-workflow.yml"):
        jobs = load(file)["jobs"]
        assert jobs["merge"]["if"] == "always()"
        assert set(jobs["merge"]["needs"]) == set(jobs) - {"merge"}
        assert [name for name, job in jobs.items() if job.get("continue-on-error")] == ["wave-1", "wave-2"]
        assert all(job["strategy"]["fail-fast"] is False for job in jobs.values() if "strategy" in job)
        assert all(jobs[name]["steps"] == jobs["wave-1"]["steps"] for name in ("wave-2", "wave-3"))


def test_every_run_is_one_of_its_event_and_only_a_pull_request_s_is_cancelled_by_a_later_one() -> None:
    doors = [file for file in (*WORKFLOWS, *EXAMPLES) if "pull_request" in load(file)["on"]]
    assert len(doors) >= 5
    for file in doors:
        workflow = load(file)
        assert "merge_group" in workflow["on"], file
        assert "${{ github.event_name }}" in workflow["concurrency"]["group"], file
        assert workflow["concurrency"]["cancel-in-progress"] == "${{ github.event_name == 'pull_request' }}", file
        assert not [job for job in workflow["jobs"].values() if "environment" in job], file  # a deployment each time


@pytest.mark.parametrize("name", ["suite.yml", "one-workflow.yml", "e2e.yml"])
def test_a_person_who_starts_it_says_how_often_a_failed_test_is_tried_again(name: str) -> None:
    example = ROOT / "examples" / "github" / name
    assert load(example)["on"]["workflow_dispatch"]["inputs"]["max-retries"]["default"] == "2"
    assert "max-retries: ${{ inputs.max-retries" in example.read_text(encoding="utf-8")


def test_no_two_artifacts_of_one_run_have_the_same_name() -> None:
    """Two dispatching jobs, two suites, and every attempt upload into one run.

    The history alone is to be found by its name, which its suite has to itself: a later attempt takes its place.
    """
    uploads = [step["with"] for step in load(ACTION)["runs"]["steps"] if "upload-artifact" in step.get("uses", "")]
    assert [upload["name"] for upload in uploads if upload.get("overwrite")] == [
        "${{ steps.run.outputs.history-name }}"
    ]
    names = [upload["name"] for upload in uploads if not upload.get("overwrite")]
    assert len(names) == 5
    for name in names:
        assert "steps.run.outputs.artifact-name" in name or (
            "steps.run.outputs.run " in name and "github.run_attempt" in name
        ), name


def test_the_repository_s_code_is_executed_before_tokens_and_keys_are_there() -> None:
    """Listing a suite imports it: what it can read and leave behind then is all it ever gets."""
    steps = load(ACTION)["runs"]["steps"]
    at = {step.get("id", step["name"]): number for number, step in enumerate(steps)}
    assert at["list"] < at["ssh"] < at["run"] < at["Take the key away"]
    assert "--list-only" in steps[at["list"]]["run"]
    for step in steps[: at["ssh"]]:
        assert not [value for value in step["env"].values() if re.search(r"token|key|secret", value)], step["name"]
    assert '--listing "$LISTING"' in steps[at["run"]]["run"]
    for file in (*WORKFLOWS, *EXAMPLES):
        for job in jobs_of(load(file)):
            assert not [step for step in job["steps"] if "run" in step and "secrets." in str(step)], file


def ssh_folder(temp: Path, **given: str) -> Path:
    """What the action's step makes of its inputs."""
    step = next(step for step in load(ACTION)["runs"]["steps"] if step.get("id") == "ssh")
    output, temp = temp / "output", temp / "with blank"
    environ = {"PATH": os.environ["PATH"], "RUNNER_TEMP": str(temp), "GITHUB_OUTPUT": str(output)}
    temp.mkdir()
    inputs = {"SSH_KEY": "", "SSH_KNOWN_HOSTS": "moruk ssh-ed25519 AAAA", "SSH_CONFIG": ""}
    subprocess.run(["bash", "-c", step["run"]], env=environ | inputs | given, check=True)
    return Path(output.read_text().removeprefix("folder=").strip())


@pytest.mark.needs("sshd")
def test_the_key_is_its_owner_s_alone_and_openssh_uses_it(tmp_path: Path) -> None:
    folder = ssh_folder(tmp_path, SSH_KEY="-----BEGIN\nKEY")
    assert {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()} == {
        "key": 0o600, "known_hosts": 0o600, "config": 0o600,
    }  # fmt: skip
    assert (folder / "key").read_text() == "-----BEGIN\nKEY\n"
    code, text = ran("ssh", "-G", "-F", folder / "config", "moruk")
    assert code == 0, text
    assert f"identityfile {folder}/key\n" in text
    assert f"userknownhostsfile {folder}/known_hosts" in text


@pytest.mark.needs("sshd")
def test_host_names_users_and_jump_hosts_come_from_a_secret(tmp_path: Path) -> None:
    """A fresh runner has no ~/.ssh/config: without one the machines' names lead nowhere."""
    own = "Host moruk\n  HostName 10.0.0.7\n  User ci\n  Port 2222\n  ProxyJump gate.example.org"
    for key in ("", "-----BEGIN\nKEY"):
        temp = tmp_path / ("with" if key else "without")
        temp.mkdir()
        folder = ssh_folder(temp, SSH_CONFIG=own, SSH_KEY=key)
        code, text = ran("ssh", "-G", "-F", folder / "config", "moruk")
        assert code == 0, text
        for line in ("hostname 10.0.0.7", "user ci", "port 2222", "proxyjump gate.example.org"):
            assert f"{line}\n" in text
        assert (f"identityfile {folder}/key\n" in text) == bool(key)
        assert f"userknownhostsfile {folder}/known_hosts" in text


# -- action.yml = command line = documentation ------------------------------------------------------------------------

COMMANDS = (
    github.dispatch, github.watch, github.cancel, github.shard, github.merge,
    *(command for _, command in sorted(waves.waves.commands.items())),
)  # fmt: skip
OF_THE_ACTION = {"DISPATCH_ARTIFACTS"}  # it knows where it has downloaded them to


def variables() -> dict[str, str]:
    """The variable each input of the action reaches the program by."""
    step = next(step for step in load(ACTION)["runs"]["steps"] if step.get("id") == "run")
    found = {}
    for variable, value in step["env"].items():
        if named := re.fullmatch(r"\$\{\{ inputs\.([\w-]+) \}\}", value):
            found[named[1]] = variable
    return found


def test_every_input_reaches_the_program_under_a_name_it_knows() -> None:
    settings = {setting.variable for setting in SETTINGS} | {"CI_DISPATCH_CONFIG"}
    parameters = {str(p.envvar) for command in COMMANDS for p in command.params if p.envvar} - OF_THE_ACTION
    known = settings | parameters | {"COMMAND", "GITHUB_TOKEN", "CI_RUNNERS_TOKEN"}
    assert set(variables().values()) <= known
    elsewhere = {"working-directory", "upload", "retention-days", "python", "ssh-key", "ssh-known-hosts", "ssh-config"}
    assert set(load(ACTION)["inputs"]) - set(variables()) == elsewhere
    assert parameters <= set(variables().values()), "an option that the action cannot set"


def test_every_option_of_a_github_command_has_its_input() -> None:
    inputs = set(load(ACTION)["inputs"])
    elsewhere = {
        "progress",
        "dashboard",
        "dashboard-host",
        "dashboard-port",
        "runner",
        "workdir",
        "output",
        "help",
        "extra",
        "listing",  # the action's own
        "list-only",
        "dry-run",  # for a desk
        "artifacts",
    }
    for command in COMMANDS:
        for parameter in command.params:
            name = parameter.opts[-1].removeprefix("--") if isinstance(parameter, click.Option) else str(parameter.name)
            assert name in inputs | elsewhere | {"machine"}, (command.name, name)


def test_help_texts_are_the_same_in_the_action_and_on_the_command_line() -> None:
    described = {name: spec["description"] for name, spec in load(ACTION)["inputs"].items()}
    meanings = {setting.variable: setting.meaning for setting in SETTINGS}
    for name in (
        "max-retries",
        "target-time",
        "queue-timeout",
        "shard-timeout",
        "setup-time",
        "allow-forks",
        "allow-dependabot",
    ):
        assert described[name] == meanings[variables()[name]], name


def test_the_documentation_lists_what_the_action_has() -> None:
    text = (ROOT / "docs" / "github-actions.md").read_text(encoding="utf-8")
    action = load(ACTION)
    for part in ("inputs", "outputs"):
        for name, spec in action[part].items():
            assert f"| `{name}` | {spec['description']} |" in text, f"{part}: {name}"
    listed = set(re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE))
    assert listed - {"strategy", "runners-token"} <= set(action["inputs"]) | set(action["outputs"])


def test_every_output_the_program_writes_is_one_of_the_action() -> None:
    from ci_dispatch.app.github_output import outputs_of
    from ci_dispatch.run.run_folder import RunFolder
    from ci_dispatch.run.state import RunState

    declared = load(ACTION)["outputs"]
    assert set(outputs_of(RunState(), RunFolder(Path("x")), [1, None])) <= set(declared)
    for name, spec in declared.items():
        assert spec["value"] == f"${{{{ steps.run.outputs.{name} }}}}"


def test_every_fault_in_the_documentation_has_its_test() -> None:
    text = (ROOT / "docs" / "github-faults.md").read_text(encoding="utf-8")
    named = re.findall(r"`(\S+\.py)::(\w+)`", text)
    assert len(named) > 30
    for file, test in named:
        assert f"def {test}(" in (ROOT / "tests" / "integration" / file).read_text(encoding="utf-8"), test
