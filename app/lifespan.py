"""Start and end of the gateway: check, load, open; and close in reverse."""

from __future__ import annotations

import gc
import logging
import ssl
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from app.attempts import Means
from app.backends.credentials import CredentialBroker
from app.backends.dial import Dialer
from app.backends.health import HealthTable
from app.backends.table import BackendTable
from app.backends.tls import TrustRootsError
from app.caller import IdleWatch
from app.client_auth import ClientCredentials
from app.jwks import KeySets
from app.listeners.uvicorn_connection import REFUSED
from app.listeners.uvicorn_hook import DRAINING, LISTENING, SERVER_CONFIG
from app.mirror import MirrorSender
from app.status import ListenError, Readiness, Reload, listen, status_app
from app.telemetry.access_log import AccessLog
from app.telemetry.otel_settings import OtelSettingError
from app.telemetry.sinks import AccessLogError, open_sink
from app.telemetry.tracing import open_tracing
from config.errors import ConfigErrors, Severity
from config.loading import load
from config.settings import settings_from_environ

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from uvicorn import Config

    from app.telemetry.tracing import Tracing
    from config.errors import Finding
    from config.settings import Settings
    from config.snapshot import Snapshot
    from middleware.context import Connection
    from middleware.errors import GatewayError

logger = logging.getLogger("egress")

_TLS_HINT = (
    "pass --ssl-certfile, --ssl-keyfile, --ssl-ca-certs (the CA of the callers) and --ssl-cert-reqs 2, "
    "or set UVICORN_SSL_CERTFILE, UVICORN_SSL_KEYFILE, UVICORN_SSL_CA_CERTS and UVICORN_SSL_CERT_REQS"
)


class StartError(Exception):
    """The gateway cannot start. The message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """What runs between start and end."""

    settings: Settings
    snapshot: Snapshot
    means: Means
    key_sets: KeySets
    credentials: ClientCredentials
    mirrors: MirrorSender
    idle: IdleWatch
    access_log: AccessLog
    tracing: Tracing | None

    async def serving(self, snapshot: Snapshot) -> Runtime:
        """Return the same for another snapshot, for which everything is made ready.

        Raises:
            TrustRootsError: an upstream wants TLS, and no trust roots can be loaded.

        """
        await self.means.backends.reconcile(snapshot)
        self.means.health.reconcile(snapshot)
        self.means.broker.retain(backend.credentials for backend in snapshot.backends if backend.credentials)
        self.key_sets.reconcile(remote for route in snapshot.routes if route.jwt for remote in route.jwt.remotes)
        return replace(self, snapshot=snapshot)


@asynccontextmanager
async def running(settings: Settings | None, state: dict[str, Any]) -> AsyncIterator[Runtime]:
    """Open everything the gateway needs, and close it in reverse at the end.

    Args:
        settings: the settings; none reads them from the environment.
        state: the lifespan's state, through which the listener and the application know each other.

    Raises:
        StartError: it cannot start; the faults of the configuration are logged, each with its place.

    """
    server: Config | None = state.pop(SERVER_CONFIG, None)
    if server is not None:
        # A request makes few cycles; looking for them as often as Python does by default costs a tenth of its time.
        gc.set_threshold(50_000, 10, 10)
    try:
        settings = settings or settings_from_environ()
        if server is not None:
            _check_tls(server)
            _set_timeouts(server, settings)
        snapshot, findings = load(settings)
    except ConfigErrors as errors:
        count = _report(errors.findings)
        raise StartError(
            f"the configuration cannot be used: {count} fault{'s' if count > 1 else ''}, see above"
        ) from None
    faults = _report(findings)
    async with AsyncExitStack() as stack:
        readiness = Readiness()
        try:
            runtime = await _open(stack, settings, snapshot)
            if settings.status_listen is not None:
                status_server = await listen(status_app(readiness), settings.status_listen)
                stack.callback(status_server.close)
        except (AccessLogError, ListenError, OtelSettingError, TrustRootsError) as error:
            raise StartError(str(error)) from error

        def refused(connection: Connection, problem: GatewayError) -> str:
            return runtime.access_log.record_refused(connection, problem, snapshot.gateway)

        state[REFUSED] = refused
        readiness.revision, readiness.last_reload = snapshot.revision, Reload.succeeded(faults)

        def listening() -> None:
            readiness.status = "ready"
            facts = {
                "gateway": snapshot.gateway,
                "revision": snapshot.revision,
                "hosts": len(snapshot.exact) + len(snapshot.wildcards),
                "faults": faults,
            }
            logger.info("ready", extra=facts)

        def draining() -> None:
            readiness.status = "draining"

        state[LISTENING], state[DRAINING] = listening, draining
        if server is None:  # another server, which does not tell when it listens
            listening()
        try:
            yield runtime
        finally:
            draining()


async def _open(stack: AsyncExitStack, settings: Settings, snapshot: Snapshot) -> Runtime:
    tracing = open_tracing()
    if tracing is not None:
        stack.callback(tracing.close)
    access_log = AccessLog(open_sink(settings.access_log))
    stack.callback(access_log.close)
    backends = BackendTable(Dialer(settings.resolve, settings.dial_allow))
    stack.push_async_callback(backends.aclose)
    broker = CredentialBroker(backends.transport)
    stack.push_async_callback(broker.aclose)
    key_sets = KeySets(backends.transport)
    stack.push_async_callback(key_sets.aclose)
    credentials = ClientCredentials(key_sets)
    stack.callback(credentials.close)
    mirrors = MirrorSender(backends)
    stack.push_async_callback(mirrors.aclose)
    idle = IdleWatch(settings.body_idle_timeout)
    stack.callback(idle.close)
    means = Means(backends, HealthTable(), broker)
    runtime = Runtime(settings, snapshot, means, key_sets, credentials, mirrors, idle, access_log, tracing)
    return await runtime.serving(snapshot)


def _report(findings: Iterable[Finding]) -> int:
    """Log findings, and return how many of them are faults."""
    faults = 0
    for finding in findings:
        is_fault = finding.severity is Severity.ERROR
        faults += is_fault
        logger.log(logging.ERROR if is_fault else logging.WARNING, "%s", finding, extra={"code": finding.code})
    return faults


def _check_tls(server: Config) -> None:
    """Refuse to serve where callers would not be asked for a certificate, or none could be verified.

    Raises:
        StartError: uvicorn's flags are not those of a gateway that knows its callers.

    """
    context = server.ssl
    if context is None:
        raise StartError(f"uvicorn would serve plain HTTP, whatever --ssl-cert-reqs says: {_TLS_HINT}")
    if context.verify_mode is not ssl.CERT_REQUIRED:
        raise StartError(f"uvicorn would accept callers without a certificate: {_TLS_HINT}")
    if not context.cert_store_stats()["x509_ca"]:
        raise StartError(f"uvicorn has no CA to verify callers with: {_TLS_HINT}")


def _set_timeouts(server: Config, settings: Settings) -> None:
    """Put our defaults in the place of uvicorn's; what was passed to uvicorn itself stays."""
    if server.timeout_keep_alive == _UVICORN_KEEP_ALIVE:
        server.timeout_keep_alive = settings.keepalive_timeout
    if server.timeout_graceful_shutdown is None:
        server.timeout_graceful_shutdown = settings.drain_timeout


_UVICORN_KEEP_ALIVE = 5
"""uvicorn's default, in seconds: too short for callers that keep connections."""
