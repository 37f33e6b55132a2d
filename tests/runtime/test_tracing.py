"""Traces: one from the client's request to the rows, sent over OTLP, in nobody's way."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from headrace.collector.requests import Incoming
from headrace.processor.tracing import MOST_TRACES, RangeWritten
from headrace.runtime.clock import ManualClock
from headrace.runtime.spans import Traces
from headrace.runtime.tracing import start_traces
from tests.collector.trial import BATCH, GOOD, ONE
from tests.collector.trial import Trial as Collector
from tests.processor.trial import Trial

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
RECORDED, NOT_RECORDED = f"00-{TRACE}-{CALLER}-01", f"00-{TRACE}-{CALLER}-00"


class Both:
    """A collector and a processor on one log, each with its traces, kept in memory."""

    def __init__(self, *, share: float = 0.0) -> None:
        self.trial = Trial(rows=100)
        self.sent, self.written = InMemorySpanExporter(), InMemorySpanExporter()
        clock = self.trial.clock
        self.collector_traces = Traces(self.sent, "collector", clock, share)
        self.processor_traces = Traces(self.written, "processor", clock, share)
        tracer = self.collector_traces.requests
        log = self.trial.log.appender()
        self.collector = Collector(tracer=tracer, log=log, clock=clock)
        self.trial.tracer = self.processor_traces.ranges

    async def settle(self) -> tuple[list[ReadableSpan], list[ReadableSpan]]:
        """The collector's spans and the processor's, once everything is in the tables."""
        await self.trial.settle()
        await self.collector_traces.stop()
        await self.processor_traces.stop()
        return list(self.sent.get_finished_spans()), list(self.written.get_finished_spans())


def parent_of(span: ReadableSpan) -> int:
    assert span.parent is not None
    return int(span.parent.span_id)


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.span_id)


def trace_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


async def test_one_trace_leads_from_the_request_to_the_rows() -> None:
    """Caller → collector → processor, each below the one before."""
    both = Both()
    body = {"events": [GOOD, GOOD, {"event": "bad"}]}
    await both.collector.send(body, BATCH, traceparent=RECORDED, x_request_id="mine")
    (request,), (range_,) = await both.settle()
    assert trace_of(request) == trace_of(range_) == TRACE
    assert f"{parent_of(request):016x}" == CALLER
    assert parent_of(range_) == id_of(request)
    assert request.name == f"POST {BATCH}"
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": BATCH,
        "http.response.status_code": 200,
        "headrace.request_id": "mine",
    }
    assert range_.name == "settle range"
    assert range_.attributes == {
        "headrace.log_id": both.trial.log.log_id,
        "headrace.partition": 0,
        "headrace.positions": "1-2",
        "headrace.records": 2,
        "headrace.stored": 2,
        "headrace.rejected": 0,
        "headrace.duplicates": 0,
        "headrace.tries": 1,
    }
    assert request.resource.attributes["service.name"] == "headrace-collector"
    assert range_.resource.attributes["service.name"] == "headrace-processor"


async def test_a_range_is_in_the_trace_of_each_request() -> None:
    """Requests of several clients are written together."""
    both = Both()
    await both.collector.send(GOOD, ONE, traceparent=RECORDED)
    await both.collector.send(GOOD, ONE, traceparent=RECORDED.replace("0af7", "1111"))
    await both.collector.send(GOOD, ONE)
    await both.collector.send(GOOD, ONE, traceparent=NOT_RECORDED)
    requests, ranges = await both.settle()
    assert sorted(map(id_of, requests)) == sorted(map(parent_of, ranges))
    assert len({trace_of(span) for span in ranges}) == 2


async def test_a_range_joins_a_bounded_number_of_traces() -> None:
    """A client that has every request recorded must not slow the processor down."""
    both = Both()
    for number in range(MOST_TRACES + 5):
        await both.collector.send(GOOD, ONE, traceparent=f"00-{TRACE[:-4]}{number:04x}-{CALLER}-01")
    requests, ranges = await both.settle()
    assert (len(requests), len(ranges)) == (MOST_TRACES + 5, MOST_TRACES)


@pytest.mark.parametrize(("share", "spans"), [(0.0, 0), (1.0, 1)])
async def test_of_requests_without_a_trace_a_share_begins_one(share: float, spans: int) -> None:
    """Those that are not recorded put nothing into the log."""
    both = Both(share=share)
    await both.collector.send(GOOD, ONE)
    (record,) = both.trial.log.records()
    assert len(record.headers) == spans
    requests, ranges = await both.settle()
    assert (len(requests), len(ranges)) == (spans, spans)


async def test_what_a_caller_does_not_record_is_not_recorded() -> None:
    """Its header goes on as it came."""
    both = Both(share=1.0)
    await both.collector.send(GOOD, ONE, traceparent=NOT_RECORDED)
    (record,) = both.trial.log.records()
    assert record.headers["traceparent"] == NOT_RECORDED.encode()
    assert await both.settle() == ([], [])


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"x" * 55,
        b"\xff" * 55,
        f"ff-{TRACE}-{CALLER}-01".encode(),
        f"00-{'0' * 32}-{CALLER}-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        RECORDED.upper().encode(),
    ],
)
def test_a_header_that_is_no_trace_is_none(header: bytes) -> None:
    """Strangers may write anything into a record's headers."""
    assert not Traces(InMemorySpanExporter(), "processor", ManualClock()).ranges.is_sampled(header)


