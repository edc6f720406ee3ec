"""The credentials of one request: what is known, what the caller brought, and tokens that are kept and renewed."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from typing import TYPE_CHECKING, NamedTuple

from app.backends.errors import OriginError
from app.backends.oauth import TokenError, fetch_token
from config.policy.credentials import ClientCredentials, InvalidCredentialError, Passthrough
from config.secret_values import SecretValue
from middleware.errors import BackendAuthenticationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from app.backends.exchange import Transport
    from config.attributes import RequestAttributes
    from config.policy.credentials import Credentials, Source, WrittenCredentials
    from config.policy.upstream import Upstream

FAILURE_SECONDS = 2.0
"""How long a failure is answered from memory, and how long until a token is renewed again after one."""
DROP_SECONDS = 5.0
"""Between two tokens that are dropped because the origin answered 401: one that always does must not cost one each."""
_LAST_SECONDS, _LAST_PART = 15.0, 0.25
"""A token is not sent in the last seconds of its life, as it travels; nor in the last part of a short one."""
_RENEWAL_SECONDS, _RENEWAL_PART = 45.0, 0.25
"""Before that, it is renewed while it is still sent."""

logger = logging.getLogger("egress")


class _Token(NamedTuple):
    """A token, and the times of the clock by which it lives."""

    value: SecretValue
    renew_at: float
    unusable_at: float


class _Failure(NamedTuple):
    message: str
    until: float


class _Kept:
    """What is known of one client at one token endpoint."""

    __slots__ = ("drop_at", "failure", "task", "token")

    def __init__(self) -> None:
        self.token: _Token | None = None
        self.failure: _Failure | None = None
        self.task: asyncio.Task[_Token | _Failure] | None = None
        """The fetch that is under way; there is never a second one."""
        self.drop_at = float("-inf")
        """From when on a token may be dropped again."""


class CredentialBroker:
    """Finds the credentials that backends ask for. One for the whole process; tokens survive a reload."""

    def __init__(self, transport: Callable[[Upstream], Transport], clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without any token.

        Args:
            transport: finds the transport of a token endpoint.
            clock: monotonic, in seconds.

        """
        self._transport = transport
        self._clock = clock
        self._kept: dict[str, _Kept] = {}

    async def resolve(self, credentials: Credentials, attributes: RequestAttributes) -> WrittenCredentials:
        """Return what to send. Where `credentials.ready` is there, it is the answer, and this need not be called.

        Raises:
            BackendAuthenticationError: some credential cannot be had; the request must not be sent.

        """
        if credentials.unusable:
            raise BackendAuthenticationError(credentials.unusable)
        if credentials.ready is not None:
            return credentials.ready
        try:
            values = [await self._value(entry.source, attributes) for entry in credentials.entries]
            return credentials.write(values)
        except (TokenError, InvalidCredentialError) as error:
            raise BackendAuthenticationError(str(error)) from error

    def reject(self, credentials: Credentials, written: WrittenCredentials) -> None:
        """Drop the tokens that a backend answered with 401, so that the next request gets new ones."""
        for entry, value in zip(credentials.entries, written.values, strict=True):
            if not isinstance(entry.source, ClientCredentials):
                continue
            kept, now = self._kept.get(entry.source.key), self._clock()
            if kept is not None and kept.token is not None and kept.token.value == value and now >= kept.drop_at:
                kept.token = None
                kept.drop_at = now + DROP_SECONDS

    def retain(self, credentials: Iterable[Credentials]) -> None:
        """Forget the tokens of clients that none of these, those of the snapshot in force, name any more."""
        wanted = {client.key for each in credentials for client in each.clients}
        for key in self._kept.keys() - wanted:
            # Whoever still waits for it gets it; it is only not kept.
            if self._kept[key].task is None:
                del self._kept[key]

    async def aclose(self) -> None:
        """End the fetches that are under way."""
        tasks = [kept.task for kept in self._kept.values() if kept.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._kept.clear()

    async def _value(self, source: Source, attributes: RequestAttributes) -> SecretValue:
        match source:
            case SecretValue():
                return source
            case Passthrough():
                if attributes.credential is None:
                    raise InvalidCredentialError("passthrough: no policy has verified a credential of the caller's")
                return attributes.credential
            case ClientCredentials():
                return await self._token(source)

    async def _token(self, client: ClientCredentials) -> SecretValue:
        """Return a token: the kept one at once, else one that is fetched for everybody who waits.

        Raises:
            TokenError: none could be had.

        """
        kept = self._kept.get(client.key)
        if kept is None:
            kept = self._kept[client.key] = _Kept()
        now = self._clock()
        if kept.token is not None and now < kept.token.unusable_at:
            is_pausing = kept.failure is not None and now < kept.failure.until
            if now >= kept.token.renew_at and kept.task is None and not is_pausing:
                self._fetch(client, kept)
            return kept.token.value
        if kept.failure is not None and now < kept.failure.until:
            raise TokenError(kept.failure.message)
        task = kept.task or self._fetch(client, kept)
        await asyncio.wait([task])  # which, unlike `await task`, a caller that leaves does not cancel
        if task.cancelled():
            raise TokenError("the gateway ends")
        match task.result():
            case _Failure(message):
                raise TokenError(message)
            case _Token(value):
                return value

    def _fetch(self, client: ClientCredentials, kept: _Kept) -> asyncio.Task[_Token | _Failure]:
        kept.task = asyncio.create_task(self._renew(client, kept))
        return kept.task

    async def _renew(self, client: ClientCredentials, kept: _Kept) -> _Token | _Failure:
        """Fetch a token. One that is still kept stays where that fails."""
        began = self._clock()
        try:
            try:
                value, lifetime = await fetch_token(client, self._transport(client.endpoint))
            except TokenError as error:
                return self._failed(kept, str(error))
            except OriginError as error:  # its TLS settings cannot be used
                return self._failed(kept, f"token endpoint {client.authority.decode()}: {error}")
            except Exception as error:  # noqa: BLE001  a defect; whoever waits is answered
                # Without the exception's own text, as in `middleware.problems`.
                frames = traceback.extract_tb(error.__traceback__)[-12:]
                facts = {
                    "exception": type(error).__name__,
                    "frames": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
                }
                logger.error("unexpected error", extra=facts)  # noqa: TRY400
                return self._failed(kept, f"token endpoint {client.endpoint.host}: unexpected {type(error).__name__}")
            unusable_after = lifetime - min(_LAST_SECONDS, lifetime * _LAST_PART)
            renew_after = unusable_after - min(_RENEWAL_SECONDS, lifetime * _RENEWAL_PART)
            kept.token, kept.failure = _Token(value, began + renew_after, began + unusable_after), None
            return kept.token
        finally:
            kept.task = None

    def _failed(self, kept: _Kept, message: str) -> _Failure:
        kept.failure = _Failure(message, self._clock() + FAILURE_SECONDS)
        if kept.token is not None:
            logger.warning("a token could not be renewed: %s", message)
        return kept.failure
