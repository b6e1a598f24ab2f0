"""What `ci-dispatch simulate` does: a recorded run under another fleet or policy, after the run as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ci_dispatch.app.drive import run_policy
from ci_dispatch.app.run import lease_policy
from ci_dispatch.app.run_spec import RunSpec, read_spec
from ci_dispatch.app.settings import Settings
from ci_dispatch.app.table import table
from ci_dispatch.config import Config
from ci_dispatch.core.codec import replace
from ci_dispatch.core.errors import ExitCode, UsageError, did_you_mean
from ci_dispatch.core.events import RunStarted
from ci_dispatch.core.model import SPEEDS, MachineName, MachineSpec
from ci_dispatch.fleets.simulated.recorded_world import held_out, recorded_fleet, recorded_world
from ci_dispatch.fleets.simulated.what_if import SimulatedOutcome, outcome_of, under_engine, under_policy
from ci_dispatch.fleets.simulated.world import World
from ci_dispatch.planning.policies import SHARING_POLICIES
from ci_dispatch.run import run_folder
from ci_dispatch.run.journal import JournalReader
from ci_dispatch.run.journal import replay as fold
from ci_dispatch.run.state import RunState
from report_merge.render.escape import terminal_name
from report_merge.render.wording import count, some

OURS = "ci-dispatch"
SHOWN_LOST = 3
_KEYS: Mapping[str, tuple[type[int | float], float, float]] = {  # as [[machine]] allows them
    "cores": (int, 1, 4096),
    "slots": (int, 1, 256),
    "workers": (int, 1, 4096),
    "speed": (float, *SPEEDS),
}


def simulate(
    settings: Settings, run: str, *, without: Sequence[str], changes: Sequence[str], policy: str
) -> dict[str, Any]:
    """The run as it was, as it is simulated, and as it would have been, JSON-able; durations are seconds.

    Raises UsageError when there is no such run, machine or policy, or the run cannot be simulated.
    """
    journal, state = run_folder.find_journal(settings.runs_folder, run), RunState()
    steps = list(JournalReader(journal).read_all())
    fold(steps, state)
    started, seconds = _can_be_simulated(state, str(journal))
    if "config" in started.settings:
        spec = read_spec(state, settings.config)
    else:  # a made-up run
        spec = RunSpec(root=settings.root, config=Config(machines=started.machines))
    if spec.target is not None:
        raise _not_simulated(started.run, "it went through GitHub Actions, whose queue is nobody's to simulate")
    if policy and policy not in (OURS, *SHARING_POLICIES):
        known = (OURS, *SHARING_POLICIES)
        raise UsageError(
            f"There is no policy {policy}", why=f"there are {', '.join(known)}", hint=did_you_mean(policy, known)
        )
    fleet = recorded_fleet(state)
    changed, speeds = _changed(fleet, without, changes)
    numbers, leases = run_policy(spec), lease_policy(spec.config)
    world = recorded_world(state, (stamped for step in steps for stamped in step), leases.lease)
    happened = outcome_of(state, seconds)
    again = under_engine(started, fleet, world, numbers, leases)
    data = {
        "v": 1,
        "run": started.run,
        "tests": len(started.tests),
        "happened": _as_data(happened),
        "simulated": _as_data(again),
        "error": round(again.makespan / seconds - 1, 4),
        "held_out_error": None,
        "what_if": None,
    }
    if (others := held_out(world)) is not None:
        carried = under_engine(started, fleet, others, numbers, leases)
        data["held_out_error"] = round(carried.makespan / seconds - 1, 4)
    if without or changes or policy:
        other = replace(world, speeds={**world.speeds, **speeds})
        result = _what_if(started, changed, other, policy)
        result = result or under_engine(started, changed, other, numbers, leases)
        data["what_if"] = {
            "without": list(without),
            "machine": list(changes),
            "policy": policy or OURS,
            **_as_data(result),
        }
    return data


def _what_if(started: RunStarted, fleet: Sequence[MachineSpec], world: World, policy: str) -> SimulatedOutcome | None:
    """Under another tool's policy; None for ours."""
    if policy not in SHARING_POLICIES:
        return None
    return under_policy(started, fleet, world, SHARING_POLICIES[policy][1])


def _can_be_simulated(state: RunState, journal: str) -> tuple[RunStarted, float]:
    """How a run began, and how long it took with a controller."""
    if state.started is None:
        raise _not_simulated(journal, "it holds no run")
    if state.finished is None:
        raise _not_simulated(
            state.started.run, "it is not over, or its controller died", f"ci-dispatch resume {state.started.run}"
        )
    if state.finished.exit_code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
        raise _not_simulated(state.started.run, "it was interrupted, so nobody knows how long it would have taken")
    seconds = state.finished.makespan.realised - state.unattended
    if seconds <= 0 or not any(record.history for record in state.ledger.records.values()):
        raise _not_simulated(state.started.run, "none of its tests ran")
    return state.started, seconds


