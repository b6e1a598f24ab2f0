"""Spans over real OTLP/HTTP to a collector on loopback that decodes the protobuf."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk", reason="needs ci-dispatch[otel]: pip install 'ci-dispatch[otel]'")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ci_dispatch.reporters.metrics import otel
from ci_dispatch.reporters.metrics.otel import SpanReporter, SpansNotSent
from ci_dispatch.run.state import RunState
from report_merge.model import RunContext
from tests.recorded_runs import play, recorded

CONTEXT = RunContext(title="shop e2e", url="https://github.com/acme/shop/actions/runs/1")


class Collector:
    def __init__(self) -> None:
        self.status = 200
        self.spans: list[Any] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/v1/traces" and collector.status == 200:
                    request = ExportTraceServiceRequest.FromString(body)
                    collector.spans += [s for r in request.resource_spans for c in r.scope_spans for s in c.spans]
                self.send_response(collector.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.server.shutdown()
    made.server.server_close()
    made.thread.join(5)


def sent(collector: Collector, run: str = "troubled", traceparent: str = "") -> list[Any]:
    play(recorded(run), SpanReporter(collector.url, CONTEXT, traceparent=traceparent))
    return collector.spans


def attributes(span: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


def test_run_machine_attempt(collector: Collector) -> None:
    spans = sent(collector)
    by_id = {span.span_id: span for span in spans}
    (root,) = [span for span in spans if not span.parent_span_id]
    machines = [span for span in spans if span.parent_span_id == root.span_id]
    attempts = [span for span in spans if span.parent_span_id in {m.span_id for m in machines}]
    assert root.name == "RUN shop e2e"
    assert attributes(root)["cicd.pipeline.result"] == "error"
    assert attributes(root)["cicd.pipeline.run.url.full"] == CONTEXT.url
    assert sorted(span.name for span in machines) == ["machine ilko2", "machine local", "machine moruk", "machine pi"]
    assert len(attempts) == 6
    for span in spans:
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        if span.parent_span_id:
            assert by_id[span.parent_span_id].start_time_unix_nano <= span.start_time_unix_nano
    results = {span.name: attributes(span)["cicd.pipeline.task.run.result"] for span in attempts}
    assert results == {"attempt head-1": "failure", "attempt head-2": "success", "attempt head-3": "error",
                       "attempt moved-4": "error", "attempt moved-5": "success",
                       "attempt retry-6": "failure"}  # fmt: skip
    assert all("error.type" in attributes(span) for span in attempts if results[span.name] != "success")


def test_failed_tests_are_events_with_their_category(collector: Collector) -> None:
    spans = sent(collector)
    events = [event for span in spans if span.name == "attempt head-1" for event in span.events]
    shown = [{a.key: a.value.string_value for a in event.attributes} for event in events]
    assert [one["ci_dispatch.category"] for one in shown] == [
        "product.assertion",
        "env.service_down",
        "product.assertion",
    ]
    assert all(len(one["exception.message"]) <= 1000 for one in shown)
    assert all("\x1b" not in str(one) for one in shown)


def test_failures_that_are_left_out_are_counted(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otel, "FAILURES_PER_ATTEMPT", 1)
    (first,) = [span for span in sent(collector) if span.name == "attempt head-1"]
    assert len(first.events) == 1
    assert attributes(first)["ci_dispatch.attempt.failures_omitted"] == 2


def test_the_same_run_is_the_same_trace_and_joins_another_one(collector: Collector) -> None:
    first = {span.trace_id for span in sent(collector)}
    collector.spans = []
    assert {span.trace_id for span in sent(collector)} == first
    collector.spans = []
    outer = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    (root,) = [s for s in sent(collector, traceparent=outer) if s.name.startswith("RUN")]
    assert (root.trace_id.hex(), root.parent_span_id.hex()) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    collector.spans = []
    assert {span.trace_id for span in sent(collector, traceparent="00-zz")} == first


def test_a_collector_that_refuses_is_an_error_that_names_it(
    collector: Collector, capfd: pytest.CaptureFixture[str]
) -> None:
    collector.status = 400
    with pytest.raises(SpansNotSent, match=r"11 of 11 spans were not sent to http://127"):
        sent(collector)
    assert capfd.readouterr().err == ""


def test_a_run_that_did_not_end_sends_nothing(collector: Collector) -> None:
    reporter = SpanReporter(collector.url, CONTEXT)
    play(recorded("troubled")[:20], reporter)
    assert collector.spans == []
    assert isinstance(RunState(), RunState)
