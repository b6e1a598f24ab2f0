"""What a repository is set up for on GitHub: default branch, workflows, secrets' names, rules, runners. Read only.

Every method raises `RequestRefused`, `RateLimited` or `Unavailable`, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar
from urllib.parse import quote

from ci_dispatch.core.codec import Value, field
from ci_dispatch.fleets.actions.rest.client import PAGE, RestClient, RestRequest
from ci_dispatch.fleets.actions.rest.errors import RequestRefused

ADMINISTRATION = "administration: read"
MAX_PAGES = 20  # a list has an end even when the server's has none


class OwnerView(Value):
    login: str = ""
    type: str = ""  # User, Organization


class RepositoryView(Value):
    default_branch: str = "main"
    private: bool = True
    owner: OwnerView = OwnerView()

    @property
    def organisation(self) -> str:
        """The organisation it belongs to, or empty."""
        return self.owner.login if self.owner.type == "Organization" else ""


class WorkflowView(Value):
    state: str = ""  # active, disabled_manually, disabled_inactivity, ...


class SecretView(Value):
    name: str


class SecretPage(Value):
    items: tuple[SecretView, ...] = field(name="secrets", default=())


class DefaultPermissionsView(Value):
    level: str = field(name="default_workflow_permissions", default="")  # read, write


class LabelView(Value):
    name: str


class RunnerSettings(Value):
    """A runner with what tells whether it can run a job of ours."""

    name: str
    status: str = ""  # online, offline
    version: str = ""  # empty: it never connected, or the server does not say
    labels: tuple[LabelView, ...] = ()

    @property
    def label_names(self) -> frozenset[str]:
        """In lower case: labels are compared without case."""
        return frozenset(label.name.lower() for label in self.labels)


class RunnerPage(Value):
    items: tuple[RunnerSettings, ...] = field(name="runners", default=())


class CheckView(Value):
    context: str


class RuleParameters(Value):
    required_status_checks: tuple[CheckView, ...] = ()


class RuleView(Value):
    type: str
    parameters: RuleParameters = RuleParameters()


class RequiredChecks(Value):
    contexts: tuple[str, ...] = ()


class ProtectionView(Value):
    required_status_checks: RequiredChecks = RequiredChecks()


class BranchView(Value):
    protection: ProtectionView = ProtectionView()


View = TypeVar("View", bound=Value)
Page = TypeVar("Page", SecretPage, RunnerPage)


class RepositorySettings:
    """One repository, as the token may see it."""

    def __init__(self, client: RestClient) -> None:
        self.client = client

    def repository(self) -> RepositoryView:
        return self._read(RepositoryView, "The repository could not be read", "", "metadata: read")

    def has_file(self, path: str, ref: str, repository: str = "") -> bool:
        """Whether `ref` has the file, as far as the token can see; of another `repository` when one is given."""
        request = RestRequest(
            what=f"{path} could not be looked for on {ref}",
            path=f"/repos/{quote(repository)}/contents/{quote(path)}" if repository else f"/contents/{quote(path)}",
            permission="contents: read",
            parameters={"ref": ref},
        )
        try:
            self.client.read(request, Value)
        except RequestRefused as refused:
            if refused.status != 404:
                raise
            return False
        return True

    def workflow(self, file: str) -> WorkflowView:
        what = f"The workflow {file} could not be read"
        return self._read(WorkflowView, what, f"/actions/workflows/{quote(file)}", "actions: read")

    def default_permissions(self) -> str:
        """What a workflow's token may do where the workflow does not say: "read" or "write"."""
        what = "The default of a workflow's token could not be read"
        return self._read(DefaultPermissionsView, what, "/actions/permissions/workflow", ADMINISTRATION).level

    def secrets(self, *, of_organisation: bool) -> frozenset[str]:
        """The names of the secrets that workflows of this repository can use, in capitals."""
        what = "The names of the secrets could not be listed"
        paths = ["/actions/secrets", *(["/actions/organization-secrets"] if of_organisation else [])]
        pages = (page for path in paths for page in self._pages(SecretPage, what, path, "secrets: read"))
        return frozenset(secret.name.upper() for page in pages for secret in page.items)

    def runners(self, organisation: str = "") -> tuple[RunnerSettings, ...]:
        """The self-hosted runners of the repository, or of the organisation."""
        if organisation:
            what, path = f"The runners of {organisation} could not be listed", f"/orgs/{quote(organisation)}"
            permission = "organization_self_hosted_runners: read"
        else:
            what, path, permission = "The repository's runners could not be listed", "", ADMINISTRATION
        pages = self._pages(RunnerPage, what, f"{path}/actions/runners", permission)
        return tuple(runner for page in pages for runner in page.items)

    def rules(self, branch: str) -> tuple[RuleView, ...]:
        """The rules of all rulesets that count for `branch`."""
        request = RestRequest(
            what=f"The rules of {branch} could not be read",
            path=f"/rules/branches/{quote(branch)}",
            permission="metadata: read",
            parameters={"per_page": PAGE},
        )
        return self.client.read(request, tuple[RuleView, ...])

    def protected_checks(self, branch: str) -> tuple[str, ...]:
        """The checks that the branch's own protection requires."""
        what = f"The branch {branch} could not be read"
        found = self._read(BranchView, what, f"/branches/{quote(branch)}", "contents: read")
        return found.protection.required_status_checks.contexts

    def _pages(self, kind: type[Page], what: str, path: str, permission: str) -> Iterator[Page]:
        size = {self.client.server.page_size: PAGE}
        for number in range(1, MAX_PAGES + 1):
            page = self._read(kind, what, path, permission, **size, **({"page": number} if number > 1 else {}))
            yield page
            if len(page.items) < PAGE:
                return

    def _read(self, kind: type[View], what: str, path: str, permission: str, **parameters: int) -> View:
        return self.client.read(RestRequest(what=what, path=path, permission=permission, parameters=parameters), kind)
