"""The pytest plugin that a suite is listed and run with. Needs the standard library and pytest >= 7 only.

It keeps exactly the tests named in CI_DISPATCH_TESTS (a JSON object of node ids, each with its unit or an empty string;
without it pytest only lists: all). Options that would keep some of them from running, wherever they were given, do not
count; those of plugins are set here and not as arguments, because a suite may have switched the plugin off.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from pathlib import Path
from typing import Any

import pytest
from pytest_marks import SIGNATURE
from pytest_reports import LiveEventWriter, from_here, plain_id, skip_reason, write_event

# Every expected test gets its verdict: `addopts` and PYTEST_ADDOPTS have no say in which of them run, or how far.
LIFTED = {
    "lf": "--lf",
    "failedfirst": "--ff",
    "newfirst": "--nf",
    "stepwise": "--sw",
    "stepwise_skip": "--sw-skip",
    "maxfail": "-x or --maxfail",
    "setuponly": "--setup-only",
    "setupplan": "--setup-plan",
    "looponfail": "--looponfail",
}
BEGIN, AHEAD = os.environ.pop("CI_DISPATCH_BEGIN", ""), os.environ.pop("CI_DISPATCH_AHEAD", "")
WAITED_SECONDS = 0.01  # between two looks for the lease
SHOWN = 5  # files that are skipped as a whole
SELECTING = {"keyword": "-k", "markexpr": "-m", "deselect": "--deselect"}
ELSEWHERE = {**SELECTING, "file_or_dir": "paths", "ignore": "--ignore", "ignore_glob": "--ignore-glob",
             "inifilename": "-c", "override_ini": "-o"}  # fmt: skip


def wanted() -> dict[str, str] | None:
    """The node ids to run with their units; None: pytest only lists."""
    file = os.environ.get("CI_DISPATCH_TESTS")
    return json.loads(Path(file).read_text(encoding="utf-8")) if file else None


def wait_to_begin(loaded: str) -> None:
    """Started ahead of its lease, a runner waits when it has `loaded` as much as it may."""
    while BEGIN and loaded == AHEAD and not Path(BEGIN).exists():  # its supervisor ends it when nobody needs it
        time.sleep(WAITED_SECONDS)


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: Any, parser: Any) -> Any:
    wait_to_begin("plugins")
    if "CI_DISPATCH_TESTS" in os.environ and "PYTEST_XDIST_WORKER" not in os.environ:
        distribute(early_config.known_args_namespace)  # pytest-cov looks there, and then never again
    yield  # conftest files may add options
    wait_to_begin("conftest")
    refuse_selection(parser)


def refuse_selection(parser: Any) -> None:
    """The environment is another on every machine: what selects tests in it would select here and not there."""
    given = parser.parse_known_args(shlex.split(os.environ.get("PYTEST_ADDOPTS", "")))
    selecting = [option for name, option in ELSEWHERE.items() if getattr(given, name, None)]
    if selecting and "CI_DISPATCH_TESTS" not in os.environ:
        message = f"PYTEST_ADDOPTS selects tests ({', '.join(selecting)}): give that after --, or in the suite's `args`"
        write_event("problem", cause="usage error", message=message)


@pytest.hookimpl(hookwrapper=True)
def pytest_cmdline_main(config: Any) -> Any:
    """Before any plugin acts on its options; in workers of xdist too, which read them anew."""
    lift(config.option)
    if "CI_DISPATCH_TESTS" in os.environ:
        arrange(config.option)
        if not hasattr(config, "workerinput"):
            distribute(config.option)
    yield


def lift(option: Any) -> None:
    lifted = [shown for name, shown in LIFTED.items() if getattr(option, name, None)]
    for name in LIFTED:
        if hasattr(option, name):
            setattr(option, name, 0)
    if lifted and "CI_DISPATCH_TESTS" not in os.environ:
        write_event("note", message=f"{', '.join(lifted)}: without effect, every expected test is run")


def arrange(option: Any) -> None:
    """How an attempt runs."""
    option.collectonly = False
    option.continue_on_collection_errors = True  # the tests of the other files still get their verdicts
    if hasattr(option, "xmlpath"):
        option.xmlpath = str(Path(os.environ["CI_DISPATCH_LIVE"]).with_name("junit.xml"))


def distribute(option: Any) -> None:
    """As many workers of xdist as the machine has room for, where the suite uses xdist."""
    if not hasattr(option, "numprocesses"):
        return
    workers = int(os.environ["CI_DISPATCH_WORKERS"])
    option.numprocesses = workers if workers > 1 else 0
    # When a worker crashes, some xdist schedulers wait for ever: github.com/pytest-dev/pytest-xdist/issues/1327.
    # Without restarts the invocation ends instead, and the tests without a result run again elsewhere.
    option.maxworkerrestart = "0"


def pytest_configure(config: Any) -> None:
    config.addinivalue_line("markers", SIGNATURE)
    units = wanted()
    if units is not None:
        config.pluginmanager.register(SelectedUnits(units, config.rootpath))
    if not hasattr(config, "workerinput"):  # xdist reports its workers' tests in its controller
        config.pluginmanager.register(LiveEventWriter(config, units or {}))
    if units is None:
        config.pluginmanager.register(LeftOutNotes(config))
    coverage = config.pluginmanager.getplugin("_cov")
    if coverage is not None:
        coverage.options.cov_fail_under = 0  # a part of a suite never covers everything


class LeftOutNotes:
    """Says what the suite's own options, files and plugins leave out of a listing."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self.collected = 0
        self.skipped: list[str] = []  # files

    def pytest_itemcollected(self) -> None:
        self.collected += 1

    def pytest_collectreport(self, report: Any) -> None:
        if report.skipped:
            self.skipped.append(f"{report.nodeid} ({skip_reason(report)})")

    def pytest_collection_finish(self, session: Any) -> None:
        if self.skipped:
            more = [f"{len(self.skipped) - SHOWN} more"] if len(self.skipped) > SHOWN else []
            shown = ", ".join([*self.skipped[:SHOWN], *more])
            write_event("note", message=f"skipped as a whole, so that their tests do not count: {shown}")
        left_out = self.collected - len(session.items)
        if left_out > 0:
            given = [(option, self.config.getoption(name, None)) for name, option in SELECTING.items()]
            by = ", ".join(f"{option} {value}" for option, value in given if value)
            message = f"{left_out} of {self.collected} tests are deselected and do not count"
            write_event("note", message=f"{message}: {by}" if by else message)


