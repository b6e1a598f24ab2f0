"""The README is true: its commands, options, exit codes, action inputs and links exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from ci_dispatch.cli.main import cli
from ci_dispatch.config import load
from ci_dispatch.core.errors import ExitCode

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    ci-dispatch (\w+)([^#\n]*)", README, re.MULTILINE)


def fenced(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize(("name", "rest"), COMMANDS)
def test_a_command_of_the_readme_exists_with_its_options(name: str, rest: str) -> None:
    command = cli.get_command(cli.make_context("ci-dispatch", [name], resilient_parsing=True), name)
    assert command is not None
    known = {option for parameter in command.params for option in parameter.opts}
    assert set(re.findall(r"--[\w-]+", rest.partition(" -- ")[0])) <= known


def test_the_workflow_is_called_as_in_its_example_with_inputs_it_has() -> None:
    [text] = fenced("yaml")
    yaml = YAML(typ="safe", pure=True)
    [called] = yaml.load(text)["jobs"].values()
    workflow = yaml.load((ROOT / ".github/workflows/suite.yml").read_text(encoding="utf-8"))
    assert set(called["with"]) <= set(workflow["on"]["workflow_call"]["inputs"])
    [whole] = yaml.load((ROOT / "examples/github/suite.yml").read_text(encoding="utf-8"))["jobs"].values()
    assert called.items() <= whole.items()


def test_the_configuration_of_the_readme_is_valid() -> None:
    [example] = fenced("toml")
    assert tomllib.loads(example)
    assert [machine.name for machine in load(example).config.machines] == ["local", "moruk"]


def test_the_exit_codes_are_all_of_them() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \| ", README, re.MULTILINE)
    assert {int(code) for row in rows for code in row.split(",")} == {int(code) for code in ExitCode}


def test_every_link_and_picture_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", README)
    assert links
    assert [link for link in links if not link.startswith("http") and not (ROOT / link).exists()] == []


def test_the_make_targets_exist() -> None:
    targets = re.findall(r"^    make (\w+)", README, re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert targets == ["demo", "test"]
    assert all(f"\n{target}:" in makefile for target in targets)
