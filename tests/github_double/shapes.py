"""State as the JSON bodies GitHub sends, built from the official example of each."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from tests.github_double.entities import Artifact, Comment, Job, Run, Runner
from tests.github_double.workflows import Workflow

DATA = Path(__file__).resolve().parent.parent / "data" / "github-openapi"
Body = dict[str, Any]


@cache
def _examples() -> str:
    return (DATA / "examples.json").read_text(encoding="utf-8")


class Shapes:
    """`base` is the address the client used: PyGithub refuses bodies that name another one."""

    def __init__(self, base: str, repository: str) -> None:
        self.base, self.repository = base, repository
        self.url = f"{base}/repos/{repository}"
        text = _examples().replace("https://api.github.com", base)
        for name in ("octo-org/octo-repo", "octo-org/octo-docs", "octocat/Hello-World"):
            text = text.replace(name, repository)
        self._example: dict[str, Body] = json.loads(text)
        self._annotation: Body = json.loads(text)["check-annotation-items"][0]

    def repo(self) -> Body:
        owner, _, name = self.repository.partition("/")
        body: Body = self._example["full-repository"]
        owned = {"full_name": self.repository, "name": name, "owner": body["owner"] | {"login": owner}}
        return (
            body | owned | {"default_branch": "main", "language": "TypeScript"}
        )  # the official example lacks the latter

    def example(self, name: str) -> Body:
        return self._example[name]

    def workflow(self, workflow: Workflow) -> Body:
        url = f"{self.url}/actions/workflows/{workflow.id}"
        path = f".github/workflows/{workflow.file}"
        return self._example["workflow"] | {"id": workflow.id, "path": path, "name": workflow.name, "url": url}

    def run(self, run: Run) -> Body:
        url = f"{self.url}/actions/runs/{run.id}"
        return self._example["workflow-run"] | {
            "id": run.id,
            "name": run.workflow.name,
            "display_title": run.title,
            "path": f".github/workflows/{run.workflow.file}",
            "event": "workflow_dispatch",
            "status": run.status,
            "conclusion": run.conclusion,
            "run_attempt": run.attempt,
            "workflow_id": run.workflow.id,
            "head_branch": run.ref,
            "created_at": stamp(run.created),
            "updated_at": stamp(run.started),
            "run_started_at": stamp(run.started),
            "url": url,
            "html_url": f"https://github.com/{self.repository}/actions/runs/{run.id}",
            "jobs_url": f"{url}/jobs",
            "logs_url": f"{url}/logs",
            "artifacts_url": f"{url}/artifacts",
            "cancel_url": f"{url}/cancel",
            "rerun_url": f"{url}/rerun",
            "previous_attempt_url": f"{url}/attempts/{run.attempt - 1}" if run.attempt > 1 else None,
        }

    def job(self, job: Job) -> Body:
        steps = [
            {
                "number": n,
                "name": s.name,
                "status": s.status,
                "conclusion": s.conclusion,
                "started_at": None,
                "completed_at": None,
            }
            for n, s in enumerate(job.steps, 1)
        ]
        return self._example["job"] | {
            "id": job.id,
            "run_id": job.run,
            "run_url": f"{self.url}/actions/runs/{job.run}",
            "run_attempt": job.attempt,
            "name": job.name,
            "labels": list(job.labels),
            "status": job.status,
            "conclusion": job.conclusion,
            "created_at": stamp(job.created),
            "started_at": stamp(job.started if job.started is not None else job.created),
            "completed_at": None if job.completed is None else stamp(job.completed),
            "runner_id": job.runner.id if job.runner else (None, 0)[job.id % 2],  # GitHub sends either
            "runner_name": job.runner.name if job.runner else (None, "")[job.id % 2],
            "runner_group_name": self._group(job),
            "url": f"{self.url}/actions/jobs/{job.id}",
            "html_url": f"https://github.com/{self.repository}/actions/runs/{job.run}/job/{job.id}",
            "check_run_url": f"{self.url}/check-runs/{job.id}",
            "steps": steps,
        }

    @staticmethod
    def _group(job: Job) -> str | None:
        if job.runner is None:
            return None
        return "GitHub Actions" if job.runner.name.startswith("GitHub Actions ") else "Default"

    def artifact(self, artifact: Artifact) -> Body:
        url = f"{self.url}/actions/artifacts/{artifact.id}"
        return self._example["artifact"] | {
            "id": artifact.id,
            "name": artifact.name,
            "size_in_bytes": len(artifact.data),
            "url": url,
            "archive_download_url": f"{url}/zip",
            "expired": artifact.expired,
            "digest": artifact.digest,
            "created_at": stamp(artifact.created),
            "workflow_run": self._example["artifact"]["workflow_run"] | self._origin(artifact),
        }

    @staticmethod
    def _origin(artifact: Artifact) -> Body:
        return {
            "id": artifact.run,
            "head_branch": artifact.branch,
            "repository_id": 1296269,
            "head_repository_id": 217723378 if artifact.from_fork else 1296269,
        }

    def runner(self, runner: Runner) -> Body:
        labels = [{"id": n, "name": label, "type": "custom"} for n, label in enumerate(runner.labels, 1)]
        body: Body = self._example["runner-paginated"]["runners"][0]
        return body | {
            "id": runner.id,
            "name": runner.name,
            "status": "online" if runner.online else "offline",
            "busy": runner.busy is not None,
            "labels": labels,
            "version": runner.version,
        }

    def annotation(self, level: str, text: str) -> Body:
        return self._annotation | {
            "annotation_level": level,
            "message": text,
            "path": ".github",
        }

    def comment(self, comment: Comment) -> Body:
        example = self._example["issue-comment"]
        return example | {
            "id": comment.id,
            "url": f"{self.url}/issues/comments/{comment.id}",
            "issue_url": f"{self.url}/issues/{comment.pull}",
            "body": comment.body,
            "user": example["user"] | {"login": "somebody", "type": "Bot" if comment.bot else "User"},
            "author_association": comment.association,
        }

    def rate_limit(self, limit: int, remaining: int, reset: int) -> Body:
        rate = {"limit": limit, "remaining": remaining, "reset": reset, "used": limit - remaining}
        body: Body = self._example["rate-limit-overview"]
        return body | {"rate": rate, "resources": body["resources"] | {"core": rate}}


def stamp(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
