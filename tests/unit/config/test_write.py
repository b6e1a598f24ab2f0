"""What is derived from the declarations: nothing that is written down twice can drift apart."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from pathlib import Path

import jsonschema
import pytest

import ci_dispatch.config
from ci_dispatch.config import load
from ci_dispatch.config.groups import GroupConfig
from ci_dispatch.config.machine_section import MachineConfig
from ci_dispatch.config.reading import NOT_SETTINGS, OTHER_VARIABLES
from ci_dispatch.config.sections import SECTIONS, SETTINGS, RetryConfig
from ci_dispatch.config.setting import Setting, settings_of
from ci_dispatch.config.slack import SlackChannel
from ci_dispatch.config.write import json_schema, literal, reference, sample
from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import ConfigError
from ci_dispatch.core.groups import GroupSpec
from ci_dispatch.core.model import MachineSpec
from ci_dispatch.run.retry import RetryPolicy

ALL = (*SETTINGS, *settings_of(MachineConfig), *settings_of(SlackChannel), *settings_of(GroupConfig))
DOCS = Path(__file__).parents[3] / "docs" / "configuration.md"
SHIPPED = Path(ci_dispatch.config.__file__).with_name("schema.json")
BEGIN, END = "<!-- settings: written by pytest --update-golden -->\n", "<!-- end of settings -->"


def test_options_and_variables_name_one_setting_each() -> None:
    variables = [setting.variable for setting in SETTINGS if setting.variable]
    variables += [setting.former_variable for setting in SETTINGS if setting.former_variable]
    flags = [flag for setting in SETTINGS for flag in (setting.flag, setting.former_flag) if flag]
    assert len(set(variables)) == len(variables)
    assert len(set(flags)) == len(flags)


@pytest.mark.parametrize("setting", ALL, ids=lambda setting: setting.path)
def test_every_setting_explains_itself_and_allows_its_default(setting: Setting) -> None:
    assert setting.meaning.endswith(".")
    if setting.default is not None and setting.name not in ("name", "id"):
        assert setting.value_type.read(setting.written_default) == setting.default


def test_a_machine_of_the_file_has_the_fields_of_a_machine_and_their_defaults() -> None:
    declared = {setting.name: setting.default for setting in settings_of(MachineConfig)}
    spec = MachineSpec(name="")  # type: ignore[arg-type]  # a file has texts
    assert declared == {name: getattr(spec, name) for name in MachineSpec.__annotations__}


def test_a_group_of_the_file_has_the_fields_of_a_group_and_their_defaults() -> None:
    declared = {setting.name: setting.default for setting in settings_of(GroupConfig)}
    assert declared == {name: getattr(GroupSpec(), name) for name in GroupSpec.__annotations__}


def test_the_defaults_of_the_retry_policy_are_those_of_the_file() -> None:
    of_the_whole_run = {"flaky_is_failure": False}
    assert dataclasses.asdict(RetryConfig()) == dataclasses.asdict(RetryPolicy()) | of_the_whole_run


class TestSample:
    def test_it_says_what_counts_anyway(self) -> None:
        assert load(sample()).config == load('[[machine]]\nname = "local"\nconnection = "local"').config

    def test_what_was_recognised_is_not_a_comment(self) -> None:
        suite = load(sample("pytest", "e2e")).config.suite
        assert (suite.runner, suite.workdir) == ("pytest", "e2e")

    def test_every_commented_line_is_a_default_that_can_be_taken(self) -> None:
        """Taking every # away gives all settings with their defaults, one more machine, a group and a channel."""
        lines = [re.sub(r"^#(?=[a-z\[])", "", line) for line in sample().split("\n")]
        document = tomllib.loads("\n".join(line for line in lines if not line.endswith(" =")))
        for name, section in SECTIONS.items():
            told = {key: value for key, value in document[name].items() if key != "channel"}
            settings = [one for one in settings_of(section, name) if one.default is not None and one.from_file != ()]
            assert told == {setting.name: setting.written_default for setting in settings}
        config = load("\n".join(line for line in lines if not line.endswith(" ="))).config
        assert [machine.name for machine in config.machines] == ["local", "moruk"]
        assert config.groups == (GroupSpec(name="database"),)
        assert [channel.id for channel in config.slack.channels] == ["#tests"]
        assert replace(config.slack, channels=()) == SECTIONS["slack"]()

    def test_it_fits_a_screen_in_width(self) -> None:
        assert max(map(len, sample().split("\n"))) <= 120


