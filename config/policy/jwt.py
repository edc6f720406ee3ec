"""JWT authentication: which tokens are taken, of whom, for whom. Sources: RFC 7515, RFC 7519, RFC 8725."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from config.cel import EvaluationError
from config.cel.json_text import parse_json
from config.policy.client_auth import CredentialRefusedError, Mode
from config.policy.extraction import BEARER
from config.policy.jwks import KeySet

if TYPE_CHECKING:
    from collections.abc import Callable

    from config.policy.extraction import Extraction
    from config.policy.upstream import Upstream

MAX_TOKEN_BYTES: Final = 16 * 1024
LEEWAY_SECONDS: Final = 60.0
"""How far clocks may differ: what AgentGateway grants."""

_COMPACT = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_BASE64_GROUP: Final = 4


class UnknownKeyError(CredentialRefusedError):
    """The token names a key that its issuer's set does not hold, or does not hold yet."""

    def __init__(self, remotes: tuple[RemoteKeys, ...]) -> None:
        """Refuse; `remotes` are the issuer's sets that may have changed since they were fetched."""
        super().__init__("unknown key")
        self.remotes = remotes


@dataclass(frozen=True, slots=True)
class RemoteKeys:
    """A key set that a server publishes. Equal ones are fetched once."""

    upstream: Upstream
    target: str
    """Path and query, as they are sent."""
    authority: bytes
    """`Host`."""
    cache_seconds: float = 300.0
    """How long a fetched set is used before it is fetched again."""

    @property
    def url(self) -> str:
        """Where it is, for the log."""
        return f"{'http' if self.upstream.tls is None else 'https'}://{self.authority.decode()}{self.target}"


@dataclass(frozen=True, slots=True)
class JwtProvider:
    """An issuer, and the keys that it signs with."""

    issuer: str
    audiences: frozenset[str]
    """Of which `aud` names one; empty: any, or none."""
    keys: KeySet | RemoteKeys
    """An inline set, or where it is fetched."""


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """What a token says, now that its signature is known to be good."""

    claims: dict[str, Any] = field(repr=False)
    provider: JwtProvider
    keys: KeySet = field(repr=False)
    """The set that it was verified with."""
    expires_at: float
    """`exp`, Unix time in seconds."""


@dataclass(frozen=True, slots=True)
class JwtAuthentication:
    """`jwtAuthentication`."""

    mode: Mode
    providers: tuple[JwtProvider, ...]
    location: Extraction | None = BEARER
    """None: the location has a fault, and nobody is let in."""
    version: str = field(init=False, repr=False, compare=False)
    """Tells policies apart: what one has verified says nothing under another."""

    def __post_init__(self) -> None:
        texts = (f"{p.issuer!r}{sorted(p.audiences)!r}{_version(p.keys)}" for p in self.providers)
        object.__setattr__(self, "version", hashlib.sha256("\n".join(texts).encode()).hexdigest())

    @property
    def remotes(self) -> frozenset[RemoteKeys]:
        """The key sets that have to be fetched."""
        return frozenset(p.keys for p in self.providers if isinstance(p.keys, RemoteKeys))

    @property
    def challenge(self) -> bytes:
        """`WWW-Authenticate` for a caller that showed no token (RFC 6750 section 3)."""
        return b"Bearer"

    @property
    def rejection(self) -> bytes:
        """`WWW-Authenticate` for a caller whose token is refused."""
        return b'Bearer error="invalid_token"'

    def verify(self, token: bytes, keys_of: Callable[[JwtProvider], KeySet], now: float) -> VerifiedToken:
        """Check a token. Whom it claims to be from chooses the keys, and nothing else is believed before they agree.

        Args:
            token: JWS in compact form.
            keys_of: the keys of a provider as they are known now.
            now: Unix time in seconds.

        Raises:
            UnknownKeyError: the key that it names is not in its issuer's set.
            CredentialRefusedError: anything else is wrong with it. The message names the class of the reason only.

        """
        header, claims, message, signature = _parse(token)
        key_id, algorithm = header.get("kid"), header.get("alg")
        if not isinstance(key_id, str) or not isinstance(algorithm, str) or "crit" in header:
            # A critical extension changes what the token means, and none is known here (RFC 7515 section 4.1.11).
            raise CredentialRefusedError("unusable token header")
        providers = [provider for provider in self.providers if provider.issuer == claims.get("iss")]
        if not providers:
            raise CredentialRefusedError("unknown issuer")
        for provider in providers:
            keys = keys_of(provider)
            if (key := keys.keys.get(key_id)) is None:
                continue
            if algorithm not in key.algorithms:
                raise CredentialRefusedError("wrong algorithm")
            if not key.verify(algorithm, message, signature):
                raise CredentialRefusedError("wrong signature")
            return VerifiedToken(claims, provider, keys, _check_claims(claims, provider.audiences, now))
        raise UnknownKeyError(tuple(p.keys for p in providers if isinstance(p.keys, RemoteKeys)))


def _version(keys: KeySet | RemoteKeys) -> str:
    return keys.version if isinstance(keys, KeySet) else repr(keys)


def _parse(token: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    """Return header, claims, what was signed, and the signature; nothing of it is verified."""
    if len(token) > MAX_TOKEN_BYTES:
        raise CredentialRefusedError("token too large")
    parts = _COMPACT.fullmatch(token)
    if parts is None:
        raise CredentialRefusedError("malformed token")
    try:
        header, claims = (parse_json(_decoded(part).decode()) for part in parts.group(1, 2))
        signature = _decoded(parts[3])
    except (EvaluationError, ValueError):
        raise CredentialRefusedError("malformed token") from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise CredentialRefusedError("malformed token")
    return header, claims, token[: parts.end(2)], signature


def _decoded(part: bytes) -> bytes:
    return base64.urlsafe_b64decode(part + b"=" * (-len(part) % _BASE64_GROUP))


_MAX_TIME = 1e301
"""Unix time in seconds that is still a float with an hour added."""


def _check_claims(claims: dict[str, Any], audiences: frozenset[str], now: float) -> float:
    """Check when and for whom a token is valid; return when it expires.

    Raises:
        CredentialRefusedError: not now, or not for us. RFC 7519 section 4.1.

    """
    expires_at, begins_at = claims.get("exp"), claims.get("nbf", now)
    if not _is_number(expires_at):
        raise CredentialRefusedError("no expiry")
    if not _is_number(begins_at):
        raise CredentialRefusedError("malformed token")
    if now >= expires_at + LEEWAY_SECONDS:
        raise CredentialRefusedError("expired")
    if now < begins_at - LEEWAY_SECONDS:
        raise CredentialRefusedError("not valid yet")
    if audiences:
        stated = claims.get("aud")
        named = [stated] if isinstance(stated, str) else stated if isinstance(stated, list) else []
        if not any(isinstance(name, str) and name in audiences for name in named):
            raise CredentialRefusedError("wrong audience")
    return float(expires_at)


def _is_number(value: Any) -> TypeGuard[float]:
    # An integer may be too large for a float; no time is.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MAX_TIME
