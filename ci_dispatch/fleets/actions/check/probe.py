"""What a machine's runner has, by a job of a minute on it: Python, node, the suite's tools, a package index. Pure.

The job is examples/github/probe.yml. It answers in its log, in lines of its own; it uses no action, so that an old
runner can answer too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ci_dispatch.core.errors import ExitCode
from ci_dispatch.fleets.actions.check.finding import CheckFinding, Topic, failure, fine, warning
from ci_dispatch.fleets.actions.check.github_rules import MachineLabels

WORKFLOW = "ci-dispatch-probe.yml"
PYTHONS = ("python3", "python3.14", "python3.13", "python3.12", "python3.11")
LEAST_PYTHON = (3, 11)
LEAST_NODE = 18  # of Playwright
MOST = 256  # jobs of one matrix

# A line of a log begins with its time. The script itself is shown there too, with a colour's escape sequence before it.
_LINE = re.compile(r"^(?:\d{4}-\d\d-\d\dT[\d:.]+Z )?@probe ([^\n\r]{1,500})$", re.MULTILINE)
_VERSION = re.compile(r"v?(\d{1,4})\.(\d{1,4})(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Answered:
    """What a probe's log says."""

    pythons: dict[str, str] = field(default_factory=dict)  # program -> version, or what it said instead
    tools: dict[str, str] = field(default_factory=dict)  # program -> path, or "missing"
    node: str = ""
    registry: bool = False
    whole: bool = False  # it came to its end


def matrix_of(wanted: Sequence[MachineLabels], tools: Sequence[str], python: str) -> str:
    """The input `matrix`: one job for each set of labels. `python`: what the action is told to use."""
    pythons = " ".join(dict.fromkeys((python, *PYTHONS)))
    entries = [
        {"shard": entry.machine, "labels": list(entry.labels), "tools": " ".join(tools), "pythons": pythons}
        for entry in wanted
    ]
    return json.dumps({"include": entries}, separators=(",", ":"))


def read_log(text: str) -> Answered:
    """Whatever the log holds; lines of another form are not looked at."""
    pythons: dict[str, str] = {}
    tools: dict[str, str] = {}
    node, registry, whole = "", False, False
    for said in _LINE.findall(text):
        match said.split(maxsplit=2):
            case ["python", program, version]:
                pythons[program] = version.strip()
            case ["tool", program, where]:
                tools[program] = where.strip()
            case ["node", version, *_]:
                node = version
            case ["registry", _, "yes"]:
                registry = True
            case ["end"]:
                whole = True
    return Answered(pythons=pythons, tools=tools, node=node, registry=registry, whole=whole)


def check_answer(machine: str, answered: Answered, *, python: str, needs_node: bool) -> Iterator[CheckFinding]:
    """`python`: the action's input of that name. A shard ends before its first test without what is asked for here."""
    incomplete = ExitCode.INCOMPLETE
    if not answered.whole:
        what = "the probe did not come to its end"
        yield failure(Topic.TOOLS, what, "read the log of its job on GitHub", where=machine, exit_code=incomplete)
        return
    yield _python(machine, answered, python)
    for tool, where in sorted(answered.tools.items()):
        if where == "missing":
            what = f"the runner's PATH has no {tool}, which the suite needs"
            remedy = f"install {tool}, or add its folder to the file .path of the runner, and restart its service"
            yield failure(Topic.TOOLS, what, remedy, where=machine, exit_code=incomplete)
        else:
            yield fine(Topic.TOOLS, f"{tool}: {where}", where=machine)
    node = _VERSION.fullmatch(answered.node)
    if node is not None and int(node[1]) >= LEAST_NODE:
        yield fine(Topic.TOOLS, f"node {answered.node}", where=machine)
    elif needs_node:
        what = f"node is {answered.node or 'missing'} in the runner's PATH; the suite needs {LEAST_NODE} or newer"
        remedy = "install it for the runner's user, or a step with actions/setup-node before the action"
        yield failure(Topic.TOOLS, what, remedy, where=machine, exit_code=incomplete)
    if answered.registry:
        yield fine(Topic.TOOLS, "a package index answers", where=machine)
    else:
        what = "pip reaches no package index: the action cannot install what it needs the first time"
        remedy = "a mirror (PIP_INDEX_URL in the runner's file .env), or a folder of wheels: docs/github-machines.md"
        yield warning(Topic.TOOLS, what, remedy, where=machine)


def _python(machine: str, answered: Answered, python: str) -> CheckFinding:
    good = {program: version for program, version in answered.pythons.items() if _is_good(version)}
    if python in good:
        return fine(Topic.TOOLS, f"{python} is {good[python]}", where=machine)
    said = answered.pythons.get(python)
    if said is None:
        what = f"there is no {python} in the runner's PATH"
    elif _VERSION.fullmatch(said):
        what = f"{python} is {said}, older than {'.'.join(map(str, LEAST_PYTHON))}"
    elif "ensurepip" in said:
        what = f"{python} has no venv module"
    else:
        what = f"{python} does not work: {said[:120]}"
    if good:
        remedy = f"the action's input python: {next(iter(good))}"
    elif said and "ensurepip" in said:
        remedy = "Debian and Ubuntu: apt-get install python3-venv"
    else:
        remedy = "install Python 3.11 or newer on this machine, or a step with actions/setup-python before the action"
    return failure(Topic.TOOLS, what, remedy, where=machine, exit_code=ExitCode.INCOMPLETE)


def _is_good(version: str) -> bool:
    found = _VERSION.fullmatch(version)
    return found is not None and (int(found[1]), int(found[2])) >= LEAST_PYTHON
