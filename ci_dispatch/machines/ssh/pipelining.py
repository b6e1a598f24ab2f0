"""Authentication and the first command in one flight: 5 round trips from nothing to the answer instead of 9 (issue 2).

paramiko waits for an answer after each of four messages that OpenSSH takes in one go. The command leaves only after
the host key has been verified. The guess is that a server's first channel has number 0: true of OpenSSH and Dropbear; a
server that counts otherwise ends the connection, and `connection.py` then goes the ordinary way.

This uses parts of paramiko that are not public; `usable()` says whether they are as they were in the versions
this was tested with. May go when paramiko pipelines by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import paramiko
from paramiko.auth_handler import AuthOnlyHandler
from paramiko.common import cMSG_CHANNEL_OPEN, cMSG_CHANNEL_REQUEST, cMSG_SERVICE_REQUEST
from paramiko.message import Message
from paramiko.transport import ServiceRequestingTransport

_TESTED_MAJORS = {"3", "4", "5"}
_PARTS = ("_send_message", "_send_user_message", "_next_channel", "_sanitize_window_size", "_sanitize_packet_size")
_FIRST_CHANNEL = 0


def usable() -> bool:
    major = paramiko.__version__.partition(".")[0]
    return major in _TESTED_MAJORS and all(hasattr(PipeliningTransport, part) for part in _PARTS)


class PipeliningTransport(ServiceRequestingTransport):
    """A paramiko Transport whose first authentication may carry the first command with it."""

    # How often its thread looks whether it was closed; ten times a second is a share of a core with many machines. Our
    # own close shuts the socket down, which wakes it at once.
    _active_check_timeout = 1.0

    def authenticate(self, user: str, key: paramiko.PKey, command: str | None) -> paramiko.Channel | None:
        """Once, right after the key exchange. Gives the channel of the command. Raises paramiko's exceptions.

        paramiko's own way polls every 0.1 s for the service to be accepted, for ever when the peer is gone.
        """
        inner: Any = self
        request = Message()
        request.add_byte(cMSG_SERVICE_REQUEST)
        request.add_string("ssh-userauth")
        inner._send_message(request)  # noqa: SLF001  # see the module
        inner._service_userauth_accepted = True  # noqa: SLF001  # nobody waits for it, its acceptance may be passed over
        channels: list[paramiko.Channel] = []
        inner.auth_handler = _AuthHandler(self)
        if command is not None:
            inner.auth_handler.after_request = lambda: channels.append(_run_at_once(inner, command))
        inner.auth_handler.auth_publickey(user, key)
        return channels[0] if channels else None


class _AuthHandler(AuthOnlyHandler):
    """Calls `after_request` between sending an authentication request and waiting for its answer."""

    after_request: Callable[[], None] | None = None
    _answered: threading.Event | None = None

    @property
    def auth_event(self) -> threading.Event | None:
        """Set when the answer is here."""
        return self._answered

    @auth_event.setter
    def auth_event(self, event: threading.Event | None) -> None:
        """paramiko makes one when it has sent the request already: an answer that was faster would be lost."""

    def send_auth_request(self, username: str, method: str, finish_message: Any = None) -> Any:
        self._answered = threading.Event()
        return super().send_auth_request(username, method, finish_message)

    def wait_for_response(self, event: Any) -> Any:
        if self.after_request:
            self.after_request()
            self.after_request = None
        return super().wait_for_response(event)


def run(channel: paramiko.Channel, command: str) -> None:
    """Run a command in an open channel without waiting for "yes"."""
    transport: Any = channel.get_transport()
    transport._send_user_message(_exec_request(channel.remote_chanid, command))  # noqa: SLF001  # see the module


def _run_at_once(transport: Any, command: str) -> paramiko.Channel:
    """Open a channel and run the command in it without waiting for the channel's number."""
    window, packet = transport._sanitize_window_size(None), transport._sanitize_packet_size(None)  # noqa: SLF001
    with transport.lock:
        number = transport._next_channel()  # noqa: SLF001
        channel: Any = paramiko.Channel(number)
        transport._channels.put(number, channel)  # noqa: SLF001
        transport.channel_events[number] = threading.Event()
        transport.channels_seen[number] = True
        channel._set_transport(transport)  # noqa: SLF001
        channel._set_window(window, packet)  # noqa: SLF001
    opening = Message()
    opening.add_byte(cMSG_CHANNEL_OPEN)
    opening.add_string("session")
    for value in (number, window, packet):
        opening.add_int(value)
    transport._send_message(opening)  # noqa: SLF001
    transport._send_message(_exec_request(_FIRST_CHANNEL, command))  # noqa: SLF001
    opened: paramiko.Channel = channel
    return opened


def _exec_request(channel: int, command: str) -> Message:
    """No reply wanted: the output is the answer, and a refusal closes the channel."""
    request = Message()
    request.add_byte(cMSG_CHANNEL_REQUEST)
    request.add_int(channel)
    request.add_string("exec")
    request.add_boolean(False)  # noqa: FBT003  # it takes no keyword
    request.add_string(command)
    return request
