"""Servers that can do less than github.com: Enterprise Server by its own description; one that is refused at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.github_double import GitHubDouble, ScriptedWorker
from tests.github_double.description import described
from tests.integration.github_client import client_of
from tests.integration.github_run import Clock, Simulation, World, suite
from tests.integration.test_github_client import WORKER
from tests.integration.test_github_commands import Desk, RealClock

ENTERPRISE = "ghes-3.19.slim.json"


@pytest.fixture
def enterprise() -> Iterator[tuple[World, Clock, GitHubDouble]]:
    world, clock = World(), Clock()
    double = GitHubDouble(clock=clock.now, worker=ScriptedWorker(world), enterprise=True)
    world.double = double
    double.workflow("e2e-shard.yml", WORKER)
    for name in ("moruk", "pi"):
        double.hub.add_runner(name, name, "e2e")
    with double:
        yield world, clock, double
        assert double.findings() == []
        assert double.token_leaks == []


def test_a_whole_run_on_enterprise_server_keeps_to_its_own_description(
    enterprise: tuple[World, Clock, GitHubDouble], tmp_path: Path
) -> None:
    """A failing test that is run again, a report from every job; nothing said that 3.19 does not describe."""
    world, clock, double = enterprise
    world.fails = {"t003": 1}
    run = Simulation(
        double, clock, tmp_path, tests=suite(8), numbers={"poll_interval": 15.0}, fleet=(("moruk", 2), ("pi", 1))
    )
    assert run.run() == 0
    started = double.asked("POST", "/dispatches")
    assert [(x.status, sorted(json.loads(x.request_body))) for x in started] == [(204, ["inputs", "ref"])]
    assert all(x.url.startswith("/api/v3/repos/") for x in double.exchanges)
    assert double.asked("POST", "/rerun-failed-jobs")


def test_the_two_descriptions_differ_where_we_say_so() -> None:
    """The double's strictness is real: what github.com takes is an objection of Enterprise Server's."""
    with GitHubDouble() as double:
        double.workflow("e2e-shard.yml", WORKER)
        github = client_of(double)
        inputs = {
            "matrix": json.dumps({"include": [{"shard": "s1", "labels": ["x"]}]}),
            "plan": "p",
            "dispatch_id": "d",
        }
        assert github.dispatch("e2e-shard.yml", "main", inputs) is not None
        github.client.close()
        said = [finding for x in double.exchanges for finding in described(ENTERPRISE).findings(x)]
    assert said == ["request field return_run_details is not described", "status 200 is not described"]


@pytest.mark.parametrize(
    "words",
    [("dispatch",), ("dispatch", "--matrix-only"), ("dispatch", "--list-only", "--listing", "l"), ("waves", "plan")],
)
def test_a_server_that_cannot_do_it_is_refused_before_anything_is_queued(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Gitea 1.26: the matrix would become one job with an empty label, queued for ever, that nobody can cancel."""
    world = World()
    with GitHubDouble(clock=RealClock().now, worker=ScriptedWorker(world)) as double:
        double.workflow("e2e-shard.yml", WORKER)
        desk = Desk(tmp_path, world, double)
        code, out, err = desk.run(*words, GITHUB_API_URL=f"{double.url}/api/v1")
        assert (code, out) == (2, "")
        assert "nothing was queued" in err
        assert "a job matrix from an expression" in err
        assert ("cancelling a run" in err) == (words == ("dispatch",))
        assert "ci-dispatch run" in err
        assert double.exchanges == []
        assert not (tmp_path / ".ci-dispatch").exists()


@pytest.mark.parametrize(("command", "says"), [("watch", "Run 7 was not watched"), ("cancel", "Nothing was cancelled")])
def test_nothing_is_asked_of_a_server_that_cannot(tmp_path: Path, command: str, says: str) -> None:
    world = World()
    with GitHubDouble(clock=RealClock().now, worker=ScriptedWorker(world)) as double:
        code, out, err = Desk(tmp_path, world, double).run(command, "7", GITHUB_API_URL=f"{double.url}/api/v1")
        assert (code, out) == (2, "")
        assert says in err
        assert "cancelling a run" in err
        assert double.exchanges == []
        assert not (tmp_path / ".ci-dispatch").exists()
