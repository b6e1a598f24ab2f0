"""`ci-dispatch github init, check`: the way to a first run through GitHub Actions."""

from __future__ import annotations

import sys

import click

from ci_dispatch.app.settings import Settings
from ci_dispatch.cli.options import configured


@click.group(no_args_is_help=False)
def github() -> None:
    """Set up GitHub Actions, and say what would fail there."""


@github.command()
@configured("github.repository", "github.workflow", "github.strategy", "run.machines")
@click.option("--json", "as_json", is_flag=True, help="For programs: one document.")
@click.option("--probe", is_flag=True, help="Start a job of a minute on each machine, and see what its runner has.")
def check(settings: Settings, as_json: bool, probe: bool) -> int:
    """Say before the first push what would fail, each with its remedy.

    Reads the workflows here, and asks GitHub with GITHUB_TOKEN (`gh auth token` prints one) about the default branch,
    secrets, runners and required checks. What the token may not ask is said, and is no failure. The exit code is what a
    run would end with: 0 when nothing fails.
    """
    from ci_dispatch.app import github_check

    return github_check.check(settings, as_json=as_json, probe=probe)


@github.command()
@configured("github.repository")
@click.option("--shape", type=click.Choice(["suite", "one-workflow", "dispatch"]), default="suite", show_default=True,
              help="Ten lines that call the reusable workflow; the same written out; or an orchestrator that "
              "dispatches a worker workflow.")  # fmt: skip
@click.option("--action", metavar="OWNER", default="", help="Whose ci-dispatch: OWNER, or OWNER/NAME@REF.")
@click.option("--machine", "machines", metavar="NAME:CORES=LABEL,...", multiple=True,
              help="A machine with a runner, cores and labels; once for each.")  # fmt: skip
@click.option("--branch", default="", help="Pushes to it start the suite. Default: the repository's default branch.")
@click.option(
    "--prepare", default=None, help="Command that makes a checkout ready. Default: what the suite's files say."
)
@click.option("--force", is_flag=True, help="Replace files that are there.")
@click.option("--stdout", is_flag=True, help="Print the files and write nothing.")
def init(
    settings: Settings,
    shape: str,
    action: str,
    machines: tuple[str, ...],
    branch: str,
    prepare: str | None,
    force: bool,
    stdout: bool,
) -> None:
    """Write workflows and configuration for this repository.

    Asks on a terminal for what no option gives: whose ci-dispatch, which machines, the branch, the command that makes a
    checkout ready. Without a terminal --action is needed, and --machine unless ci-dispatch.toml or GitHub lists some.
    """
    from ci_dispatch.app import github_init
    from ci_dispatch.app.say import say
    from report_merge.render.escape import terminal

    found = github_init.propose(settings)
    if sys.stdin.isatty():
        action = action or click.prompt("Whose ci-dispatch (OWNER or OWNER/ci-dispatch@REF)", err=True)
        if not machines and not settings.lists_machines:
            answer = click.prompt("Machines, separated by blanks (NAME:CORES=LABEL,LABEL)",
                                  default=terminal(" ".join(found.machines)) or None, err=True)  # fmt: skip
            machines = tuple(str(answer).split())
        branch = branch or click.prompt("Branch whose pushes start it", default=found.branch, err=True)
        if prepare is None:
            prepare = click.prompt("Command that makes a checkout ready", default=found.prepare, err=True)
    answers = github_init.Answers(
        action=action,
        branch=branch or found.branch,
        prepare=found.prepare if prepare is None else prepare,
        machines=machines or found.machines,
        shape=github_init.Shape(shape),
    )
    written = github_init.plan(settings, answers)
    if stdout:
        for path, text in written.files.items():
            say(f"# --- {path}\n{text}")
        return
    for line in github_init.write(written, force=force):
        say(terminal(line))
    say("Next:")
    for number, step in enumerate(written.next_steps, 1):
        say(terminal(f"  {number}. {step}"))
