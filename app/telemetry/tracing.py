"""Distributed tracing: whether a request is recorded, and its spans at the end.

Nothing is made while a request runs: a span is built when everything is known, as bytes, which costs a tenth of what
the SDK's spans cost. The SDK says what the process is (resource), makes the ids and defines the samplers.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from app import __version__
from app.telemetry.otel_settings import tracing_settings
from app.telemetry.otlp import Envelope
from app.telemetry.span_export import SpanExporter
from app.telemetry.spans import SCHEMA_URL, SpanEncoder
from middleware.trace_context import RANDOM, SAMPLED, Trace, extract

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from opentelemetry.sdk.trace.id_generator import IdGenerator

    from app.telemetry.otel_settings import TracingSettings
    from app.telemetry.spans import Exchange

logger = logging.getLogger("egress")

SERVICE_NAME = "egress-gateway"
"""`service.name` where no variable says another."""
_LOWER_64_BITS = (1 << 64) - 1


class Tracing:
    """Decides at a request's beginning, records at its end."""

    def __init__(self, settings: TracingSettings, exporter: SpanExporter, ids: IdGenerator) -> None:
        self._bound = settings.sampling.bound
        self._parent_based = settings.sampling.parent_based
        self._propagates = settings.propagates
        self._encoder = SpanEncoder(settings.known_methods)
        self._new_trace_id = ids.generate_trace_id
        self._new_span_id = ids.generate_span_id
        self.exporter = exporter

    def start(self, headers: Iterable[tuple[bytes, bytes]]) -> Trace:
        """Return a request's place in its trace: the caller's trace, or a new one.

        Args:
            headers: as in the ASGI scope, names in lower case.

        """
        parent = extract(headers) if self._propagates else None
        span_id = f"{self._new_span_id():016x}"
        if parent is None:
            number = self._new_trace_id()
            sampled = number & _LOWER_64_BITS < self._bound
            return Trace(f"{number:032x}", span_id, "", RANDOM | sampled, "")
        trace_id, parent_id, flags, tracestate = parent
        sampled = bool(flags & SAMPLED) if self._parent_based else int(trace_id[16:], 16) < self._bound
        return Trace(trace_id, span_id, parent_id, flags & RANDOM | sampled, tracestate)

    def finish(self, trace: Trace, exchange: Exchange) -> None:
        """Record a request that has ended, or was aborted. Nothing happens if its trace is not sampled."""
        if trace.sampled:
            self.exporter.put(self._encoder.encode(trace, exchange, self._new_span_id()))

    def close(self) -> None:
        """Send what is waiting, within `span_export.CLOSE_SECONDS`."""
        self.exporter.close()


def open_tracing(environ: Mapping[str, str] = os.environ) -> Tracing | None:
    """Start tracing as the `OTEL_*` variables say. None: it is off.

    Raises:
        OtelSettingError: a variable cannot be used.

    """
    settings = tracing_settings(environ)
    if settings is None:
        return None
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator  # noqa: PLC0415  20 ms, when traces are on only

    logger.info("traces go to %s", settings.export.place)
    envelope = Envelope(_resource(), SERVICE_NAME, __version__, SCHEMA_URL)
    return Tracing(settings, SpanExporter(settings.export, envelope), RandomIdGenerator())


def _resource() -> Mapping[str, object]:
    """Return what the SDK knows about this process; it reads the process's environment itself."""
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415

    resource = Resource({"service.version": __version__}).merge(Resource.create())
    if str(resource.attributes["service.name"]).startswith("unknown_service"):  # the SDK's own default
        resource = resource.merge(Resource({"service.name": SERVICE_NAME}))
    return resource.attributes
