"""What `ci-dispatch github init` does: write workflows and configuration, from the examples, for this repository.

The templates are the files of `examples/github`, with the user's own put where an example has OWNER, main and npm ci.
Nothing is overwritten unasked, and nothing is written before everything is known to be right.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ci_dispatch.app.github_target import default_branch_of, repository_of, repository_root, server_of
from ci_dispatch.app.settings import FILE, Settings
from ci_dispatch.config import load
from ci_dispatch.config.write import to_toml
from ci_dispatch.core.errors import CiDispatchError, UsageError
from ci_dispatch.fleets.actions.check import probe
from ci_dispatch.fleets.actions.check.github_rules import VERDICT
from ci_dispatch.fleets.actions.check.workflow_file import FOLDER
from ci_dispatch.fleets.actions.rest.client import RestClient
from ci_dispatch.fleets.actions.rest.server import ActionsMode, Capability, Server
from ci_dispatch.fleets.actions.rest.settings import RepositorySettings, RunnerSettings
from ci_dispatch.run.run_folder import write_whole
from ci_dispatch.suites.discovery import PLAYWRIGHT, PYTEST, SuiteLocation, recognise

OWN_LABELS = frozenset(
    {"self-hosted", "linux", "macos", "windows", "x64", "arm", "arm64"}
)  # that a runner has by itself
_ACTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}(/[A-Za-z0-9_.-]+)?(@[A-Za-z0-9_./-]+)?")
_BRANCH = re.compile(r"(?!-)[A-Za-z0-9_./-]+")
_QUEUE = re.compile(r" +concurrency: #[^\n]*\n +group: fleet\n +queue: max[^\n]*\n")
_MACHINE = re.compile(r"(?P<name>[^:=\s]+)(?::(?P<cores>[0-9]{1,4}))?(?:=(?P<labels>[^\s]+))?")


class Shape(StrEnum):
    """Which workflows are written."""

    SUITE = "suite"  # ten lines that call the reusable workflow
    ONE_WORKFLOW = "one-workflow"  # the same with every step written out
    DISPATCH = "dispatch"  # an orchestrator and a worker


TEMPLATES: Mapping[Shape, Mapping[str, str]] = {
    Shape.SUITE: {"suite.yml": "suite.yml"},
    Shape.ONE_WORKFLOW: {"one-workflow.yml": "suite.yml"},
    Shape.DISPATCH: {"e2e.yml": "e2e.yml", "e2e-shard.yml": "e2e-shard.yml"},
}
"""Example -> name of the file in .github/workflows. The probe comes with each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a person was asked, or gave as options."""

    action: str  # OWNER, OWNER/NAME or OWNER/NAME@REF
    branch: str
    prepare: str  # shell command that makes a checkout ready
    machines: tuple[str, ...]  # NAME, NAME:CORES, NAME:CORES=LABEL,LABEL
    shape: Shape = Shape.SUITE


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What can be told without asking; empty where it cannot."""

    branch: str
    prepare: str
    machines: tuple[str, ...]  # as an answer has them: GitHub's own runners, where the token may list them


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a set-up consists of, before it is written."""

    root: Path
    files: Mapping[str, str]  # path below the root -> text
    next_steps: tuple[str, ...]


def propose(settings: Settings) -> Proposal:
    """Look at the repository, and with a token at its runners."""
    root = repository_root(settings)
    return Proposal(
        branch=default_branch_of(root),
        prepare=_prepare(settings.root, _location(settings)),
        machines=() if settings.lists_machines else tuple(_as_answer(runner) for runner in _runners(settings)),
    )


def plan(settings: Settings, answers: Answers) -> Written:
    """The files for these answers. Raises UsageError for an answer that cannot be used; writes nothing."""
    server = server_of(settings.config, settings.environ)
    server.require(ActionsMode.DISPATCH if answers.shape is Shape.DISPATCH else ActionsMode.ONE_WORKFLOW)
    root = repository_root(settings)
    below = settings.root.resolve().relative_to(root.resolve()).as_posix()
    examples = {**TEMPLATES[answers.shape], "probe.yml": probe.WORKFLOW}
    files = {f"{FOLDER}/{name}": _filled(source, answers, below, server) for source, name in examples.items()}
    steps: list[str] = []
    if not settings.lists_machines:
        machines = _machines(answers.machines)
        if not machines:
            raise UsageError(
                "Nothing was written", why="no machine is named, and the configuration lists none",
                hint="--machine NAME:CORES=LABEL,LABEL for each",
            )  # fmt: skip
        text = _configuration(_location(settings), machines)
        if settings.file is None:
            files[FILE if below == "." else f"{below}/{FILE}"] = text
        else:
            tables = text[text.index("[[machine]]") :].rstrip("\n")
            steps.append(f"add to {settings.file}, which is left as it is:\n\n{_indented(tables)}\n")
    return Written(root=root, files=files, next_steps=(*steps, *_next_steps(answers)))


def write(written: Written, *, force: bool) -> list[str]:
    """Write the files, each whole or not at all; one line for each.

    Raises:
        UsageError: when one is there and differs, unless `force`; and when a link leads out of the repository.
        RunFolderError: when the disk does not take one.
    """
    for path in written.files:
        if not (written.root / path).parent.resolve().is_relative_to(written.root.resolve()):
            raise UsageError(
                "Nothing was written", why=f"{path} lies outside of the repository: a link leads out of it",
                hint="make its folder one of the repository's own",
            )  # fmt: skip
    kept = {path for path, text in written.files.items() if _text_of(written.root / path) == text}
    there = [path for path in written.files if path not in kept and os.path.lexists(written.root / path)]
    if there and not force:
        raise UsageError(
            "Nothing was written", why=f"{', '.join(there)} {'is' if len(there) == 1 else 'are'} there, and different",
            hint="look at what would be written with --stdout, or replace it with --force",
        )  # fmt: skip
    said = []
    for path, text in written.files.items():
        if path in kept:
            said.append(f"{path} is as it should be.")
            continue
        write_whole(written.root / path, text.encode(), 0o644)
        said.append(f"Wrote {path}.")
    return said


# -- the files --------------------------------------------------------------------------------------------------------


def example(name: str) -> str:
    """A file of examples/github: beside the package where it is installed, at the root of a checkout."""
    here = Path(__file__).resolve()
    folders = (here.parents[1] / "examples", here.parents[2] / "examples" / "github")
    return next(folder / name for folder in folders if (folder / name).exists()).read_text(encoding="utf-8")


def _filled(name: str, answers: Answers, below: str, server: Server) -> str:
    """An example with the user's own in it, without the words that were for who copies it by hand."""
    action = _action(answers.action)
    if not _BRANCH.fullmatch(answers.branch):
        raise UsageError("Nothing was written", why=f"{answers.branch!r} is no branch's name", hint="--branch main")
    if not answers.prepare.isprintable():
        raise UsageError("Nothing was written", why="the command to prepare is not one line", hint="--prepare 'npm ci'")
    repository, _, ref = action.partition("@")
    lines = example(name).split("\n")
    while lines[0].startswith("#"):
        del lines[0]
    text = "\n".join(["# Written by `ci-dispatch github init`; yours to change.", *lines])
    text = re.sub(r"OWNER/ci-dispatch(/[^@\s]+)?@v1", lambda found: f"{repository}{found[1] or ''}@{ref}", text)
    text = text if server.can(Capability.QUEUE) else _QUEUE.sub("", text)
    text = text.replace("branches: [main]", f"branches: [{json.dumps(answers.branch)}]")
    prepare = json.dumps(answers.prepare or "true", ensure_ascii=False)
    text = re.sub(r"(prepare|run): npm ci(?: #[^\n]*)?\n", lambda found: f"{found[1]}: {prepare}\n", text)
    if below != "." and answers.shape is not Shape.SUITE:
        raise UsageError(
            "Nothing was written", why=f"the configuration lies in {below}, and {answers.shape} is for one at the root",
            hint=f"--shape {Shape.SUITE}, or write `working-directory` into a copy of the example by hand",
        )  # fmt: skip
    if below != ".":
        text = text.replace("    with:\n", f"    with:\n      working-directory: {json.dumps(below)}\n")
    return text


