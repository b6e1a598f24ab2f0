"""What a workflow file says: its dispatch inputs, its jobs, their matrix, names and labels.

Only the expressions that a dispatched worker uses are understood (`inputs.x`, `matrix.x`, `fromJSON(inputs.x)`);
anything else raises, so that the double never guesses. Whole workflows are executed by act (acting.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML

CHOICES = {"boolean": ("true", "false")}
EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}", re.DOTALL)


class Refused(Exception):
    """GitHub's answer to a dispatch that it does not accept: status 422 and this message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlan:
    """One job of a run before it is queued."""

    job_id: str
    name: str
    labels: tuple[str, ...]
    matrix: Mapping[str, Any] = field(default_factory=dict)


def text_of(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def evaluate(expression: str, contexts: Mapping[str, Mapping[str, Any]]) -> Any:
    if call := re.fullmatch(r"fromJSON\((.*)\)", expression, re.IGNORECASE):
        return json.loads(text_of(evaluate(call[1].strip(), contexts)))
    for alternative in expression.split("||"):
        term = alternative.strip()
        if literal := re.fullmatch(r"'([^']*)'", term):
            return literal[1]
        context, _, name = term.partition(".")
        if context not in contexts:
            raise ValueError(f"the double does not understand ${{{{ {expression} }}}}")
        value = contexts[context].get(name)
        if value not in (None, ""):
            return value
    return ""


def fill(template: Any, contexts: Mapping[str, Mapping[str, Any]]) -> Any:
    """A YAML value with its expressions replaced; a lone expression keeps the type of its value."""
    if isinstance(template, list):
        return [fill(item, contexts) for item in template]
    if isinstance(template, dict):
        return {key: fill(value, contexts) for key, value in template.items()}
    if not isinstance(template, str):
        return template
    if whole := re.fullmatch(r"\s*\$\{\{([^}]*)\}\}\s*", template):
        return evaluate(whole[1].strip(), contexts)
    return EXPRESSION.sub(lambda match: text_of(evaluate(match[1], contexts)), template)


@dataclass(frozen=True, slots=True)
class Workflow:
    file: str
    text: str
    id: int
    exists_on: frozenset[str] = frozenset({"main"})  # branches that hold the file

    @property
    def document(self) -> dict[str, Any]:
        return dict(YAML(typ="safe", pure=True).load(self.text))

    @property
    def name(self) -> str:
        return str(self.document.get("name", self.file))

    def accepted(self, ref: str, given: Mapping[str, Any]) -> dict[str, str]:
        """The inputs of a dispatch with their defaults.

        Raises:
            Refused: with the messages GitHub uses.
        """
        triggers = self.document["on"]
        if ref not in self.exists_on:
            raise Refused(f"No ref found for: {ref}")
        if "workflow_dispatch" not in triggers:
            raise Refused("Workflow does not have 'workflow_dispatch' trigger")
        described = (triggers["workflow_dispatch"] or {}).get("inputs") or {}
        if unexpected := [name for name in given if name not in described]:
            raise Refused(f"Unexpected inputs provided: {json.dumps(unexpected)}")
        if len(given) > 25 or len(json.dumps(given, separators=(",", ":"), ensure_ascii=False)) > 65_535:
            raise Refused("inputs are too large.")
        for name, spec in described.items():
            if spec.get("required") and given.get(name, spec.get("default", "")) == "":
                raise Refused(f"Required input '{name}' not provided")
            allowed = CHOICES.get(spec.get("type", ""), spec.get("options"))
            if name in given and allowed and text_of(given[name]) not in map(text_of, allowed):
                raise Refused(f"Provided value '{given[name]}' for input '{name}' not in the list of allowed values")
        return {name: text_of(given.get(name, spec.get("default"))) for name, spec in described.items()}

    def concurrency(self, inputs: Mapping[str, str]) -> tuple[str, bool]:
        """The group of the whole run, empty for none; whether all that wait in it keep their place (`queue: max`)."""
        given = self.document.get("concurrency", "")
        given = given if isinstance(given, dict) else {"group": given}
        return text_of(fill(given["group"], {"inputs": inputs})), given.get("queue") == "max"

    def title(self, inputs: Mapping[str, str]) -> str:
        return text_of(fill(self.document.get("run-name", self.name), {"inputs": inputs}))

    def jobs(self, inputs: Mapping[str, str]) -> tuple[JobPlan, ...]:
        return tuple(
            self._job(job_id, job, entry, inputs)
            for job_id, job in self.document["jobs"].items()
            for entry in self._entries(job, inputs)
        )

    def _entries(self, job: Mapping[str, Any], inputs: Mapping[str, str]) -> list[dict[str, Any]]:
        if "strategy" not in job:
            return [{}]
        matrix = fill(job["strategy"]["matrix"], {"inputs": inputs})
        if set(matrix) != {"include"}:
            raise ValueError("the double understands a matrix of the form {include: [...]} only")
        if not matrix["include"]:
            raise Refused("Matrix must define at least one vector")
        if len(matrix["include"]) > 256:
            raise Refused("Matrix exceeds 256 jobs")
        return list(matrix["include"])

    def _job(self, job_id: str, job: Any, entry: Mapping[str, Any], inputs: Mapping[str, str]) -> JobPlan:
        contexts: dict[str, Mapping[str, Any]] = {"inputs": inputs, "matrix": entry}
        labels = fill(job["runs-on"], contexts)
        return JobPlan(
            job_id=job_id,
            name=text_of(fill(job.get("name", job_id), contexts)),
            labels=tuple(labels) if isinstance(labels, list) else (str(labels),),
            matrix=entry,
        )
