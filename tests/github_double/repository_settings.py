"""What a repository is set up for, and the routes that show it: default branch, files, secrets, rules, organisation."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.github_double.entities import Runner
from tests.github_double.routes import Answer, Asked, found, route


@dataclass(slots=True)
class RepositorySettings:
    default_branch: str = "main"
    private: bool = True
    organisation: bool = False
    files: set[str] = field(default_factory=set)  # paths that the default branch has
    workflow_state: dict[str, str] = field(default_factory=dict)  # by file name; active where it is not here
    others: set[str] = field(default_factory=set)  # REPOSITORY/PATH@REF of other repositories
    secrets: list[str] = field(default_factory=list)
    organisation_secrets: list[str] = field(default_factory=list)
    default_permissions: str = "read"
    merge_queue: bool = False
    required: list[str] = field(default_factory=list)  # by a ruleset
    protected: list[str] = field(default_factory=list)  # by the branch's own protection
    organisation_runners: list[Runner] = field(default_factory=list)


@route("GET", "", "metadata:read")
def repo(asked: Asked) -> Answer:
    settings, body = asked.double.settings, asked.shapes.repo()
    owner = body["owner"] | {"type": "Organization" if settings.organisation else "User"}
    return Answer(
        body=body
        | {
            "default_branch": settings.default_branch,
            "private": settings.private,
            "visibility": "private" if settings.private else "public",
            "language": None,
            "owner": owner,
        }
    )


@route("GET", "/actions/workflows/([^/]+)", "actions:read")
def workflow(asked: Asked) -> Answer:
    known = asked.workflow()
    state = asked.double.settings.workflow_state.get(known.file, "active")
    return Answer(body=asked.shapes.workflow(known) | {"state": state})


@route("GET", "/contents/(.+)", "contents:read")
def contents(asked: Asked) -> Answer:
    settings, (path,) = asked.double.settings, asked.path
    there = path in settings.files and asked.query.get("ref") in (None, settings.default_branch)
    found(True if there else None)
    return Answer(body=asked.shapes.example("content-file") | {"path": path, "name": path.rpartition("/")[2]})


@route("GET", "/repos/([^/]+/[^/]+)/contents/(.+)", "metadata:read")
def contents_of_others(asked: Asked) -> Answer:
    repository, path = asked.path
    there = f"{repository}/{path}@{asked.query.get('ref')}" in asked.double.settings.others
    found(True if there else None)
    return Answer(body=asked.shapes.example("content-file") | {"path": path, "name": path.rpartition("/")[2]})


def _secrets(asked: Asked, names: list[str], part: str) -> Answer:
    moment = "2026-01-10T14:59:22Z"
    shown = [{"name": name, "created_at": moment, "updated_at": moment} for name in names]
    return asked.page("secrets", shown, f"{asked.shapes.url}/actions/{part}")


@route("GET", "/actions/secrets", "secrets:read")
def secrets(asked: Asked) -> Answer:
    return _secrets(asked, asked.double.settings.secrets, "secrets")


@route("GET", "/actions/organization-secrets", "secrets:read")
def organisation_secrets(asked: Asked) -> Answer:
    return _secrets(asked, asked.double.settings.organisation_secrets, "organization-secrets")


@route("GET", "/actions/permissions/workflow", "administration:read")
def default_permissions(asked: Asked) -> Answer:
    level = asked.double.settings.default_permissions
    return Answer(body={"default_workflow_permissions": level, "can_approve_pull_request_reviews": False})


@route("GET", "/rules/branches/([^/]+)", "metadata:read")
def rules(asked: Asked) -> Answer:
    settings = asked.double.settings
    where = {"ruleset_source_type": "Repository", "ruleset_source": asked.double.repository, "ruleset_id": 42}
    shown = []
    if settings.merge_queue:
        queue = {
            "check_response_timeout_minutes": 60,
            "grouping_strategy": "ALLGREEN",
            "max_entries_to_build": 5,
            "max_entries_to_merge": 5,
            "merge_method": "MERGE",
            "min_entries_to_merge": 1,
            "min_entries_to_merge_wait_minutes": 5,
        }
        shown.append({"type": "merge_queue", "parameters": queue} | where)
    if settings.required:
        checks = [{"context": context} for context in settings.required]
        parameters = {"required_status_checks": checks, "strict_required_status_checks_policy": False}
        shown.append({"type": "required_status_checks", "parameters": parameters} | where)
    return asked.page("", shown, f"{asked.shapes.url}/rules/branches/{asked.path[0]}")


@route("GET", "/branches/([^/]+)", "contents:read")
def branch(asked: Asked) -> Answer:
    body, contexts = asked.shapes.example("branch"), asked.double.settings.protected
    checks = {
        "enforcement_level": "non_admins" if contexts else "off",
        "contexts": contexts,
        "checks": [{"context": context, "app_id": None} for context in contexts],
    }
    protection = {"enabled": bool(contexts), "required_status_checks": checks}
    return Answer(body=body | {"name": asked.path[0], "protected": bool(contexts), "protection": protection})


@route("GET", "/orgs/([^/]+)/actions/runners", "organization_self_hosted_runners:read")
def organisation_runners(asked: Asked) -> Answer:
    shown = [asked.shapes.runner(runner) for runner in asked.double.settings.organisation_runners]
    return asked.page("runners", shown, f"{asked.shapes.base}/orgs/{asked.path[0]}/actions/runners")
