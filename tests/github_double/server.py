"""HTTP for the double: one server for the API and, on another host name and port, one for the signed downloads."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import parse_qs, urlsplit

from tests.github_double.description import Exchange
from tests.github_double.entities import Conflict
from tests.github_double.faults import Fault, message
from tests.github_double.routes import ROUTES, Answer, Asked
from tests.github_double.shapes import Shapes

if TYPE_CHECKING:
    from tests.github_double.double import GitHubDouble


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65_536  # one packet an answer: otherwise delayed acknowledgements cost 40 ms each
    double: ClassVar[GitHubDouble]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        """Nothing: exchanges are recorded."""

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):  # the client went away
            self.close_connection = True

    def _read(self) -> tuple[str, bytes]:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)  # in absolute form when we are somebody's HTTP proxy
        return url.path + (f"?{url.query}" if url.query else ""), body

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class ApiHandler(Handler):
    def answer_any(self) -> None:
        path, body = self._read()
        if path.startswith("/_double/upload/"):
            self._upload(path, body)
            return
        fault = self.double.faults.take(self.command, path)
        if fault and fault.before:
            fault.before()
        if fault and fault.status is not None and not fault.processed:
            self._finish(path, body, fault.status, fault.body.encode(), _typed(fault), scripted=True)
            return
        status, answer, headers = self._api(path, body)
        scripted = fault is not None and fault.status is not None
        if fault and fault.status is not None:
            status, answer, headers = fault.status, fault.body.encode(), _typed(fault)
        self._finish(path, body, status, answer, headers, scripted=scripted)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = answer_any

    def _upload(self, path: str, body: bytes) -> None:
        """What the stand-in of actions/upload-artifact sends; GitHub has a service of its own for it."""
        url = urlsplit(path)
        run = self.double.hub.runs.get(int(url.path.rsplit("/", 1)[1]))
        with self.double.lock:
            try:
                if run is not None:
                    self.double.hub.upload(run, parse_qs(url.query)["name"][0], body)
            except Conflict as conflict:
                return self._send(int(conflict.status), message(str(conflict)).encode(), {})
        return self._send(201, b"", {})

    def _finish(
        self, path: str, body: bytes, status: int, answer: bytes, headers: dict[str, str], *, scripted: bool = False
    ) -> None:
        given = {name.lower(): value for name, value in self.headers.items()}
        if "authorization" in given:
            given["authorization"] = "***"
        self.double.record(
            Exchange(
                method=self.command,
                url=path,
                request_headers=given,
                request_body=body,
                status=status,
                answer_headers=headers,
                answer=answer,
                moment=self.double.hub.clock(),
                scripted=scripted,
            )
        )
        if status == 0:
            self.close_connection = True
            return
        self._send(status, answer, headers)

    def _api(self, path: str, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        with self.double.lock:
            headers = {"Content-Type": "application/json; charset=utf-8"}
            try:
                answer = self._route(urlsplit(path).path, path, body)
            except Conflict as conflict:
                return int(conflict.status), message(str(conflict)).encode(), headers | self.double.rate.spend()
            text = b"" if answer.body is None else json.dumps(answer.body).encode()
            etag = f'W/"{hashlib.sha256(text).hexdigest()}"'
            if self.command == "GET" and answer.status == 200:
                if self.headers.get("If-None-Match") == etag:  # free of charge, as on GitHub
                    return 304, b"", {"ETag": etag, **self.double.rate.headers()}
                headers["ETag"] = etag
            if not text:
                headers.pop("Content-Type")
            return answer.status, text, headers | dict(answer.headers) | self.double.rate.spend()

    def _route(self, path: str, url: str, body: bytes) -> Answer:
        double = self.double
        double.hub.tick()
        shapes = Shapes(f"http://{self.headers['Host']}{double.prefix}", double.repository)
        path = path.removeprefix(double.prefix) if path.startswith(f"{double.prefix}/") else f"/outside{path}"
        if path == "/rate_limit":
            return Answer(body=shapes.rate_limit(*double.rate.state()))
        granted = double.tokens.get((self.headers.get("Authorization") or "").split(" ")[-1])
        if granted is None:
            raise Conflict(401, "Bad credentials")
        double.rate.check()
        prefix = f"/repos/{double.repository}"
        for route in ROUTES:
            matched = route.pattern.fullmatch(path.removeprefix(prefix))
            if matched is None or route.method != self.command:
                continue
            if not allowed(route.permission, granted):
                raise Conflict(403, "Resource not accessible by integration")
            query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
            parsed = json.loads(body) if body else None
            version = self.headers.get("X-GitHub-Api-Version") or ""
            asked = Asked(
                double=double, shapes=shapes, path=matched.groups(), query=query, body=parsed, version=version
            )
            answer = route.handler(asked)
            if self.command != "GET":
                double.hub.tick()  # what was just queued meets the runners that are free now
            return answer
        raise Conflict(404, "Not Found")


def allowed(permission: str, granted: frozenset[str]) -> bool:
    name, _, level = permission.partition(":")
    return name == "metadata" or permission in granted or (level == "read" and f"{name}:write" in granted)


def _typed(fault: Fault) -> dict[str, str]:
    kind = "application/json; charset=utf-8" if fault.body.startswith("{") else "text/html"
    return {"Content-Type": kind, **fault.headers}


class BlobHandler(Handler):
    """The storage behind the redirects: it refuses a token, and a signature lives one minute."""

    def do_GET(self) -> None:
        path, _ = self._read()
        name, _, signature = path.removeprefix("/").partition("?sig=")
        blob = self.double.blobs.get(name)
        plain = {"Content-Type": "text/plain"}
        if "Authorization" in self.headers:
            self.double.token_leaks.append(path)
            return self._send(400, b"an Authorization header is not allowed with a signed URL", plain)
        if blob is None or signature != blob.signature:
            return self._send(403, b"Signature did not match", plain)
        if self.double.hub.clock() > blob.valid_until:
            return self._send(403, b"Signature not valid in the specified time frame", plain)
        kind = "text/plain; charset=utf-8" if name.endswith(".txt") else "application/zip"
        return self._send(200, blob.data, {"Content-Type": kind})


class Server:
    """A started server; `close` ends it and its threads."""

    def __init__(self, handler: type[Handler], double: GitHubDouble) -> None:
        bound = type(handler.__name__, (handler,), {"double": double})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), bound)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(timeout=5)


class Rate:
    """The primary limit of a token. 304 answers and `/rate_limit` are free."""

    def __init__(self, limit: int = 1000) -> None:
        self.limit, self.used = limit, 0
        self.reset_in = 3600

    def state(self) -> tuple[int, int, int]:
        return self.limit, max(0, self.limit - self.used), int(time.time()) + self.reset_in

    def headers(self) -> dict[str, str]:
        limit, remaining, reset = self.state()
        return {
            "X-RateLimit-Limit": str(limit),
            "X-RateLimit-Remaining": str(remaining),
            "X-RateLimit-Reset": str(reset),
        }

    def spend(self) -> dict[str, str]:
        self.used += 1
        return self.headers()

    def check(self) -> None:
        if self.used >= self.limit:
            raise Conflict(403, "API rate limit exceeded for installation ID 1.")
