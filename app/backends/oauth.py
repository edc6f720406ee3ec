"""Asks a token endpoint for the gateway's own token: OAuth 2 client credentials, RFC 6749 section 4.4."""

from __future__ import annotations

import asyncio
import base64
import json
import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn
from urllib.parse import quote_plus, urlencode

from app.backends.errors import OriginError, OriginProtocolError
from app.backends.exchange import in_one_part, read_within
from config.policy.credentials import InvalidCredentialError, check_value
from config.secret_values import SecretValue

if TYPE_CHECKING:
    from app.backends.exchange import Response, Transport
    from config.attributes import RawHeaders
    from config.policy.credentials import ClientCredentials

FETCH_SECONDS = 10.0
"""Everything that one token may take: connecting, asking, and the whole answer."""
MAX_ANSWER_BYTES = 64 * 1024
DEFAULT_LIFETIME = 300.0
"""Seconds that a token is kept where the endpoint does not say (RFC 6749 section 5.1 leaves it to the client)."""
MAX_LIFETIME = 86_400.0
"""Seconds that a token is kept at most, whatever the endpoint says."""
_MAX_DIGITS = 10


class TokenError(Exception):
    """No token could be had. The message names the endpoint, and neither a secret nor what the endpoint answered."""


class FetchedToken(NamedTuple):
    """What a token endpoint gave."""

    value: SecretValue
    lifetime: float
    """Seconds, from when it was asked for."""


async def fetch_token(
    client: ClientCredentials, transport: Transport, limit_seconds: float = FETCH_SECONDS
) -> FetchedToken:
    """Ask for a token once. A redirect is a failure: the secret goes nowhere but to the endpoint itself.

    Args:
        client: what to ask for, and where.
        transport: that of `client.endpoint`.
        limit_seconds: for everything.

    Raises:
        TokenError: the endpoint cannot be reached, refuses, or answers something that is no token.

    """
    try:
        async with asyncio.timeout(limit_seconds):
            body = await _ask(client, transport)
    except TimeoutError:
        raise _failure(client, f"no whole answer within {limit_seconds:g} s") from None
    except OriginError as error:
        raise _failure(client, str(error)) from None
    return _token(client, body)


def token_request(client: ClientCredentials) -> tuple[RawHeaders, bytes]:
    """Return header fields and body of the request (RFC 6749 sections 2.3.1 and 4.4.2)."""
    form = [("grant_type", "client_credentials")]
    if client.scopes:
        form.append(("scope", " ".join(client.scopes)))
    form += [("audience", audience) for audience in client.audiences]
    form += [("resource", resource) for resource in client.resources]
    headers: RawHeaders = [
        (b"host", client.authority),
        (b"accept", b"application/json"),
        (b"content-type", b"application/x-www-form-urlencoded"),
    ]
    secret = client.client_secret.reveal().decode()
    if client.secret_in_body:
        form += [("client_id", client.client_id), ("client_secret", secret)]
    else:
        pair = f"{quote_plus(client.client_id)}:{quote_plus(secret)}"
        headers.append((b"authorization", b"Basic " + base64.b64encode(pair.encode())))
    body = urlencode(form).encode()
    # The next token is asked for long after an idle connection would have been closed.
    headers += [(b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    return headers, body


async def _ask(client: ClientCredentials, transport: Transport) -> bytes:
    """Return the body of a good answer."""
    try:
        response = await _send(client, transport)
    except OriginProtocolError:
        # The pool may be that of an origin, whose idle connections can be dead; asking for a token twice is harmless.
        response = await _send(client, transport)
    try:
        if response.status != HTTPStatus.OK:
            raise _failure(client, f"status {response.status}")
        return await read_within(response, MAX_ANSWER_BYTES)
    finally:
        response.close()


async def _send(client: ClientCredentials, transport: Transport) -> Response:
    headers, body = token_request(client)
    return await transport.exchange("POST", client.path, headers, in_one_part(body))


def _token(client: ClientCredentials, body: bytes) -> FetchedToken:
    """Read a token from an answer (RFC 6749 section 5.1)."""
    try:
        answer: Any = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _failure(client, "the answer is no JSON") from None
    if not isinstance(answer, dict):
        raise _failure(client, "the answer is no JSON object")
    token, kind = answer.get("access_token"), answer.get("token_type")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise _failure(client, "token_type is not Bearer")
    if not isinstance(token, str):
        raise _failure(client, "the answer has no access_token")
    try:
        value = token.encode()
        check_value(value)
    except (InvalidCredentialError, UnicodeEncodeError):
        raise _failure(client, "access_token is no header value") from None
    return FetchedToken(SecretValue(value), _lifetime(client, answer.get("expires_in")))


def _lifetime(client: ClientCredentials, seconds: Any) -> float:
    if seconds is None:
        return DEFAULT_LIFETIME
    if isinstance(seconds, str) and seconds.isascii() and seconds.isdigit() and len(seconds) <= _MAX_DIGITS:
        seconds = int(seconds)  # as some servers write it
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not 0 <= seconds < math.inf:
        raise _failure(client, "expires_in is no number of seconds")
    return float(min(seconds, MAX_LIFETIME))


def _no_constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are no JSON")


def _failure(client: ClientCredentials, why: str) -> TokenError:
    return TokenError(f"token endpoint {client.authority.decode()}: {why}")
