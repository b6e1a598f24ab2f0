"""The HTTP side: reads a request, meets its fault, answers as Slack does."""

from __future__ import annotations

import json
import socket
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.slack_double.faults import DropAfter, DropBefore, Fault, Html, RateLimited, Refuse, ServerError, Slow
from tests.slack_double.workspace import Refusal, TooFast, Workspace


class SlackDouble:
    """A Slack on a loopback port. `requests` has every (path, body) in order, refused or not."""

    def __init__(self) -> None:
        self.workspace = Workspace()
        self.faults: deque[Fault] = deque()
        self.always: Fault | None = None
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self._lock = Lock()
        double = self

        class Handler(_Handler):
            slack = double

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def api_url(self) -> str:
        return f"{self.url}/api/"

    @property
    def webhook_url(self) -> str:
        return f"{self.url}/services/T0/B0/secret"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def calls(self, method: str) -> list[dict[str, Any]]:
        return [body for path, body in self.requests if path.endswith(method)]

    def heard(self, path: str, body: dict[str, Any]) -> Fault | None:
        """Record a request; the fault it meets."""
        with self._lock:
            self.requests.append((path, body))
            return self.faults.popleft() if self.faults else self.always


class _Handler(BaseHTTPRequestHandler):
    slack: SlackDouble
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65536

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_POST(self) -> None:
        path, body = urlsplit(self.path).path, self._body()
        fault = self.slack.heard(path, body)
        match fault:
            case Slow(seconds):
                time.sleep(seconds)
            case RateLimited(retry_after):
                self._answer(429, {"ok": False, "error": "ratelimited"}, {"Retry-After": str(retry_after)})
                return
            case ServerError(status, False):
                self._answer(status, b"<html>upstream error</html>")
                return
            case Html(status):
                self._answer(status, b"<html>Please log in to the proxy</html>")
                return
            case Refuse(error, messages):
                self._refuse(path, Refusal(error, list(messages)))
                return
            case DropBefore():
                self._hang_up()
                return
            case _:
                pass
        try:
            answer = self._carry_out(path, body)
        except Refusal as refusal:
            self._refuse(path, refusal)
            return
        except TooFast as fast:
            self._answer(429, {"ok": False, "error": "ratelimited"}, {"Retry-After": str(fast.retry_after)})
            return
        match fault:
            case DropAfter():
                self._hang_up()
            case ServerError(status, True):
                self._answer(status, b"<html>upstream error</html>")
            case _:
                self._answer(200, answer)

    def _carry_out(self, path: str, body: dict[str, Any]) -> dict[str, Any] | bytes:
        if path.startswith("/services/"):
            self.slack.workspace.webhook(body)
            return b"ok"
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        return self.slack.workspace.call(path.removeprefix("/api/"), token, body)

    def _refuse(self, path: str, refusal: Refusal) -> None:
        if path.startswith("/services/"):
            self._answer(404 if refusal.error == "no_service" else 400, refusal.error.encode())
            return
        answer: dict[str, Any] = {"ok": False, "error": refusal.error}
        if refusal.messages:
            answer |= {"errors": refusal.messages, "response_metadata": {"messages": refusal.messages}}
        self._answer(200, answer)

    def _body(self) -> dict[str, Any]:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "json" in self.headers.get("Content-Type", ""):
            return dict(json.loads(raw or b"{}"))
        return {name: values[0] for name, values in parse_qs(raw.decode("utf-8", "replace")).items()}

    def _answer(self, status: int, body: dict[str, Any] | bytes, headers: dict[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/html" if isinstance(body, bytes) else "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        try:
            self.wfile.write(data)
            self.wfile.flush()
        except OSError:
            self.close_connection = True  # the client did not wait

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_POST
