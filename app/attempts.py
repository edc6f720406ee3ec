"""One request, several attempts: which endpoint each goes to, how long it may take, and when there is another."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from app.backends.errors import OriginError, OriginPoolTimeoutError, OriginRequestError
from app.choice import Chooser
from app.heads import request_head
from config.attributes import ResponseAttributes
from middleware.errors import (
    BackendAuthenticationError,
    RequestTimeoutError,
    UpstreamTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from app.backends.credentials import CredentialBroker
    from app.backends.exchange import Response
    from app.backends.health import HealthTable
    from app.backends.table import BackendTable
    from app.caller import Caller
    from config.attributes import RawHeaders
    from config.policy.upstream import Upstream
    from config.snapshot import Backend
    from middleware.context import RequestContext

MAX_REPLAYED_BYTES = 64 * 1024
"""A request whose body is larger is sent once, as it comes. Source: AgentGateway."""
MAX_DRAINED_BYTES = 16 * 1024
"""Of an answer that is not passed on: more than this, and its connection is closed instead."""
DRAIN_SECONDS = 0.1
"""How long the rest of such an answer may take."""
RETRY_ATTEMPT = b"x-retry-attempt"
"""Number of the attempt, counted from 1 after the first. Source: AgentGateway."""


@dataclass(frozen=True, slots=True)
class Means:
    """What attempts are made with."""

    backends: BackendTable
    health: HealthTable
    broker: CredentialBroker
    random: Callable[[], float] = random.random
    """From 0 to below 1, for choices by weight."""


class Attempts:
    """The attempts at one request."""

    __slots__ = ("_attributes", "_caller", "_chooser", "_context", "_headers", "_means", "_route")

    def __init__(self, context: RequestContext, caller: Caller, means: Means) -> None:
        """Prepare.

        Args:
            context: the request.
            caller: where its body comes from.
            means: what attempts are made with.

        """
        self._context = context
        self._caller = caller
        self._means = means
        self._route, self._attributes = context.routed()
        self._headers = context.headers
        self._chooser = Chooser(context, means.health, means.random)

    async def exchange(self) -> Response:
        """Return the answer of the last attempt, as soon as its head is there.

        Raises:
            NoValidBackendError, NoHealthyBackendError: there is nothing to choose from.
            BackendAuthenticationError: the credential cannot be had, or may not be sent.
            RequestTimeoutError, UpstreamTimeoutError: a deadline.
            OriginError: the last attempt failed.

        """
        timeout = self._route.timeout
        if timeout is None:
            return await self._attempts(None)
        left = timeout - (time.perf_counter() - self._context.started)
        try:
            async with asyncio.timeout(left) as limit:
                if left <= 0:
                    raise RequestTimeoutError("policy took all of the time for an answer")
                return await self._attempts(limit)
        except TimeoutError:
            if not limit.expired():
                raise
            raise RequestTimeoutError(f"no answer within {timeout:g} s") from None

    async def _attempts(self, limit: asyncio.Timeout | None) -> Response:
        context, retry = self._context, self._route.retry
        attempts, body = await self._prepare()
        while True:
            try:
                response = await self._attempt(limit, body())
            except (OriginError, UpstreamTimeoutError) as error:
                is_last = context.attempts >= attempts or isinstance(error, OriginRequestError)
                if is_last or not self._chooser.has_any:
                    raise
            else:
                if context.attempts >= attempts or not self._wants_another(response):
                    return response
                await _discard(response)
                self._attributes.response = None
            if retry is not None and retry.backoff:
                await asyncio.sleep(retry.backoff)
            context.attempts += 1

    async def _prepare(self) -> tuple[int, Callable[[], AsyncIterator[bytes] | None]]:
        """Return how many further attempts there may be, and what makes the body of each."""
        context, retry = self._context, self._route.retry
        attempts = 0
        if retry is not None:
            self._headers = _without(RETRY_ATTEMPT, self._headers)
            if (context.content_length or 0) <= MAX_REPLAYED_BYTES:
                attempts = retry.attempts_for(self._attributes)
        if not (context.chunked or context.content_length):
            self._caller.watch()
            return attempts, _no_body
        body = self._caller.body()
        if attempts:
            kept, body = await _buffered(body)
            if kept is not None:
                return attempts, lambda: _replay(kept)
        return 0, lambda: body

    def _wants_another(self, response: Response) -> bool:
        """Tell whether an answer is given up for another attempt. Where none can be made, it is better than nothing."""
        retry = self._route.retry
        self._attributes.response = ResponseAttributes(response.status, response.headers)
        return retry is not None and retry.wants_another(self._attributes) and self._chooser.has_any

    async def _attempt(self, limit: asyncio.Timeout | None, body: AsyncIterator[bytes] | None) -> Response:
        """Send the request once, and note what that says about the endpoint's health."""
        context = self._context
        context.endpoint = context.upstream_seconds = None
        backend, upstream = self._chooser.choose()
        health = backend.health
        try:
            async with asyncio.timeout(backend.request_timeout) as own:
                response = await self._send(backend, upstream, body)
        except TimeoutError:
            if not own.expired():
                raise
            if health is not None:
                self._means.health.record(backend, health, upstream, success=False)
            raise UpstreamTimeoutError(f"{backend.name}: no answer within {backend.request_timeout:g} s") from None
        except OriginError as error:
            # Neither a request that cannot be written nor a full pool says anything about the origin.
            if health is not None and not isinstance(error, OriginRequestError | OriginPoolTimeoutError):
                self._means.health.record(backend, health, upstream, success=False)
            raise
        except asyncio.CancelledError:
            if health is not None and limit is not None and limit.expired():
                self._means.health.record(backend, health, upstream, success=False)
            raise
        context.endpoint = response.endpoint
        if health is not None:
            self._attributes.response = ResponseAttributes(response.status, response.headers)
            self._means.health.record(backend, health, upstream, success=not health.is_failure(self._attributes))
        return response

    async def _send(self, backend: Backend, upstream: Upstream, body: AsyncIterator[bytes] | None) -> Response:
        context = self._context
        backends, authority = self._means.backends, self._chooser.authority(backend, upstream)
        transport = backends.transport(upstream)
        headers, target = request_head(context, authority, self._attributes.host, self._headers), context.target
        if context.attempts:
            headers.append((RETRY_ATTEMPT, b"%d" % context.attempts))
        credentials, written = backend.credentials, None
        if credentials is not None:
            if upstream.tls is None:
                raise BackendAuthenticationError("a credential is sent over TLS only")
            written = credentials.ready or await self._means.broker.resolve(credentials, self._attributes)
            headers, target = written.apply(headers, target)
        began = time.perf_counter()
        context.upstream_offset = began - context.started
        response = await transport.exchange(context.method, target, headers, body)
        context.upstream_seconds = time.perf_counter() - began
        if credentials is not None and written is not None and response.status == HTTPStatus.UNAUTHORIZED:
            self._means.broker.reject(credentials, written)
        return response


def _without(name: bytes, headers: RawHeaders) -> RawHeaders:
    """Return the fields without one, in whichever spelling an origin could read as it."""
    return [pair for pair in headers if pair[0].replace(b"_", b"-") != name]


async def _buffered(body: AsyncIterator[bytes]) -> tuple[bytes | None, AsyncIterator[bytes]]:
    """Return a body that is small enough, once it is whole; else none, and what yields it from its beginning."""
    parts: list[bytes] = []
    size = 0
    async for part in body:
        parts.append(part)
        size += len(part)
        if size > MAX_REPLAYED_BYTES:
            return None, _chained(parts, body)
    return b"".join(parts), body


async def _chained(parts: list[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    parts.clear()
    async for part in rest:
        yield part


def _no_body() -> None:
    return None


async def _replay(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _discard(response: Response) -> None:
    """End an exchange whose answer nobody gets. A short rest is read, so that the connection can be used again."""
    size = 0
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            while size <= MAX_DRAINED_BYTES and (part := await response.read()):
                size += len(part)
    except (OriginError, TimeoutError):
        pass  # the connection is closed below: what became of an answer that is not wanted does not matter
    finally:
        response.close()
