"""What the user said becomes a configuration, or a list of everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from ci_dispatch.config import Loaded, ValueSource, load, resolve
from ci_dispatch.config.setting import Setting
from ci_dispatch.config.value_types import integer
from ci_dispatch.config.write import to_document
from ci_dispatch.core.errors import ConfigError, ConfigProblem, ExitCode
from ci_dispatch.core.model import Connection


def problems(
    toml: str = "", environ: Mapping[str, str] | None = None, options: Mapping[str, Any] | None = None
) -> list[ConfigProblem]:
    with pytest.raises(ConfigError) as error:
        load(toml, environ=environ, options=options)
    assert error.value.exit_code is ExitCode.USAGE
    return list(error.value.problems)


def problem(toml: str = "", environ: Mapping[str, str] | None = None, **options: Any) -> ConfigProblem:
    (only,) = problems(toml, environ, {name.replace("__", "."): value for name, value in options.items()})
    return only


class TestDefaults:
    def test_without_a_file_the_fleet_is_this_computer(self) -> None:
        (machine,) = load(cores=6).config.machines
        assert (machine.name, machine.connection, machine.cores) == ("local", Connection.LOCAL, 6)

    def test_a_file_without_machines_leaves_the_fleet_as_it_is(self) -> None:
        (machine,) = load("[retry]\nmax_retries = 0", cores=6).config.machines
        assert machine.cores == 6

    def test_the_promised_values(self) -> None:
        config = load().config
        assert (config.health.connect_timeout, config.health.min_disk_free, config.health.max_memory_used) == (
            5,
            0.1,
            0.95,
        )
        assert (config.health.max_load_per_core, config.health.interval) == (2.0, 30)
        assert (config.retry.max_retries, config.retry.backoff) == (2, 5.0)
        assert config.suite.runner == "auto"


class TestPrecedence:
    TOML = "[retry]\nmax_retries = 3\nbackoff = '1s'"
    ENVIRON: Mapping[str, str] = MappingProxyType({"CI_DISPATCH_MAX_RETRIES": "4"})

    def check(self, loaded: Loaded, value: int, source: ValueSource, where: str) -> None:
        assert loaded.config.retry.max_retries == value
        origin = loaded.origins["retry.max_retries"]
        assert (origin.source, str(origin)) == (source, where)

    def test_default(self) -> None:
        self.check(load(), 2, ValueSource.DEFAULT, "default")

    def test_the_file_beats_the_default(self) -> None:
        self.check(load(self.TOML), 3, ValueSource.FILE, "ci-dispatch.toml:2")

    def test_the_environment_beats_the_file(self) -> None:
        self.check(load(self.TOML, environ=self.ENVIRON), 4, ValueSource.ENVIRONMENT, "CI_DISPATCH_MAX_RETRIES")

    def test_the_command_line_beats_all(self) -> None:
        loaded = load(self.TOML, environ=self.ENVIRON, options={"retry.max_retries": "5"})
        self.check(loaded, 5, ValueSource.COMMAND_LINE, "--max-retries")
        assert loaded.config.retry.backoff == 1.0

    def test_an_empty_variable_counts_as_not_set(self) -> None:
        """GitHub Actions passes an input that was not given as an empty text."""
        self.check(load(self.TOML, environ={"CI_DISPATCH_MAX_RETRIES": ""}), 3, ValueSource.FILE, "ci-dispatch.toml:2")

    def test_a_bad_value_is_a_problem_even_where_a_stronger_one_hides_it(self) -> None:
        only = problem("[retry]\nmax_retries = -3", environ=self.ENVIRON)
        assert only.where == "ci-dispatch.toml:2"

    def test_a_setting_without_an_option_has_a_variable_named_by_its_section(self) -> None:
        assert load(environ={"CI_DISPATCH_RUN_LEASE": "20s"}).config.run.lease == 20


class TestProblems:
    def test_all_come_at_once_in_the_order_of_the_file(self) -> None:
        toml = '[retry]\nmax_retires = 3\nbackoff = "soon"\n[health]\ninterval = true\n[[machine]]\nname = "a b"\n'
        found = problems(toml, environ={"CI_DISPATCH_RUNNER": "cypress"})
        assert [(p.where, p.key) for p in found] == [
            ("ci-dispatch.toml:2", "retry.max_retires"),
            ("ci-dispatch.toml:3", "retry.backoff"),
            ("ci-dispatch.toml:5", "health.interval"),
            ("ci-dispatch.toml:7", "machine[1].name"),
            ("CI_DISPATCH_RUNNER", "suite.runner"),
        ]

    def test_a_misspelt_key_is_told_the_nearest(self) -> None:
        assert problem("[retry]\nmax_retires = 3").nearest == "retry.max_retries"

    def test_a_misspelt_section_is_told_the_nearest(self) -> None:
        assert problem("[suit]\nrunner = 'pytest'").nearest == "[suite]"

    def test_a_key_in_the_wrong_section_is_told_the_right_one(self) -> None:
        assert problem("max_retries = 3").nearest == "retry.max_retries"

    def test_a_misspelt_word_is_told_the_nearest(self) -> None:
        only = problem("[suite]\nrunner = 'playwrite'")
        assert only.nearest == "playwright"
        assert only.allowed == "one of auto, playwright, pytest, command"

    def test_a_message_says_where_what_was_given_and_what_is_allowed(self) -> None:
        assert str(problem("[retry]\nmax_retries = -1")) == (
            "ci-dispatch.toml:2: retry.max_retries: got the number -1, allowed: a whole number from 0 to 100"
        )

    def test_bad_toml_is_placed_by_line_and_column(self) -> None:
        only = problem("[retry]\nmax_retries 3\n")
        assert only.where == "ci-dispatch.toml:2:13"
        assert "Expected '='" in only.given

    @pytest.mark.parametrize(
        "toml",
        [
            "a = [",
            "a = " + "[" * 5000,
            "a = " + "9" * 5000,
            "[a\n",
            'a = "\x00"',
            "a = 1\na = 2",
            "= 1",
            "\ufeff\ufeff",
        ],
    )
    def test_text_that_is_not_toml_is_one_problem(self, toml: str) -> None:
        assert problem(toml).key == "not TOML"

    def test_bad_toml_does_not_hide_a_bad_variable(self) -> None:
        assert len(problems("a = [", environ={"CI_DISPATCH_MAX_RETRIES": "x"})) == 2

    @pytest.mark.parametrize(
        "toml", ["retry = 3", "[[retry]]\nmax_retries = 3", "slack = true", "machine = 3", "[machine]"]
    )
    def test_something_else_where_a_table_belongs(self, toml: str) -> None:
        assert "table" in problem(toml).allowed

    def test_a_secret_in_the_file_is_not_shown(self) -> None:
        found = problems('[slack]\ntoken = "xoxb-hush"\ntoken_env = "xoxb-hush"\nwebhook = "hush"')
        assert len(found) == 3
        assert "hush" not in " ".join(map(str, found))

    def test_an_unknown_variable_of_ours_is_a_warning(self) -> None:
        loaded = load(environ={"CI_DISPATCH_MAXRETRIES": "3", "CI_DISPATCH_DEBUG": "1", "HOME": "/home/x"})
        (warning,) = loaded.warnings
        assert "CI_DISPATCH_MAXRETRIES" in warning
        assert "CI_DISPATCH_MAX_RETRIES?" in warning


class TestFormerNames:
    """A name that has changed still works, and a warning gives the new one."""

    def test_in_the_file(self) -> None:
        loaded = load("[retry]\nmax_moves = 7")
        assert loaded.config.retry.max_reassignments == 7
        assert str(loaded.origins["retry.max_reassignments"]) == "ci-dispatch.toml:2"
        assert loaded.warnings == (
            "ci-dispatch.toml:2: retry.max_moves is now called retry.max_reassignments; the old name still works",
        )

    def test_as_a_variable(self) -> None:
        loaded = load(environ={"CI_DISPATCH_RETRY_MAX_MOVES": "7"})
        assert loaded.config.retry.max_reassignments == 7
        (warning,) = loaded.warnings
        assert "CI_DISPATCH_RETRY_MAX_MOVES is now called CI_DISPATCH_RETRY_MAX_REASSIGNMENTS" in warning

    @pytest.mark.parametrize(
        "given",
        [
            {"toml": "[retry]\nmax_reassignments = 3\nmax_moves = 7"},
            {"environ": {"CI_DISPATCH_RETRY_MAX_REASSIGNMENTS": "3", "CI_DISPATCH_RETRY_MAX_MOVES": "7"}},
        ],
    )
    def test_the_new_name_counts_where_both_are_given(self, given: dict[str, Any]) -> None:
        loaded = load(**given)
        assert loaded.config.retry.max_reassignments == 3
        (warning,) = loaded.warnings
        assert "so the old one was ignored" in warning

    def test_a_variable_with_the_old_name_is_stronger_than_a_file_with_the_new_one(self) -> None:
        loaded = load("[retry]\nmax_reassignments = 3", environ={"CI_DISPATCH_RETRY_MAX_MOVES": "7"})
        assert loaded.config.retry.max_reassignments == 7

    def test_a_bad_value_names_the_key_that_was_written(self) -> None:
        only = problem("[retry]\nmax_moves = -1")
        assert (only.where, only.key) == ("ci-dispatch.toml:2", "retry.max_moves")

    def test_what_is_written_has_the_new_name(self) -> None:
        assert to_document(load("[retry]\nmax_moves = 7").config)["retry"] == {"max_reassignments": 7}

    def test_a_flag_and_its_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        renamed = Setting(
            section="retry", name="max_retries", value_type=integer(0, 9), default=2, meaning="",
            flag="--max-retries", formerly="--retries",
        )  # fmt: skip
        monkeypatch.setattr("ci_dispatch.config.reading.SETTINGS", (renamed,))
        by_flag, by_variable = load(options={"--retries": "7"}), load(environ={"CI_DISPATCH_RETRIES": "7"})
        assert [loaded.config.retry.max_retries for loaded in (by_flag, by_variable)] == [7, 7]
        assert by_flag.warnings == ("The option --retries is now called --max-retries; the old name still works",)
        assert "CI_DISPATCH_RETRIES is now called CI_DISPATCH_MAX_RETRIES" in by_variable.warnings[0]
        assert load(options={"--retries": "7", "retry.max_retries": "3"}).config.retry.max_retries == 3


class TestMachines:
    def test_all_fields(self) -> None:
        toml = (
            '[[machine]]\nname = "moruk"\nhost = "moruk.lan"\nuser = "ci"\nport = 2222\nkey = "~/.ssh/ci"\ncores = 24\n'
            'slots = 2\nworkers = 6\nspeed = 0.8\nlabels = ["self-hosted", "moruk"]\nworkdir = "/srv/ci"\n'
            'env = { A = "b" }\n'
        )
        (machine,) = load(toml).config.machines
        assert (machine.host, machine.user, machine.port, machine.key) == ("moruk.lan", "ci", 2222, "~/.ssh/ci")
        assert (machine.cores, machine.slots, machine.workers, machine.speed) == (24, 2, 6, 0.8)
        assert (machine.labels, machine.workdir, machine.env) == (("self-hosted", "moruk"), "/srv/ci", {"A": "b"})

    def test_an_empty_list_is_no_fleet(self) -> None:
        only = problem("machine = []")
        assert (only.key, only.given) == ("machine", "none")

    def test_two_of_one_name(self) -> None:
        only = problem('[[machine]]\nname = "a"\n[[machine]]\nname = "b"\n[[machine]]\nname = "A"')
        assert only.where == "ci-dispatch.toml:5"
        assert only.allowed == "another name: machine[1] has it"

    def test_a_machine_needs_a_name(self) -> None:
        only = problem("[[machine]]\ncores = 4")
        assert only.key == "machine[1].name"

    @pytest.mark.parametrize("name", ["", "a b", "../x", "-rf", "a/b", ".", "x" * 64, "é"])
    def test_a_name_is_safe_as_a_file_name(self, name: str) -> None:
        assert problem(f'[[machine]]\nname = "{name}"').key == "machine[1].name"

    @pytest.mark.parametrize(
        "line", ['host = "-oProxyCommand=x"', 'host = "-x"', 'user = "-x"', 'host = "a b"', 'host = "a;b"']
    )
    def test_a_host_is_never_an_option_of_ssh(self, line: str) -> None:
        assert problem(f'[[machine]]\nname = "a"\n{line}').key.startswith("machine[1].")

    def test_this_computer_has_no_host(self) -> None:
        only = problem('[[machine]]\nname = "a"\nconnection = "local"\nhost = "b"')
        assert (only.where, only.key) == ("ci-dispatch.toml:4", "machine[1].host")

    def test_only_those_that_were_asked_for(self) -> None:
        toml = '[[machine]]\nname = "a"\n[[machine]]\nname = "b"'
        assert [machine.name for machine in load(toml, options={"run.machines": "b"}).config.fleet] == ["b"]
        assert [machine.name for machine in load(toml).config.fleet] == ["a", "b"]

    def test_no_such_machine(self) -> None:
        only = problem('[[machine]]\nname = "moruk"', run__machines="moruc")
        assert (only.key, only.nearest) == ("no such machine", "moruk")

    def test_no_rule_between_settings_is_checked_while_one_of_them_is_wrong(self) -> None:
        """Or a misspelt name would also be reported as a machine that does not exist."""
        assert problem('[[machine]]\nname = "mo ruk"', run__machines="moruk").key == "machine[1].name"


class TestRules:
    def test_a_command_runner_needs_its_command(self) -> None:
        assert problem('[suite]\nrunner = "command"').key == "suite.command"

    def test_a_command_is_not_silently_ignored(self) -> None:
        assert problem('[suite]\nrunner = "pytest"\ncommand = "make test"').where == "ci-dispatch.toml:3"

    def test_the_longest_wait_is_not_below_the_first(self) -> None:
        assert problem('[retry]\nbackoff = "2m"').key == "retry.max_backoff"

    def test_a_channel_needs_an_id(self) -> None:
        assert problem("[[slack.channel]]").key == "slack.channel[1].id"

    def test_channels(self) -> None:
        toml = '[[slack.channel]]\nid = "#tests"\n[[slack.channel]]\nid = "C0123456789"\nwhen = "change"\n'
        assert [channel.id for channel in load(toml).config.slack.channels] == ["#tests", "C0123456789"]


def test_a_document_of_a_configuration_gives_it_back() -> None:
    """What `resume` finds in the journal."""
    toml = (
        '[suite]\nenv = { A = "b" }\n[health]\ninterval = "1m"\n[[slack.channel]]\nid = "#a"\n[[machine]]\nname = "a"'
    )
    config = load(toml).config
    assert resolve(to_document(config)).config == config
    assert to_document(config)["health"] == {"interval": "1m"}


class TestWhatAFileMayNotSay:
    """A file may come with a repository: it says neither where tokens go, nor which variables hold them."""

    @pytest.mark.parametrize(
        ("toml", "key", "variable"),
        [
            ('[github]\napi_url = "https://evil.example"', "github.api_url", "CI_DISPATCH_GITHUB_API_URL"),
            ('[slack]\napi_url = "https://evil.example"', "slack.api_url", "CI_DISPATCH_SLACK_API_URL"),
            ('[metrics]\notlp_endpoint = "https://e"', "metrics.otlp_endpoint", "CI_DISPATCH_METRICS_OTLP_ENDPOINT"),
        ],
    )
    def test_an_address(self, toml: str, key: str, variable: str) -> None:
        found = problem(toml)
        assert (found.where, found.key) == ("ci-dispatch.toml:2", key)
        assert found.allowed == f"nothing in a file, which may come with a repository; set {variable}"
        assert "evil" not in str(found)
        section, _, name = key.partition(".")
        config = load(environ={variable: "https://proxy.example/api/"}).config
        assert getattr(getattr(config, section), name) == "https://proxy.example/api/"

    @pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "NPM_TOKEN", "AKIAIOSFODNN7EXAMPLE"])
    @pytest.mark.parametrize(
        "key", ["github.token_env", "github.runners_token_env", "slack.token_env", "slack.webhook_env"]
    )
    def test_another_variable_than_one_of_a_few(self, key: str, name: str) -> None:
        section, _, setting = key.partition(".")
        toml = f'[{section}]\n{setting} = "{name}"'
        found = problem(toml)
        assert found.key == key
        assert f"CI_DISPATCH_{section.upper()}_{setting.upper()}" in found.allowed
        assert name not in str(found), "it may be the secret itself"
        environ = {f"CI_DISPATCH_{section.upper()}_{setting.upper()}": name}
        assert getattr(getattr(load(environ=environ).config, section), setting) == name, "the user may name any"

    @pytest.mark.parametrize("name", ["GITHUB_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "SSH_AUTH_SOCK", "TEAM_TOKEN"])
    def test_that_tests_get_a_token_of_ours(self, name: str) -> None:
        toml, environ = f'[suite]\nsecrets = ["KEY", "{name}"]', {"CI_DISPATCH_GITHUB_TOKEN_ENV": "TEAM_TOKEN"}
        found = problem(toml, environ=environ)
        assert (found.where, found.key, found.given) == ("ci-dispatch.toml:2", "suite.secrets", f'"{name}"')
        assert found.allowed.endswith("set CI_DISPATCH_SUITE_SECRETS")
        given = load(toml, environ={**environ, "CI_DISPATCH_SUITE_SECRETS": f"{name}, KEY"}).config.suite
        assert given.secrets == (name, "KEY"), "the user may"
        assert load('[suite]\nsecrets = ["KEY"]').config.suite.secrets == ("KEY",)

    @pytest.mark.parametrize("value", ["hunter2", "tr0ub4dor&3", "a b"])
    def test_a_secret_instead_of_its_name(self, value: str) -> None:
        assert value not in str(problem(f'[suite]\nsecrets = ["{value}"]'))
        assert value not in str(problem(environ={"CI_DISPATCH_SUITE_SECRETS": value}))

    def test_the_names_of_the_list(self) -> None:
        toml = '[github]\ntoken_env = "GH_TOKEN"\n[slack]\ntoken_env = "SLACK_TOKEN"\nwebhook_env = "SLACK_WEBHOOK"'
        config = load(toml).config
        assert (config.github.token_env, config.slack.token_env) == ("GH_TOKEN", "SLACK_TOKEN")
        assert config.slack.webhook_env == "SLACK_WEBHOOK"

    @pytest.mark.parametrize(
        "address",
        ["http://slack.example/api/", "ftp://x", "slack.com", "https://", "https:///x", "http://127.0.0.1@evil.example/",
         "http://localhost.evil.example/", "https://user:pass@x/", "https://a\\@b/", "http://127.0.0.1:80@evil/",
         "http://[::1].evil/", "https://x y/"],
    )  # fmt: skip
    def test_only_https_and_this_computer(self, address: str) -> None:
        for name in ("GITHUB_API_URL", "SLACK_API_URL", "METRICS_OTLP_ENDPOINT"):
            assert "https://" in problem(environ={f"CI_DISPATCH_{name}": address}).allowed

    @pytest.mark.parametrize(
        "address",
        ["https://slack.com/api/", "https://[2001:db8::1]:8443/x?y", "http://localhost:4318", "http://127.0.0.1/api/",
         "http://[::1]:80"],
    )  # fmt: skip
    def test_addresses_that_are_taken(self, address: str) -> None:
        assert load(environ={"CI_DISPATCH_SLACK_API_URL": address}).config.slack.api_url == address
