"""One run for each batch: what is asked after a dispatch of which nobody knows whether it arrived."""

from __future__ import annotations

from ci_dispatch.core.errors import GitHubRefused
from ci_dispatch.fleets.actions.messages import Dispatch, FindRun
from ci_dispatch.fleets.actions.rest.errors import RateLimited, Unavailable
from ci_dispatch.fleets.actions.run.batches import Batch
from ci_dispatch.fleets.actions.run.dispatching import SEARCH_SECONDS, SEND_SECONDS, DispatchState

BATCH = Batch(id="r.1.1", inputs={}, jobs=())
AWAY = Unavailable("GitHub did not answer")


class Script:
    """A dispatch whose answer was lost at 0, and what comes of the looks that follow."""

    def __init__(self) -> None:
        self.now = 0.0
        self.state = DispatchState(due=0.0)
        self.dispatches: list[float] = []
        assert isinstance(self.state.next(BATCH, 0.0), Dispatch)
        assert not self.state.failed(AWAY, 0.0)

    def until(self, moment: float, answer: GitHubRefused | None) -> bool:
        """Look and send until then; every look gets this answer and finds nothing. Whether it was given up."""
        while self.now < moment:
            self.now += 1.0
            asked = self.state.next(BATCH, self.now)
            if isinstance(asked, FindRun) and self.state.not_found(answer, self.now):
                return True
            if isinstance(asked, Dispatch):
                self.dispatches.append(self.now)
                assert not self.state.failed(AWAY, self.now)
        return False


def test_what_is_not_in_the_list_for_a_minute_is_sent_again() -> None:
    script = Script()
    assert not script.until(SEARCH_SECONDS + 5, None)
    assert len(script.dispatches) == 1
    assert script.dispatches[0] >= SEARCH_SECONDS


def test_a_list_that_cannot_be_had_sends_nothing_again() -> None:
    """The run may be there: a second one would run every test of the batch twice."""
    script = Script()
    assert not script.until(SEND_SECONDS - 1, AWAY)
    assert not script.dispatches


def test_one_look_that_came_late_enough_is_enough() -> None:
    script = Script()
    assert not script.until(3 * SEARCH_SECONDS, AWAY)
    assert not script.until(3 * SEARCH_SECONDS + 10, None)
    assert len(script.dispatches) == 1


def test_a_list_that_never_comes_ends_the_dispatch_and_says_why() -> None:
    script = Script()
    other = GitHubRefused("no list", why="the token may not read it")
    assert script.until(2 * SEND_SECONDS, other)
    assert SEND_SECONDS <= script.now < SEND_SECONDS + 10
    assert not script.dispatches
    assert script.state.reason is other


def test_a_run_that_never_appears_is_sent_a_few_times_and_given_up() -> None:
    script = Script()
    assert script.until(2 * SEND_SECONDS, None)
    assert 3 <= len(script.dispatches) <= 5
    gaps = [later - earlier for earlier, later in zip(script.dispatches, script.dispatches[1:], strict=False)]
    assert gaps == sorted(gaps)


def test_waiting_for_a_rate_limit_is_no_search() -> None:
    script = Script()
    assert isinstance(script.state.next(BATCH, 1.0), FindRun)
    assert not script.state.not_found(RateLimited("slow down", seconds=600.0, why="too many requests"), 1.0)
    script.now = 601.0
    assert not script.until(600.0 + SEARCH_SECONDS - 5, None)
    assert not script.dispatches
