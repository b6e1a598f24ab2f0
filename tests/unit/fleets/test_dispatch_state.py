"""What the next controller finds of the dispatches of a dead one."""

from __future__ import annotations

from ci_dispatch.core.events import (
    VerdictReached,
)
from ci_dispatch.core.model import (
    ANY_MACHINE,
    MachineSpec,
    Shard,
    ShardId,
    ShardKind,
    Verdict,
)
from ci_dispatch.fleets.actions.messages import SavedDispatch
from ci_dispatch.fleets.actions.run.batches import Batch
from ci_dispatch.fleets.actions.run.dispatch_state import restore
from ci_dispatch.fleets.actions.run.matrix import MatrixJob
from ci_dispatch.run.ledger import Ledger
from tests.actions_script import RUN
from tests.simulation import make_tests, run_started


def test_a_pooled_job_that_is_queued_again_owes_only_what_has_no_verdict() -> None:
    """The controller died after it had asked for a re-run: the job has no lease, and some of its tests are decided."""
    ledger = Ledger()
    tests = make_tests(3)
    ids = tuple(test.id for test in tests)
    ledger.apply(run_started(tests, [MachineSpec(name=ANY_MACHINE)], {}), 0.0)
    ledger.apply(VerdictReached(test=ids[1], verdict=Verdict.PASSED), 1.0)
    shard = Shard(id=ShardId("tail-1"), kind=ShardKind.TAIL, tests=ids)
    batch = Batch(id="r.1", jobs=(MatrixJob(shard=shard, machine=ANY_MACHINE, labels=()),), inputs={})
    [run] = restore([SavedDispatch(batch=batch, run=RUN, attempt=2, leases={})], ledger, 10.0)
    [job] = run.jobs.values()
    assert job.job.shard.tests == (ids[0], ids[2])
    assert not run.over
    for test in (ids[0], ids[2]):
        ledger.apply(VerdictReached(test=test, verdict=Verdict.PASSED), 2.0)
    [run] = restore([SavedDispatch(batch=batch, run=RUN, attempt=2, leases={})], ledger, 10.0)
    assert run.over, "nothing of it is waited for"
