"""Requests and ranges as OpenTelemetry spans: the only place that imports it.

Owns which traces are recorded, what spans say, and how they leave the process: in batches, from
a thread of their own, never waited for. Recorded is every trace whose caller records it, and of
the requests that come without one, one in a hundred. A range is added to each trace that its
records belong to, below the request that sent them, so that one trace leads from the client's
request to the rows.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from headrace.collector.requests import Incoming
from headrace.processor.tracing import RangeWritten
from headrace.runtime.clock import Clock
from headrace.runtime.metrics import SPANS
from headrace.runtime.version import headrace_version
from headrace.schemas.records import Header

RECORDED_SHARE: Final = 0.01
"""Of traces that begin here; a caller decides for its own."""
EXPORT_SECONDS: Final = 5.0
STOP_SECONDS: Final = 2.0

_TRACEPARENT: Final = re.compile(rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_HEADER: Final = Header.TRACEPARENT.encode()
_TRACES_PATH: Final = "/v1/traces"
_NOT_FOUND: Final = 404
_OURS: Final = 500

log = structlog.get_logger(__name__)


def send_to(endpoint: str, process: str, clock: Clock) -> Traces:
    """Traces of this process on their way to an OTLP/HTTP endpoint, with or without its path."""
    base = endpoint.rstrip("/")
    url = base if base.endswith(_TRACES_PATH) else base + _TRACES_PATH
    return Traces(
        _Told(OTLPSpanExporter(endpoint=url, timeout=EXPORT_SECONDS), url), process, clock
    )


class Traces:
    """What records the traces of one process, until `stop`."""

    def __init__(
        self, exporter: SpanExporter, process: str, clock: Clock, share: float = RECORDED_SHARE
    ) -> None:
        names = {"service.name": f"headrace-{process}", "service.version": headrace_version()}
        self._exporter = exporter
        self._sending = BatchSpanProcessor(exporter)
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(share)),
            resource=Resource.create(names),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(self._sending)
        tracer = self._provider.get_tracer("headrace")
        self.requests = Requests(tracer, clock)
        self.ranges = Ranges(tracer)

    async def stop(self) -> None:
        """Send what is left, for two seconds at most."""
        sending = threading.Thread(target=self._sending.shutdown, name="last-traces", daemon=True)
        sending.start()
        await asyncio.to_thread(sending.join, STOP_SECONDS)
        self._exporter.shutdown()


class Requests:
    """Implements `RequestTracer`."""

    def __init__(self, tracer: trace.Tracer, clock: Clock) -> None:
        self._tracer = tracer
        self._clock = clock

    def begin(self, request: Incoming) -> RequestSpan | None:
        span = self._tracer.start_span(
            request.method,
            context=_context_of(request.headers.get(_HEADER, b"")),
            kind=trace.SpanKind.SERVER,
            start_time=_nanoseconds(self._clock.now()),
        )
        return RequestSpan(span, request, self._clock) if span.is_recording() else None


class RequestSpan:
    """One request until its answer."""

    def __init__(self, span: trace.Span, request: Incoming, clock: Clock) -> None:
        self._span = span
        self._request = request
        self._clock = clock

    @property
    def traceparent(self) -> bytes:
        context = self._span.get_span_context()
        return b"00-%032x-%016x-%02x" % (context.trace_id, context.span_id, context.trace_flags)

    def end(self, status: int | None) -> None:
        span, request = self._span, self._request
        span.set_attribute("http.request.method", request.method)
        span.set_attribute("headrace.request_id", request.id.decode("latin-1"))
        if status is not None:
            span.set_attribute("http.response.status_code", status)
        if status != _NOT_FOUND:  # a scanner makes no names
            span.update_name(f"{request.method} {request.path}")
            span.set_attribute("http.route", request.path)
        if status is None or status >= _OURS:
            span.set_status(trace.StatusCode.ERROR)
        span.end(_nanoseconds(self._clock.now()))


class Ranges:
    """Implements `RangeTracer`."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def is_sampled(self, traceparent: bytes) -> bool:
        context = _parse(traceparent)
        return context is not None and context.trace_flags.sampled

    def note(self, written: RangeWritten, traceparents: Sequence[bytes]) -> None:
        attributes = _attributes_of(written)
        for traceparent in traceparents:
            span = self._tracer.start_span(
                "settle range",
                context=_context_of(traceparent),
                kind=trace.SpanKind.CONSUMER,
                attributes=attributes,
                start_time=_nanoseconds(written.began),
            )
            span.end(_nanoseconds(written.ended))


class _Told(SpanExporter):
    """An exporter whose trouble is told once and counted, and harms nothing else."""

    def __init__(self, exporter: SpanExporter, url: str) -> None:
        self._exporter = exporter
        self._url = url
        self._fails = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        fails = result is not SpanExportResult.SUCCESS
        SPANS.labels("lost" if fails else "sent").inc(len(spans))
        if fails and not self._fails:
            log.warning("traces cannot be sent; they are lost until they can", url=self._url)
        elif self._fails and not fails:
            log.info("traces are sent again", url=self._url)
        self._fails = fails
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _attributes_of(written: RangeWritten) -> Mapping[str, str | int]:
    return {
        "headrace.log_id": written.log_id,
        "headrace.partition": written.partition,
        "headrace.positions": f"{written.first}-{written.last}",
        "headrace.records": written.records,
        "headrace.stored": written.stored,
        "headrace.rejected": written.rejected,
        "headrace.duplicates": written.duplicates,
        "headrace.tries": written.tries,
    }


def _context_of(traceparent: bytes) -> Context:
    """The context of a span below what the header names; of a new trace if it names nothing."""
    parent = _parse(traceparent)
    if parent is None:
        return Context()
    return trace.set_span_in_context(trace.NonRecordingSpan(parent), Context())


def _parse(traceparent: bytes) -> trace.SpanContext | None:
    found = _TRACEPARENT.match(traceparent)
    if found is None:
        return None
    ids, flags = [int(one, 16) for one in found.groups()[:2]], int(found[3], 16)
    context = trace.SpanContext(ids[0], ids[1], is_remote=True, trace_flags=trace.TraceFlags(flags))
    return context if context.is_valid else None


def _nanoseconds(time: datetime) -> int:
    return int(time.timestamp() * 1_000_000) * 1_000