class SelectedUnits:
    """Keeps the wanted tests: exactly those, whatever their names are made of, each with its unit's other tests."""

    def __init__(self, units: dict[str, str], root: Path) -> None:
        self.units = units
        self.root = root
        self.files = {root / node_id.partition("::")[0] for node_id in units}
        self.found: set[str] = set()

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """Files without a wanted test are not even imported."""
        spared = collection_path.name in ("__init__.py", "conftest.py") or collection_path.is_dir()
        return None if spared or collection_path in self.files else True

    def pytest_itemcollected(self, item: Any) -> None:
        self.found.add(item.nodeid)

    def pytest_collectreport(self, report: Any) -> None:
        """A file that is skipped here has tests that were listed elsewhere: something is missing on this machine."""
        if report.skipped:
            file = from_here(self.root / report.nodeid.partition("::")[0])
            message = f"{report.nodeid} is skipped as a whole on this machine: {skip_reason(report)}"
            write_event("problem", cause="setup", message=message, file=file)

    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        rest = [item for item in items if plain_id(item.nodeid, self.units) not in self.units]
        if rest:
            items[:] = [item for item in items if plain_id(item.nodeid, self.units) in self.units]
            config.hook.pytest_deselected(items=rest)

    def pytest_collection_finish(self, session: Any) -> None:
        """Tells which wanted tests this machine has and leaves out: another may run them."""
        kept = {plain_id(item.nodeid, self.units) for item in session.items}
        left_out = sorted((self.found & set(self.units)) - kept)
        if left_out:
            write_event("deselected", tests=[{"id": node_id} for node_id in left_out])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: Any, log: Any) -> Any:
        """Tests of one unit stay in one worker and in order; xdist 3.8 forgets its own groups under pytest 9.2."""
        if not any(self.units.values()):
            return None
        # xdist may be absent and has no types; overriding this one method is how its schedulers are extended.
        from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # noqa: PLC0415

        scheduler = LoadScopeScheduling(config, log)
        scheduler._split_scope = lambda node_id: self.units.get(plain_id(node_id, self.units)) or node_id  # noqa: SLF001
        return scheduler
