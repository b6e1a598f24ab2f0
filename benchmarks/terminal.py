"""What showing a run costs: the terminal with 10,000 tests on 100 machines, and Slack when it is slow or down."""

from __future__ import annotations

import time
from collections.abc import Sequence
from random import Random

from ci_dispatch.config.slack import SlackChannel, SlackConfig
from ci_dispatch.core.events import TRANSIENT, Stamped
from ci_dispatch.core.model import MachineName, MachineSpec, RunId
from ci_dispatch.demo.recording import demo_events
from ci_dispatch.reporters.slack import messages
from ci_dispatch.reporters.slack.reporter import open_slack
from ci_dispatch.reporters.slack.transitions import compare
from ci_dispatch.reporters.terminal.cells import UNICODE
from ci_dispatch.reporters.terminal.reporter import LiveReporter, PlainReporter
from ci_dispatch.reporters.terminal.screen import Screen
from ci_dispatch.run.event_bus import EventBus
from ci_dispatch.run.ports import BaseReporter, Reporter
from ci_dispatch.run.run_report import ReportCache, report
from ci_dispatch.run.state import RunState
from report_merge import failures
from report_merge.model import RunContext
from tests.recorded_runs import steps
from tests.simulation import World, make_tests, simulate
from tests.slack_double import Refuse, ServerError, SlackDouble, Slow

MACHINES, TESTS = 100, 10_000
CONTEXT = RunContext(title="shop e2e", repository="acme/shop", branch="main")


class Recorder(BaseReporter):
    """Keeps every event."""

    name = "recorder"

    def __init__(self) -> None:
        self.events: list[Stamped] = []

    def handle(self, stamped: Stamped, state: RunState) -> None:  # noqa: ARG002
        self.events.append(stamped)


class Nowhere:
    busy = False

    def __init__(self) -> None:
        self.size = 0

    def write(self, text: str) -> None:
        self.size += len(text.encode())

    def close(self) -> None:
        pass


def large_run() -> list[Stamped]:
    random = Random(1)
    fleet = [
        MachineSpec(name=MachineName(f"m{n:03}"), cores=random.choice([4, 8, 16]), speed=random.choice([0.5, 1.0]))
        for n in range(MACHINES)
    ]
    tests = make_tests(TESTS)
    seconds = {test.id: random.lognormvariate(1.5, 0.8) for test in tests}
    recorder = Recorder()
    simulate(tests, fleet, World(seconds=seconds), reporters=[recorder])
    return recorder.events


def cpu(events: Sequence[Stamped], reporter: Reporter | None) -> tuple[float, int]:
    """Seconds of CPU to fold a run and show it to `reporter`, and how many ticks there were."""
    state, ticks, before = RunState(), 0, time.process_time()
    for now, stamped in steps(events, state):
        ticks += stamped is None
        if reporter is None:
            continue
        if stamped is None:
            reporter.tick(now, state)
        else:
            reporter.handle(stamped, state)
    return time.process_time() - before, ticks


def terminal(events: Sequence[Stamped]) -> None:
    fold, ticks = cpu(events, None)
    seconds = ticks / 2
    print(f"{TESTS:,} tests on {MACHINES} machines, {seconds:.0f} s at two refreshes a second:\n")
    print("| display | CPU a refresh | share of one core | bytes a second |")
    print("|---|---:|---:|---:|")
    for name, width in (("live, 200 columns", 200), ("live, 80 columns", 80), ("plain", 0)):
        out = Nowhere()
        reporter: Reporter = (
            LiveReporter(out, Screen(colour=True, reflows=True), size=lambda width=width: (width, 50),  # type: ignore[misc]
                         glyphs=UNICODE, final=lambda _: [])
            if width else PlainReporter(out, colour=False, glyphs=UNICODE, final=lambda _: [])
        )  # fmt: skip
        used = cpu(events, reporter)[0] - fold
        print(f"| {name} | {used / ticks * 1000:.2f} ms | {used / seconds:.2%} | {out.size / seconds:,.0f} |")


def slack_message(events: Sequence[Stamped]) -> None:
    state = RunState()
    for _ in steps(events, state):
        pass
    ended = report(state, CONTEXT)
    groups = failures.group(ended.cases)
    final = messages.final(state, ended, groups, compare(None, bad=True))
    live = messages.live(state, state.now, CONTEXT)
    print(f"\nSlack's message for it: {final.characters:,} characters (live {live.characters:,}) in "
          f"{len(final.blocks)} blocks; Slack refuses about 13,200 characters and 51 blocks.")  # fmt: skip


def published(reporter: Reporter | None) -> float:
    """Wall seconds until the last event of the made-up run was published to `reporter`, without pauses."""

    class Clock:
        at = 0.0

        def now(self) -> float:
            return self.at

    clock = Clock()
    bus = EventBus(RunState(), clock, [reporter] if reporter else [])
    begun = time.perf_counter()
    for stamped in demo_events(1000.0):
        if not isinstance(stamped.event, TRANSIENT):
            clock.at = stamped.at
            bus.publish(stamped.event)
            bus.tick(clock.at)
    return time.perf_counter() - begun


def slack_trouble() -> None:
    makespan = 20.8  # of the made-up run
    alone = min(published(None) for _ in range(3))
    print("\n| Slack | added to a run of 21 s | share of the makespan |")
    print("|---|---:|---:|")
    always = {"well": None, "5 s an answer": Slow(5.0), "down (503)": ServerError(503),
              "refuses blocks": Refuse("invalid_blocks")}  # fmt: skip
    for name, fault in always.items():
        with SlackDouble() as double:
            double.always = fault
            settings = SlackConfig(api_url=double.api_url, channels=(SlackChannel(id="C0CI"),))
            reporter = open_slack(
                settings, {"SLACK_BOT_TOKEN": "xoxb-good"}, run=RunId("1"), kept={},
                reports=ReportCache(CONTEXT),
            )  # fmt: skip
            added = max(0.0, published(reporter) - alone)
        print(f"| {name} | {added * 1000:.0f} ms | {added / makespan:.2%} |")


def main() -> None:
    events = large_run()
    terminal(events)
    slack_message(events)
    slack_trouble()


if __name__ == "__main__":
    main()
