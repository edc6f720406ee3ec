"""The trace collector: counts spans. A process of its own; prints its port, and ends with its standard input.

Each gateway sends to `/NAME/v1/traces`, and `GET /NAME` answers with what came under that name.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from typing import cast

import httptools
import uvloop
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

ENDING = "/v1/traces"
PROTOBUF = b"application/x-protobuf"
KINDS: dict[int, str] = {Span.SPAN_KIND_SERVER: "server", Span.SPAN_KIND_CLIENT: "client"}
Counts = dict[str, Counter[str]]
"""For each name how many spans of each kind."""


def count_spans(body: bytes) -> Counter[str]:
    """Count what one export holds.

    Raises:
        DecodeError: it is no export of traces.

    """
    counted: Counter[str] = Counter()
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope in resource.scope_spans:
            counted.update(KINDS.get(span.kind, "other") for span in scope.spans)
    return counted


class CollectorProtocol(asyncio.Protocol):
    """One connection from a gateway's exporter, or from the benchmark."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._url = b""
        self._type = b""
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def on_message_begin(self) -> None:
        self._url, self._type, self._body = b"", b"", []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-type":
            self._type = value

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        name, ending, _ = self._url.decode("latin-1").partition(ENDING)
        if self._parser.get_method() == b"GET":
            self._answer(200, json.dumps(self._counts.get(name, {})).encode())
        elif not ending:
            self._answer(404)
        elif self._type != PROTOBUF:
            self._answer(415)
        else:
            try:
                self._counts.setdefault(name, Counter()).update(count_spans(b"".join(self._body)))
            except DecodeError:
                self._answer(400)
            else:
                self._answer(200)

    def _answer(self, status: int, body: bytes = b"") -> None:
        self._transport.write(b"HTTP/1.1 %d .\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body))


async def _serve() -> None:
    counts: Counts = {}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: CollectorProtocol(counts), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    uvloop.run(_serve())
