"""`ci-dispatch github init`: what it writes are the examples with the user's own in them, and nothing is lost."""

from __future__ import annotations

import difflib
import os
import pty
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from ci_dispatch.app.github_init import TEMPLATES, Shape, example
from ci_dispatch.fleets.actions.check import probe
from tests.components import ROOT
from tests.github_double import GitHubDouble
from tests.integration.cli_process import Ended, ci_dispatch, environment

ACTION = ("--action", "acme", "--machine", "moruk:24", "--machine", "pi:4=self-hosted,pi")
CONFIG = """\
# Every setting, with its meaning: ci-dispatch init --stdout
[suite]
runner = "pytest"
workdir = "."

[[machine]]
name = "moruk"
cores = 24
labels = ["self-hosted", "moruk"]

[[machine]]
name = "pi"
cores = 4
labels = ["self-hosted", "pi"]
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A suite in a new repository, and nothing of ours."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_shop.py").write_text("def test_one():\n    pass\n")
    subprocess.run(["git", "-C", str(tmp_path), "init", "-q", "-b", "trunk"], check=True)
    return tmp_path


def init(repository: Path, *words: str, **environ: str) -> Ended:
    return ci_dispatch("github", "init", *words, cwd=repository, environ=environ)


def files(repository: Path) -> dict[str, str]:
    found = (
        path for path in repository.rglob("*") if path.is_file() and ".git" not in path.relative_to(repository).parts
    )
    return {str(path.relative_to(repository)): path.read_text() for path in found}


@pytest.mark.parametrize("shape", Shape)
def test_what_is_written_is_the_example_with_the_users_own_in_it(repository: Path, shape: Shape) -> None:
    before = set(files(repository))
    ended = init(repository, "--shape", shape, *ACTION)
    assert (ended.code, ended.err) == (0, "")
    workflows = {**TEMPLATES[shape], "probe.yml": probe.WORKFLOW}
    written = files(repository)
    assert set(written) - before == {"ci-dispatch.toml", *(f".github/workflows/{name}" for name in workflows.values())}
    assert written["ci-dispatch.toml"] == CONFIG
    for source, name in workflows.items():
        old, new = example(source).splitlines(), written[f".github/workflows/{name}"].splitlines()
        while old[0].startswith("#"):
            del old[0]
        assert new[0].startswith("# Written by")
        changed = [line[2:].strip() for line in difflib.ndiff(old, new[1:]) if line.startswith("+ ")]
        assert all("acme/ci-dispatch" in line or "trunk" in line or ".venv/bin/pip" in line for line in changed), (
            changed
        )
    assert "OWNER" not in "".join(text for path, text in written.items() if path.startswith(".github"))
    subprocess.run(["git", "-C", str(repository), "add", "-A"], check=True)
    checked = ci_dispatch("github", "check", cwd=repository)
    assert checked.code == 0, checked.out
    assert ", 0 warnings," in checked.out.replace("0 would fail", ""), checked.out
    first = next(iter(TEMPLATES[shape].values()))
    jobs = YAML(typ="safe", pure=True).load(written[f".github/workflows/{first}"])["jobs"]
    gate = "suite / Verdict" if shape is Shape.SUITE else list(jobs.values())[-1]["name"]
    assert f"require the check `{gate}`" in ended.out
    for line in ("Next:", "ci-dispatch github check", "git push origin trunk"):
        assert line in ended.out


def test_nothing_that_is_there_is_overwritten_unasked(repository: Path) -> None:
    mine = repository / ".github/workflows/suite.yml"
    mine.parent.mkdir(parents=True)
    mine.write_text("on: push\n")
    before = files(repository)
    refused = init(repository, *ACTION)
    assert refused.code == 2
    assert ".github/workflows/suite.yml is there, and different" in refused.err
    assert files(repository) == before
    shown = init(repository, "--stdout", *ACTION)
    assert shown.code == 0
    assert "# --- .github/workflows/suite.yml" in shown.out
    assert files(repository) == before
    assert init(repository, "--force", *ACTION).code == 0
    assert "acme/ci-dispatch" in mine.read_text()
    again = init(repository, *ACTION)  # with a configuration now
    assert again.code == 0
    assert "Wrote" not in again.out


def test_a_link_is_a_file_that_is_there_and_none_leads_out_of_the_repository(repository: Path, tmp_path: Path) -> None:
    folder = repository / ".github/workflows"
    folder.mkdir(parents=True)
    (folder / "suite.yml").symlink_to(tmp_path / "nowhere")
    refused = init(repository, *ACTION)
    assert refused.code == 2
    assert ".github/workflows/suite.yml is there" in refused.err
    assert init(repository, "--force", *ACTION).code == 0
    assert not (folder / "suite.yml").is_symlink()
    assert not (tmp_path / "nowhere").exists()

    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    shutil.rmtree(repository / ".github")
    (repository / ".github").symlink_to(outside)
    refused = init(repository, "--force", *ACTION)
    assert refused.code == 2
    assert "a link leads out of it" in refused.err
    assert list(outside.iterdir()) == []


def test_a_disk_that_takes_nothing_is_said(repository: Path) -> None:
    (repository / ".github").write_text("")
    ended = init(repository, *ACTION)
    assert (ended.code, "Traceback" in ended.err) == (4, False)
    assert ".github/workflows/suite.yml could not be written" in ended.err


def test_a_configuration_of_one_s_own_is_kept(repository: Path) -> None:
    config = repository / "ci-dispatch.toml"
    config.write_text("[retry]\nmax_retries = 1\n")
    ended = init(repository, *ACTION)
    assert ended.code == 0
    assert config.read_text() == "[retry]\nmax_retries = 1\n"
    assert "which is left as it is" in ended.out
    assert '[[machine]]\n       name = "moruk"' in ended.out
    config.write_text('[[machine]]\nname = "moruk"\n')
    (repository / ".github/workflows/suite.yml").unlink()
    ended = init(repository, "--action", "acme")
    assert (ended.code, "left as it is" in ended.out) == (0, False)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "--action OWNER"),
        (("--action", "OWNER"), "--action OWNER"),
        (("--action", "a b"), "--action OWNER"),
        (("--action", "acme"), "--machine NAME:CORES=LABEL,LABEL"),
        (("--action", "acme", "--machine", "a:b:c"), "is no machine"),
        (("--action", "acme", "--machine", "../x"), "a name of letters"),
        ((*ACTION, "--branch", "a b"), "is no branch's name"),
        ((*ACTION, "--branch", "x]\n  evil: y"), "is no branch's name"),
        ((*ACTION, "--prepare", "npm ci\nrm x"), "is not one line"),
    ],
)
def test_without_a_terminal_what_is_missing_or_wrong_is_said(
    repository: Path, words: tuple[str, ...], says: str
) -> None:
    before = files(repository)
    ended = init(repository, *words)
    assert ended.code == 2
    assert says in ended.err
    assert "Traceback" not in ended.err
    assert files(repository) == before


def test_a_suite_in_a_folder_with_an_odd_name_is_made_ready_there(repository: Path) -> None:
    (repository / "pytest.ini").rename(repository / "pytest.was")
    (repository / "test_shop.py").unlink()
    below = repository / "my $shop"
    below.mkdir()
    (below / "playwright.config.ts").write_text("export default {};\n")
    (below / "package-lock.json").write_text("{}")
    assert init(repository, *ACTION).code == 0
    text = (repository / ".github/workflows/suite.yml").read_text()
    given = YAML(typ="safe", pure=True).load(text)["jobs"]["suite"]["with"]["prepare"]
    assert given == "cd 'my $shop' && npm ci"


def test_any_command_prepares(repository: Path) -> None:
    """It stays one value of YAML, whatever it is made of."""
    for shape in Shape:
        odd = """npm ci: "x" # 'y' & \\1 \\g<1> ü"""
        assert init(repository, "--force", "--shape", shape, *ACTION, "--prepare", odd).code == 0
        for name in TEMPLATES[shape].values():
            text = (repository / ".github/workflows" / name).read_text(encoding="utf-8")
            jobs = YAML(typ="safe", pure=True).load(text)["jobs"].values()
            given = [job.get("with", {}).get("prepare") for job in jobs]
            given += [step.get("run") for job in jobs for step in job.get("steps", ())]
            assert odd in given, name


