"""Deadlines, retries, buffers, delays and health."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from config.model.base import ByteSize, Cel, Model, Seconds, fault


def _at_least(seconds: float | None, least: float, name: str) -> None:
    if seconds is not None and seconds < least:
        fault("invalid-value", f"must be at least {least * 1000:.0f}ms", name)


class TimeoutsSpec(Model):
    """`traffic.timeouts`."""

    request: Seconds | None = None
    """From the end of the request's head to the answer's head, over all attempts. Default: none."""

    @model_validator(mode="after")
    def _check(self) -> TimeoutsSpec:
        _at_least(self.request, 0.001, "request")
        return self


class RetrySpec(Model):
    """`traffic.retry`. Source: Gateway API `HTTPRouteRetry`, GEP-1731."""

    attempts: Annotated[int, Field(ge=1, le=100)] = 1
    """Tries after the first one."""
    backoff: Seconds | None = None
    """Pause before each of them. Default: none."""
    codes: Annotated[tuple[Annotated[int, Field(ge=400, le=599)], ...], Field(max_length=64)] = ()
    """Statuses that are tried again."""
    precondition: Cel | None = None
    """Asked of the request; unless true, nothing is retried."""
    condition: Cel | None = None
    """Asked of an answer; true: it is tried again, whatever its status."""


class BodyBufferSpec(Model):
    """`buffer.request`, `buffer.response`."""

    max_bytes: ByteSize = 2 * 1024 * 1024
    """Longest body that is held. Default: 2Mi."""
    failure_mode: Literal["FailClosed", "FailOpen"] = "FailClosed"
    """What a larger body comes to. `FailClosed`: 413, of a response 502. `FailOpen`: it is streamed."""


class BufferSpec(Model):
    """`traffic.buffer`: a body is read whole before it is passed on."""

    request: BodyBufferSpec | None = None
    response: BodyBufferSpec | None = None

    @model_validator(mode="after")
    def _check(self) -> BufferSpec:
        if self.request is None and self.response is None:
            fault("invalid-value", "request or response must be set")
        return self


class DelaySpec(Model):
    """`traffic.delay`."""

    duration: Cel
    """A duration such as `2s`, or CEL that gives a duration, or a number of milliseconds."""


class EvictionSpec(Model):
    """`health.eviction`."""

    duration: Seconds = 3.0
    """How long a backend stays out the first time; each further time in a row this much longer."""
    restore_health: Annotated[int, Field(ge=0, le=100)] | None = None
    """Health in percent with which it comes back. Default: what it had."""
    consecutive_failures: Annotated[int, Field(ge=0)] | None = None
    """As many in a row evict."""
    health_threshold: Annotated[int, Field(ge=0, le=100)] | None = None
    """Health in percent below which a failure evicts."""

    @model_validator(mode="after")
    def _check(self) -> EvictionSpec:
        _at_least(self.duration, 1.0, "duration")
        return self


class HealthSpec(Model):
    """`backend.health`."""

    unhealthy_condition: Cel | None = None
    """Asked of an answer. Default: a 5xx."""
    eviction: EvictionSpec | None = None


class KeepaliveSpec(Model):
    """`tcp.keepalive`."""

    retries: Annotated[int, Field(ge=1, le=64)] = 9
    """Probes without an answer that end a connection."""
    time: Seconds = 180.0
    """Idle time before the first probe."""
    interval: Seconds = 180.0
    """Between two probes."""

    @model_validator(mode="after")
    def _check(self) -> KeepaliveSpec:
        _at_least(self.time, 1.0, "time")
        _at_least(self.interval, 1.0, "interval")
        return self


class BackendTcpSpec(Model):
    """`backend.tcp`."""

    connect_timeout: Seconds = 5.0
    """Resolution, TCP connect and TLS handshake together."""
    keepalive: KeepaliveSpec | None = None

    @model_validator(mode="after")
    def _check(self) -> BackendTcpSpec:
        _at_least(self.connect_timeout, 0.1, "connectTimeout")
        return self
