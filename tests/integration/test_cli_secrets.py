"""Values of environment variables reach the tests and nothing that is kept or shown; a resume reads them again."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.integration import cli_process
from tests.integration.whole_run import IMPATIENT, ci_dispatch, repository, start, wait_for

HUSH = "hush-5f2a"
RUNNER = """
import os, sys, time
from pathlib import Path
junit, names = sys.argv[1], sys.argv[2:]
cases = []
for name in names:
    time.sleep(float(os.environ.get("NAP", "0")))
    said = "" if os.environ.get("API_KEY", "").startswith("hush") else "<failure message='no key'/>"
    cases.append(f"<testcase classname='c' name='{name}'>{said}</testcase>")
    Path(junit).write_text("<testsuite name='s'>" + "".join(cases) + "</testsuite>")
"""


def shop(folder: Path, env: str, tests: int = 2) -> Path:
    """Its configuration is not part of the content that a run tests, so it may change before a resume."""
    suite = (
        f'runner = "command"\nlist = "cat tests.txt"\nenv = {{ {env} }}\nexclude = ["ci-dispatch.toml"]\n'
        f'command = "{sys.executable} runner.py {{junit}} {{tests}}"'
    )
    machine = f'[[machine]]\nname = "here"\nconnection = "local"\ncores = 1\nenv = {{ OTHER = "{HUSH}" }}\n'
    files = {"runner.py": RUNNER, "tests.txt": "".join(f"t{n}\n" for n in range(tests))}
    return repository(folder, suite, rest=IMPATIENT, machines=machine, **files)


def test_a_run_keeps_and_shows_names_only(tmp_path: Path) -> None:
    folder = shop(tmp_path, f'API_KEY = "{HUSH}"')
    ended = ci_dispatch("run", "--progress", "json", cwd=folder)
    assert ended.code == 0, ended.out + ended.err
    assert '"env":["API_KEY"]' in ended.out
    assert '"env":["OTHER"]' in ended.out
    assert HUSH not in ended.out + ended.err
    kept = [file for file in (folder / ".ci-dispatch").rglob("*") if file.is_file()]
    assert {file.name for file in kept} > {"events.jsonl", "run.json", "merged.xml", "summary.md", "metrics.prom"}
    assert [file for file in kept if HUSH.encode() in file.read_bytes()] == []
    run = next((folder / ".ci-dispatch" / "runs").iterdir())
    assert {file.stat().st_mode & 0o777 for file in run.iterdir() if file.is_file()} == {0o600}
    assert run.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("form", [(), ("--explain",), ("--json",)])
def test_the_configuration_is_shown_without_values(tmp_path: Path, form: tuple[str, ...]) -> None:
    folder = shop(tmp_path, f'API_KEY = "{HUSH}"')
    shown = cli_process.ci_dispatch("config", *form, cwd=folder)
    assert shown.code == 0
    assert "API_KEY" in shown.out
    assert "OTHER" in shown.out
    assert "(not shown)" in shown.out
    assert HUSH not in shown.out


@pytest.mark.parametrize("same", [True, False], ids=["the same", "taken out since"])
def test_a_resume_reads_them_again_or_says_that_they_are_gone(tmp_path: Path, same: bool) -> None:
    folder = shop(tmp_path, f'NAP = "0.4", API_KEY = "{HUSH}"', tests=4)
    process = start("run", cwd=folder)
    try:
        wait_for(folder, "AttemptStarted", process=process)
    finally:
        process.kill()
        process.communicate()
    shop(folder, f'NAP = "0", API_KEY = "{HUSH}"' if same else 'NAP = "0"', tests=4)
    ended = ci_dispatch("resume", cwd=folder)
    assert ended.run, ended.out + ended.err
    assert HUSH not in ended.out + ended.err
    said = [warning["text"] for warning in ended.run["warnings"] if warning["source"] == "configuration"]
    if same:
        assert (ended.code, said) == (0, [])
    else:  # the job that went on may have ended well by itself
        assert said == ["suite: today's `env` has no API_KEY, which the run began with: it goes on without"]
