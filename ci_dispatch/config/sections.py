"""The settings of a run, each declared once. To add one, add a line here: everything else follows from it."""
# ruff: noqa: RUF009, FBT003  (a setting's default is an argument of its declaration; `setting` gives a dataclass field)

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, cast

from ci_dispatch.config.choices import ProgressMode, Split, StartAhead, Strategy, Transfer
from ci_dispatch.config.machine_section import HOST
from ci_dispatch.config.setting import setting, settings_of
from ci_dispatch.config.slack import SlackConfig
from ci_dispatch.config.value_types import (
    DAY,
    address,
    arguments,
    boolean,
    choice,
    duration,
    integer,
    number,
    optional,
    plugin,
    share,
    table,
    text,
    texts,
    variable,
)
from ci_dispatch.core.codec import replace
from ci_dispatch.core.groups import GroupSpec
from ci_dispatch.core.job_environment import HIDDEN
from ci_dispatch.core.model import MachineSpec

RUNNER_GROUP = "ci_dispatch.suites"  # the entry points of installed test runners
AUTO, COMMAND = "auto", "command"
RUNNERS = (AUTO, "playwright", "pytest", COMMAND)  # always there; AUTO: what the repository's own files say


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteConfig:
    """What is run."""

    runner: str = setting(
        AUTO,
        plugin(RUNNER_GROUP, RUNNERS),
        "The test runner: playwright, pytest, command or another installed one. auto: recognised from the "
        "repository's files.",
        flag="--runner",
    )
    workdir: str = setting(
        ".",
        text(r"[^\x00-\x1f\x7f-\x9f]+", "the path of a folder"),
        "Folder of the suite, relative to the folder of this file.",
        flag="--workdir",
    )
    title: str = setting("", text(), "Name of the suite in reports. Empty: the name of the repository's folder.")
    args: tuple[str, ...] = setting(
        (), arguments(), "Further arguments for the runner; those after -- on the command line follow them."
    )
    env: Mapping[str, str] = setting({}, table(), "Environment variables of every runner, on every machine.")
    secrets: tuple[str, ...] = setting(
        (),
        texts(r"[A-Z_][A-Z0-9_]*", "a list of names of variables (capitals, digits, _), never the secrets themselves"),
        "Variables of this environment that every runner gets on every machine; their values are hidden in outputs.",
    )
    split: Split = setting(
        Split.AUTO,
        choice(Split),
        "The smallest piece of work. auto: never smaller than the runner itself would cut.",
    )
    start_ahead: StartAhead = setting(
        StartAhead.PLUGINS,
        choice(StartAhead),
        "How far the next pytest may be loaded while one runs: off, plugins, or conftest (those of the suite's root).",
    )
    tools: tuple[str, ...] = setting((), texts(), "Programs every machine must have besides those the runner needs.")
    exclude: tuple[str, ...] = setting(
        (),
        texts(),
        "Patterns of files that no machine gets and that may change in a run, besides what git ignores.",
    )
    prepare: str = setting(
        "",
        text(),
        "Shell command that makes a copied work tree ready (npm ci); once a run on each machine that got a copy.",
    )
    list_timeout: float = setting(120.0, duration(1), "How long listing the tests may take.")
    command: str = setting(
        "", text(), 'For runner = "command": the command line, with {tests}, {shard}, {workers}, {junit}.'
    )
    list: str = setting("", text(), 'For runner = "command": the command that prints the tests, one a line.')
    junit: str = setting(
        "", text(), 'For runner = "command": the JUnit file it writes by itself, where the command line has no {junit}.'
    )
    hidden: tuple[str, ...] = tuple(HIDDEN)  # patterns of variables that no runner gets; `complete` adds the tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthConfig:
    """When a machine gets work."""

    skip: bool = setting(False, boolean(), "Ask no machine but a lost one how it is.", flag="--skip-health-checks")
    connect_timeout: float = setting(5.0, duration(0.1, 600), "From name look-up to the answer of the first command.")
    min_disk_free: float = setting(0.10, share(), "Least free space and free inodes.")
    max_memory_used: float = setting(0.95, share(), "Most memory in use; caches count as free.")
    max_load_per_core: float = setting(
        2.0, number(0.01, 1000), "Highest load average of one minute, divided by the cores."
    )
    max_clock_skew: float = setting(30.0, duration(), "Largest difference between the machine's clock and this one.")
    interval: float = setting(30.0, duration(1, DAY), "Time between checks during a run and with --watch.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryConfig:
    """What failed is tried again."""

    max_retries: int = setting(2, integer(0, 100), "How often a failed test is tried again.", flag="--max-retries")
    flaky_is_failure: bool = setting(
        False, boolean(), "A flaky test fails the run; always where the runner is told so.", flag="--flaky-is-failure"
    )
    backoff: float = setting(5.0, duration(0, 3600), "Wait before the first retry; it doubles with each.")
    max_backoff: float = setting(60.0, duration(0, 3600), "Longest wait before a retry.")
    jitter: float = setting(
        0.10, share(), "Random part of each wait, either way, so that retries do not come all at once."
    )
    max_reassignments: int = setting(
        5,
        integer(0, 100),
        "How often a test is sent to another machine after trouble with its own.",
        formerly="max_moves",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """Limits of a run on your own machines."""

    machines: tuple[str, ...] = setting((), texts(), "Use only these machines. Empty: all.", flag="--machine")
    folder: str = setting(
        ".ci-dispatch",
        text(r"[^\x00-\x1f\x7f-\x9f]+", "the path of a folder"),
        "Where runs are kept, relative to the folder of this file.",
    )
    head_share: float | None = setting(
        None,
        optional(share()),
        "Part of the work assigned at the start; machines pull the rest. Not set: as much as what is known is certain.",
    )
    lease: float = setting(
        12.0, duration(5, 3600), "After this long without contact a machine ends its tests, and counts as lost."
    )
    shard_timeout: float = setting(
        1800.0, duration(1), "Longest time for one invocation of the runner.", flag="--shard-timeout"
    )
    deadline: float = setting(6 * 3600.0, duration(1), "Longest time for the whole run.", flag="--deadline")
    give_up_after: float = setting(
        300.0, duration(0), "The run ends incomplete after this long without any usable machine."
    )
    fail_if_all_skipped: bool = setting(
        True,
        boolean(),
        "A run in which every test was skipped ends with exit code 3: nothing was tested.",
        flag="--fail-if-all-skipped",
    )
    transfer: Transfer = setting(
        Transfer.COPY,
        choice(Transfer),
        "How the work tree gets to a machine. copy: as it lies here; git: it fetches the commit from `origin`.",
    )
    sync_timeout: float = setting(300.0, duration(1), "Longest time for bringing the work tree to a machine.")
    copies: bool = setting(
        True, boolean(), "Run what still runs at the end on an idle machine too, when that is expected to end sooner."
    )
    target_time: float | None = setting(
        None,
        optional(duration(1)),
        "The cheapest machines that make this time begin; the others join when it is in danger. Not set: all begin.",
        flag="--target-time",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryConfig:
    """How much of earlier runs is kept, in history.db in the folder of `run.folder`."""

    runs: int = setting(200, integer(1, 100_000), "At most so many runs.", flag="--history-runs")
    max_age: float = setting(
        90 * DAY, duration(DAY, 3650 * DAY), "No run that began longer ago.", flag="--history-max-age"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressConfig:
    """How a run's progress is shown."""

    mode: ProgressMode = setting(
        ProgressMode.AUTO,
        choice(ProgressMode),
        "live: bars; plain: lines; json: events. auto: live on a terminal, else plain.",
        flag="--progress",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsConfig:
    """Figures for Prometheus and OpenTelemetry; every run also writes metrics.prom into its own folder."""

    file: str = setting(
        "", text(r".*\.prom|", "a file name that ends in .prom"), "A further file, for node_exporter's textfile folder."
    )
    slowest_tests: int = setting(
        0, integer(0, 1000), "Give the slowest and flakiest tests series of their own, at most this many."
    )
    otlp_endpoint: str = setting(
        "", address(), "Send spans there by OTLP over HTTP; needs ci-dispatch[otel].", from_file=()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DashboardConfig:
    """The web page of a run; needs ci-dispatch[dashboard]."""

    enabled: bool = setting(False, boolean(), "Serve it during every run.", flag="--dashboard")
    host: str = setting(
        "127.0.0.1",
        text(HOST, "a host name or an address"),
        "Address to listen on. Anything but this computer's own is reachable by others.",
        flag="--dashboard-host",
    )
    port: int = setting(0, integer(0, 65535), "Port to listen on. 0: any free one.", flag="--dashboard-port")


@dataclass(frozen=True, slots=True, kw_only=True)
class GitHubConfig:
    """Runs through GitHub Actions."""

    workflow: str = setting(
        "e2e-shard.yml",
        text(r"[^\s]+", "a file name in .github/workflows, or a workflow's id"),
        "The workflow that runs a shard.",
        flag="--workflow",
    )
    ref: str = setting(
        "",
        text(r"(?!-)[^\s~^:?*\[\\]*", "a branch or tag"),
        "Branch or tag to run it on. Empty: the one of this run, or the default branch.",
        flag="--ref",
    )
    repository: str = setting(
        "",
        text(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+|", "OWNER/NAME"),
        "Empty: GITHUB_REPOSITORY, or where git's origin points.",
        flag="--repository",
    )
    api_url: str = setting("", address(), "Empty: GITHUB_API_URL, or GitHub itself.", from_file=())
    token_env: str = setting(
        "GITHUB_TOKEN",
        variable(),
        "Variable that holds the token (contents: read, actions: write).",
        from_file=("GITHUB_TOKEN", "GH_TOKEN"),
    )
    runners_token_env: str = setting(
        "CI_RUNNERS_TOKEN",
        variable(),
        "Variable that holds a token that may list self-hosted runners; optional.",
        from_file=("CI_RUNNERS_TOKEN", "GITHUB_TOKEN", "GH_TOKEN"),
    )
    strategy: Strategy = setting(
        Strategy.MIXED,
        choice(Strategy),
        "pinned: each machine its part; pooled: GitHub's queue balances; mixed: a pinned head, a pooled tail.",
        flag="--strategy",
    )
    pool_labels: tuple[str, ...] = setting(("self-hosted",), texts(), "Labels that all runners of the pool have.")
    poll_interval: float = setting(
        15.0, duration(1, 600), "Time between two looks at a run; longer when nothing happens."
    )
    queue_timeout: float = setting(
        900.0,
        duration(1),
        "A job that no runner has taken after this long is dispatched again elsewhere.",
        flag="--queue-timeout",
    )
    deadline: float = setting(
        5.5 * 3600.0, duration(1), "Longest time for everything; a hosted orchestrator is ended after 6 h."
    )
    setup_time: float = setting(300.0, duration(0), "Check-out, set-up and upload of a job.", flag="--setup-time")
    comment: bool = setting(False, boolean(), "Keep a comment on the pull request up to date.")
    allow_forks: bool = setting(False, boolean(), "Run the code of forks.", flag="--allow-forks", from_file=())
    allow_dependabot: bool = setting(False, boolean(), "Run Dependabot's.", flag="--allow-dependabot", from_file=())


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesConfig:
    """How failures are classified."""

    file: str = setting("", text(), "A TOML file with your own rules; they come before the built-in ones.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that was decided before a run begins. Durations are seconds, percentages are parts of 1."""

    suite: SuiteConfig = field(default_factory=SuiteConfig)
    health: HealthConfig = field(default_factory=HealthConfig)
    retry: RetryConfig = field(default_factory=RetryConfig)
    run: RunConfig = field(default_factory=RunConfig)
    history: HistoryConfig = field(default_factory=HistoryConfig)
    progress: ProgressConfig = field(default_factory=ProgressConfig)
    slack: SlackConfig = field(default_factory=SlackConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    dashboard: DashboardConfig = field(default_factory=DashboardConfig)
    github: GitHubConfig = field(default_factory=GitHubConfig)
    rules: RulesConfig = field(default_factory=RulesConfig)
    machines: tuple[MachineSpec, ...] = ()
    groups: tuple[GroupSpec, ...] = ()

    @property
    def fleet(self) -> tuple[MachineSpec, ...]:
        """The machines this run may use: all, or those that were asked for."""
        return tuple(m for m in self.machines if not self.run.machines or m.name in self.run.machines)


def complete(config: Config) -> Config:
    """With all that no runner gets: the variables that hold tokens are named in other sections."""
    github, slack = config.github, config.slack
    tokens = (github.token_env, github.runners_token_env, slack.token_env, slack.webhook_env)
    return replace(config, suite=replace(config.suite, hidden=tuple(dict.fromkeys((*HIDDEN, *tokens)))))


SECTIONS = {
    f.name: cast("type[Any]", f.default_factory) for f in fields(Config) if f.name not in ("machines", "groups")
}
"""The tables of the file, by name."""

SETTINGS = tuple(setting for name, section in SECTIONS.items() for setting in settings_of(section, name))
"""Every setting outside [[machine]], [[group]] and [[slack.channel]]."""
