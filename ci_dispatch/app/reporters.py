"""Which reporters a run has: ours and those of other packages, all found through entry points.

The journal is not one of them: whoever drives the run opens it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.metadata import EntryPoint, entry_points

from ci_dispatch.config import Config
from ci_dispatch.core.errors import ExitCode
from ci_dispatch.reporters import BUILT_IN, GROUP, Reporter, ReporterContext, ReporterFactory
from ci_dispatch.run.state import RunState

_OPEN_TO_THE_END = ("dashboard", "terminal")  # they show what becomes of the others


def open_reporters(context: ReporterContext) -> list[Reporter]:
    """The reporters that this run wants, in the order in which they are closed.

    Those of other packages come first, then ours: metrics count what those before them could not deliver, the terminal
    shows everybody's last warnings. What goes wrong in another package is a warning.

    Raises:
        CiDispatchError: when one of ours cannot do what the configuration asks for.
    """
    opened = [*_open_others(context)]
    for name, value in BUILT_IN.items():
        factory: ReporterFactory = EntryPoint(name, value, GROUP).load()
        reporter = factory(context)
        if reporter is not None:
            opened.append(reporter)
    return opened


def _open_others(context: ReporterContext) -> Iterator[Reporter]:
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        if BUILT_IN.get(point.name) == point.value:
            continue
        try:
            reporter = _open(point, context)
        except (Exception, SystemExit) as error:  # noqa: BLE001  (foreign code must not decide over the run)
            why = f"{type(error).__name__}: {error}"
            context.warn(point.name, f"the reporter {point.value} was not opened, the run goes on without it: {why}")
        else:
            if reporter is not None:
                yield reporter


def _open(point: EntryPoint, context: ReporterContext) -> Reporter | None:
    """Raises whatever the other package raises, and TypeError or ValueError when it breaks the contract."""
    if point.name in BUILT_IN:
        raise ValueError(f"the name {point.name} is taken")
    reporter = point.load()(context)
    if reporter is None:
        return None
    if not isinstance(reporter, Reporter):
        raise TypeError(f"{type(reporter).__name__} is no Reporter: it needs name, handle, tick and close")
    if reporter.name != point.name:
        raise ValueError(f"its name must be {point.name}")
    return reporter


def delivering(reporters: Iterable[Reporter]) -> list[str]:
    """The names of those to close before the summary is written: what they could not deliver belongs into it."""
    return [reporter.name for reporter in reporters if reporter.name not in _OPEN_TO_THE_END]


def exit_code(config: Config, state: RunState) -> ExitCode:
    """How the process ends: the run's own code; a message that had to be delivered and was not makes a green run 2."""
    assert state.finished is not None
    code = ExitCode(state.finished.exit_code)
    undelivered = config.slack.required and any(warning.source == "slack" for warning in state.warnings)
    return ExitCode.USAGE if undelivered and code is ExitCode.PASSED else code
