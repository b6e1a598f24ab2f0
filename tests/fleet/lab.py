"""Machines of their own on one computer: namespaces for network, processes, name and mounts, behind wire.py's line.

Needs root. Nothing is written outside of the lab's folder, and nothing survives the processes that make it up: even
when the tests are killed, the machines die with the pipe that holds them.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ci_dispatch.core.model import MachineName, MachineSpec
from ci_dispatch.machines.ssh.machine import SshMachine
from ci_dispatch.run.health import HealthPolicy
from tests.fleet.servers import SSHD, Keys, SshConfig, public

ROUND_TRIPS = {"moruk": 8.0, "ilko2": 115.0, "pi": 28.0, "spare": 20.0}
"""Milliseconds that give the reference fleet's measured connection times (issue 2)."""

_INIT = """
exec 3<&0 </dev/null
hostname "$1"; ip link set lo up
[ -z "$4" ] || mount --bind "$4" /etc/passwd
mkdir -p /run/sshd; mount -t tmpfs -o size=64m none "$2/work"
"$3" -f "$2/sshd_config" -E "$2/log"
cat <&3 >/dev/null &
watch=$!
while kill -0 $watch 2>/dev/null; do wait $watch; done
"""
# PID 1 of a machine; its stdin is a pipe from the tests: at its end PID 1 ends, and with it everything on the machine.


