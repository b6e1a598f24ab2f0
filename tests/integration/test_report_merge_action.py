"""report-merge/action.yml: executed by act as in a job, and in accord with command line and documentation."""

from __future__ import annotations

import json
import re
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from ruamel.yaml import YAML

from report_merge.cli import merge
from tests.components import JS, ROOT
from tests.github_double import GitHubDouble
from tests.github_double.acting import Act, clean_environment, commit, platform, repository
from tests.integration.test_github_workflows import BIN, ran

ACTION = ROOT / "report-merge" / "action.yml"
PULL = 7
PASSED = '<testsuite name="s"><testcase classname="c" name="t" file="tests/t.py" line="3" time="1"/></testsuite>'
FAILED = PASSED.replace("/></", '><failure message="19 is not 20"/></testcase></')
WORKFLOW = """
name: unit
on: pull_request
permissions: {}
jobs:
  merge:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1
      - id: report
        uses: ./report-merge
        with:
          files: |
            reports/**/*.xml
              ${{ github.workspace }}/reports/a b;$(touch owned).zip
          comment: "true"
          upload: "true"
          baseline: gone.json
          attempt-from: 'round(\\d+)'
          exclude: |
            */target/*
          owner-from: CODEOWNERS
          history: |
            old/*.json
          rerun-file: failed.txt
      - if: always()
        env:
          OUTPUTS: ${{ toJSON(steps.report.outputs) }}
        run: printf '%s' "$OUTPUTS" > "$TOLD"
        shell: bash
"""


def load() -> dict[str, Any]:
    return dict(YAML(typ="safe", pure=True).load(ACTION.read_text(encoding="utf-8")))


class Job:
    """A checkout whose one workflow uses the action, in a pull request of the double."""

    def __init__(self, folder: Path, double: GitHubDouble) -> None:
        self.folder, self.double = folder, double
        self.checkout = repository(folder / "checkout")
        (self.checkout / ".github/workflows/unit.yml").write_text(WORKFLOW, encoding="utf-8")
        (self.checkout / "CODEOWNERS").write_text("/tests/ @acme/shop", encoding="utf-8")
        self.reports = self.checkout / "reports"
        self.reports.mkdir()
        self.told, self.summary = folder / "told.json", folder / "summary.md"

    def run(self) -> tuple[dict[str, str], str]:
        """The outputs of the action, and what it said."""
        (self.folder / "act").mkdir(exist_ok=True)
        commit(self.checkout)
        env = {
            "GITHUB_API_URL": self.double.url,
            "GITHUB_REPOSITORY": self.double.repository,
            "TOLD": str(self.told),
            "DOUBLE_UPLOAD": f"{self.double.url}/_double/upload/1",
        }
        act = Act(checkout=self.checkout, scratch=self.folder / "act", env=env)
        payload = {"pull_request": {"number": PULL, "head": {"ref": "topic"}}}
        token = f"--secret=GITHUB_TOKEN={self.double.token}"
        command = act.command("pull_request", "unit.yml", payload, token, *platform(["ubuntu-latest"]))
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=300, env=clean_environment()
        )
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        log = "".join(str(line.get("msg")) for line in lines) + done.stderr
        return json.loads(self.told.read_text(encoding="utf-8")), log


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    with GitHubDouble() as double:
        yield Job(tmp_path, double)
        assert double.token_leaks == []


@pytest.mark.needs("act", "node", "npm")
@pytest.mark.timeout(400)
def test_a_job_gets_summary_annotations_comment_and_outputs(job: Job) -> None:
    for round_, text in (("round1", FAILED), ("round2", FAILED)):
        (job.reports / round_).mkdir()
        (job.reports / round_ / "junit.xml").write_text(text, encoding="utf-8")
    with zipfile.ZipFile(job.reports / "a b;$(touch owned).zip", "w") as archive:
        archive.writestr("other.xml", PASSED.replace('name="t"', 'name="u"'))
    told, log = job.run()
    assert told.get("verdict") == "failed", log
    assert (told["exit-code"], told["tests"], told["failed"]) == ("1", "2", "1")
    assert "19 is not 20" in Path(told["html-path"]).read_text(encoding="utf-8")
    assert json.loads(Path(told["json-path"]).read_text(encoding="utf-8"))["version"] == 2
    assert Path(told["report-path"]).name == "merged.xml"
    assert "file=tests/t.py,line=3" in log
    assert "There is no baseline at gone.json" in log
    assert not list(job.folder.rglob("owned"))
    assert "@acme/shop" in Path(told["html-path"]).read_text(encoding="utf-8")
    assert [file.read_text() for file in job.folder.rglob("failed.txt")] == ["tests/t.py::t\n"]
    (comment,) = job.double.comments
    assert comment.body.startswith("<!-- report-merge/unit/unit -->\n## ❌ 1 of 2 tests failed")

    (job.reports / "round2" / "junit.xml").write_text(PASSED, encoding="utf-8")
    told, log = job.run()
    assert (told["verdict"], told["exit-code"], told["flaky"]) == ("passed", "0", "1"), log
    (comment,) = job.double.comments
    assert "flaky" in comment.body.splitlines()[1]


@pytest.mark.needs("workflow-tools")
def test_every_linter_is_content() -> None:
    assert (
        ran(BIN / "zizmor", "--offline", "--persona=pedantic", "--no-progress", "--strict-collection", ACTION)[0] == 0
    )
    code, text = ran(BIN / "check-jsonschema", "--builtin-schema", "vendor.github-actions", ACTION)
    assert code == 0, text
    folder = JS / "workflow-tools"
    command = ("node", "--no-warnings", "--import", folder / "json-imports.mjs", folder / "check.mjs")
    assert ran(*command, ACTION) == (0, "")


def test_nothing_is_interpolated_into_a_script() -> None:
    assert not [step for step in load()["runs"]["steps"] if "${{" in step.get("run", "")]


def test_every_option_has_its_input_and_the_documentation_lists_all() -> None:
    inputs = set(load()["inputs"])
    options = {
        parameter.opts[-1].removeprefix("--") for parameter in merge.params if isinstance(parameter, click.Option)
    }
    always = {"output", "html", "json", "outputs", "help"}
    assert options - always == inputs & options
    others = {
        "files", "working-directory", "token", "output-folder", "upload", "artifact-name", "retention-days", "python",
    }  # fmt: skip
    assert inputs - options == others
    text = (ROOT / "docs" / "report-merge-action.md").read_text(encoding="utf-8")
    for part in ("inputs", "outputs"):
        for name, spec in load()[part].items():
            assert f"| `{name}` | {spec['description']} |" in text, f"{part}: {name}"
    listed = set(re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE))
    assert listed <= inputs | set(load()["outputs"])


def test_its_requirements_are_those_of_report_merge_at_the_same_pins() -> None:
    def pins(name: str) -> set[str]:
        return set(
            re.findall(r"^([\w.-]+==\S+)", (ROOT / "requirements" / name).read_text(encoding="utf-8"), re.MULTILINE)
        )

    assert {pin.partition("==")[0] for pin in pins("report-merge.txt")} == {"click", "jinja2", "lxml", "markupsafe"}
    assert pins("report-merge.txt") <= pins("runtime.txt")
