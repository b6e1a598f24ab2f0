"""Hosts that run jobs: this one and those over SSH, behind the Machine port. To add a kind: docs/machines.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ci_dispatch.core.job_environment import JobEnvironment
from ci_dispatch.core.model import Connection, MachineSpec
from ci_dispatch.run.health import HealthPolicy

if TYPE_CHECKING:
    from ci_dispatch.machines.supervised import SupervisedMachine


def open_machine(
    spec: MachineSpec, policy: HealthPolicy | None = None, environment: JobEnvironment | None = None
) -> SupervisedMachine:
    """The machine of a description. Nothing is connected to yet; close it when done."""
    match spec.connection:
        case Connection.LOCAL:
            from ci_dispatch.machines.local import LocalMachine  # noqa: PLC0415  # a command pays for what it uses

            return LocalMachine(spec, policy, environment)
        case Connection.SSH:
            from ci_dispatch.machines.ssh.machine import SshMachine  # noqa: PLC0415  # same

            return SshMachine(spec, policy, environment)
