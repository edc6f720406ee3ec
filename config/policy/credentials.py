"""The credentials that a backend asks for: where each comes from, and how they replace what the caller sent."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

from config.policy.headers import fold_name, without_fields
from config.policy.locations import (
    BEARER,
    CookieLocation,
    HeaderLocation,
    ParameterLocation,
    with_cookies,
    with_parameters,
)
from config.secret_values import SecretValue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from config.attributes import RawHeaders
    from config.policy.locations import CredentialLocation
    from config.policy.upstream import Upstream

_FIELD_VALUE = re.compile(rb"[^\x00-\x20\x7f](?:[^\x00-\x08\x0a-\x1f\x7f]*[^\x00-\x20\x7f])?")
"""RFC 9110 section 5.5: no controls, and no white space around it, which recipients would take off."""
_COOKIE_VALUE = re.compile(rb"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]+")
"""RFC 6265 section 4.1.1, `cookie-octet`."""


class InvalidCredentialError(ValueError):
    """A credential is empty, or cannot stand where it is to go. The message never quotes it."""


@dataclass(frozen=True, slots=True)
class Passthrough:
    """The caller's own credential, which client authentication has verified and taken off the request."""


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """The token that a token endpoint gives to the gateway itself. Source: RFC 6749 section 4.4."""

    endpoint: Upstream
    """Over TLS."""
    authority: bytes
    """`Host` of the token endpoint."""
    path: str
    """Its path, and query if any."""
    client_id: str
    client_secret: SecretValue
    secret_in_body: bool = False
    """`client_secret_post`; else `client_secret_basic` (RFC 6749 section 2.3.1)."""
    scopes: tuple[str, ...] = ()
    audiences: tuple[str, ...] = ()
    """Parameter `audience`, which several authorization servers read."""
    resources: tuple[str, ...] = ()
    """Parameter `resource`, RFC 8707."""
    key: str = field(init=False, repr=False, compare=False)
    """The whole of it as text, with the secret's digest: equal ones share a token, unequal ones never do."""

    def __post_init__(self) -> None:
        facts = (self.endpoint.key, self.authority, self.path, self.client_id, self.client_secret.digest)
        wishes = (self.secret_in_body, self.scopes, self.audiences, self.resources)
        object.__setattr__(self, "key", repr((facts, wishes)))


Source = SecretValue | Passthrough | ClientCredentials
"""Where a credential comes from; a `SecretValue` is the credential itself."""


@dataclass(frozen=True, slots=True)
class Credential:
    """One credential, and where it goes."""

    source: Source
    location: CredentialLocation = BEARER


@dataclass(frozen=True, slots=True)
class WrittenCredentials:
    """Credentials in the form in which they are sent. Its repr shows none of them."""

    values: tuple[SecretValue, ...]
    """As they came from their sources."""
    headers: tuple[tuple[bytes, bytes], ...] = field(repr=False, default=())
    parameters: tuple[str, ...] = field(repr=False, default=())
    """`name=value`, percent-encoded."""
    cookies: tuple[bytes, ...] = field(repr=False, default=())
    """`name=value`."""
    owned_headers: frozenset[bytes] = frozenset()
    """Folded names."""
    owned_parameters: frozenset[bytes] = frozenset()
    owned_cookies: frozenset[bytes] = frozenset()

    def apply(self, headers: RawHeaders, target: str) -> tuple[RawHeaders, str]:
        """Return header fields and target with these credentials, and with no copy of theirs that the caller sent.

        Args:
            headers: names lower-cased. Not changed, so that a retry can begin with them again.
            target: path and query.

        """
        if self.owned_headers:
            headers = [*without_fields(headers, self.owned_headers), *self.headers]
        if self.cookies:
            headers = with_cookies(headers, self.owned_cookies, self.cookies)
        if self.parameters:
            target = with_parameters(target, self.owned_parameters, self.parameters)
        return headers, target


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a backend is sent in place of the caller's credentials: all of them, or the request is not sent."""

    entries: tuple[Credential, ...] = ()
    """No two for one place."""
    unusable: str = ""
    """Why no request may be sent, for the log: a credential that cannot be had. Empty: all can."""
    ready: WrittenCredentials | None = field(init=False, repr=False, compare=False)
    """What is sent, where it is the same for every request; none if it takes `write`, or nothing may be sent."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "ready", None)
        sources = [entry.source for entry in self.entries]
        values = [source for source in sources if isinstance(source, SecretValue)]
        if not self.unusable and len(values) == len(sources):
            try:
                object.__setattr__(self, "ready", self.write(values))
            except InvalidCredentialError as error:
                object.__setattr__(self, "unusable", str(error))

    @property
    def clients(self) -> tuple[ClientCredentials, ...]:
        """The token endpoints that are asked for some of them."""
        return tuple(entry.source for entry in self.entries if isinstance(entry.source, ClientCredentials))

    def write(self, values: Sequence[SecretValue]) -> WrittenCredentials:
        """Return the credentials as they are sent.

        Args:
            values: one for each entry, in their order.

        Raises:
            InvalidCredentialError: one is empty, or cannot stand where it is to go.

        """
        headers: list[tuple[bytes, bytes]] = []
        parameters: dict[bytes, str] = {}
        cookies: dict[bytes, bytes] = {}
        for entry, secret in zip(self.entries, values, strict=True):
            value = secret.reveal()
            check_value(value, entry.location)
            match entry.location:
                case HeaderLocation(name, prefix):
                    headers.append((name, prefix + value))
                case ParameterLocation(name):
                    parameters[name] = f"{quote(name, safe='')}={quote(value, safe='')}"
                case CookieLocation(name):
                    cookies[name] = name + b"=" + value
        return WrittenCredentials(
            tuple(values),
            tuple(headers),
            tuple(parameters.values()),
            tuple(cookies.values()),
            frozenset(fold_name(name) for name, _ in headers),
            frozenset(parameters),
            frozenset(cookies),
        )


def check_value(value: bytes, location: CredentialLocation = BEARER) -> None:
    """Refuse what cannot be sent as a credential.

    Raises:
        InvalidCredentialError: it is empty, no header value, or for a cookie no cookie value.

    """
    if not value:
        raise InvalidCredentialError("the credential is empty")
    if not _FIELD_VALUE.fullmatch(value):
        raise InvalidCredentialError("the credential holds control characters, or begins or ends with white space")
    if isinstance(location, CookieLocation) and not _COOKIE_VALUE.fullmatch(value):
        raise InvalidCredentialError("the credential holds characters that a cookie cannot (RFC 6265 section 4.1.1)")


def without_line_end(value: bytes) -> bytes:
    """Cut one final line end, which editors and `kubectl create secret --from-file` leave there."""
    return value.removesuffix(b"\n").removesuffix(b"\r") if value.endswith(b"\n") else value
