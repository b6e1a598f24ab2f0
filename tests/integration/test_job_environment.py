"""What tests, their listing and `prepare` get of the environments they start in, and what comes back of secrets."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from ci_dispatch.core.model import Connection, MachineName, MachineSpec
from ci_dispatch.machines.local import LocalMachine
from ci_dispatch.machines.supervised import SupervisedMachine
from ci_dispatch.run.ports import WorkTree
from tests.fleet.fixtures import Loopback
from tests.fleet.recorder import Recorder, job
from tests.integration import cli_process
from tests.integration.whole_run import IMPATIENT, Whole, ci_dispatch, repository

LEAKED = "leaked-7c1d"
NAMES = (
    "GITHUB_TOKEN GH_TOKEN ACTIONS_RUNTIME_TOKEN GITHUB_ENV GITHUB_OUTPUT GITHUB_PATH GITHUB_STATE GITHUB_STEP_SUMMARY "
    "SLACK_BOT_TOKEN SLACK_WEBHOOK_URL CI_RUNNERS_TOKEN CI_DISPATCH_DASHBOARD_TOKEN SSH_AUTH_SOCK "
    "OTEL_EXPORTER_OTLP_HEADERS OUR_OWN_NAME"
)
TOKENS = dict.fromkeys(NAMES.split(), LEAKED)
OWN_NAME = {"CI_DISPATCH_GITHUB_TOKEN_ENV": "OUR_OWN_NAME"}
HUSH = 'hush-5f2a/9&"x'
KEYS = {"KEY": HUSH, "PEM": f"begin-{HUSH}\nsecond-line-of-it\n"}


def test_a_job_gets_no_token_and_its_supervisor_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TOKENS.items():
        monkeypatch.setenv(name, value)
    spec = MachineSpec(name=MachineName("local"), connection=Connection.LOCAL, workdir=str(tmp_path / "work"))
    seen = everything_seen(LocalMachine(spec), tmp_path)
    assert [line for line in seen.splitlines() if LEAKED in line] == [
        f"OUR_OWN_NAME={LEAKED}"
    ] * 2  # of no setting here
    assert "\ngiven: meant\n" in seen


@pytest.mark.needs("sshd")
def test_nor_one_of_its_own_login(loopback: Loopback, tmp_path: Path) -> None:
    loopback.server("tokens", f"SetEnv GITHUB_TOKEN={LEAKED} GITHUB_ENV={LEAKED} OTHER=kept")
    machine = loopback.machine("tokens", workdir=tmp_path / "work")
    seen = everything_seen(machine, tmp_path).partition("-- its supervisor's")[0]
    machine.close()
    assert "\nOTHER=kept\n" in seen
    assert LEAKED not in seen


def everything_seen(machine: SupervisedMachine, tmp_path: Path) -> str:
    """The environment of a job and, on Linux, that of the process above it."""
    (tmp_path / "tree").mkdir()
    machine.sync(WorkTree(root=tmp_path / "tree"), 20)
    script = (
        'echo; env; echo "given: $SLACK_BOT_TOKEN"; echo "-- its supervisor\'s"; tr "\\0" "\\n" </proc/$PPID/environ'
    )
    env, recorder = {"SLACK_BOT_TOKEN": "meant"}, Recorder()
    machine.run(job("tokens", "/bin/sh", "-c", script, cwd=machine.place("tokens").tree, env=env), recorder)
    return recorder.out.decode()


SUITE = """
import os
from pathlib import Path
HERE = Path(__file__).parent
(HERE / ("listed" if "CI_DISPATCH_TESTS" not in os.environ else "run")).write_text(repr(sorted(os.environ.items())))

def test_prints():
    for piece in (os.environ["KEY"][:5], os.environ["KEY"][5:], os.environ["PEM"]):
        print(piece, end="", flush=True)

def test_fails():
    assert os.environ["KEY"] == "another", os.environ["PEM"]
