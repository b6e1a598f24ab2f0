"""Peers that take a TCP connection and misbehave, each on a loopback port of its own."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

Behaviour = Callable[[socket.socket, threading.Event], None]


def silent(_peer: socket.socket, over: threading.Event) -> None:
    over.wait()


def drip(peer: socket.socket, over: threading.Event) -> None:
    """One byte of an identification now and then, for ever."""
    while not over.wait(0.2):
        peer.send(b"x")


def drip_lines(peer: socket.socket, over: threading.Event) -> None:
    """Lines before the identification, which RFC 4253 section 4.2 allows, for ever."""
    while not over.wait(0.2):
        peer.send(b"please wait\r\n")


def flood(peer: socket.socket, over: threading.Event) -> None:
    """A line without an end."""
    while not over.is_set():
        peer.send(b"A" * 65536)


def close(_peer: socket.socket, _over: threading.Event) -> None:
    return


def reset(peer: socket.socket, _over: threading.Event) -> None:
    time.sleep(0.05)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def http(peer: socket.socket, over: threading.Event) -> None:
    peer.send(b"HTTP/1.1 400 Bad Request\r\nServer: \x1b[31mred\r\n\r\n")
    over.wait(0.5)


def busy(peer: socket.socket, _over: threading.Event) -> None:
    """What sshd says when there are too many connections."""
    peer.send(b"Exceeded MaxStartups\r\n")


def identified_then_silent(peer: socket.socket, over: threading.Event) -> None:
    peer.send(b"SSH-2.0-OpenSSH_9.2\r\n")
    over.wait()


def garbage_after_identification(peer: socket.socket, over: threading.Event) -> None:
    peer.send(b"SSH-2.0-OpenSSH_9.2\r\n" + bytes(range(256)) * 8)
    over.wait(0.5)


@contextlib.contextmanager
def peer(behaviour: Behaviour, *, accept: bool = True) -> Iterator[int]:
    """The port of a listening peer. `accept` False: connections wait in the kernel's queue for ever."""
    over = threading.Event()
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(5)
            behaviour(connection, over)

    def listen() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                thread = threading.Thread(target=serve, args=(connection,), daemon=True, name="hostile")
                threads.append(thread)
                thread.start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        listening = threading.Thread(target=listen, daemon=True, name="hostile")
        if accept:
            listening.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            over.set()
            for thread in ([listening] if accept else []) + threads:
                thread.join(10)
