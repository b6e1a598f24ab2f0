"""Whatever a command prints, no line of it is a workflow command, and JSON means what it meant."""

from __future__ import annotations

import json

import pytest

from ci_dispatch.app.say import say, say_json

HOSTILE = "##[error]a\r::add-mask::b\n  ::error::c"


def test_what_is_said_is_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    say(HOSTILE)
    say(HOSTILE, err=True)
    for shown in capsys.readouterr():
        assert "##[" not in shown
        assert not any(line.strip().startswith("::") for line in shown.replace("\r", "\n").split("\n"))


def test_json_means_what_it_meant(capsys: pytest.CaptureFixture[str]) -> None:
    say_json({HOSTILE: [HOSTILE]})
    shown = capsys.readouterr().out
    assert json.loads(shown) == {HOSTILE: [HOSTILE]}
    assert "##[" not in shown