class TestSchema:
    def test_it_is_a_schema(self) -> None:
        jsonschema.Draft7Validator.check_schema(json_schema())

    def test_it_accepts_the_sample(self) -> None:
        jsonschema.Draft7Validator(json_schema()).validate(tomllib.loads(sample("playwright", "e2e")))

    @pytest.mark.parametrize(
        "toml",
        ["a = 1", "[retry]\nmax_retries = -1", "[retry]\nmax_retries = '3'", "[health]\nmin_disk_free = 10",
         "[health]\ninterval = 'soon'", "machine = []", "[[machine]]\ncores = 1",
         "group = []", "[[group]]\nneeds = ['gpu']", "[[group]]\nname = 'a'\ntogether = 'yes'",
         "[suite]\nrunner = 'x'", "[suite]\nrunne = 'x'"],
    )  # fmt: skip
    def test_it_refuses_what_the_parser_refuses(self, toml: str) -> None:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft7Validator(json_schema()).validate(tomllib.loads(toml))

    def test_it_accepts_former_names(self) -> None:
        schema = jsonschema.Draft7Validator(json_schema())
        schema.validate({"retry": {"max_moves": 3}})
        with pytest.raises(jsonschema.ValidationError):
            schema.validate({"retry": {"max_moves": "three"}})

    def test_the_shipped_file_is_the_schema(self, request: pytest.FixtureRequest) -> None:
        text = json.dumps(json_schema(), indent=2) + "\n"
        if request.config.getoption("--update-golden"):
            SHIPPED.write_text(text, encoding="utf-8")
        assert SHIPPED.read_text(encoding="utf-8") == text, "run pytest --update-golden"


def test_the_documentation_has_every_setting(request: pytest.FixtureRequest) -> None:
    text = DOCS.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    expected = f"{before}{BEGIN}\n{reference()}\n{END}{after}"
    if request.config.getoption("--update-golden"):
        DOCS.write_text(expected, encoding="utf-8")
        text = expected
    assert text == expected, "run pytest --update-golden"


def test_the_documented_message_is_the_one_that_is_given() -> None:
    with pytest.raises(ConfigError) as refused:
        load('[suite]\nrunner = "playwrite"\n\n\n[retry]\nmax_retires = 3\n')
    given = [f"    {line}" for line in f"error: {refused.value}".splitlines()]
    assert "\n".join(given) in DOCS.read_text(encoding="utf-8")


def test_every_variable_that_the_code_knows_is_known_here() -> None:
    """Or setting it would be answered with a warning."""
    package = Path(ci_dispatch.config.__file__).parents[1]
    sources = [path for path in package.rglob("*") if path.suffix in (".py", ".cjs", ".js", ".ts")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    found = set(re.findall(r"(?<!_)CI_DISPATCH_[A-Z][A-Z_]*[A-Z]", text))
    assert found <= NOT_SETTINGS | {setting.variable for setting in SETTINGS}
    documented = DOCS.read_text(encoding="utf-8")
    assert [name for name, meaning in OTHER_VARIABLES.items() if f"- `{name}` {meaning}" not in documented] == []


def test_values_are_written_as_toml() -> None:
    for value in (True, 3, 2.5, 'a "b" \\ é 😀', ["a", "b"], {"A": "b", "x y": "z"}, [], {}):
        assert tomllib.loads(f"a = {literal(value)}")["a"] == value
