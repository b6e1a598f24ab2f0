"""Tier 2 (root): each machine is a set of namespaces with an sshd of its own, a disk of 64 MB and a delay line."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.chaos.fleet import ORDINARY, Fleet, nothing
from tests.chaos.plan import Kind, Plan
from tests.fleet.lab import Lab, LabHost
from tests.fleet.servers import SSHD, Keys

FRONTS = ("100.64", "100.65")  # shared address space (RFC 6598), not that of other tests' machines
SLOW = 900.0  # milliseconds
USED_UP = "MemTotal: 1000000 kB\nMemFree: 1000 kB\nMemAvailable: 1000 kB\n"


class NamespaceFleet(Fleet):
    """Everything a plan has can happen to these."""

    def __init__(self, plan: Plan, folder: Path, keys: Keys) -> None:
        super().__init__(plan, folder)
        self._keys = keys
        trips = {machine.name: machine.round_trip for machine in self.far.values()}
        with _one_at_a_time():  # networks are looked for, then taken
            self._lab = Lab(folder / "lab", keys, trips, FRONTS)
            for host in self._lab.hosts.values():
                host.starts_by, host.users = ORDINARY, str(_users(folder))
            if self.far:
                self._lab.start()
        self.ssh_config = self._lab.config.path
        self.acts |= {
            Kind.POWER_OFF: (self._lab.power_off, self._power_on),
            Kind.HOLE: (self._hole("on"), self._hole("off")),
            Kind.HOLE_IN: (self._hole("in"), self._hole("off")),
            Kind.HOLE_OUT: (self._hole("out"), self._hole("off")),
            Kind.SLOW_LINE: (self._round_trip(SLOW), self._round_trip(None)),
            Kind.SSHD_KILLED: (self._kill_sshd, self._sshd),
            Kind.CUT: (self._cut, nothing),
            Kind.HOST_KEY: (partial(self._sshd, host_key=keys.other_host), self._sshd),
            Kind.MAX_SESSIONS: (partial(self._sshd, max_sessions=1), self._sshd),
            Kind.DISK_FULL: (
                lambda name: self.shell(name, f"dd if=/dev/zero of={self.work(name)}/fill bs=1M 2>/dev/null; true"),
                lambda name: self.shell(name, f"rm -f {self.work(name)}/fill"),
            ),
            Kind.MEMORY: (
                lambda name: self._host(name).pretend("/proc/meminfo", USED_UP),
                lambda name: self._host(name).stop_pretending("/proc/meminfo"),
            ),
        }

    def work(self, name: str) -> Path:
        return self._host(name).work

    def is_on(self, name: str) -> bool:
        return name not in self.far or self._host(name).on

    def shell(self, name: str, script: str) -> None:
        if name in self.far:
            self._host(name).inside(script)
        else:
            super().shell(name, script)

    def stop(self) -> None:
        self._lab.stop()

    def _host(self, name: str) -> LabHost:
        return self._lab.hosts[name]

    def _power_on(self, name: str) -> None:
        """Its disk is empty, as nothing of it outlives its namespaces."""
        self._lab.power_on(name)
        self._host(name).wait_until_up()

    def _hole(self, state: str) -> partial[None]:
        return partial(self._wire, "hole", state)

    def _wire(self, what: str, value: str, name: str) -> None:
        self._lab.wire(what, name, value)

    def _round_trip(self, milliseconds: float | None) -> partial[None]:
        return partial(self._set_round_trip, milliseconds)

    def _set_round_trip(self, milliseconds: float | None, name: str) -> None:
        own = self.far[name].round_trip
        self._lab.wire("rtt", name, str(own if milliseconds is None else milliseconds))

    def _kill_sshd(self, name: str) -> None:
        self.shell(name, "kill -KILL $(pidof sshd); true")

    def _cut(self, name: str) -> None:
        """Every connection ends, what runs behind it goes on."""
        pid = self._host(name).folder / "sshd.pid"
        self.shell(name, f'm=$(cat {pid}); for p in $(pidof sshd); do [ "$p" = "$m" ] || kill -KILL "$p"; done; true')

    def _sshd(self, name: str, *, host_key: Path | None = None, max_sessions: int = 100) -> None:
        """Another sshd in place of the one there is: every connection ends."""
        folder = self._host(name).folder
        lines = (folder / "sshd_config").read_text().splitlines()
        kept = [line for line in lines if not line.startswith(("HostKey ", "MaxSessions "))]
        own = [f"HostKey {host_key or self._keys.host}", f"MaxSessions {max_sessions}"]
        (folder / "sshd_config").write_text("\n".join([*own, *kept]) + "\n")
        self.shell(name, f"kill -KILL $(pidof sshd); {SSHD} -f {folder}/sshd_config -E {folder}/log")


def _users(folder: Path) -> Path:
    """Root has an empty home: nothing of whoever runs the tests runs there, and nothing of theirs is killed."""
    home, users = folder / "lab" / "home", folder / "lab" / "passwd"
    home.mkdir(exist_ok=True)
    lines = [line for line in Path("/etc/passwd").read_text().splitlines() if not line.startswith("root:")]
    users.write_text("\n".join([f"root:x:0:0::{home}:/bin/sh", *lines]) + "\n")
    return users


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Of all campaigns on this computer, one looks for networks."""
    with Path("/tmp/ci-dispatch-chaos.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