def _not_simulated(run: str, why: str, hint: str = "another run: ci-dispatch history") -> UsageError:
    return UsageError(f"Run {run} was not simulated", why=why, hint=hint)


def _changed(
    fleet: Sequence[MachineSpec], without: Sequence[str], changes: Sequence[str]
) -> tuple[list[MachineSpec], dict[MachineName, float]]:
    """The other fleet, and true speeds that were asked for."""
    machines = {machine.name: machine for machine in fleet}
    for name in without:
        del machines[_known(name, machines)]
    if not machines:
        raise UsageError("Nothing was simulated", why="no machine is left", hint="leave one of them")
    speeds: dict[MachineName, float] = {}
    for change in changes:
        path, _, written = change.partition("=")
        name, _, key = path.rpartition(".")
        value = _value(change, key, written) if name else _malformed(change)
        spec = machines[_known(name, machines)]
        if key == "speed":
            speeds[spec.name] = value
        if key in ("cores", "slots"):
            spec = replace(spec, workers=0)  # they follow, unless they are given too
        machines[spec.name] = replace(spec, **{key: value})
    return list(machines.values()), speeds


def _known(name: str, machines: Mapping[MachineName, MachineSpec]) -> MachineName:
    if name not in machines:
        raise UsageError(
            f"There is no machine {name} in this run",
            why=f"it has {some(list(machines), 5)}",
            hint=did_you_mean(name, machines),
        )
    return MachineName(name)


def _value(change: str, key: str, written: str) -> Any:
    if key not in _KEYS:
        known = ", ".join(_KEYS)
        raise UsageError(
            f"{change} was not understood", why=f"what may change is {known}", hint=did_you_mean(key, _KEYS)
        )
    kind, least, most = _KEYS[key]
    try:
        value = kind(written)
    except ValueError:
        return _malformed(change)
    if not least <= value <= most:
        raise UsageError(f"{change} was not understood", why=f"{key} is {least:g} to {most:g}")
    return value


def _malformed(change: str) -> Any:
    raise UsageError(f"{change} was not understood", why="it is no MACHINE.KEY=VALUE", hint="--machine moruk.cores=48")


def _as_data(outcome: SimulatedOutcome) -> dict[str, Any]:
    return {
        "makespan": round(outcome.makespan, 3),
        "planned": round(outcome.planned, 3),
        "lower_bound": round(outcome.lower_bound, 3),
        "busy": {name: round(share, 3) for name, share in outcome.busy.items()},
        "lost": list(outcome.lost),
    }


def as_text(data: dict[str, Any]) -> str:
    """A line for each way the run may go, a line for each machine, and how far to believe them."""
    ways = {"as it happened": data["happened"], "simulated as it was": data["simulated"]}
    other = data["what_if"]
    if other:
        ways[_title(other)] = other
    machines = list(data["happened"]["busy"])
    seconds: list[tuple[str, ...]] = [("", "makespan", "planned", "bound")]
    seconds += [
        (terminal_name(title), *(f"{way[key]:.1f} s" for key in ("makespan", "planned", "lower_bound")))
        for title, way in ways.items()
    ]
    busy: list[tuple[str, ...]] = [("busy", "happened", "simulated", *(["then"] if other else []))]
    busy += [
        (terminal_name(name), *(f"{way['busy'][name]:.0%}" if name in way["busy"] else "-" for way in ways.values()))
        for name in machines
    ]
    heading = f"run {terminal_name(data['run'])}: {count(data['tests'], 'test')} on {count(len(machines), 'machine')}"
    lines = [heading, "", *table(seconds, left=1), "", *table(busy, left=1), ""]
    lost = other["lost"] if other else []
    if lost:
        tests = count(len(lost), "test")
        lines.append(f"then {tests} would be without a result: {terminal_name(some(lost, SHOWN_LOST))}")
    return "\n".join([*lines, *_how_far_off(data)])


def _title(other: Mapping[str, Any]) -> str:
    parts = [f"without {', '.join(other['without'])}"] if other["without"] else []
    parts += [f"with {', '.join(other['machine'])}"] if other["machine"] else []
    if other["policy"] in SHARING_POLICIES:
        parts.append(f"as {SHARING_POLICIES[other['policy']][0].replace('`', '')}")
    return ", ".join(parts) or f"as {OURS}"


def _how_far_off(data: Mapping[str, Any]) -> list[str]:
    """The errors. That of the run as it was is no test of the model, which was made from that run."""
    carried = data["held_out_error"]
    lines = [f"error of the run as it was, from which delays were taken: {data['error']:+.1%}"]
    if carried is None:
        return [*lines, "how well they carry over cannot be told: no two machines show theirs"]
    return [*lines, f"with each machine's delays taken from the others: {carried:+.1%}; other figures are no better"]
