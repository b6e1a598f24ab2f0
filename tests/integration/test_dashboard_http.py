"""The dashboard over real HTTP: who may look, what streams say, and that everything ends."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ci_dispatch.core.errors import UsageError
from ci_dispatch.core.events import AttemptOutput, Stamped, Warned
from ci_dispatch.reporters.dashboard import auth, service
from ci_dispatch.reporters.dashboard.journal_source import LiveSource
from ci_dispatch.reporters.dashboard.service import DashboardReporter, DashboardService
from ci_dispatch.run.journal import dumps
from ci_dispatch.run.state import RunState
from tests.data.dashboard.simulated import START, Simulation

DEADLINE = 10.0


class Answer:
    def __init__(self, answer: http.client.HTTPResponse, *, read: bool = True) -> None:
        self.status, self.headers = answer.status, answer.headers
        self.raw = answer
        self.body = answer.read() if read else b""

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Asks one dashboard, with its token unless told otherwise."""

    def __init__(self, dashboard: DashboardService) -> None:
        self.dashboard = dashboard
        self.cookie = {"Cookie": f"{auth.cookie_name(dashboard.port)}={dashboard.token}"}
        self._open: list[http.client.HTTPConnection] = []

    def get(self, path: str, *, method: str = "GET", token: bool = True, read: bool = True, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.dashboard.port, timeout=DEADLINE)
        self._open.append(connection)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=(self.cookie if token else {}) | given)
        return Answer(connection.getresponse(), read=read)

    def stream(self, since: str = "", last: str = "") -> Answer:
        headers = {"Last_Event_ID": last} if last else {}
        return self.get(f"/api/events?since={since}", read=False, token=True, method="GET", **headers)

    def close(self) -> None:
        for connection in self._open:
            connection.close()


def messages(stream: Answer) -> Iterator[dict[str, str]]:
    """The events of a stream as they come."""
    fields: dict[str, str] = {}
    while line := stream.raw.readline():
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name:
            fields[name.rstrip(":")] = value
        elif fields:
            yield fields
            fields = {}


@pytest.fixture
def source() -> LiveSource:
    return LiveSource(clock=lambda: START + 5)  # time stands still: only events are news


