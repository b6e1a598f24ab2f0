"""A journal has names of variables and never their values; whoever goes on with a run says them again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ci_dispatch.config import load
from ci_dispatch.config.kept import from_journal, public, to_journal
from ci_dispatch.config.sections import Config
from ci_dispatch.core.errors import ConfigError

TOML = """
[suite]
env = { API_KEY = "hush-1", MODE = "fast" }
[run]
lease = "9s"
[[machine]]
name = "moruk"
env = { PATH = "/hush-2" }
[[machine]]
name = "pi"
"""
ENVIRON = {"CI_DISPATCH_SLACK_API_URL": "https://proxy-3.example/", "CI_DISPATCH_GITHUB_TOKEN_ENV": "TEAM_TOKEN_4"}
CONFIG = load(TOML, environ=ENVIRON).config


def kept(config: Config = CONFIG) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(to_journal(config)))
    return document


def test_no_value_and_no_address_is_in_a_journal() -> None:
    text = json.dumps(kept())
    for secret in ("hush", "proxy-3", "TEAM_TOKEN_4", "fast"):
        assert secret not in text
    assert kept()["suite"]["env"] == ["API_KEY", "MODE"]
    assert kept()["machine"][0]["env"] == ["PATH"]
    assert public(CONFIG.machines[0]).env == {}


def test_with_the_same_configuration_it_goes_on_with_the_same_values() -> None:
    assert from_journal(kept(), CONFIG) == (CONFIG, ())


def test_what_cannot_be_had_again_is_said() -> None:
    today = load(TOML.replace('API_KEY = "hush-1", ', "").replace("fast", "slow")).config
    config, notes = from_journal(kept(), today)
    assert config.suite.env == {"MODE": "slow"}
    assert notes == ("suite: today's `env` has no API_KEY, which the run began with: it goes on without",)
    config, notes = from_journal(kept(), load('[[machine]]\nname = "moruk"\nenv = { NEW = "x" }').config)
    assert config.machines[0].env == {}
    assert notes == (
        "suite: today's `env` has no API_KEY, MODE, which the run began with: it goes on without",
        "machine moruk: today's `env` has no PATH, which the run began with: it goes on without",
        "machine moruk: the run began without NEW of today's `env`, and goes on without",
    )


def test_a_variable_that_is_new_in_a_suite_without_any_is_said_too() -> None:
    config, notes = from_journal(kept(load("").config), CONFIG)
    assert config.suite.env == {}
    assert notes == ("suite: the run began without API_KEY, MODE of today's `env`, and goes on without",)


def test_addresses_and_names_of_tokens_are_those_of_who_goes_on() -> None:
    """A journal may come with a repository: it has no more to say than one."""
    evil = kept() | {"slack": {"api_url": "https://evil.example/", "token_env": "AWS_SECRET", "interval": "7s"}}
    evil["github"] = {"api_url": "https://evil.example/", "token_env": "AWS_SECRET", "workflow": "w.yml"}
    evil["metrics"] = {"otlp_endpoint": "https://evil.example/"}
    config, _ = from_journal(evil, CONFIG)
    assert config.slack.api_url == "https://proxy-3.example/"
    assert (config.slack.token_env, config.slack.interval) == ("SLACK_BOT_TOKEN", 7.0)
    assert (config.github.api_url, config.github.token_env, config.github.workflow) == ("", "TEAM_TOKEN_4", "w.yml")
    assert config.metrics.otlp_endpoint == ""


def test_a_journal_of_version_0_1_has_the_values_themselves() -> None:
    old = kept()
    old["suite"]["env"] = {"API_KEY": "then"}
    config, notes = from_journal(old, CONFIG)
    assert (config.suite.env, notes) == ({"API_KEY": "then"}, ())


@pytest.mark.parametrize("wrong", [{"suite": 1}, {"suite": {"env": [1, None]}}, {"machine": 3}, {"machine": [3]}, {}])
def test_a_journal_that_makes_no_sense_is_refused_or_means_nothing(wrong: dict[str, Any]) -> None:
    try:
        config, _ = from_journal(wrong, CONFIG)
    except ConfigError:
        return
    assert config.suite.env == {}


def test_secrets_are_kept_by_name_and_given_only_while_today_s_configuration_gives_them() -> None:
    """A journal may come from others: it does not decide what is given away."""
    began = load('[suite]\nsecrets = ["KEY", "OTHER"]').config
    assert kept(began)["suite"] == {"secrets": ["KEY", "OTHER"]}
    assert from_journal(kept(began), began) == (began, ())
    config, notes = from_journal(kept(began), load('[suite]\nsecrets = ["KEY", "NEW"]').config)
    assert config.suite.secrets == ("KEY",)
    assert notes == ("suite: today's `secrets` have no OTHER, which the run began with: it goes on without",)
    for hostile in ({"suite": {"secrets": "KEY"}}, {"suite": {"secrets": ["PATH", 1, {}]}}):
        assert from_journal({**kept(began), **hostile}, began)[0].suite.secrets == ()


def test_a_run_that_goes_on_hides_the_variables_that_hold_tokens_today() -> None:
    today = load("", environ={"CI_DISPATCH_GITHUB_TOKEN_ENV": "TEAM_TOKEN_5"}).config
    assert "TEAM_TOKEN_5" in from_journal(kept(), today)[0].suite.hidden