"""


def suite(folder: Path, setting: str = 'secrets = ["KEY", "PEM"]', **files: str) -> Path:
    content = {"test_it.py": SUITE, **files}
    return repository(folder, f'runner = "pytest"\n{setting}\nargs = ["-s"]', rest=IMPATIENT, **content)


def run(folder: Path, environ: Mapping[str, str]) -> Whole:
    return ci_dispatch("run", "--progress", "plain", cwd=folder, environ={**TOKENS, **OWN_NAME, **environ})


def test_listing_and_tests_have_the_secrets_and_no_token(tmp_path: Path) -> None:
    ended = run(suite(tmp_path), KEYS)
    assert ended.verdicts() == {"test_it.py::test_prints": "passed", "test_it.py::test_fails": "failed"}
    for seen in ("listed", "run"):
        environment = dict(eval((tmp_path / seen).read_text()))
        assert environment.keys() & TOKENS.keys() == set()
        assert LEAKED not in environment.values()
        assert environment["KEY"] == HUSH


def test_no_value_of_a_secret_is_kept_or_shown(tmp_path: Path) -> None:
    folder = suite(tmp_path)
    ended = run(folder, KEYS)
    said = ended.out + ended.err
    kept = {file: file.read_bytes() for file in (folder / ".ci-dispatch").rglob("*") if file.is_file()}
    assert {file.name for file in kept} > {"events.jsonl", "run.json", "merged.xml", "summary.md", "output.log"}
    for hidden in ("hush-5f2a", "second-line"):
        assert hidden not in said
        assert [str(file) for file, content in kept.items() if hidden.encode() in content] == []
    assert any(b"'***' == 'another'" in content for file, content in kept.items() if file.name == "merged.xml")
    assert "***" in said


@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_name_that_holds_a_secret_is_refused(tmp_path: Path, command: str) -> None:
    test = "import os, pytest\n@pytest.mark.parametrize('key', [os.environ['KEY']])\ndef test_it(key): pass\n"
    ended = cli_process.ci_dispatch(command, cwd=suite(tmp_path, **{"test_it.py": test}), environ=KEYS)
    assert ended.code == 2
    assert "the name of a test holds the value of one of `secrets`" in ended.err
    assert "hush-5f2a" not in ended.out + ended.err


def test_a_listing_that_prints_a_secret_is_shown_without_it(tmp_path: Path) -> None:
    test = "import os\nraise RuntimeError(os.environ['KEY'])\n"
    ended = run(suite(tmp_path, **{"test_it.py": test}), KEYS)
    assert ended.code == 2
    assert "RuntimeError: ***" in ended.err
    assert "hush-5f2a" not in ended.out + ended.err


def test_a_missing_secret_is_said_before_anything_is_listed(tmp_path: Path) -> None:
    ended = run(suite(tmp_path), {"KEY": HUSH, "PEM": ""})
    assert ended.code == 2
    assert "`secrets` names PEM, and the environment has no value for it" in ended.err
    assert not (tmp_path / "listed").exists()


def test_a_secret_that_cannot_be_hidden_is_refused(tmp_path: Path) -> None:
    ended = run(suite(tmp_path), {"KEY": "abc", "PEM": "a\nb"})
    assert ended.code == 2
    assert "the value of KEY, PEM has less than 4 characters in each line" in ended.err


def test_a_repository_cannot_give_our_tokens_to_its_tests(tmp_path: Path) -> None:
    folder = suite(tmp_path, 'secrets = ["GITHUB_TOKEN"]')
    ended = run(folder, {})
    assert ended.code == 2
    assert "no token of ours in a file, which may come with a repository; set CI_DISPATCH_SUITE_SECRETS" in ended.err
    suite(tmp_path, "", **{"test_it.py": "import os\ndef test_it(): assert os.environ['GITHUB_TOKEN']\n"})
    assert run(folder, {"CI_DISPATCH_SUITE_SECRETS": "GITHUB_TOKEN"}).code == 0


def test_the_command_suite_lists_without_tokens(tmp_path: Path) -> None:
    script = "import json, os; open('listed.json', 'w').write(json.dumps(dict(os.environ))); print('one')"
    runner = 'runner = "command"\nlist = "python3 list.py"\ncommand = "true {tests} {junit}"'
    folder = repository(tmp_path, runner, **{"list.py": script})
    assert cli_process.ci_dispatch("plan", cwd=folder, environ={**TOKENS, **OWN_NAME}).code == 0
    assert LEAKED not in json.loads((tmp_path / "listed.json").read_text()).values()


@pytest.mark.needs("sshd")
def test_prepare_has_no_token_either(loopback: Loopback, tmp_path: Path) -> None:
    loopback.server("prepared", f"SetEnv GITHUB_TOKEN={LEAKED}")
    machine = f'[[machine]]\nname = "prepared"\ncores = 1\nworkdir = "{tmp_path / "far"}"\n'
    python = f'env = {{ CI_DISPATCH_PYTHON = "{sys.executable}" }}'
    setting = f'prepare = "env > {tmp_path / "prepared"}"\nsecrets = ["KEY", "PEM"]\n{python}'
    folder = tmp_path / "here"
    repository(folder, f'runner = "pytest"\n{setting}', rest=IMPATIENT, machines=machine, **{"test_it.py": SUITE})
    environ = {**KEYS, "CI_DISPATCH_SSH_CONFIG": str(loopback.config.path)}
    ended = ci_dispatch("run", cwd=folder, environ=environ)
    assert ended.verdicts() == {"test_it.py::test_prints": "passed", "test_it.py::test_fails": "failed"}
    assert LEAKED not in (tmp_path / "prepared").read_text()
    kept = [file.read_text(errors="replace") for file in (folder / ".ci-dispatch").rglob("*") if file.is_file()]
    assert not any("hush-5f2a" in text for text in kept)
    assert any("***" in text for text in kept)
