"""The jobs of one workflow run as a fleet: GitHub hands them out, and their reports are told afterwards. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from ci_dispatch.core.model import MachineName, TestId
from ci_dispatch.run import messages as m
from ci_dispatch.run.ledger import Ledger, TestRecord
from ci_dispatch.run.state import MachineState


class WavesFleet:
    """The fleet of a replayed run (`ports.Fleet`): it only passes on what the replay tells."""

    def __init__(self, ledger: Ledger, machines: Collection[MachineName]) -> None:
        self.machines = frozenset(machines)
        self.lingers = 0.0  # a wave begins when all jobs of the one before have ended
        self.over = False  # no wave follows
        self._ledger = ledger

    def begin(self, now: float) -> Iterator[m.Message | m.Command]:  # noqa: ARG002
        return iter(())

    def hear(self, message: m.Message, now: float) -> Iterator[m.Message | m.Command]:  # noqa: ARG002
        self.over = self.over or isinstance(message, m.NothingMore)
        if isinstance(message, m.LeaseNews):
            yield message

    def advance(self, now: float) -> Iterator[m.Message | m.Command]:  # noqa: ARG002
        return iter(())

    def hand_out(
        self,
        ready: Callable[[], Sequence[TestRecord]],  # noqa: ARG002
        usable: Sequence[MachineState],  # noqa: ARG002
        now: float,  # noqa: ARG002
    ) -> Iterator[m.Message | m.Command]:
        return iter(())

    def held(self) -> Collection[TestId]:
        """What waits for the next wave."""
        return () if self.over else self._ledger.pending.keys()

    def cancel(self, now: float, *, force: bool) -> Iterator[m.Command]:  # noqa: ARG002
        return iter(())

    def ending(self) -> bool:
        return False