def _action(given: str) -> str:
    """OWNER/NAME@REF. Raises UsageError."""
    if not _ACTION.fullmatch(given) or given.partition("/")[0] == "OWNER":
        why = f"{given!r} does not say whose ci-dispatch to use" if given else "whose ci-dispatch to use was not said"
        raise UsageError("Nothing was written", why=why, hint="--action OWNER, or OWNER/ci-dispatch@REF")
    repository, _, ref = given.partition("@")
    return f"{repository if '/' in repository else f'{repository}/ci-dispatch'}@{ref or 'v1'}"


def _machines(given: Sequence[str]) -> list[dict[str, object]]:
    tables: list[dict[str, object]] = []
    for text in given:
        found = _MACHINE.fullmatch(text)
        if found is None:
            raise UsageError(
                "Nothing was written", why=f"{text!r} is no machine",
                hint="NAME, NAME:CORES or NAME:CORES=LABEL,LABEL, such as moruk:24=self-hosted,moruk",
            )  # fmt: skip
        labels = [label for label in (found["labels"] or "").split(",") if label]
        table: dict[str, object] = {"name": found["name"]}
        table |= {"cores": int(found["cores"])} if found["cores"] else {}
        tables.append(table | {"labels": labels or ["self-hosted", found["name"]]})
    return tables


