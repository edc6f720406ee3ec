"""The standard `OTEL_*` variables, as far as they concern traces.

Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ and
https://opentelemetry.io/docs/specs/otel/protocol/exporter/. As there, an empty variable counts as unset and a
duration is a whole number of milliseconds. What the specification lets an SDK ignore with a warning stops the start
here: traces that are lost in silence are noticed when they are needed.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import httpx

from app.telemetry.spans import KNOWN_METHODS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PREFIX = "OTEL_EXPORTER_OTLP_"
_MAX_QUEUE, _MAX_BATCH = 2048, 512
ALWAYS = 1 << 64
"""Bound of a sampler that takes every trace; see `Sampling`."""
_SAMPLERS = ("always_on", "always_off", "traceidratio")
_PARENT_BASED = "parentbased_"
_PROPAGATORS = frozenset({"tracecontext", "baggage", "none"})


class OtelSettingError(Exception):
    """An `OTEL_*` variable cannot be used. The message is one line that says which, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which traces are recorded."""

    bound: int = ALWAYS
    """A trace is taken if the lower 64 bits of its id are below this."""
    parent_based: bool = True
    """A caller's own decision is followed."""


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """Where spans go, and how. Durations in seconds."""

    url: str = field(repr=False)
    """May hold a password; see `place`."""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    timeout: float = 10.0
    """One try."""
    gzip: bool = False
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    """None: plain text."""
    delay: float = 5.0
    """How long spans are gathered."""
    max_queue: int = _MAX_QUEUE
    """Spans that wait at most."""
    max_batch: int = _MAX_BATCH
    """Spans of one export."""
    batch_timeout: float = 30.0
    """All tries of one batch."""

    @property
    def place(self) -> str:
        """The URL for the log: without userinfo and query, which may hold a password."""
        parts = urlsplit(self.url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """What the variables say."""

    export: ExportSettings
    sampling: Sampling = Sampling()
    propagates: bool = True
    """Whether the caller's trace context is read."""
    known_methods: frozenset[str] = KNOWN_METHODS


def tracing_settings(environ: Mapping[str, str]) -> TracingSettings | None:
    """Read the variables. None: tracing is off.

    Raises:
        OtelSettingError: a variable cannot be used.

    """
    variables = _Variables(environ)
    exporter = variables.text("OTEL_TRACES_EXPORTER", "otlp")
    if (
        variables.text("OTEL_SDK_DISABLED").lower() == "true"
        or exporter == "none"
        or not variables.export("ENDPOINT")[1]
    ):
        return None
    if exporter != "otlp":
        raise OtelSettingError(
            f"OTEL_TRACES_EXPORTER={exporter} is not supported: use otlp, or none to turn traces off"
        )
    name, protocol = variables.export("PROTOCOL")
    if protocol not in {"", "http/protobuf"}:
        raise OtelSettingError(
            f"{name}={protocol} is not supported: use http/protobuf, and the collector's port for it, usually 4318"
        )
    methods = variables.names("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS")
    return TracingSettings(
        _export_settings(variables),
        _sampling(variables),
        _propagates(variables),
        frozenset(methods) or KNOWN_METHODS,
    )


class _Variables:
    """Reads variables one by one."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str, default: str = "") -> str:
        return self._environ.get(name, "").strip() or default

    def names(self, name: str, default: str = "") -> list[str]:
        return [item.strip() for item in self.text(name, default).split(",") if item.strip()]

    def export(self, suffix: str) -> tuple[str, str]:
        """Return the exporter variable that counts, and its value: the one for traces before the general one."""
        for name in (f"{_PREFIX}TRACES_{suffix}", f"{_PREFIX}{suffix}"):
            if value := self.text(name):
                return name, value
        return f"{_PREFIX}{suffix}", ""

    def number(self, name: str, default: int) -> int:
        value = self.text(name, str(default))
        if not (value.isascii() and value.isdecimal()) or not int(value):
            raise OtelSettingError(f"{name}={value} is no whole number above 0")
        return int(value)

    def milliseconds(self, name: str, default: int) -> float:
        """Return seconds."""
        return self.number(name, default) / 1000


def _export_settings(variables: _Variables) -> ExportSettings:
    url = _url(variables)
    name, compression = variables.export("COMPRESSION")
    if compression not in {"", "none", "gzip"}:
        raise OtelSettingError(f"{name}={compression} is not supported: use gzip or none")
    batch, queue = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "OTEL_BSP_MAX_QUEUE_SIZE"
    max_queue = variables.number(queue, _MAX_QUEUE)
    max_batch = variables.number(batch, min(_MAX_BATCH, max_queue))
    if max_batch > max_queue:
        raise OtelSettingError(f"{batch}={max_batch} is above {queue}={max_queue}: a batch has to fit into the queue")
    return ExportSettings(
        url=url,
        headers=tuple(_headers(*variables.export("HEADERS"))),
        timeout=variables.milliseconds(variables.export("TIMEOUT")[0], 10_000),
        gzip=compression == "gzip",
        tls=_tls(variables) if url.startswith("https:") else None,
        delay=variables.milliseconds("OTEL_BSP_SCHEDULE_DELAY", 5_000),
        max_queue=max_queue,
        max_batch=max_batch,
        batch_timeout=variables.milliseconds("OTEL_BSP_EXPORT_TIMEOUT", 30_000),
    )


def _url(variables: _Variables) -> str:
    name, url = variables.export("ENDPOINT")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        usable = False
    if not usable:
        # The value is not repeated: it may hold a password.
        raise OtelSettingError(f"{name} is no URL of a collector: use one such as http://collector:4318")
    # The exporter's specification, "Endpoint URLs for OTLP/HTTP": only the general variable gets the signal's path.
    if name == f"{_PREFIX}ENDPOINT":
        return parts._replace(path=f"{parts.path.rstrip('/')}/v1/traces").geturl()
    return url


def _headers(name: str, value: str) -> Iterable[tuple[str, str]]:
    """Read `key=value,key=value`, percent-encoded. No message repeats them: they hold credentials."""
    for number, pair in enumerate(filter(None, map(str.strip, value.split(","))), 1):
        key, equals, content = pair.partition("=")
        key, content = unquote(key).strip(), unquote(content).strip()
        token = key.replace("-", "").replace("_", "").replace(".", "")
        if not (equals and token.isascii() and token.isalnum() and content.isprintable() and content.isascii()):
            raise OtelSettingError(f"{name}: item {number} is no header: write name=value, percent-encoded")
        yield key.lower(), content


def _tls(variables: _Variables) -> ssl.SSLContext:
    ca_name, ca = variables.export("CERTIFICATE")
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except OSError as error:  # also ssl.SSLError
        raise OtelSettingError(f"{ca_name}={ca} cannot be used as CA certificates: {_why(error)}") from error
    name, certificate = variables.export("CLIENT_CERTIFICATE")
    key_name, key = variables.export("CLIENT_KEY")
    if certificate:
        try:
            context.load_cert_chain(certificate, key or None, password=_no_password)
        except OSError as error:
            message = f"{name}={certificate} and {key_name}={key} cannot be used as certificate and key: {_why(error)}"
            raise OtelSettingError(message) from error
    elif key:
        raise OtelSettingError(f"{key_name} is set without {name}: set both or none")
    return context


def _no_password() -> str:
    """Stand where OpenSSL would ask the terminal."""
    return ""


def _why(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _sampling(variables: _Variables) -> Sampling:
    name = variables.text("OTEL_TRACES_SAMPLER", "parentbased_always_on").lower()
    root = name.removeprefix(_PARENT_BASED)
    if root not in _SAMPLERS:
        known = ", ".join((*_SAMPLERS, *(_PARENT_BASED + sampler for sampler in _SAMPLERS)))
        raise OtelSettingError(f"OTEL_TRACES_SAMPLER={name} is not supported: use one of {known}")
    if root == "traceidratio":
        bound = _ratio_bound(variables.text("OTEL_TRACES_SAMPLER_ARG", "1.0"))
    else:
        bound = ALWAYS if root == "always_on" else 0
    return Sampling(bound, parent_based=name != root)


def _ratio_bound(argument: str) -> int:
    from opentelemetry.sdk.trace.sampling import TraceIdRatioBased  # noqa: PLC0415  20 ms, when traces are on only

    try:
        return TraceIdRatioBased(float(argument)).bound
    except ValueError:  # no number, out of range, or nan
        raise OtelSettingError(f"OTEL_TRACES_SAMPLER_ARG={argument} is no share of traces from 0 to 1") from None


def _propagates(variables: _Variables) -> bool:
    names = variables.names("OTEL_PROPAGATORS", "tracecontext,baggage")
    for name in names:
        if name not in _PROPAGATORS:
            raise OtelSettingError(f"OTEL_PROPAGATORS: {name} is not supported: use tracecontext, baggage or none")
    return "tracecontext" in names and "none" not in names
