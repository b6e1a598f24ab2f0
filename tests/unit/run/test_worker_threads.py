"""Whatever happens to a piece of work, exactly one message tells its end."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from ci_dispatch.core.errors import ControllerError
from ci_dispatch.core.events import MachineChecked
from ci_dispatch.core.model import MachineName
from ci_dispatch.run import messages as m
from ci_dispatch.run.checks import CheckExecutor
from ci_dispatch.run.worker_threads import WorkerThreads
from tests.simulation import VirtualClock

A = MachineName("a")


class Posted:
    def __init__(self) -> None:
        self.messages: list[m.Message] = []
        self.threads = WorkerThreads(self.messages.append, VirtualClock())

    def after_all(self) -> list[m.Message]:
        assert self.threads.wait(10.0)
        return [message for message in self.messages if not isinstance(message, m.Noticed)]


def fails(error: BaseException) -> m.Message:
    raise error


@pytest.mark.parametrize("error", [OSError(2, "no such file"), KeyError("x"), SystemExit(3)])
def test_work_that_dies_ends_in_its_one_message(error: BaseException) -> None:
    posted = Posted()
    posted.threads.start("work", lambda: fails(error), lambda cause: m.Noticed("failed", repr(cause)))
    posted.after_all()
    notices = [(message.source, message.text) for message in posted.messages if isinstance(message, m.Noticed)]
    assert notices[-1] == ("failed", repr(error))
    assert notices[0][0] == "ci-dispatch"
    assert "internal error in work" in notices[0][1]
    assert len(notices) == 2


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), MemoryError(), ControllerError("no disk")])
def test_work_that_this_computer_is_in_the_way_of_says_that_in_its_one_message(error: BaseException) -> None:
    posted = Posted()
    posted.threads.start("work", lambda: fails(error), lambda _cause: m.Tick())
    posted.threads.enqueue("queue", lambda: fails(error), lambda _cause: m.Tick())
    posted.after_all()
    assert [type(message) for message in posted.messages] == [m.ControllerFailed] * 2


def second_fails(number: int) -> m.Message:
    return fails(OSError("gone")) if number == 1 else m.Signalled(number)


def test_work_in_a_queue_is_done_in_order_and_goes_on_after_a_failure() -> None:
    posted = Posted()
    for number in range(3):
        posted.threads.enqueue("queue", partial(second_fails, number), lambda _error: m.Tick())
    assert posted.after_all() == [m.Signalled(0), m.Tick(), m.Signalled(2)]


def test_a_system_without_another_thread_says_so_in_the_same_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuses)
    posted = Posted()
    posted.threads.start("work", m.Tick, lambda _error: m.Signalled(1))
    for _ in range(2):
        posted.threads.enqueue("queue", m.Tick, lambda _error: m.Signalled(2))
    assert [type(message) for message in posted.messages] == [m.ControllerFailed] * 3


def test_a_health_check_that_dies_is_an_answer() -> None:
    posted = Posted()

    def check(_name: MachineName, _busy: bool) -> MachineChecked:
        raise KeyError("a defect of ours")

    CheckExecutor(check, posted.threads).carry_out(m.CheckMachine(A))
    [answer] = posted.after_all()
    assert isinstance(answer, m.Checked)
    assert (answer.event.machine, answer.event.healthy, answer.event.reachable) == (A, False, False)
    assert "a defect of ours" in answer.event.problems[0]


def test_a_check_knows_whether_our_own_work_may_load_the_machine() -> None:
    posted, asked = Posted(), []

    def check(name: MachineName, busy: bool) -> MachineChecked:
        asked.append((name, busy))
        return MachineChecked(machine=name, healthy=True, reachable=True)

    executor = CheckExecutor(check, posted.threads)
    for busy in (False, True):
        executor.carry_out(m.CheckMachine(A, busy=busy))
        posted.threads.wait(10.0)
    assert asked == [(A, False), (A, True)]