def _configuration(suite: SuiteLocation | None, machines: list[dict[str, object]]) -> str:
    """A file that is read without a problem. Raises ConfigError for names that it may not have."""
    where = {} if suite is None else {"runner": suite.runner, "workdir": suite.workdir}
    document = {"suite": where, "machine": machines}
    head = "# Every setting, with its meaning: ci-dispatch init --stdout\n"
    text = head + to_toml({name: table for name, table in document.items() if table})
    load(text, file=FILE, environ={}, options={}, cores=1)
    return text


def _next_steps(answers: Answers) -> tuple[str, ...]:
    check = f"suite / {VERDICT}" if answers.shape is Shape.SUITE else VERDICT
    return (
        "commit: git add -A && git commit -m 'Run the suite on our machines'",
        "see what would fail: GITHUB_TOKEN=$(gh auth token) ci-dispatch github check",
        f"push: git push origin {answers.branch}",
        f"require the check `{check}`: Settings, Rules. Ask the machines too: ci-dispatch github check --probe",
        "let the machines be asked how they are (optional): docs/github-machines.md",
    )


# -- what is here -----------------------------------------------------------------------------------------------------


def _location(settings: Settings) -> SuiteLocation | None:
    try:
        return recognise(settings.root)
    except CiDispatchError:
        return None


def _prepare(root: Path, suite: SuiteLocation | None) -> str:
    """The usual command for the suite; empty when it needs none that we know."""
    if suite is None:
        return ""
    folder = root / suite.workdir
    enter = "" if suite.workdir == "." else f"cd {shlex.quote(suite.workdir)} && "
    if suite.runner == PLAYWRIGHT:
        return f"{enter}npm ci" if (folder / "package-lock.json").exists() else f"{enter}npm install"
    if suite.runner == PYTEST:
        required = " -r requirements.txt" if (folder / "requirements.txt").exists() else ""
        own = (
            " -e ."
            if (folder / "setup.py").exists() or "[project]" in (_text_of(folder / "pyproject.toml") or "")
            else ""
        )
        return f"{enter}python3 -m venv .venv && .venv/bin/pip install pytest{required}{own}"
    return ""


def _runners(settings: Settings) -> tuple[RunnerSettings, ...]:
    """GitHub's self-hosted runners, where a token may list them; else none: it is a proposal."""
    config = settings.config
    names = (config.github.runners_token_env, config.github.token_env)
    token = next((token for name in names if (token := settings.environ.get(name, "").strip())), "")
    if not token:
        return ()
    try:
        client = RestClient(server_of(config, settings.environ), token, repository_of(settings))
        with closing(client):
            return RepositorySettings(client).runners()
    except CiDispatchError:
        return ()


def _as_answer(runner: RunnerSettings) -> str:
    own = [label.name for label in runner.labels if label.name.lower() not in OWN_LABELS]
    return f"{runner.name}={','.join(('self-hosted', *own))}"


def _text_of(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _indented(text: str) -> str:
    return "\n".join(f"       {line}" if line else line for line in text.split("\n"))
