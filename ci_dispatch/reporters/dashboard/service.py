"""One thread that reads events from a source into a ViewModel and serves it; and the reporter that runs it."""

from __future__ import annotations

import asyncio
import errno
import secrets
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import uvicorn

from ci_dispatch.core.errors import UsageError
from ci_dispatch.core.events import Stamped
from ci_dispatch.core.model import LeaseNumber
from ci_dispatch.reporters import BaseReporter
from ci_dispatch.reporters.dashboard import auth
from ci_dispatch.reporters.dashboard.journal_source import EventSource, LiveSource
from ci_dispatch.reporters.dashboard.server import Pages, PageUpdates, application
from ci_dispatch.reporters.dashboard.view_model import EarlierOutcomes, OutputPiece, ViewModel, no_outcomes
from ci_dispatch.run.state import RunState

INTERVAL = 0.5  # seconds between looks at the source: pages change at most twice a second
BATCH = 500  # events folded before requests get their turn,
BATCHES = 200  # and before the pages get them
STOP = 1  # seconds that open connections get to end


class DashboardService:
    """The page of one source, from `start` to `stop`.

    `metrics` gives the text of /metrics for a state, `earlier` how a test ended in earlier runs (`Case.history`).
    """

    def __init__(
        self, source: EventSource, *, host: str = "127.0.0.1", port: int = 0, token: str = "",
        metrics: Callable[[RunState], str] | None = None, earlier: EarlierOutcomes = no_outcomes,
    ) -> None:  # fmt: skip
        """Raises UsageError when it cannot listen there."""
        self._source = source
        self._metrics = metrics
        self._earlier = earlier
        self._socket = _listen(host, port)
        self.host, self.port = host, int(self._socket.getsockname()[1])
        self.token = token or auth.new_token()
        self.failure = ""  # why it ended by itself
        self._ready = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dashboard", daemon=True)

    @property
    def url(self) -> str:
        """What a person opens; it holds the token."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(self.host, self.host)  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{self.port}/t/{self.token}"

    def start(self) -> None:
        """Returns when it answers, or after 10 seconds at the latest."""
        self._thread.start()
        self._ready.wait(10)

    def stop(self) -> None:
        """Sends the pages what is left and ends, within about a second; may be called again."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(STOP + 4)
        self._socket.close()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # noqa: BLE001  the run goes on without its dashboard
            self.failure = f"{type(error).__name__}: {error}"
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        model, updates = ViewModel(secrets.token_hex(4), self._source.pace, self._earlier), PageUpdates()
        metrics = self._metrics
        pages = Pages(
            model, updates, now=self._source.now, log=self._log(model), port=self.port, token=self.token,
            metrics=(lambda: metrics(model.state)) if metrics else None,
        )  # fmt: skip
        config = uvicorn.Config(
            application(pages, host=self.host, port=self.port, token=self.token),
            http="h11", ws="none", loop="asyncio", lifespan="off", log_config=None, access_log=False,
            server_header=False, proxy_headers=False, timeout_graceful_shutdown=STOP, limit_concurrency=200,
        )  # fmt: skip
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[self._socket]))
        try:
            await self._pump(model, updates, serving)
        finally:
            updates.over = True
            updates.notify()
            server.should_exit = True
            await serving

    def _log(self, model: ViewModel) -> Callable[[int, int], OutputPiece | None]:
        def log(lease: int, since: int) -> OutputPiece | None:
            number = LeaseNumber(lease)
            return model.tails.read(number, since) or self._source.output(number, since)

        return log

    async def _pump(self, model: ViewModel, updates: PageUpdates, serving: asyncio.Task[None]) -> None:
        while True:
            last_round = self._stop.is_set()
            for _ in range(BATCHES):
                if not (events := self._source.take(BATCH)):
                    break
                for stamped in events:
                    model.apply(stamped)
                await asyncio.sleep(0)
            if model.flush(self._source.now()):
                updates.notify()
            self._ready.set()
            if last_round or serving.done():
                return
            await asyncio.to_thread(self._stop.wait, INTERVAL)


class DashboardReporter(BaseReporter):
    """Puts each event on a queue, never waits for a browser; fails, and is switched off, when its thread has ended."""

    name = "dashboard"

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, *, token: str = "", journal: Path | None = None,
        metrics: Callable[[RunState], str] | None = None, earlier: EarlierOutcomes = no_outcomes,
    ) -> None:  # fmt: skip
        """`journal` has what happened before a resume.

        Raises UsageError when the address cannot be listened on.
        """
        self._source = LiveSource(journal=journal)
        self._service = DashboardService(
            self._source, host=host, port=port, token=token, metrics=metrics, earlier=earlier
        )
        self._service.start()

    @property
    def url(self) -> str:
        return self._service.url

    def handle(self, stamped: Stamped, state: RunState) -> None:  # noqa: ARG002
        if self._service.failure:
            raise RuntimeError(self._service.failure)
        self._source.put(stamped)

    def close(self) -> None:
        self._service.stop()


def _listen(host: str, port: int) -> socket.socket:
    what = f"The dashboard cannot listen on {host}:{port}"
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise UsageError(what, why=error.strerror or str(error), hint="--host 127.0.0.1") from error
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(128)  # from here on who asks is answered, as soon as the thread runs
    except OSError as error:
        listener.close()
        raise UsageError(what, why=error.strerror or str(error), hint=_REMEDY.get(error.errno or 0, _ANY)) from error
    return listener


_ANY = "--port 0, which takes any free port"
_REMEDY = {
    errno.EADDRINUSE: f"{_ANY}, or end the other program",
    errno.EACCES: f"a port above 1023, or {_ANY}",
    errno.EADDRNOTAVAIL: "--host 127.0.0.1, or an address that this machine has",
}
