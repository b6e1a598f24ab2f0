"""Health checks during a run: when each machine is due, how long an answer may take, and the thread that asks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from ci_dispatch.core.events import MachineChecked
from ci_dispatch.core.model import MachineName
from ci_dispatch.run.messages import Checked, CheckMachine, Command
from ci_dispatch.run.worker_threads import WorkerThreads


class CheckSchedule:
    """The clocks of all health checks; seconds. Pure.

    A machine is asked by one check at a time. A check without an answer within `deadline` counts as "not reachable",
    so that nobody waits for it; the machine is asked again when that check has ended.
    """

    def __init__(self, machines: Iterable[MachineName], first: float, *, deadline: float, await_first: bool) -> None:
        """`first` is when every machine is due; `await_first`: nothing is handed out before all have answered once."""
        self._due = dict.fromkeys(machines, first)
        self._deadline = deadline
        self._asked: dict[MachineName, float] = {}  # no answer yet
        self._overdue: set[MachineName] = set()
        self._awaited: set[MachineName] = set(self._due) if await_first else set()

    @property
    def awaiting(self) -> bool:
        """Whether a first answer is still to come."""
        return bool(self._awaited)

    def take_due(self, now: float) -> list[MachineName]:
        """The machines to ask now; they count as asked."""
        due = [name for name, at in self._due.items() if at <= now and name not in self._asked]
        self._asked.update(dict.fromkeys(due, now))
        return due

    def take_overdue(self, now: float) -> list[MachineName]:
        """Machines whose check has had no answer for too long; each is named once for each check."""
        late = [n for n, asked in self._asked.items() if now - asked >= self._deadline and n not in self._overdue]
        self._overdue.update(late)
        self._awaited.difference_update(late)
        return late

    def answered(self, machine: MachineName, next_due: float) -> None:
        self._asked.pop(machine, None)
        self._overdue.discard(machine)
        self._awaited.discard(machine)
        self._due[machine] = next_due

    def ask_again(self, machines: Collection[MachineName], due: float) -> None:
        """Their answers decide whether anything is handed out, once more."""
        self._due.update(dict.fromkeys(machines, due))
        self._awaited.update(machines)

    def sooner(self, machine: MachineName, due: float) -> None:
        """It matters now how this machine is."""
        if machine in self._due:
            self._due[machine] = min(due, self._due[machine])


def unreachable(machine: MachineName, why: str) -> MachineChecked:
    """A health check that came to nothing."""
    return MachineChecked(machine=machine, healthy=False, reachable=False, text=f"[{machine}] {why}", problems=(why,))


class CheckExecutor:
    """Carries out `CheckMachine`, each in a thread of its own."""

    takes: tuple[type[Command], ...] = (CheckMachine,)

    def __init__(self, check: Callable[[MachineName, bool], MachineChecked], threads: WorkerThreads) -> None:
        """`check(machine, busy)` blocks and ends by its own deadline."""
        self._check, self._threads = check, threads

    def carry_out(self, command: Command) -> None:
        assert isinstance(command, CheckMachine)
        name = command.machine
        self._threads.start(
            f"check of {name}",
            lambda: Checked(self._check(name, command.busy)),
            lambda error: Checked(unreachable(name, f"the health check itself failed: {error}")),
        )

    def close(self) -> None:
        """Nothing is left behind: a check ends by its own deadline and changes nothing."""
