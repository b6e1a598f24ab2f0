"""No secret gets through, however the stream is cut and whatever a report makes of it."""

from __future__ import annotations

import json
from itertools import pairwise
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_dispatch.core.masking import MASK, SecretMask, secret_lines

KEY = "pa\"ss & <wörd>/'x"


def shown(mask: SecretMask, pieces: list[bytes]) -> bytes:
    stream = mask.stream()
    return b"".join([*map(stream.feed, pieces), stream.end()])


@given(
    secrets=st.lists(st.text("ab", min_size=4, max_size=7), min_size=1, max_size=4),
    text=st.text("abc", max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=8),
)
def test_a_stream_cut_anywhere_shows_what_the_whole_would(secrets: list[str], text: str, cuts: list[int]) -> None:
    mask, data = SecretMask(secrets), text.encode()
    places = [0, *sorted(cuts), len(data)]
    pieces = [data[begin:end] for begin, end in pairwise(places)]
    assert shown(mask, pieces) == mask.data(data)
    assert not any(secret.encode() in mask.data(data) for secret in secrets)


def test_a_secret_byte_by_byte() -> None:
    mask = SecretMask(["hunter2-hunter2"])
    assert shown(mask, [b"%c" % byte for byte in b"a hunter2-hunter2 hunter2-hunt"]) == b"a *** hunter2-hunt"


def test_what_cannot_become_a_secret_is_shown_at_once() -> None:
    stream = SecretMask(["secret-value"]).stream()
    assert stream.feed(b"line\n") == b"line\n"
    assert stream.feed(b"a secre") == b"a "
    assert stream.feed(b"tary\nsecret-") == b"secretary\n"
    assert stream.feed(b"value") == MASK


@pytest.mark.parametrize(
    "written",
    [
        KEY,
        json.dumps(KEY),
        json.dumps(KEY, ensure_ascii=False),
        repr(KEY),
        escape(KEY),
        quoteattr(KEY),
        escape(KEY, {'"': "&quot;", "'": "&apos;"}),
        escape(KEY, {'"': "&#34;", "'": "&#39;"}),
        quote(KEY),
        quote(KEY, safe=""),
    ],
)
def test_the_forms_that_reports_write_it_in(written: str) -> None:
    masked = SecretMask([KEY]).text(f"<{written}>")
    assert "***" in masked
    assert "ss" not in masked


def test_each_line_of_a_value_of_several_lines() -> None:
    mask = SecretMask(["-----BEGIN KEY-----\r\n  AbCdEf  \n}\nGhIjKl\n"])
    assert mask.text("got AbCdEf and GhIjKl, {}") == "got *** and ***, {}"
    assert secret_lines("a\nabc\n\n abcd \n") == ["abcd"]


def test_the_longer_of_two_that_begin_alike_is_hidden_whole() -> None:
    mask = SecretMask(["pass", "password"])
    assert shown(mask, [b"pass", b"word pass", b"ing"]) == b"*** ***ing"


def test_without_secrets_nothing_changes() -> None:
    mask = SecretMask()
    assert not mask
    assert shown(mask, [b"***", b"\x00\xff", b""]) == b"***\x00\xff"
