// walk.mjs BASE OWNER/REPO WORKFLOW: dispatch, poll, list, re-run and download with GitHub's own client; prints what it saw.
// The token comes by OCTOKIT_TOKEN. Exits non-zero when an answer is not what Octokit expects.
import { Octokit } from "@octokit/rest";

const [baseUrl, repository, workflow_id] = process.argv.slice(2);
const [owner, repo] = repository.split("/");
const here = { owner, repo };
const { rest, paginate, request } = new Octokit({ baseUrl, auth: process.env.OCTOKIT_TOKEN });

const matrix = { include: [1, 2, 3].map((n) => ({ shard: `s${n}`, labels: ["self-hosted", "moruk"] })) };
const inputs = { matrix: JSON.stringify(matrix), dispatch_id: "from-octokit" };
const sent = await rest.actions.createWorkflowDispatch({ ...here, workflow_id, ref: "main", inputs, return_run_details: true });
const run_id = sent.data.workflow_run_id;

async function completed(attempt) {
  for (let polls = 0; polls < 100; polls++) {
    const { data } = await rest.actions.getWorkflowRun({ ...here, run_id });
    if (data.run_attempt === attempt && data.status === "completed") return data;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error("the run never completed");
}

const first = await completed(1);
const jobs = await paginate(rest.actions.listJobsForWorkflowRun, { ...here, run_id, per_page: 2 });
await rest.actions.reRunWorkflowFailedJobs({ ...here, run_id });
const second = await completed(2);
const again = await rest.actions.listJobsForWorkflowRunAttempt({ ...here, run_id, attempt_number: 2 });
const { data: listed } = await rest.actions.listWorkflowRunArtifacts({ ...here, run_id });
const called = (await rest.actions.listArtifactsForRepo({ ...here, name: listed.artifacts[0].name })).data;
const zip = await rest.actions.downloadArtifact({ ...here, artifact_id: listed.artifacts[0].id, archive_format: "zip" });
const log = await rest.actions.downloadJobLogsForWorkflowRun({ ...here, job_id: jobs[0].id });
const notes = await rest.checks.listAnnotations({ ...here, check_run_id: jobs[1].id });
const { data: fleet } = await request("GET /repos/{owner}/{repo}/actions/runners", here);

// What else our client or a person may do: every operation of the double has been asked for by Octokit.
const { data: repository_ } = await rest.repos.get(here);
const { data: workflows } = await rest.actions.listRepoWorkflows(here);
const { data: workflow } = await rest.actions.getWorkflow({ ...here, workflow_id });
const ofWorkflow = await paginate(rest.actions.listWorkflowRuns, { ...here, workflow_id, event: "workflow_dispatch" });
const all = await paginate(rest.actions.listWorkflowRunsForRepo, { ...here, status: "completed" });
const attempt = await rest.actions.getWorkflowRunAttempt({ ...here, run_id, attempt_number: 1 });
const one = await rest.actions.getJobForWorkflowRun({ ...here, job_id: jobs[0].id });
await rest.actions.reRunWorkflow({ ...here, run_id });
await completed(3);
const last = (await rest.actions.listJobsForWorkflowRun({ ...here, run_id })).data.jobs[0];
await rest.actions.reRunJobForWorkflowRun({ ...here, job_id: last.id });
await completed(4);
const conflict = [];
for (const call of [rest.actions.cancelWorkflowRun, rest.actions.forceCancelWorkflowRun]) {
  const long = { matrix: JSON.stringify({ include: [{ shard: "slow", labels: ["moruk"] }] }), dispatch_id: "slow" };
  const slow = await rest.actions.createWorkflowDispatch({ ...here, workflow_id, ref: "main", inputs: long, return_run_details: true });
  conflict.push((await call({ ...here, run_id: slow.data.workflow_run_id })).status);
  conflict.push(await call({ ...here, run_id: slow.data.workflow_run_id }).catch((error) => error.status));
}
const comment = await rest.issues.createComment({ ...here, issue_number: 7, body: "first" });
await rest.issues.updateComment({ ...here, comment_id: comment.data.id, body: "second" });
const comments = await paginate(rest.issues.listComments, { ...here, issue_number: 7 });
const { data: limit } = await rest.rateLimit.get();
const settings = [
  (await rest.repos.getContent({ ...here, path: "ci-dispatch.toml" })).data.path,
  (await rest.repos.getContent({ owner: "acme", repo: "ci-dispatch", path: "action.yml", ref: "v1" })).data.path,
  (await paginate(rest.actions.listRepoSecrets, here)).map((secret) => secret.name),
  (await paginate(rest.actions.listRepoOrganizationSecrets, here)).map((secret) => secret.name),
  (await rest.actions.getGithubActionsDefaultWorkflowPermissionsRepository(here)).data.default_workflow_permissions,
  (await paginate(rest.repos.getBranchRules, { ...here, branch: "main" })).map((rule) => rule.type),
  (await rest.repos.getBranch({ ...here, branch: "main" })).data.protection.required_status_checks.contexts,
  (await paginate(rest.actions.listSelfHostedRunnersForOrg, { org: owner })).map((runner) => runner.name),
];
const refused = await rest.actions.reRunWorkflowFailedJobs({ ...here, run_id: 1 }).catch((error) => error.status);

console.log(
  JSON.stringify({
    title: first.display_title,
    conclusions: [first.conclusion, second.conclusion],
    jobs: jobs.map((job) => `${job.name} ${job.conclusion} on ${job.runner_name}`),
    again: again.data.jobs.map((job) => `${job.name} ${job.conclusion}`),
    artifacts: listed.artifacts.map((artifact) => artifact.name),
    called: called.artifacts.map((artifact) => [artifact.name, artifact.workflow_run.head_branch]),
    magic: Buffer.from(zip.data).subarray(0, 2).toString(),
    log: log.data,
    annotation: notes.data[0].message,
    runners: fleet.runners.map((runner) => runner.name),
    refused,
    repository: [repository_.full_name, repository_.default_branch],
    workflows: [workflows.total_count, workflow.path],
    runs: [ofWorkflow.length, all.length],
    attempt: [attempt.data.run_attempt, one.data.name],
    conflict,
    comments: comments.map((each) => each.body),
    settings,
    left: limit.resources.core.remaining < limit.resources.core.limit,
  }),
);
