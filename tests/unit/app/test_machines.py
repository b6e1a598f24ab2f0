"""The limits that machines are opened with: what decides where GitHub's runners do the work, and where we do."""

from __future__ import annotations

from ci_dispatch.app.machines import open_machines
from ci_dispatch.config import load
from ci_dispatch.core.model import MachineName
from ci_dispatch.machines.supervised import SupervisedMachine

FLEET = '[suite]\ntools = ["node"]\n[[machine]]\nname = "moruk"\n'


def test_through_github_neither_load_nor_the_path_of_a_login_decides() -> None:
    """The runner service has a PATH of its own, and may be idle on a machine whose last run was just cancelled."""
    config = load(FLEET).config
    for through_github in (True, False):
        machine = open_machines(config, ["npm"], through_github=through_github)[MachineName("moruk")]
        assert isinstance(machine, SupervisedMachine)
        assert machine.policy.load_decides is not through_github
        assert machine.policy.tools == (() if through_github else ("npm", "node"))
        machine.close()
