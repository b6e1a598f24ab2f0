"""A run as OpenTelemetry spans: run, machine, attempt. The one file that knows OpenTelemetry; needs ci-dispatch[otel].

Names follow the CI/CD conventions (https://opentelemetry.io/docs/specs/semconv/cicd/), where `failure` is a test and
`error` is the system that runs it. The trace's id is made of the run's, so that other tools can join it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256
from logging import NullHandler, getLogger

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from ci_dispatch import __version__
from ci_dispatch.core.errors import CiDispatchError
from ci_dispatch.core.model import Ended, Verdict
from ci_dispatch.reporters import BaseReporter
from ci_dispatch.reporters.counts import name_of, what_failed
from ci_dispatch.run.ledger import AttemptRecord
from ci_dispatch.run.run_report import verdict_word
from ci_dispatch.run.state import MachineState, RunState
from report_merge.failures import classify
from report_merge.model import RunContext

TIMEOUT = 5  # seconds for the one request at the end
MESSAGE_LIMIT = 1000  # characters
FAILURES_PER_ATTEMPT = 50
SPANS_PER_REQUEST = 500

_RESULTS = {"PASSED": "success", "FAILED": "failure", "INCOMPLETE": "error", "INTERRUPTED": "cancellation"}
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_LOG = getLogger("opentelemetry")  # it would print into the terminal what the warning says
_LOG.addHandler(NullHandler())
_LOG.propagate = False


class SpansNotSent(CiDispatchError):
    """The collector did not take the spans."""


class SpanReporter(BaseReporter):
    """Sends the spans of a run when it is over, in requests of at most 500 spans; waits five seconds for each."""

    name = "otel"

    def __init__(self, endpoint: str, context: RunContext, *, traceparent: str = "") -> None:
        """`traceparent` is a W3C header of the trace that the run is a part of."""
        address = endpoint.rstrip("/")
        self._endpoint = endpoint if address.endswith("/v1/traces") else f"{address}/v1/traces"
        self._context = context
        self._traceparent = traceparent

    def close(self) -> None:
        """Raises SpansNotSent when the collector does not take them all."""
        if self.state is None or self.state.finished is None:
            return
        spans = run_spans(self.state, self._context, self._traceparent)
        exporter = OTLPSpanExporter(endpoint=self._endpoint, timeout=TIMEOUT)
        try:
            send(spans, exporter, self._endpoint)
        finally:
            exporter.shutdown()  # type: ignore[no-untyped-call]  # the library has no types there


def send(spans: Sequence[ReadableSpan], exporter: SpanExporter, where: str) -> None:
    for begin in range(0, len(spans), SPANS_PER_REQUEST):
        if exporter.export(spans[begin : begin + SPANS_PER_REQUEST]) is not SpanExportResult.SUCCESS:
            raise SpansNotSent(
                f"{len(spans) - begin} of {len(spans)} spans were not sent to {where}",
                hint="is a collector listening there for OTLP over HTTP? See metrics.otlp_endpoint",
            )


def run_spans(state: RunState, context: RunContext, traceparent: str = "") -> Sequence[ReadableSpan]:
    """The finished spans of a finished run. `traceparent` is a W3C header; a wrong one is as good as none."""
    assert state.started is not None
    memory = InMemorySpanExporter()
    provider = TracerProvider(
        resource=Resource.create({"service.name": "ci-dispatch", "service.version": __version__}),
        id_generator=_TraceOfRun(state.started.run, context.attempt),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("ci_dispatch", __version__)
    word = _RESULTS[verdict_word(state)]
    root = tracer.start_span(
        f"RUN {context.title}",
        context=_parent(traceparent),
        kind=SpanKind.SERVER,
        start_time=_ns(state.started_at),
        attributes={
            "cicd.pipeline.name": context.title,
            "cicd.pipeline.action.name": "RUN",
            "cicd.pipeline.run.id": str(state.started.run),
            "cicd.pipeline.result": word,
            **({"cicd.pipeline.run.url.full": context.url} if context.url else {}),
            **{f"ci_dispatch.tests.{verdict.value.replace(' ', '_')}": state.verdicts[verdict] for verdict in Verdict},
        },
    )
    _outcome(root, word, "tests failed" if word == "failure" else word)
    for machine in state.machines.values():
        if machine.first_work is None:
            continue
        span = tracer.start_span(
            f"machine {machine.spec.name}",
            context=set_span_in_context(root),
            start_time=_ns(machine.first_work),
            attributes=_worker(machine),
        )
        _outcome(span, "success" if machine.usable else "error", machine.word)
        for number, attempt in state.ledger.attempts.items():
            if attempt.lease.machine == machine.spec.name:
                begun = attempt.started or attempt.lease.granted
                child = tracer.start_span(
                    f"attempt {attempt.lease.shard.id}", context=set_span_in_context(span), start_time=_ns(begun)
                )
                _describe(child, number, attempt, state)
                child.end(_ns(max(begun, attempt.ended or state.now)))
        span.end(_ns(max(machine.first_work, machine.last_end or state.now)))
    root.end(_ns(state.finished_at or state.now))
    return memory.get_finished_spans()


def _worker(machine: MachineState) -> dict[str, str | int | float]:
    return {
        "cicd.worker.id": machine.spec.name,
        "cicd.worker.name": machine.spec.name,
        "cicd.worker.state": "available" if machine.usable else "offline",
        "ci_dispatch.machine.busy_seconds": round(machine.busy_seconds, 3),
        "ci_dispatch.machine.tests": machine.done,
        "ci_dispatch.machine.losses": machine.losses,
    }


def _describe(span: Span, number: int, attempt: AttemptRecord, state: RunState) -> None:
    result = attempt.result
    failed = [one for one in result.results if one.verdict is Verdict.FAILED] if result else []
    ended = result.ended if result else Ended.LOST
    word = "error" if ended is not Ended.EXITED or (result and result.cause) else "failure" if failed else "success"
    span.set_attributes(
        {
            "cicd.pipeline.task.name": attempt.lease.shard.id,
            "cicd.pipeline.task.run.id": str(number),
            "cicd.pipeline.task.run.result": word,
            "cicd.pipeline.task.type": "test",
            "ci_dispatch.attempt": number,
            "ci_dispatch.attempt.tests": len(attempt.lease.shard.tests),
            "ci_dispatch.attempt.kind": str(attempt.lease.shard.kind),
            "ci_dispatch.attempt.stale": attempt.stale,
            "ci_dispatch.attempt.failures_omitted": max(0, len(failed) - FAILURES_PER_ATTEMPT),
        }
    )
    _outcome(span, word, str((result.cause or ended) if result else ended))
    for one in failed[:FAILURES_PER_ATTEMPT]:
        span.add_event(
            "exception",
            {
                "exception.type": one.kind[:MESSAGE_LIMIT] or "failure",
                "exception.message": what_failed(one, MESSAGE_LIMIT),
                "test.case.name": name_of(state, one.test),
                "test.case.result.status": "fail",
                "ci_dispatch.category": classify(one.detail, message=one.message, source="test").category,
            },
            timestamp=_ns(attempt.ended or state.now),
        )


def _outcome(span: Span, word: str, kind: str) -> None:
    """`error.type` is required on failure and error, and has few values."""
    if word in ("failure", "error"):
        span.set_attribute("error.type", kind)
        span.set_status(Status(StatusCode.ERROR, kind))


class _TraceOfRun(RandomIdGenerator):
    """The same run and attempt has the same trace, whoever sends it."""

    def __init__(self, run: str, attempt: int) -> None:
        self._trace = int.from_bytes(sha256(f"ci-dispatch {run} {attempt}".encode()).digest()[:16], "big") or 1

    def generate_trace_id(self) -> int:
        return self._trace


def _parent(traceparent: str) -> Context | None:
    found = _TRACEPARENT.fullmatch(traceparent.strip())
    if found is None or not int(found[1], 16) or not int(found[2], 16):
        return None
    where = SpanContext(int(found[1], 16), int(found[2], 16), is_remote=True, trace_flags=TraceFlags(int(found[3], 16)))
    return set_span_in_context(NonRecordingSpan(where))


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
