"""The public tracker: the seed's five calls, honest numbers, errors that teach. No thread is needed to check them."""

from __future__ import annotations

import io

import pytest

import ci_dispatch
from ci_dispatch import ProgressTracker


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at


def tracker(**kind: str) -> tuple[ProgressTracker, io.StringIO, Clock]:
    stream, clock = io.StringIO(), Clock()
    return (
        ProgressTracker(["local", "moruk"], 4, progress=kind.get("progress", "plain"), stream=stream, clock=clock),
        stream,
        clock,
    )


def test_the_seed_s_example() -> None:
    track, stream, clock = tracker()
    track.start()
    track.init_machine("local", [1, 2])
    track.init_machine("moruk", [3, 4])
    track.update_shard("local", 2, "running")
    clock.at += 65
    track.update_shard("local", 1, "passed")
    track.update_shard("local", 2, "failed", "boom")
    track.update_shard("moruk", 3, "skipped")
    stats = track.stats()
    assert (stats.total, stats.completed, stats.passed, stats.failed, stats.skipped) == (4, 3, 1, 1, 1)
    assert (stats.percent, stats.elapsed, stats.machines) == (75, 65.0, {"local": (2, 2), "moruk": (1, 2)})
    track.update_shard("moruk", "4", "passed")
    track.stop()
    lines = stream.getvalue().splitlines()
    assert lines[-1] == (
        "ci-dispatch: FAILED 4 shards: 2 passed, 1 failed, 0 flaky, 1 skipped, 0 not run; 2 machines; 1m05s"
    )
    assert "FAIL local  shard 2  65.0s  boom" in stream.getvalue()


def test_a_shard_that_passes_after_a_retry_elsewhere_is_flaky() -> None:
    track, _, _ = tracker()
    with track:
        track.init_machine("local", [1])
        track.update_shard("local", 1, "retrying")
        track.update_shard("moruk", 1, "running")
        track.update_shard("moruk", 1, "passed")
        track.update_shard("moruk", 1, "passed")  # the same word again
        assert (track.stats().flaky, track.stats().passed) == (1, 0)
    assert track.stats().machines == {"local": (1, 1), "moruk": (1, 1)}


def test_a_shard_another_machine_takes_over_is_counted_once() -> None:
    track, _, _ = tracker()
    with track:
        track.init_machine("local", [1, 2])
        track.update_shard("moruk", 2, "passed")
        assert track.stats().machines == {"local": (0, 1), "moruk": (1, 1)}
        assert track.stats().completed == 1


def test_shards_without_a_word_make_it_incomplete() -> None:
    track, stream, _ = tracker()
    with track:
        track.update_shard("local", 1, "passed")
    assert "ci-dispatch: INCOMPLETE 4 shards: 1 passed, 0 failed, 0 flaky, 0 skipped, 3 not run" in stream.getvalue()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda t: t.update_shard("nobody", 1, "passed"), "no machine is called 'nobody'; known: local, moruk"),
        (lambda t: t.update_shard("local", 9, "passed"), "there is no shard 9: they are numbered 1 to 4"),
        (lambda t: t.update_shard("local", 1, "done"), "'done' is not a status of a shard; known: running, retrying"),
        (lambda t: t.init_machine("local", [1, 2, 1, 7]), "there is no shard 7"),
        (lambda t: [t.init_machine("local", [1]), t.init_machine("moruk", [1])], "shard 1 has been given to a machine"),
        (lambda t: [t.update_shard("local", 1, "failed"), t.update_shard("local", 1, "passed")], "comes too late"),
        (lambda t: t.start(), "the tracker was started before"),
    ],
)
def test_wrong_calls_say_what_is_wrong(call: object, words: str) -> None:
    track, _, _ = tracker()
    with track, pytest.raises(ValueError, match=words):
        call(track)  # type: ignore[operator]


def test_before_the_start_and_after_the_stop_nothing_can_be_told() -> None:
    track, stream, _ = tracker()
    with pytest.raises(ValueError, match="call start"):
        track.update_shard("local", 1, "passed")
    track.stop()
    assert stream.getvalue() == ""
    with track:
        pass
    with pytest.raises(ValueError, match="call start"):
        track.update_shard("local", 1, "passed")
    track.stop()
    with pytest.raises(ValueError, match="at least one of each"):
        ProgressTracker([], 4)


def test_the_package_has_no_other_lazy_names() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = ci_dispatch.no_such_name
