"""The frames of a supervisor's stream, read without a machine."""

from __future__ import annotations

import pytest

from ci_dispatch.machines.supervisor_client import GREETING, Frame, FrameReader, ProtocolError

STREAM = b"Welcome\n\n@ci-dispatch n0 need\n\n@ci-dispatch n0\nb 0 0\no 5 6\nabc\ndel 0 0\nr 0 2\n{}"
FRAMES = [
    Frame(GREETING, b"need"),
    Frame(GREETING, b""),
    Frame(b"b"),
    Frame(b"o", b"abc\nde", 5),
    Frame(b"l"),
    Frame(b"r", b"{}"),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_frames_come_out_whole_however_the_bytes_come_in(size: int) -> None:
    reader = FrameReader("n0")
    pieces = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
    assert [frame for piece in pieces for frame in reader.feed(piece)] == FRAMES


def test_another_conversation_is_not_ours() -> None:
    reader = FrameReader("n0")
    assert reader.feed(b"@ci-dispatch n1\nb 0 0\n") == []
    assert reader.noise == "@ci-dispatch n1\nb 0 0"


@pytest.mark.parametrize("bad", [b"x" * 100, b"o 1\n", b"o -1 5\n", b"o 0 9999999\n", b"O 0 1\na", b"\n"])
def test_what_is_no_frame_is_refused(bad: bytes) -> None:
    reader = FrameReader("n0")
    with pytest.raises(ProtocolError):
        reader.feed(b"@ci-dispatch n0\n" + bad)


def test_endless_text_instead_of_a_greeting_is_refused() -> None:
    reader = FrameReader("n0")
    for _ in range(30):
        assert reader.feed(b"y\n" * 4096) == []
    with pytest.raises(ProtocolError):
        reader.feed(b"y\n" * 10 * 4096)
