"""The evidence of a run against the promises. Each violation is one sentence; none means that all of them held.

A run must end complete, with the verdicts one machine gives, whenever a machine stays well. INCOMPLETE is right only

- when no machine stayed well, for tests without a verdict;
- after SIGINT or SIGTERM, for tests that had not run;
- for a test that was running when two runners or machines died: it is sent nowhere else.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ci_dispatch.core.errors import ExitCode
from ci_dispatch.core.events import AttemptFinished, VerdictReached
from ci_dispatch.core.model import Verdict
from ci_dispatch.run.journal import JournalReader, replay
from ci_dispatch.run.state import RunState
from tests.chaos import audit
from tests.chaos.over_ssh import Evidence
from tests.chaos.plan import Kind
from tests.chaos.suite import Behaviour

GREEN = (Verdict.PASSED, Verdict.FLAKY)
_NEVER_SAID = ("Traceback", "itself failed", "internal error")
_KEY = re.compile(r"k\d{3}")


def violations(evidence: Evidence) -> list[str]:
    """What was promised and not kept; of many tests with the same fate, one and how many more."""
    return _once_each(_all(evidence))


def _once_each(found: list[str]) -> list[str]:
    alike: dict[str, list[str]] = {}
    for why in found:
        alike.setdefault(re.sub(r"^(second controller: )?k\d{3} ", "", why), []).append(why)
    return [each[0] + (f" (and {len(each) - 1} more like it)" if len(each) > 1 else "") for each in alike.values()]


def _all(evidence: Evidence) -> list[str]:
    found = [*evidence.trouble]
    for log in evidence.folder.glob("**/controller.log"):
        said = log.read_text(errors="replace")
        found += [f"the controller said {word!r}" for word in _NEVER_SAID if word in said]
    found += [f"left running: {words}" for words in evidence.left.values()]
    if evidence.run is not None and evidence.code is not None:
        found += _of_run(evidence, version="1")
    if evidence.second is not None:
        second = evidence.second
        found += [f"second controller: {why}" for why in second.trouble]
        if second.run is not None and second.code is not None:
            found += [f"second controller: {why}" for why in _of_run(second, version="2")]
    return found


def _of_run(evidence: Evidence, version: str) -> list[str]:
    assert evidence.run is not None
    state = RunState()
    try:
        entries = list(JournalReader(evidence.run / "events.jsonl").read_all())
        replay(entries, state)
    except Exception as error:  # whatever it is, it is what a person gets to see
        return [f"the journal cannot be read: {error}"]
    if state.started is None or state.finished is None:
        return ["the journal has no end"]
    facts = _Facts(evidence, state, [stamped.event for entry in entries for stamped in entry], version)
    return [
        *facts.complete(),
        *facts.exactly_once(),
        *facts.verdicts(),
        *facts.nothing_invented(),
        *facts.blame(),
        *facts.files(),
        *facts.said_again(),
    ]


class _Facts:
    def __init__(self, evidence: Evidence, state: RunState, events: list[Any], version: str) -> None:
        self.evidence, self.state, self.events, self.version = evidence, state, events, version
        self.plan = evidence.plan
        self.cases = {case.key: case for case in self.plan.cases}
        self.executions = audit.read(evidence.audit)
        self.interrupted = self.plan.has(Kind.INTERRUPTED, Kind.TERMINATED) and state.interrupted is not None
        self.keys = {test: key_of(f"{test} {record.test.name}") for test, record in state.ledger.records.items()}
        self.suspected: Counter[str] = Counter()
        for event in events:
            if isinstance(event, AttemptFinished):
                self.suspected.update(self.keys[test] for test in event.result.suspects)

    def _excused(self, key: str) -> bool:
        """Whether this test may have no verdict: see above."""
        return not self.plan.well or self.interrupted or self.suspected[key] >= 2

    def complete(self) -> Iterator[str]:
        listed, cases = Counter(self.keys.values()), Counter(list(self.cases))
        if listed != cases:
            yield f"other tests were expected than there are: {(listed - cases) or (cases - listed)}"
        for test, record in self.state.ledger.records.items():
            key = self.keys[test]
            if record.verdict is None:
                yield f"{key} has no verdict"
            elif record.verdict is Verdict.NOT_RUN and not self._excused(key):
                yield f"{key} was not run although a machine was well: {record.reason}"

    def exactly_once(self) -> Iterator[str]:
        told = Counter(event.test for event in self.events if isinstance(event, VerdictReached))
        for test, times in told.items():
            if times != 1:
                yield f"{self.keys[test]} got {times} verdicts"
        numbers = list(self.state.ledger.attempts)
        if numbers != sorted(set(numbers)):
            yield f"lease numbers do not grow: {numbers}"

    def verdicts(self) -> Iterator[str]:
        for test, record in self.state.ledger.records.items():
            key = self.keys[test]
            if record.verdict in (None, Verdict.NOT_RUN) or key not in self.cases:
                continue
            allowed = self.cases[key].allowed(self.version)
            poisonous = self.suspected[key] >= 2 and record.verdict is Verdict.FAILED
            if record.verdict not in allowed and not poisonous and not self._given_up(key, record.verdict):
                yield f"{key} is {record.verdict} ({record.reason}), right would be {' or '.join(sorted(allowed))}"

    def _given_up(self, key: str, verdict: Verdict | None) -> bool:
        """Failed once and could not be tried again: a run that ends early says failed, as it must."""
        return verdict is Verdict.FAILED and self._excused(key) and self.cases[key].behaviour is Behaviour.FLAKY

    def nothing_invented(self) -> Iterator[str]:
        """Behind a green verdict there is a passing execution of this content, behind a failure a failing one."""
        for test, record in self.state.ledger.records.items():
            key = self.keys[test]
            mine = [each for each in self.executions if each.test == key and each.version == self.version]
            outcomes = {each.outcome for each in mine}
            if record.verdict in GREEN and "passed" not in outcomes:
                versions = {each.version for each in self.executions if each.test == key}
                yield f"{key} is {record.verdict}, and no execution of version {self.version} passed (ran: {versions})"
            if record.verdict is Verdict.PASSED and record.failures:
                yield f"{key} passed although a failure of it was reported"
            if record.verdict is Verdict.SKIPPED and "skipped" not in outcomes:
                yield f"{key} is skipped, and no execution was"
            if record.verdict is Verdict.FAILED and "failed" not in outcomes and self.suspected[key] < 2:
                yield f"{key} is failed, and no execution failed: {record.reason}"

    def blame(self) -> Iterator[str]:
        """Machines that nothing happened to are neither lost nor in quarantine."""
        for name in self.plan.well:
            machine = self.state.machines.get(name)  # type: ignore[call-overload]
            if machine is not None and machine.quarantined:
                yield f"{name} was well and is in quarantine: {machine.quarantined}"

    def files(self) -> Iterator[str]:
        """merged.xml, run.json, summary.md, the exit code and the last line say what the journal says."""
        assert self.evidence.run is not None
        assert self.state.finished is not None
        folder = self.evidence.run
        missing = [name for name in ("merged.xml", "run.json", "summary.md") if not (folder / name).is_file()]
        if missing:
            yield f"no {', '.join(missing)}"
            return
        counts = {verdict.value: self.state.verdicts[verdict] for verdict in Verdict}
        run = json.loads((folder / "run.json").read_text())
        if run["counts"] != counts:
            yield f"run.json counts {run['counts']}, the journal {counts}"
        told = {test["id"]: test["verdict"] for test in run["tests"]}
        if told != {test: record.verdict for test, record in self.state.ledger.records.items()}:
            yield "run.json and the journal disagree about verdicts"
        if run["exit_code"] != self.state.finished.exit_code:
            yield f"run.json says exit code {run['exit_code']}, the journal {self.state.finished.exit_code}"
        yield from self._merged(folder / "merged.xml", counts)
        yield from self._exit(counts)

    def _merged(self, file: Path, counts: dict[str, int]) -> Iterator[str]:
        try:
            cases = ElementTree.parse(file).getroot().findall(".//testcase")
        except ElementTree.ParseError as error:
            yield f"merged.xml cannot be read: {error}"
            return
        failed = sum(case.find("failure") is not None or case.find("error") is not None for case in cases)
        skipped = sum(case.find("skipped") is not None for case in cases)
        if len(cases) != len(self.cases):
            yield f"merged.xml has {len(cases)} tests of {len(self.cases)}"
        # What was not run is an error there, so that no reader takes it for a pass.
        if failed not in (counts["failed"], counts["failed"] + counts["not run"]):
            yield f"merged.xml has {failed} failures, the journal {counts['failed']} and {counts['not run']} not run"
        if skipped != counts["skipped"]:
            yield f"merged.xml has {skipped} skipped, the journal {counts['skipped']}"

    def _exit(self, counts: dict[str, int]) -> Iterator[str]:
        assert self.state.finished is not None
        code, last = self.evidence.code, self.evidence.last
        right = ExitCode.PASSED
        if self.state.interrupted is not None:
            right = ExitCode.TERMINATED if self.state.interrupted == 15 else ExitCode.INTERRUPTED
        elif counts["not run"]:
            right = ExitCode.INCOMPLETE
        elif counts["failed"]:
            right = ExitCode.TESTS_FAILED
        if self.state.finished.exit_code != right:
            yield f"the journal's exit code is {self.state.finished.exit_code}, its verdicts say {int(right)}"
        if code != self.state.finished.exit_code:
            yield f"the exit code was {code}, the journal says {self.state.finished.exit_code}"
        for verdict, number in counts.items():
            if not re.search(rf"\b{number} {verdict}\b", last):
                yield f"the last line does not say {number} {verdict}: {last}"

    def said_again(self) -> Iterator[str]:
        code, last = self.evidence.again
        if code != self.evidence.code:
            yield f"`resume` of the finished run exits {code}, the run {self.evidence.code}"
        if last != self.evidence.last:
            yield f"`resume` of the finished run says {last!r}, the run {self.evidence.last!r}"


def key_of(test: str) -> str:
    found = _KEY.search(test)
    return found[0] if found else test
