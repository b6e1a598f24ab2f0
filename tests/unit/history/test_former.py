"""What version 0.1 kept is read as rows, and anything else is refused."""

from __future__ import annotations

import json

import pytest

from ci_dispatch.core import codec
from ci_dispatch.core.model import Verdict
from ci_dispatch.history import former
from ci_dispatch.reporters.slack.transitions import LastNotified, MessagePlace, SlackMemory, key


def test_durations_come_over_as_passes_of_a_run_without_verdicts() -> None:
    data = json.dumps({"version": 1, "samples": {"b": [1.0, 2.5], "名 \udc80": [0.001]}}).encode()
    record = former.durations(data, 7.0)
    assert record.run.at == 7.0
    assert [test.id for test in record.tests] == ["b", "名 \udc80"]
    assert {test.verdict for test in record.tests} == {Verdict.NOT_RUN}
    assert [(one.seconds, one.verdict) for one in record.tests[0].attempts] == [
        (1.0, Verdict.PASSED), (2.5, Verdict.PASSED),
    ]  # fmt: skip


def test_notifications_come_over_where_the_reporter_looks_for_them() -> None:
    last = LastNotified(bad=True, since=1.5, place=MessagePlace(channel="C1", ts="1.2"), text="t")
    place = MessagePlace(channel="C1", ts="3.4")
    name = key("C1", "o/r", "shop", "main")
    told = {name: codec.to_data(last)}
    data = json.dumps({"v": 1, "told": told, "unfinished": {"run C1": codec.to_data(place)}}).encode()
    memory = SlackMemory({one.key: one.value for one in former.notifications(data, 7.0)})
    assert memory.last(name) == last
    assert memory.place("run", "C1") == place


STRANGE = [b"", b"{", b"7", b"[]", b"{}", b"\x00\xff", b"[" * 100_000]
SAMPLES = ["7", "null", "[[]]", "[NaN]", "[Infinity]", "[-1]", '["x"]']


@pytest.mark.parametrize(
    "data",
    [*STRANGE, b'{"version": 99, "samples": {}}', b'{"version": 1}',
     b'{"version": 1, "samples": 7}',
     *(f'{{"version": 1, "samples": {{"a": {samples}}}}}'.encode() for samples in SAMPLES)],
)  # fmt: skip
def test_strange_durations_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (json's own error is one too)
        former.durations(data, 0.0)


@pytest.mark.parametrize(
    "data", [*STRANGE, b'{"v": 2, "told": {}, "unfinished": {}}', b'{"v": 1, "told": [], "unfinished": {}}']
)
def test_strange_notifications_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        former.notifications(data, 0.0)
