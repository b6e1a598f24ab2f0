"""Foreign text in what only ci-dispatch writes: Slack's markup and Prometheus' labels."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from ci_dispatch.reporters.metrics.figures import prometheus_label
from ci_dispatch.reporters.slack.blocks import mrkdwn
from report_merge.sanitize import printable

foreign = st.lists(
    st.text(max_size=8) | st.sampled_from(["<!channel>", "<@U1>", "&lt;", '"', "\\", "\n", "}", "\x1b[31m", "# HELP"]),
    max_size=6,
).map("".join)


@given(foreign)
def test_slack_gets_no_mention_and_no_link(text: str) -> None:
    assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", mrkdwn(text))


@given(foreign)
def test_a_prometheus_label_stays_between_its_quotes(text: str) -> None:
    line = f'a_total{{name="{prometheus_label(text)}"}} 1\n'
    (family,) = text_string_to_metric_families(line)
    assert family.samples[0].labels == {"name": printable(text)}


@pytest.mark.parametrize("piece", ["<", "&", '"', "\n", "\x1b["])
def test_a_quarter_of_a_megabyte_of_anything_is_escaped_in_linear_time(piece: str) -> None:
    """No clock here: what is not linear would take minutes and meet the time limit of every test."""
    text = piece * (256 * 1024 // len(piece))
    mrkdwn(text)
    prometheus_label(text)