async def test_a_trial_and_error_shows_in_the_trace() -> None:
    """Rejected events, retries, and how long it all took."""
    both = Both()
    await both.trial.append(b"junk", both.trial.make_event())
    record = both.trial.log.partitions[0].records[0]
    record.headers["traceparent"] = RECORDED.encode()  # type: ignore[index] # shared by its batch
    both.trial.store.fail("insert_rejected", times=2)
    _, (span,) = await both.settle()
    assert span.attributes is not None
    assert (span.attributes["headrace.rejected"], span.attributes["headrace.tries"]) == (1, 3)


async def test_a_fault_of_ours_is_an_error_and_a_scanner_makes_no_names() -> None:
    """Names of spans are few: a path that does not exist is none."""
    both = Both()
    both.trial.log.append_error = RuntimeError("a bug")  # type: ignore[assignment] # on purpose
    await both.collector.send(GOOD, ONE, traceparent=RECORDED)
    both.trial.log.append_error = None
    await both.collector.send(GOOD, "/wp-login.php", traceparent=RECORDED)
    (fault, scan), _ = await both.settle()
    assert (fault.name, fault.status.is_ok) == (f"POST {ONE}", False)
    assert (scan.name, scan.status.is_ok) == ("POST", True)


# On the wire


@contextmanager
def receiver(status: int = 200) -> Iterator[tuple[str, list[str]]]:
    """A tiny OTLP receiver; gives its address, and the names of spans that arrived."""
    names: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path == "/v1/traces" and status == 200:
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        names.extend(span.name for span in scope.spans)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", names
        server.shutdown()


def some_range(clock: ManualClock) -> RangeWritten:
    now = clock.now()
    return RangeWritten("log", 0, 1, 2, 2, 2, 0, 0, 1, now - timedelta(seconds=1), now)


@pytest.mark.parametrize("path", ["", "/", "/v1/traces"])
async def test_spans_arrive_at_an_otlp_endpoint(path: str) -> None:
    """Over HTTP, with or without the path in the setting; the end sends what is left."""
    clock = ManualClock()
    with receiver() as (url, names):
        traces = start_traces(url + path, "processor", clock)
        assert traces is not None
        traces.ranges.note(some_range(clock), [RECORDED.encode()])
        await traces.stop()
    assert names == ["settle range"]


async def test_an_endpoint_that_refuses_is_told_once_and_counted() -> None:
    """Nobody waits for it, and nothing else is harmed."""
    clock = ManualClock()
    before = REGISTRY.get_sample_value("headrace_spans_total", {"result": "lost"}) or 0
    with receiver(status=400) as (url, _), capture_logs() as lines:
        traces = start_traces(url, "processor", clock)
        assert traces is not None
        for _ in range(2):
            traces.ranges.note(some_range(clock), [RECORDED.encode()])
            traces._sending.force_flush()
        await traces.stop()
    assert [line["event"] for line in lines] == [
        "traces cannot be sent; they are lost until they can"
    ]
    assert REGISTRY.get_sample_value("headrace_spans_total", {"result": "lost"}) == before + 2


async def test_an_endpoint_that_hangs_does_not_keep_a_process_from_ending() -> None:
    """What was not sent within two seconds is given up."""
    clock = ManualClock()
    with socket.create_server(("127.0.0.1", 0)) as hanging:  # takes connections, answers none
        traces = start_traces(f"http://127.0.0.1:{hanging.getsockname()[1]}", "processor", clock)
        assert traces is not None
        traces.ranges.note(some_range(clock), [RECORDED.encode()])
        async with asyncio.timeout(20):
            await traces.stop()


# Without


def test_without_the_setting_nothing_is_traced_and_nothing_loaded() -> None:
    """Collector and processor do not even import OpenTelemetry."""
    code = (
        "import sys, headrace.collector.app, headrace.processor.processor\n"
        "from headrace.runtime.clock import SystemClock\n"
        "from headrace.runtime.tracing import start_traces\n"
        "assert start_traces('', 'collector', SystemClock()) is None\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_the_extra_the_setting_says_what_to_install() -> None:
    """In one sentence."""
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from headrace.runtime.clock import SystemClock\n"
        "from headrace.runtime.tracing import start_traces\n"
        "from headrace.schemas.errors import HeadraceError\n"
        "try:\n    start_traces('http://127.0.0.1:4318', 'collector', SystemClock())\n"
        "except HeadraceError as error:\n    print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "HEADRACE_TRACES is set, but opentelemetry is not installed" in said.stdout
    assert "pip install 'headrace[traces]'" in said.stdout


async def test_a_request_that_nobody_was_left_to_answer_is_an_error() -> None:
    """By the clock that is passed in, it took a quarter of a second."""
    exporter, clock = InMemorySpanExporter(), ManualClock()
    traces = Traces(exporter, "collector", clock, 1.0)

    span = traces.requests.begin(Incoming("POST", ONE, b"", {}, ""))
    assert span is not None
    clock.advance(0.25)
    span.end(None)
    traces._sending.force_flush()
    (ended,) = exporter.get_finished_spans()
    assert ended.start_time is not None
    assert ended.end_time == ended.start_time + 250_000_000
    assert not ended.status.is_ok
    await traces.stop()
