"""What client authentication remembers: tokens that were verified, and passwords that were compared."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from config.policy.client_auth import CredentialRefusedError, parse_basic
from config.policy.jwks import KeySet
from config.policy.jwt import UnknownKeyError
from middleware.errors import PasswordChecksBusyError

if TYPE_CHECKING:
    from app.jwks import KeySets
    from config.policy.client_auth import BasicAuthentication
    from config.policy.jwt import JwtAuthentication, JwtProvider, VerifiedToken
    from config.secret_values import SecretValue

MAX_TOKENS: Final = 4096
MAX_KEPT_TOKEN_BYTES: Final = 4096
"""Claims of a longer token are not kept: Python objects take many times the room of the text."""
MAX_PASSWORDS: Final = 1024
PASSWORD_THREADS: Final = 2
"""Hashes are slow on purpose, and the processors have other work."""
MAX_WAITING_PASSWORDS: Final = 64


class ClientCredentials:
    """Verifies tokens and passwords for every configuration; used in one event loop."""

    def __init__(self, key_sets: KeySets) -> None:
        """Prepare; threads start with the first password."""
        self._key_sets = key_sets
        self._tokens: OrderedDict[tuple[str, str], VerifiedToken] = OrderedDict()
        """By policy and digest of the token."""
        self._passwords: OrderedDict[bytes, None] = OrderedDict()
        """What a hash and its password are remembered by."""
        self._secret = secrets.token_bytes(32)
        self._executor = ThreadPoolExecutor(PASSWORD_THREADS, "password")
        self._waiting = 0

    async def claims(self, policy: JwtAuthentication, token: SecretValue, now: float) -> dict[str, Any]:
        """Return the claims of a valid token. A key that is not known makes its set be fetched again.

        Raises:
            CredentialRefusedError: it is not valid.

        """
        name = (policy.version, token.digest)
        if (known := self._tokens.get(name)) is not None:
            if now < known.expires_at and self._keys_of(known.provider) is known.keys:
                self._tokens.move_to_end(name)
                return known.claims
            del self._tokens[name]
        text = token.reveal()
        try:
            verified = policy.verify(text, self._keys_of, now)
        except UnknownKeyError as error:
            if not error.remotes:
                raise
            for remote in error.remotes:
                await self._key_sets.refetch(remote)
            verified = policy.verify(text, self._keys_of, now)
        if len(text) <= MAX_KEPT_TOKEN_BYTES and now < verified.expires_at:
            self._tokens[name] = verified
            if len(self._tokens) > MAX_TOKENS:
                self._tokens.popitem(last=False)
        return verified.claims

    async def user(self, policy: BasicAuthentication, credential: SecretValue) -> dict[str, Any]:
        """Return `username` of valid basic credentials. The password is compared in a thread.

        Raises:
            CredentialRefusedError: no such user, or another password: the same work either way.
            PasswordChecksBusyError: too many passwords wait.

        """
        name, password = parse_basic(credential.reveal())
        stored, exists = policy.find(name)
        remembered = stored.identify(self._secret, password)
        if exists and remembered in self._passwords:
            self._passwords.move_to_end(remembered)
            return {"username": name}
        if self._waiting >= MAX_WAITING_PASSWORDS:
            raise PasswordChecksBusyError("too many passwords wait to be compared")
        self._waiting += 1
        try:
            matches = await asyncio.get_running_loop().run_in_executor(self._executor, stored.verify, password)
        finally:
            self._waiting -= 1
        if not (exists and matches):
            raise CredentialRefusedError("wrong user or password")
        self._passwords[remembered] = None
        if len(self._passwords) > MAX_PASSWORDS:
            self._passwords.popitem(last=False)
        return {"username": name}

    def close(self) -> None:
        """Let the threads end after what they are at."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _keys_of(self, provider: JwtProvider) -> KeySet:
        keys = provider.keys
        return keys if isinstance(keys, KeySet) else self._key_sets.current(keys)
