"""What happens while no controller is there (it died, stood still, could not write) is nobody else's fault."""

from __future__ import annotations

import io

import pytest

from ci_dispatch.core.events import (
    LeaseGranted,
    MachineLost,
    MachineQuarantined,
    RunResumed,
    Stamped,
)
from ci_dispatch.core.model import (
    AttemptResult,
    Ended,
    FailureCause,
    LeaseNumber,
    Verdict,
)
from ci_dispatch.fleets.machines.fleet import CancelJob
from ci_dispatch.run import messages as m
from ci_dispatch.run.journal import Entry, Journal, JournalError
from tests.control_script import A, B, Script, checked


def test_a_resumed_run_is_no_longer_interrupted() -> None:
    script = Script()
    script.say(m.Signalled(2), 1.0)
    script.state.apply(Stamped(seq=script.state.seq + 1, at=2.0, event=RunResumed(controller="another")))
    assert script.state.interrupted is None


def test_a_journal_that_breaks_when_a_lease_is_granted_is_said_as_such() -> None:
    """What was granted, and could not be written, was never started: there is nothing to cancel but it is harmless."""

    class Breaks(Journal):
        def write(self, entry: Entry) -> None:
            if any(isinstance(stamped.event, LeaseGranted) for stamped in entry):
                raise JournalError("the disk is full")

    script = Script(journal=Breaks(io.BytesIO()), check_first=True)
    script.say(checked(A, healthy=True))
    before = len(script.commands)
    with pytest.raises(JournalError):
        script.say(checked(B, healthy=True))
    assert len(script.commands) == before, "no command of a step that the journal does not have"
    assert {type(command) for command in script.control.abandon(1.0)} == {CancelJob}, "those that are in the ledger"


def test_a_dead_controller_is_not_the_machines_fault() -> None:
    """Its machines end what nobody renews. With three slots, one kill would put each of them into quarantine."""
    script = Script(tests=30, machines=1, slots=3, head_share=0.3, check_first=False)
    numbers = list(script.state.ledger.active)
    assert len(numbers) > 1
    with script.bus.step():
        script.bus.publish(RunResumed(controller="another", epoch="e1"))
        script.control.begin(1.0)
    for number in numbers:
        tests = script.state.ledger.attempts[number].lease.shard.tests
        ended = AttemptResult(ended=Ended.LEASE_ENDED, cause=FailureCause.MACHINE, reason="lease ended", suspects=tests)
        script.say(m.LeaseEnded(number, ended), 20.0)
    assert not script.said(MachineLost)
    assert not script.said(MachineQuarantined)
    records = script.state.ledger.records.values()
    assert all((record.losses, record.crashes, record.reassignments) == (0, 0, 0) for record in records)
    again = [script.state.ledger.attempts[n].lease for n in script.state.ledger.active]
    assert {lease.epoch for lease in again} == {"e1"}
    number = again[0].number
    script.say(m.LeaseEnded(number, AttemptResult(ended=Ended.LEASE_ENDED, cause=FailureCause.MACHINE)), 30.0)
    attempt = script.state.ledger.attempts[number]
    assert attempt.result is not None
    assert attempt.result.ended is Ended.LEASE_ENDED, "while we were there it says something"


def test_while_the_controller_stood_still_a_machine_that_ended_its_jobs_did_right() -> None:
    script = Script(tests=30, machines=1, slots=3, head_share=0.3, check_first=False)
    numbers = list(script.state.ledger.active)
    script.say(m.StoodStill(40.0), 1.0)
    for number in numbers:
        script.say(m.LeaseEnded(number, AttemptResult(ended=Ended.LEASE_ENDED, cause=FailureCause.MACHINE)), 2.0)
    assert not script.said(MachineLost)
    assert not script.said(MachineQuarantined)
    assert not any(record.reassignments for record in script.state.ledger.records.values())


def test_time_without_a_controller_does_not_count_for_the_deadline() -> None:
    script = Script(deadline=100.0, shard_timeout=9999.0, head_share=1.0, check_first=False)
    for machine in (A, B):
        script.say(m.Started(script.lease_of(machine)), 1.0)
    script.clock.at = 5000.0
    script.bus.publish(RunResumed(controller="another", epoch="e1"))
    cancels = [0, 0]
    for place, second in enumerate((5090.0, 5101.0)):
        for machine in (A, B):
            script.say(m.Beat(script.lease_of(machine)), second)
        cancels[place] = sum(isinstance(command, CancelJob) for command in script.say(m.Tick(), second))
    assert cancels == [0, 2]


def test_numbers_that_a_lost_part_of_the_journal_may_have_granted_are_not_granted_again() -> None:
    script = Script(machines=1, head_share=1.0, check_first=False)
    script.bus.publish(RunResumed(controller="another", epoch="e1", last_lease=LeaseNumber(7)))
    script.finish(A, Verdict.FAILED, at=1.0)
    script.say(m.Tick(), 10.0)
    [lease] = script.state.ledger.active.values()
    assert (lease.number, lease.epoch) == (8, "e1")
