"""OpenSSH servers on loopback ports, run by whoever runs the tests: he logs in to himself."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") or "/usr/sbin/sshd"

_BASE = (
    "ListenAddress 127.0.0.1",
    "StrictModes no",  # temporary folders belong to anybody
    "UsePAM no",
    "PasswordAuthentication no",
    "KbdInteractiveAuthentication no",
    "PermitRootLogin yes",
    "UseDNS no",
    "PrintMotd no",
    "Subsystem sftp internal-sftp",
    "MaxStartups 100:30:200",
    "MaxSessions 100",
    "LogLevel VERBOSE",
)


def make_key(path: Path, kind: str = "ed25519") -> Path:
    """A private key at `path`, its public half beside it."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", path.name, "-f", str(path)], check=True)
    return path


def public(key: Path) -> str:
    """`TYPE KEY` without the comment."""
    return " ".join(Path(f"{key}.pub").read_text().split()[:2])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Keys:
    """What every server shares."""

    folder: Path
    user: Path
    stranger: Path  # authorised nowhere
    host: Path
    other_host: Path

    @classmethod
    def make(cls, folder: Path) -> Keys:
        folder.mkdir(parents=True, exist_ok=True)
        names = ("user", "stranger", "host", "other_host")
        return cls(folder, *(make_key(folder / name) for name in names))


class Server:
    """One sshd. Extra lines of its configuration go first: sshd takes the first value it meets."""

    def __init__(
        self,
        folder: Path,
        keys: Keys,
        *lines: str,
        host_key: Path | None = None,
        authorised: bool = True,
        port: int | None = None,
    ) -> None:
        self.folder = folder
        self.keys = keys
        self.port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        accepted = folder / "authorized_keys"
        accepted.write_text(public(keys.user) + "\n" if authorised else "")
        self._config = folder / "sshd_config"
        own = (
            f"Port {self.port}",
            f"HostKey {host_key or keys.host}",
            f"AuthorizedKeysFile {accepted}",
            "PidFile none",
        )
        self._config.write_text("\n".join([*lines, *own, *_BASE]) + "\n")

    def start(self) -> Server:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        self._process = subprocess.Popen(
            [SSHD, "-D", "-E", str(self.folder / "log"), "-f", str(self._config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return self
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        raise RuntimeError(f"sshd does not start: {self.log()}")

    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def signal(self, number: int) -> None:
        """To the listening process alone; established connections belong to its children."""
        assert self._process is not None
        self._process.send_signal(number)

    def drop_connections(self) -> int:
        """Kill every established connection's process; what runs behind it is left alone. Returns how many."""
        dropped = [child for child in self._children() if self._kill(child)]
        return len(dropped)

    def stop(self) -> None:
        """The listening process and every connection."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGCONT)
        children = self._children()
        self._process.kill()
        self._process.wait()
        for child in children:
            self._kill(child)
        self._process = None

    def _children(self) -> list[int]:
        assert self._process is not None
        return [child for child in descendants(self._process.pid) if _is_sshd(child)]

    @staticmethod
    def _kill(pid: int) -> bool:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return True
        return False


class SshConfig:
    """A configuration file with one entry a machine, and its own known_hosts."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "ssh_config"
        self.known_hosts = folder / "known_hosts"
        self.known_hosts.touch()
        self.path.touch()

    def add(
        self,
        name: str,
        port: int,
        *,
        key: Path,
        known: Path | None,
        user: str = "",
        host: str = "127.0.0.1",
        lines: str = "",
    ) -> None:
        """`known` is the private half of the host key that shall be trusted, None for none."""
        with self.path.open("a") as file:
            file.write(
                f"Host {name}\n  HostName {host}\n  Port {port}\n  User {user or getpass.getuser()}\n"
                f"  IdentityFile {key}\n  IdentitiesOnly yes\n  IdentityAgent none\n"
                f"  UserKnownHostsFile {self.known_hosts}\n  GlobalKnownHostsFile /dev/null\n{lines}\n"
            )
        if known:
            with self.known_hosts.open("a") as file:
                label = host if port == 22 else f"[{host}]:{port}"
                file.write(f"{label} {public(known)}\n")


def descendants(root: int) -> list[int]:
    """Children, their children and so on."""
    parents: dict[int, int] = {}
    listing = subprocess.run(["ps", "-axo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    for line in listing.splitlines():
        pid, parent = map(int, line.split())
        parents[pid] = parent
    found: list[int] = []
    new = [root]
    while new:
        new = [pid for pid, parent in parents.items() if parent in new]
        found += new
    return found


def _is_sshd(pid: int) -> bool:
    asked = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return "sshd" in asked.stdout.split(":")[0]
