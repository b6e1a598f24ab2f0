"""A stateful GitHub on 127.0.0.1, held against GitHub's own description in both directions.

    double.py        GitHubDouble: start it, script it, read what was said
    server.py        HTTP: records every exchange, applies faults, permissions, rate limits, ETags, signed downloads
    routes.py        which URL means what, and what a handler gets
    repository_settings.py  secrets, rules, default branch, and their routes
    shapes.py        state -> the JSON bodies GitHub sends, built from its official examples
    entities.py      runs, jobs, runners, artifacts
    state.py         how they move on as time passes
    workflows.py     what a workflow file says about its inputs and jobs
    worker.py        who runs the jobs: a script, or act (acting.py)
    faults.py        what goes wrong, when
    description.py   what was sent and answered, against the official description

Nothing here imports ci_dispatch: the double must not believe what our client believes.
"""

from tests.github_double.double import GitHubDouble
from tests.github_double.faults import Fault, failed_cancel
from tests.github_double.worker import Script, ScriptedWorker, Stop, zipped

__all__ = ["Fault", "GitHubDouble", "Script", "ScriptedWorker", "Stop", "failed_cancel", "zipped"]