def test_github_s_own_runners_are_proposed(repository: Path) -> None:
    with GitHubDouble() as double:
        double.hub.add_runner("moruk", "Linux", "X64", "moruk", "fast")
        environ = {
            "GITHUB_API_URL": double.url, "GITHUB_REPOSITORY": double.repository, "GITHUB_TOKEN": double.token,
        }  # fmt: skip
        assert init(repository, "--action", "acme", **environ).code == 0
        assert double.findings() == []
    assert 'name = "moruk"\nlabels = ["self-hosted", "moruk", "fast"]' in (repository / "ci-dispatch.toml").read_text()


def test_a_suite_in_a_folder_of_its_own(repository: Path) -> None:
    below = repository / "shop"
    below.mkdir()
    (below / "ci-dispatch.toml").write_text('[[machine]]\nname = "moruk"\n')
    ended = ci_dispatch("github", "init", "--action", "acme", cwd=below)
    assert ended.code == 0, ended.err
    assert '    with:\n      working-directory: "shop"\n' in (repository / ".github/workflows/suite.yml").read_text()
    refused = ci_dispatch("github", "init", "--action", "acme", "--shape", "dispatch", cwd=below)
    assert refused.code == 2
    assert "--shape suite" in refused.err


def test_a_server_that_cannot_do_it_is_refused(repository: Path) -> None:
    ended = init(repository, *ACTION, GITHUB_API_URL="https://git.example.com/api/v1")
    assert ended.code == 2
    assert "a job matrix from an expression" in ended.err


def test_a_server_without_queues_gets_none(repository: Path) -> None:
    def concurrency() -> object:
        text = (repository / ".github/workflows/e2e.yml").read_text()
        return YAML(typ="safe", pure=True).load(text)["jobs"]["suite"].get("concurrency")

    assert init(repository, "--shape", "dispatch", *ACTION).code == 0
    assert concurrency() == {"group": "fleet", "queue": "max"}
    enterprise = "https://git.example.com/api/v3"
    assert init(repository, "--force", "--shape", "dispatch", *ACTION, GITHUB_API_URL=enterprise).code == 0
    assert concurrency() is None


def test_on_a_terminal_it_asks(repository: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "ci_dispatch", "github", "init"]
    process = subprocess.Popen(
        command, cwd=repository, env=environment(), stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    os.close(theirs)
    os.write(ours, b"acme\nmoruk:24 pi:4=self-hosted,pi\n\n\n")
    out, err = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0, err
    assert (repository / "ci-dispatch.toml").read_text() == CONFIG
    assert b"Whose ci-dispatch" in err
    assert b"[trunk]" in err
    assert b"Wrote ci-dispatch.toml" in out


def test_an_installed_package_has_the_examples(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        for name in ("probe.yml", *(name for shape in TEMPLATES.values() for name in shape)):
            assert packed.read(f"ci_dispatch/examples/{name}").decode() == example(name)
