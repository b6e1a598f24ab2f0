"""`ci-dispatch simulate` as a process, over the journal of a run."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from ci_dispatch.core.model import MachineName, MachineSpec
from ci_dispatch.run.journal import Journal
from tests.integration.cli_process import Ended, ci_dispatch
from tests.simulation import World, make_tests, simulate

RUN = "20270115-080000-a1b2"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    runs = folder / ".ci-dispatch" / "runs" / RUN
    runs.mkdir(parents=True)
    random, tests = Random(1), make_tests(120)
    world = World(seconds={test.id: random.lognormvariate(1.0, 0.7) for test in tests})
    fleet = [MachineSpec(name=MachineName(name), cores=cores) for name, cores in (("moruk", 8), ("pi", 2))]
    with (runs / "events.jsonl").open("wb", buffering=0) as stream:
        simulate(tests, fleet, world, journal=Journal(stream))
    return folder


def simulated(project: Path, *arguments: str) -> Ended:
    return ci_dispatch("simulate", *arguments, cwd=project)


def test_it_says_how_far_to_believe_it(project: Path) -> None:
    ended = simulated(project)
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0] == "run simulated: 120 tests on 2 machines"
    assert [line.split("  ")[0] for line in lines[3:5]] == ["as it happened", "simulated as it was"]
    assert lines[-2].startswith("error of the run as it was, from which delays were taken: ")
    assert lines[-1].startswith("with each machine's delays taken from the others: ")


@pytest.mark.parametrize(
    ("arguments", "title", "then"),
    [
        (["--without", "pi"], "without pi", {"moruk"}),
        (["--machine", "pi.cores=8", "--machine", "pi.speed=2"], "with pi.cores=8, pi.speed=2", {"moruk", "pi"}),
        (["--policy", "shard"], "as Playwright --shard", {"moruk", "pi"}),
        (["--policy", "ci-dispatch"], "as ci-dispatch", {"moruk", "pi"}),
    ],
)
def test_what_if(project: Path, arguments: list[str], title: str, then: set[str]) -> None:
    shown = simulated(project, RUN[:8], *arguments)
    assert (shown.code, shown.err) == (0, "")
    assert title in shown.out
    data = json.loads(simulated(project, *arguments, "--json").out)
    assert abs(data["error"]) < 0.05
    assert set(data["what_if"]["busy"]) == then
    shorter = "pi.cores=8" in title
    usual = data["simulated"]["makespan"]
    assert (data["what_if"]["makespan"] < usual) is shorter or title == "as ci-dispatch"
    assert (data["what_if"]["lower_bound"] == data["simulated"]["lower_bound"]) is title.startswith("as ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["2026"], ["There is no run 2026", RUN]),
        (["--policy", "shards"], ["There is no policy shards", "did you mean shard?"]),
        (["--without", "mroku"], ["There is no machine mroku in this run", "did you mean moruk?"]),
        (["--machine", "mroku.cores=2"], ["There is no machine mroku in this run", "did you mean moruk?"]),
        (["--machine", "moruk.core=2"], ["moruk.core=2 was not understood", "did you mean cores?"]),
        (["--machine", "moruk=2"], ["moruk=2 was not understood", "MACHINE.KEY=VALUE"]),
        (["--machine", "moruk.cores=many"], ["moruk.cores=many was not understood", "MACHINE.KEY=VALUE"]),
        (["--machine", "moruk.cores=0"], ["moruk.cores=0 was not understood", "cores is 1 to 4096"]),
        (["--machine", "moruk.speed=nan"], ["moruk.speed=nan was not understood", "speed is 0.01 to 100"]),
        (["--without", "pi", "--machine", "pi.cores=2"], ["There is no machine pi in this run"]),
        (["--without", "pi", "--without", "moruk"], ["Nothing was simulated: no machine is left"]),
    ],
)
def test_what_is_not_known_is_said_in_a_sentence(project: Path, arguments: list[str], says: list[str]) -> None:
    ended = simulated(project, *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert all(text in ended.err for text in says), ended.err
    assert "Traceback" not in ended.err


def test_a_run_that_is_not_over_is_refused_with_the_remedy(project: Path, tmp_path: Path) -> None:
    lines = (project / ".ci-dispatch" / "runs" / RUN / "events.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "events.jsonl").write_bytes(b"".join(lines[:20]))
    ended = ci_dispatch("simulate", "events.jsonl", cwd=tmp_path)
    assert ended.code == 2
    assert "was not simulated: it is not over, or its controller died" in ended.err
    assert "ci-dispatch resume" in ended.err