@pytest.fixture
def client(source: LiveSource, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setattr(service, "INTERVAL", 0.05)
    dashboard = DashboardService(source, metrics=lambda state: f"tests {state.total}\n")
    dashboard.start()
    client = Client(dashboard)
    yield client
    client.close()
    dashboard.stop()
    assert dashboard.failure == ""


def a_run(tests: int = 20) -> list[Stamped]:
    return list(Simulation(tests=tests).events())


def wait_for_seq(client: Client, seq: int) -> dict[str, Any]:
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        state: dict[str, Any] = client.get("/api/state").json()
        if state["seq"] >= seq:
            return state
        time.sleep(0.02)
    raise AssertionError(f"the dashboard never came to event {seq}")


class TestWhoMayLook:
    PATHS = ("/", "/api/state", "/api/events", "/api/test/0", "/api/log/1", "/metrics", "/nothing")

    @pytest.mark.parametrize("path", PATHS)
    def test_nobody_without_the_token(self, client: Client, path: str) -> None:
        answer = client.get(path, token=False)
        assert answer.status == 403
        assert b"link" in answer.body

    @pytest.mark.parametrize("path", PATHS)
    def test_nobody_through_a_name_that_is_not_ours(self, client: Client, path: str) -> None:
        assert client.get(path, Host="evil.example").status == 421

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
    def test_it_is_read_only(self, client: Client, method: str) -> None:
        assert client.get("/api/state", method=method).status == 405

    def test_the_link_gives_the_page_and_the_cookie(self, client: Client) -> None:
        answer = client.get(f"/t/{client.dashboard.token}", token=False)
        assert answer.status == 200
        assert answer.body.startswith(b"<!doctype html>")
        cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        name = cookie.partition(";")[0]
        assert client.get("/api/state", token=False, Cookie=name).status == 200

    @pytest.mark.parametrize("token", ["wrong", "%00", "%C3%A9", "..%2f..", "x" * 5000])
    def test_a_wrong_link_gives_nothing(self, client: Client, token: str) -> None:
        answer = client.get(f"/t/{token}", token=False)
        assert answer.status in (403, 404)
        assert "Set-Cookie" not in answer.headers

    def test_prometheus_may_bring_the_token_as_a_bearer(self, client: Client) -> None:
        answer = client.get("/metrics", token=False, Authorization=f"Bearer {client.dashboard.token}")
        assert (answer.status, answer.body) == (200, b"tests 0\n")

    @pytest.mark.parametrize("path", ["/", "/api/state", "/assets/dashboard.js", "/nothing", "/t/x"])
    def test_every_answer_has_the_strict_headers(self, client: Client, path: str) -> None:
        answer = client.get(path)
        for name, value in auth.HEADERS.items():
            assert answer.headers[name] == value
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in answer.headers

    @pytest.mark.parametrize("path", ["/assets/..%2fguard.py", "/assets/../auth.py", "/assets/", "/assets/x.py"])
    def test_only_the_files_of_the_page_are_given_out(self, client: Client, path: str) -> None:
        assert client.get(path).status == 404

    def test_it_listens_on_this_machine_only(self, client: Client) -> None:
        assert client.dashboard.url.startswith("http://127.0.0.1:")


class TestState:
    def test_everything_then_only_what_changed(self, client: Client, source: LiveSource) -> None:
        events = a_run()
        for stamped in events[:40]:
            source.put(stamped)
        state = wait_for_seq(client, events[39].seq)
        assert client.get("/api/state", If_None_Match=f'"{state["id"]}"').status == 304
        for stamped in events[40:]:
            source.put(stamped)
        whole = wait_for_seq(client, events[-1].seq)
        changes = client.get(f"/api/state?since={state['id']}").json()
        assert changes["deltas"][-1]["id"] == whole["id"]
        assert changes["deltas"][-1]["seq"] == whole["seq"]

    def test_an_id_of_an_earlier_server_gives_everything(self, client: Client, source: LiveSource) -> None:
        source.put(a_run()[0])
        wait_for_seq(client, 1)
        assert len(client.get("/api/state?since=cafe0123-7").json()["tests"]) == 20

    def test_one_test_and_its_output(self, client: Client, source: LiveSource) -> None:
        events = a_run()
        for stamped in events:
            source.put(stamped)
        wait_for_seq(client, events[-1].seq)
        test = client.get("/api/test/0").json()
        assert test["attempts"]
        log = client.get(f"/api/log/{test['attempts'][0]['lease']}").json()
        assert "✓" in log["text"]
        assert "\x1b" not in log["text"]
        again = client.get(f"/api/log/{test['attempts'][0]['lease']}?since={log['end']}").json()
        assert again["text"] == ""

    @pytest.mark.parametrize(
        "path", ["/api/test/99999", "/api/test/-1", "/api/test/x", "/api/log/999", "/api/log/1?since=x"]
    )
    def test_what_is_not_there_is_not_found(self, client: Client, path: str) -> None:
        assert client.get(path).status == 404


class TestStream:
    def test_deltas_as_they_happen_and_a_goodbye(self, client: Client, source: LiveSource) -> None:
        events = a_run()
        source.put(events[0])
        state = wait_for_seq(client, 1)
        stream = client.stream(state["id"])
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        coming = messages(stream)
        assert next(coming) == {"retry": "1000"}
        for stamped in events[1:]:
            source.put(stamped)
        last = {}
        while (last := next(coming)) and json.loads(last["data"])["seq"] < events[-1].seq:
            pass
        assert last["id"] == json.loads(last["data"])["id"]
        client.dashboard.stop()
        assert next(coming)["event"] == "bye"
        assert list(coming) == []

    def test_last_event_id_goes_on_where_it_stopped_an_unknown_one_resets(
        self, client: Client, source: LiveSource
    ) -> None:
        events = a_run()
        source.put(events[0])
        state = wait_for_seq(client, 1)
        for stamped in events[1:]:
            source.put(stamped)
        wait_for_seq(client, events[-1].seq)
        resumed = messages(client.stream("nonsense", last=state["id"]))
        next(resumed)
        assert json.loads(next(resumed)["data"])["head"]
        lost = messages(client.stream("old-1"))
        next(lost)
        assert next(lost)["event"] == "reset"

    def test_the_sixth_page_is_told_to_ask_instead_and_a_closed_one_makes_room(self, client: Client) -> None:
        open_ones = [client.stream() for _ in range(auth.STREAMS_PER_CLIENT)]
        for stream in open_ones:
            assert next(messages(stream)) == {"retry": "1000"}
        refused = client.stream()
        assert refused.status == 503
        assert refused.headers["Retry-After"] == "5"
        assert client.get("/api/state").status == 200
        open_ones[0].raw.close()
        client._open[0].close()
        end = time.monotonic() + DEADLINE
        while (again := client.stream()).status == 503:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert again.status == 200

    def test_a_burst_is_told_in_few_pieces(self, client: Client, source: LiveSource) -> None:
        events = a_run(200)
        for stamped in events:
            source.put(stamped)
        state = wait_for_seq(client, events[-1].seq)
        assert len(events) > 500
        assert int(state["id"].rpartition("-")[2]) < 50


class TestEnd:
    def test_it_ends_at_once_with_streams_open(self, client: Client) -> None:
        streams = [client.stream() for _ in range(3)]
        for stream in streams:
            next(messages(stream))
        began = time.monotonic()
        client.dashboard.stop()
        assert time.monotonic() - began < DEADLINE / 2  # uvicorn alone would wait for its clients without end
        assert "dashboard" not in {thread.name for thread in threading.enumerate()}

    def test_a_taken_port_is_one_clear_line_with_the_remedy(self) -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            with pytest.raises(UsageError, match="cannot listen") as refused:
                DashboardService(LiveSource(), port=other.getsockname()[1])
        assert "in use" in refused.value.why
        assert "--port 0" in refused.value.hint

    def test_the_reporter_fails_loudly_when_its_thread_has_ended(self) -> None:
        reporter = DashboardReporter()
        try:
            reporter.handle(a_run()[0], RunState())
            reporter.tick(0.0, RunState())
            reporter._service.failure = "OSError: gone"
            with pytest.raises(RuntimeError, match="gone"):
                reporter.handle(Stamped(seq=2, at=0.0, event=Warned(source="a", text="b")), RunState())
        finally:
            reporter.close()
            reporter.close()


def test_the_command_follows_a_journal_and_ends_by_a_signal(tmp_path: Path) -> None:
    lines = [dumps(s).decode() + "\n" for s in a_run() if not isinstance(s.event, AttemptOutput)]
    journal = tmp_path / "events.jsonl"
    journal.write_text("".join(lines[:5]))
    command = [sys.executable, "-m", "ci_dispatch", "dashboard", str(tmp_path)]
    environ = {"CI_DISPATCH_DASHBOARD_TOKEN": "a-token-for-this-test", "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            assert url.endswith("/t/a-token-for-this-test")
            port = int(url.split(":")[2].partition("/")[0])
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
            headers = {"Authorization": "Bearer a-token-for-this-test"}
            connection.request("GET", "/api/state", headers=headers)
            state = json.loads(connection.getresponse().read())
            assert state["seq"] == 5
            assert state["head"]["phase"] == "lost"  # a journal of long ago that nobody ended
            with journal.open("a") as file:
                file.writelines(lines[5:])
            end = time.monotonic() + DEADLINE
            while state.get("seq") != len(lines):
                assert time.monotonic() < end
                time.sleep(0.1)
                connection.request("GET", "/api/state", headers=headers)
                state = json.loads(connection.getresponse().read())
            assert state["head"]["phase"] == "failed"
            connection.close()
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE) == 0
            assert process.stderr is not None
            assert process.stderr.read() == ""
        finally:
            process.kill()
