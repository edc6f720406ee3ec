"""Key sets that servers publish: fetched, kept, and fetched again before they are too old."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from app.backends.errors import OriginError
from app.backends.exchange import read_within
from config.policy.jwks import NO_KEYS, JwksError, parse_jwks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from app.backends.exchange import Transport
    from config.attributes import RawHeaders
    from config.policy.jwks import KeySet
    from config.policy.jwt import RemoteKeys
    from config.policy.upstream import Upstream

FETCH_SECONDS: Final = 5.0
"""From asking for a connection to the last byte."""
MAX_DOCUMENT_BYTES: Final = 256 * 1024
MIN_CACHE_SECONDS: Final = 5.0
"""However short `cacheDuration` is."""
MAX_RETRY_SECONDS: Final = 60.0
"""Between two attempts while a set cannot be fetched; the first is tried again after a second."""
MAX_STALE_SECONDS: Final = 3600.0
"""How long beyond `cacheDuration` the last good set is used: about as long as tokens live. Whoever keeps the gateway
from its issuer keeps a withdrawn key alive no longer than this."""
EARLY_SECONDS: Final = 30.0
"""Between two fetches that tokens with an unknown key ask for: anybody can write one."""

logger = logging.getLogger("egress")


class FetchError(Exception):
    """The server's answer is no key set. The message is for the log."""


class KeySets:
    """Every key set that some configuration in use names. Made and used in one event loop."""

    def __init__(self, transport: Callable[[Upstream], Transport], clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare; nothing is fetched before `reconcile`.

        Args:
            transport: the transport of an upstream.
            clock: seconds from any beginning.

        """
        self._transport = transport
        self._clock = clock
        self._published: dict[RemoteKeys, _PublishedKeys] = {}

    def reconcile(self, remotes: Iterable[RemoteKeys]) -> None:
        """Keep these sets and no others. New ones are fetched in the background, known ones stay as they are."""
        wanted = dict.fromkeys(remotes)
        removed = [known for remote, known in self._published.items() if remote not in wanted]
        self._published = {
            remote: self._published.get(remote) or _PublishedKeys(remote, self._transport, self._clock)
            for remote in wanted
        }
        for known in removed:
            known.stop()

    def current(self, remote: RemoteKeys) -> KeySet:
        """Return the keys as they are known now: none before the first fetch, and when the last good one is too old."""
        published = self._published.get(remote)
        return NO_KEYS if published is None else published.keys

    async def refetch(self, remote: RemoteKeys) -> None:
        """Wait for the fetch that goes on, or fetch again if that was not done for long enough."""
        if (published := self._published.get(remote)) is not None:
            await published.refetch()

    async def aclose(self) -> None:
        """End every fetch."""
        removed, self._published = self._published, {}
        for known in removed.values():
            known.stop()
        await asyncio.gather(*(known.task for known in removed.values()), return_exceptions=True)


class _PublishedKeys:
    """One set, and the task that keeps it fresh."""

    def __init__(
        self, remote: RemoteKeys, transport: Callable[[Upstream], Transport], clock: Callable[[], float]
    ) -> None:
        self._remote = remote
        self._transport = transport
        self._clock = clock
        self._cache_seconds = max(remote.cache_seconds, MIN_CACHE_SECONDS)
        self._keys = NO_KEYS
        self._fetched_at = -math.inf
        self._early_at = -math.inf
        self._problem = ""
        """What was logged last: a lasting problem is logged once."""
        self._fetch: asyncio.Task[bool] | None = asyncio.create_task(self._try())
        self.task = asyncio.create_task(self._keep_fresh())

    @property
    def keys(self) -> KeySet:
        return NO_KEYS if self._clock() > self._fetched_at + self._cache_seconds + MAX_STALE_SECONDS else self._keys

    def stop(self) -> None:
        self.task.cancel()
        if self._fetch is not None:
            self._fetch.cancel()

    async def refetch(self) -> None:
        if self._fetch is None:
            now = self._clock()
            if now < self._early_at + EARLY_SECONDS:
                return
            self._early_at = now
        await self._fetched()

    async def _keep_fresh(self) -> None:
        retry_seconds = 1.0
        while True:
            if await self._fetched():
                retry_seconds = 1.0
                await asyncio.sleep(self._cache_seconds)
            else:
                await asyncio.sleep(min(retry_seconds, self._cache_seconds))
                retry_seconds = min(retry_seconds * 2, MAX_RETRY_SECONDS)

    async def _fetched(self) -> bool:
        """Fetch the set, or wait for whoever does; tell whether it is good."""
        if self._fetch is None:
            self._fetch = asyncio.create_task(self._try())
        # A caller that leaves must not end the fetch that others wait for.
        return await asyncio.shield(self._fetch)

    async def _try(self) -> bool:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                document = await _document(self._transport(self._remote.upstream), self._remote)
            keys = parse_jwks(document)
        except TimeoutError:
            self._failed(f"no answer within {FETCH_SECONDS:g} seconds")
        except (OriginError, FetchError, JwksError) as error:
            self._failed(str(error))
        except Exception as error:
            # Whatever it is, the next attempt must be made: without it the keys would never be fresh again.
            self._failed(f"unexpected {type(error).__name__}")
            logger.exception("unexpected error", extra={"url": self._remote.url})
        else:
            self._succeeded(keys)
            return True
        finally:
            self._fetch = None
        return False

    def _failed(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            logger.error("key set cannot be fetched", extra={"url": self._remote.url, "reason": problem})

    def _succeeded(self, keys: KeySet) -> None:
        self._fetched_at = self._clock()
        if self._problem:
            self._problem = ""
            logger.info("key set is fetched again", extra={"url": self._remote.url})
        if keys.version == self._keys.version:
            return  # the same object: what was verified with it stays verified
        self._keys = keys
        facts = {"url": self._remote.url, "keys": len(keys.keys)}
        for index, fault in keys.faults:
            logger.warning("a key of a set is not used", extra={**facts, "index": index, "reason": fault})
        if not keys.keys:
            logger.warning("key set without a usable key: no token of its issuer is valid", extra=facts)


async def _document(transport: Transport, remote: RemoteKeys) -> bytes:
    """Return what the server publishes. Redirects are not followed: they lead where no operator has looked.

    Raises:
        FetchError: not a 200, or compressed.
        OriginError: the exchange failed, or the answer is too long.

    """
    headers: RawHeaders = [
        (b"host", remote.authority),
        (b"accept", b"application/jwk-set+json, application/json"),
        (b"accept-encoding", b"identity"),
    ]
    response = await transport.exchange("GET", remote.target, headers)
    try:
        if response.status != HTTPStatus.OK:
            raise FetchError(f"the server answered {response.status}")
        if response.fields.get(b"content-encoding", b"identity").lower() != b"identity":
            raise FetchError("the server compressed its answer, unasked")
        return await read_within(response, MAX_DOCUMENT_BYTES)
    finally:
        response.close()
