"""The dashboard over HTTP: read-only routes, server-sent events, and the rules of `auth.py` around all of them.

Everything here runs in one asyncio loop, the one that owns the ViewModel.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from importlib import resources

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ci_dispatch.reporters.dashboard import auth
from ci_dispatch.reporters.dashboard.view_model import OutputPiece, ViewModel
from report_merge.sanitize import printable

PING = 15.0  # seconds between signs of life on a silent stream: proxies close what is silent for a minute
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_CLOSED = """This dashboard opens by the link that ci-dispatch printed when it started: the link holds a token.
If the dashboard was started again, it has a new link (or set CI_DISPATCH_DASHBOARD_TOKEN to keep one).
"""


class PageUpdates:
    """Wakes every stream that waits for the next delta; `over` when there will be none any more."""

    def __init__(self) -> None:
        self.over = False
        self.next = asyncio.Event()

    def notify(self) -> None:
        self.next.set()
        self.next = asyncio.Event()


class AuthMiddleware:
    """Refuses what `auth.py` refuses, and puts its headers on every answer."""

    def __init__(self, app: ASGIApp, *, host: str, port: int, token: str) -> None:
        self._app, self._host, self._port, self._token = app, host, port, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in auth.HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        app = self._refusal(scope) or self._app
        await app(scope, receive, guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers, path = Headers(scope=scope), scope["path"]
        if not auth.host_allowed(headers.get("host", ""), self._host):
            text = (
                f"No dashboard under this name. Use its IP address, or start it with --host {self._host or 'NAME'}.\n"
            )
            return PlainTextResponse(text, 421)
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse(
                "A dashboard is read-only: it answers GET and HEAD.\n", 405, {"Allow": "GET, HEAD"}
            )
        if path.startswith(("/t/", "/assets/")) or auth.has_token(headers, self._port, self._token):
            return None
        return PlainTextResponse(_CLOSED, 403)


class Streams:
    """How many event streams each client has open."""

    def __init__(self, limit: int = auth.STREAMS_PER_CLIENT) -> None:
        self._limit = limit
        self._open: Counter[str] = Counter()

    def enter(self, client: str) -> bool:
        if self._open[client] >= self._limit:
            return False
        self._open[client] += 1
        return True

    def leave(self, client: str) -> None:
        self._open[client] -= 1
        self._open += Counter()  # drops the zeros


class EventStream(StreamingResponse):
    """Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

    def __init__(self, content: AsyncIterator[str], at_end: Callable[[], None]) -> None:
        super().__init__(content, media_type="text/event-stream")
        self._at_end = at_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._at_end()


class Pages:
    """The routes. `now` is the clock of the run, `metrics` the text of /metrics where somebody writes it."""

    def __init__(
        self, model: ViewModel, updates: PageUpdates, *, now: Callable[[], float],
        log: Callable[[int, int], OutputPiece | None],
        port: int, token: str, metrics: Callable[[], str] | None = None,
    ) -> None:  # fmt: skip
        self._model, self._updates, self._now, self._log = model, updates, now, log
        self._port, self._token, self._metrics = port, token, metrics
        self._streams = Streams()
        folder = resources.files("ci_dispatch.reporters.dashboard") / "page"
        self._files = {
            file.name: file.read_bytes() for file in folder.iterdir() if file.name.rpartition(".")[2] in _TYPES
        }

    def routes(self) -> list[Route]:
        routes = [
            Route("/", self.page),
            Route("/t/{token}", self.enter),
            Route("/assets/{name}", self.asset),
            Route("/api/state", self.state),
            Route("/api/events", self.events),
            Route("/api/test/{n:int}", self.test),
            Route("/api/log/{lease:int}", self.log),
        ]
        return routes + ([Route("/metrics", self.metrics)] if self._metrics else [])

    async def enter(self, request: Request) -> Response:
        """The page itself and not a redirect to it: a strict cookie does not follow one that began on another site."""
        if not auth.same(request.path_params["token"], self._token):
            return PlainTextResponse(_CLOSED, 403)
        answer = await self.page(request)
        answer.headers["Set-Cookie"] = auth.set_cookie(self._port, self._token)
        return answer

    async def page(self, request: Request) -> Response:  # noqa: ARG002  what Starlette calls
        return Response(self._files["index.html"], media_type=_TYPES["html"])

    async def asset(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._files:
            raise HTTPException(404)
        return Response(self._files[name], media_type=_TYPES[name.rpartition(".")[2]])

    async def state(self, request: Request) -> Response:
        """Everything, or with ?since=ID only what changed after it; 304 when that is nothing."""
        etag = f'"{self._model.deltas.last_id}"'
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers={"ETag": etag})
        deltas = self._model.deltas.after(request.query_params.get("since", ""))
        if deltas is None:
            return _json(self._model.snapshot(self._now()), ETag=etag)
        return _json(b'{"deltas":[%s]}' % ",".join(text for _, text in deltas).encode("utf-8", "replace"), ETag=etag)

    async def events(self, request: Request) -> Response:
        client = request.client.host if request.client else ""
        if not self._streams.enter(client):
            text = f"At most {auth.STREAMS_PER_CLIENT} live pages at a time; this one asks every 2 seconds instead.\n"
            return PlainTextResponse(text, 503, {"Retry-After": "5"})
        since = request.headers.get("last-event-id") or request.query_params.get("since", "")
        return EventStream(self._stream(since), lambda: self._streams.leave(client))

    async def _stream(self, last: str) -> AsyncIterator[str]:
        yield "retry: 1000\n\n"
        while True:
            more = self._updates.next  # taken before the deltas are read, so that none is missed in between
            deltas = self._model.deltas.after(last)
            if deltas is None:
                last = self._model.deltas.last_id
                yield f"event: reset\nid: {last}\ndata:\n\n"
            for last, text in deltas or ():
                yield f"id: {last}\ndata: {text}\n\n"
            if self._updates.over:
                yield "event: bye\ndata:\n\n"
                return
            try:
                await asyncio.wait_for(more.wait(), PING)
            except TimeoutError:
                yield f"event: ping\ndata: {self._now():.2f}\n\n"

    async def test(self, request: Request) -> Response:
        found = self._model.test(request.path_params["n"])
        if found is None:
            raise HTTPException(404, "no such test in this run")
        return _json(found)

    async def log(self, request: Request) -> Response:
        since = request.query_params.get("since", "0")
        piece = self._log(request.path_params["lease"], int(since[:12]) if since.isdecimal() else 0)
        if piece is None:
            raise HTTPException(404, "no output of this attempt is known")
        return _json(json.dumps({"text": printable(piece.text), "start": piece.start, "end": piece.end}).encode())

    async def metrics(self, request: Request) -> Response:  # noqa: ARG002
        assert self._metrics is not None
        return PlainTextResponse(self._metrics(), media_type="text/plain; version=0.0.4")


def _json(body: bytes, **headers: str) -> Response:
    return Response(body, media_type="application/json", headers=headers)


def application(pages: Pages, *, host: str, port: int, token: str) -> Starlette:
    return Starlette(
        routes=pages.routes(),
        middleware=[
            Middleware(AuthMiddleware, host=host, port=port, token=token),
            Middleware(GZipMiddleware, compresslevel=4),
        ],
    )