class LabHost:
    """One machine of the lab. It can be switched off and on, and anything can be run inside."""

    starts_by: tuple[str, ...] = ()  # a command that starts it with fewer rights
    users = ""  # a file that is its /etc/passwd

    def __init__(self, folder: Path, name: str, keys: Keys) -> None:
        self.name = name
        self.folder = folder
        self.work = folder / "work"
        self.work.mkdir(parents=True)
        (folder / "authorized_keys").write_text(public(keys.user) + "\n")
        (folder / "sshd_config").write_text(
            f"Port 22\nListenAddress 0.0.0.0\nHostKey {keys.host}\nAuthorizedKeysFile {folder}/authorized_keys\n"
            f"PidFile {folder}/sshd.pid\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n"
            "UseDNS no\nPrintMotd no\nMaxStartups 100:30:200\nMaxSessions 100\nSubsystem sftp internal-sftp\n"
        )
        self._outer: subprocess.Popen[bytes] | None = None
        self._pipe = -1

    @property
    def pid(self) -> int:
        """A process in its network namespace."""
        assert self._outer is not None
        return self._outer.pid

    @property
    def on(self) -> bool:
        return self._outer is not None

    def power_on(self) -> None:
        """Its network has no line yet: see Lab.heal."""
        (self.folder / "sshd.pid").unlink(missing_ok=True)
        read, self._pipe = os.pipe()
        command = ["unshare", "--net", "--uts", "--ipc", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        script = ["/bin/sh", "-c", _INIT, "init", self.name, str(self.folder), SSHD, self.users]
        self._outer = subprocess.Popen(
            [*self.starts_by, *command, *script],
            stdin=read,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(read)
        deadline = time.monotonic() + 10
        while Path(f"/proc/{self.pid}/ns/net").samefile("/proc/self/ns/net"):
            assert time.monotonic() < deadline, "the machine's namespaces do not come up"
            time.sleep(0.01)

    def wait_until_up(self) -> None:
        deadline = time.monotonic() + 10
        while not (self.folder / "sshd.pid").exists():
            assert time.monotonic() < deadline, f"sshd of {self.name} does not start: {self.folder}/log"
            time.sleep(0.02)

    def power_off(self) -> None:
        """End everything on it. The kernel still says goodbye to its peers: see Lab.power_off."""
        if self._outer is not None:
            self._outer.kill()  # --kill-child takes PID 1 with it, and PID 1 everything else
            self._outer.wait()
            os.close(self._pipe)
            self._outer = None

    def inside(self, script: str) -> str:
        """Run a shell script in all of its namespaces."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        done = subprocess.run(
            ["nsenter", "--all", "--target", children[0], "--", "/bin/sh", "-c", script],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def pretend(self, file: str, content: str) -> None:
        """Show `content` in place of a file of the kernel's, inside the machine only."""
        source = self.folder / f"pretend-{Path(file).name}"
        source.write_text(content)
        self.inside(f"mount --bind {source} {file}")

    def stop_pretending(self, file: str) -> None:
        self.inside(f"while umount {file} 2>/dev/null; do :; done")

    def processes(self) -> int:
        """How many processes run on it besides sshd and its own."""
        listing = self.inside("ps -axo stat=,args=")
        own = ("sshd", "cat", "/bin/sh -c \nexec 3", "/bin/sh -c  exec 3", "ps -axo", "/bin/sh -c ps", "unshare", "[")
        lines = [line.split(None, 1) for line in listing.splitlines()]
        return sum(not state.startswith("Z") and not args.startswith(own) for state, args in lines)


class Lab:
    """The reference fleet's machines, and one to spare; or machines with these round trips in milliseconds."""

    def __init__(
        self,
        folder: Path,
        keys: Keys,
        round_trips: Mapping[str, float] = ROUND_TRIPS,
        fronts: Sequence[str] = ("198.18", "198.19"),
    ) -> None:
        """`fronts`: how its addresses may begin; 198.18.0.0/15 is for measurements (RFC 2544)."""
        self.folder = folder
        self.keys = keys
        self.config = SshConfig(folder)
        self.round_trips = round_trips
        self.hosts = {name: LabHost(folder / name, name, keys) for name in round_trips}
        front, first = _free_network(fronts)
        self._networks = {name: f"{front}.{first + number}" for number, name in enumerate(round_trips)}
        self._wire: subprocess.Popen[str] | None = None

    def start(self) -> Lab:
        self._wire = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("wire.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._answer() == "ready"
        for name in self.hosts:
            self.config.add(name, 22, key=self.keys.user, known=self.keys.host, host=f"{self._networks[name]}.2")
        self.heal()
        return self

    def heal(self) -> None:
        """Everything on, every line at its own speed, nothing pretended."""
        for name in self.hosts:
            self.power_on(name)
        for host in self.hosts.values():
            host.wait_until_up()

    def power_on(self, name: str) -> None:
        """On, unless it is, with its line at its own speed; its sshd comes up a moment later."""
        host = self.hosts[name]
        if not host.on:
            host.power_on()
            self.wire("attach", name, str(host.pid), f"{self._networks[name]}.1", f"{self._networks[name]}.2")
        self.wire("rtt", name, str(self.round_trips[name]))
        self.wire("hole", name, "off")

    def power_off(self, name: str) -> None:
        """At once and without a word, as if the plug had been pulled."""
        self.wire("hole", name, "on")
        self.hosts[name].power_off()

    def wire(self, *words: str) -> None:
        assert self._wire is not None
        assert self._wire.stdin is not None
        self._wire.stdin.write(" ".join(words) + "\n")
        self._wire.stdin.flush()
        answer = self._answer()
        assert answer == "ok", answer

    def _answer(self) -> str:
        assert self._wire is not None
        assert self._wire.stdout is not None
        return self._wire.stdout.readline().strip()

    def machine(self, name: str, policy: HealthPolicy | None = None) -> SshMachine:
        spec = MachineSpec(name=MachineName(name), workdir=str(self.hosts[name].work / "ci"))
        return SshMachine(spec, policy, config_file=str(self.config.path))

    def stop(self) -> None:
        for host in self.hosts.values():
            host.power_off()
        if self._wire is not None:
            assert self._wire.stdin is not None
            assert self._wire.stdout is not None
            self._wire.stdin.close()
            self._wire.wait()
            self._wire.stdout.close()


def _free_network(fronts: Sequence[str]) -> tuple[str, int]:
    """(A.B, first C) of eight networks A.B.C.0/24 that nobody here uses."""
    used = subprocess.run(["ip", "-o", "-4", "addr"], capture_output=True, text=True, check=True).stdout
    choices = [(front, first) for front in fronts for first in range(0, 256, 8)]
    return random.choice([(front, first) for front, first in choices if f" {front}.{first}." not in used])
