"""A delay line between this machine's network and machines in network namespaces; a program of its own, run by lab.py.

One TUN device here and one in each namespace; a packet read from one is written to the other half a round trip later,
so TCP's own handshake, Nagle's algorithm and retransmission are real (a TCP proxy hides them). For kernels without
netem.

Commands come on stdin, one a line, each answered by one line; at the end of stdin everything vanishes, for a TUN device
lives as long as the file that made it:

    attach NAME PID OURS THEIRS   a machine whose namespace is that of process PID, with both ends' addresses
    rtt NAME MS                   its round-trip time
    hole NAME on|in|out|off       drop all its packets, or only those to it, or only those from it
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import os
import select
import struct
import subprocess
import time
from dataclasses import dataclass, field

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 1, 0x1000
_CLONE_NEWNET = 0x40000000
_IPV4 = 4


@dataclass
class Link:
    ends: tuple[int, int] = (-1, -1)  # here, there
    rtt: float = 0.0
    hole: str = "off"


@dataclass
class Wire:
    prefix: str  # of device names here: no other wire has it
    links: dict[str, Link] = field(default_factory=dict)
    waiting: list[tuple[float, int, int, bytes]] = field(default_factory=list)  # (due, order, to, packet)
    order: int = 0

    def run(self) -> None:
        commands = b""
        print("ready", flush=True)
        while True:
            ends = {here: (link, there) for link in self.links.values() for here, there in (link.ends, link.ends[::-1])}
            due = max(0.0, self.waiting[0][0] - time.monotonic()) if self.waiting else None
            for ready in select.select([0, *ends], [], [], due)[0]:
                if ready == 0:
                    data = os.read(0, 4096)
                    if not data:
                        return
                    *lines, commands = (commands + data).split(b"\n")
                    for line in lines:
                        print(self.obey(*line.decode().split()), flush=True)
                    break  # the set of ends may be another now
                self.take(*ends[ready], ready)
            self.deliver()

    def take(self, link: Link, to: int, source: int) -> None:
        for _ in range(64):
            try:
                packet = os.read(source, 65536)
            except OSError:  # no more, or its namespace is gone
                return
            lost = link.hole in ("on", "in" if source == link.ends[0] else "out")
            if packet and packet[0] >> 4 == _IPV4 and not lost:
                self.order += 1
                heapq.heappush(self.waiting, (time.monotonic() + link.rtt / 2, self.order, to, packet))

    def deliver(self) -> None:
        while self.waiting and self.waiting[0][0] <= time.monotonic() + 5e-5:
            _, _, to, packet = heapq.heappop(self.waiting)
            try:
                os.write(to, packet)
            except OSError:
                continue

    def obey(self, command: str, name: str, *words: str) -> str:
        link = self.links.setdefault(name, Link())
        try:
            match command, words:
                case "attach", (pid, ours, theirs):
                    for end in link.ends:
                        if end >= 0:
                            os.close(end)
                    there = device("eth0", theirs, ours, namespace=f"/proc/{pid}/ns/net")
                    link.ends = (device(f"{self.prefix}{list(self.links).index(name)}", ours, theirs), there)
                case "rtt", (milliseconds,):
                    link.rtt = float(milliseconds) / 1000
                case "hole", (state,):
                    link.hole = state
                case _:
                    return f"unknown command {command}"
        except (OSError, subprocess.CalledProcessError) as error:
            return f"failed: {error}"
        return "ok"


def device(name: str, address: str, peer: str, namespace: str = "") -> int:
    """A TUN device, up and addressed; its file."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        if namespace:
            enter(namespace)
        end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(end, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
        for words in (f"addr add {address} peer {peer} dev {name}", f"link set {name} mtu 1500 txqueuelen 1000 up"):
            subprocess.run(["ip", *words.split()], check=True, stdin=subprocess.DEVNULL)
        return end
    finally:
        if namespace:
            enter(f"/proc/self/fd/{home}")
        os.close(home)


def enter(namespace: str) -> None:
    handle = os.open(namespace, os.O_RDONLY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(handle, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {namespace}")
    finally:
        os.close(handle)


if __name__ == "__main__":
    Wire(prefix=f"ci{os.getpid()}-").run()
