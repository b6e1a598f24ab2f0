"""Cuts the operations we use, and every part they reach, out of GitHub's official description.

    npm pack @octokit/openapi@23.0.2 && tar xzf octokit-openapi-*.tgz
    python -m tests.github_double.extract package/generated/api.github.com.json \\
        tests/data/github-openapi/github-actions.slim.json

The operations are those that the second file has already, and those named behind it: `PATCH:/repos/{owner}/...`.
Examples and prose are left out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

METHODS = ("get", "post", "put", "patch", "delete")
PROSE = ("description", "summary", "examples", "example", "externalDocs", "tags", "x-github", "operationId")


def extract(document: dict[str, Any], operations: set[tuple[str, str]]) -> dict[str, Any]:
    """A description of `operations` (method, path) alone."""
    paths: dict[str, Any] = {}
    for method, path in sorted(operations, key=lambda each: (each[1], each[0])):
        paths.setdefault(path, {})[method] = bare(document["paths"][path][method])
    components: dict[str, Any] = {}
    waiting = references(paths)
    while waiting:
        kind, name = waiting.pop()
        if name not in components.setdefault(kind, {}):
            components[kind][name] = bare(document["components"][kind][name])
            waiting |= references(components[kind][name])
    kept = {kind: dict(sorted(parts.items())) for kind, parts in sorted(components.items())}
    return {name: document[name] for name in ("openapi", "info", "servers")} | {"paths": paths, "components": kept}


def bare(part: Any, *, names: bool = False) -> Any:
    """Without prose; below `properties` every key is a name."""
    if isinstance(part, dict):
        return {key: bare(value, names=key == "properties") for key, value in part.items() if names or key not in PROSE}
    return [bare(item) for item in part] if isinstance(part, list) else part


def references(part: Any) -> set[tuple[str, str]]:
    """The components (kind, name) that a part refers to."""
    if isinstance(part, dict):
        own = part.get("$ref")
        found = {(own.split("/")[2], own.split("/")[3])} if isinstance(own, str) else set()
        return found.union(*map(references, part.values()))
    return set().union(*map(references, part)) if isinstance(part, list) else set()


def main() -> None:
    source, target, *more = sys.argv[1:]
    known = json.loads(Path(target).read_text(encoding="utf-8"))["paths"]
    operations = {(method, path) for path, ops in known.items() for method in ops if method in METHODS}
    operations |= {(method.lower(), path) for method, _, path in (each.partition(":") for each in more)}
    made = extract(json.loads(Path(source).read_text(encoding="utf-8")), operations)
    Path(target).write_text(json.dumps(made, separators=(",", ":"), sort_keys=True), encoding="utf-8")


if __name__ == "__main__":
    main()
