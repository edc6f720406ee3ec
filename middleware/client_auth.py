"""The caller's own credential, where the route asks for one beside the mTLS identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from config.policy.client_auth import CredentialRefusedError, Mode
from config.policy.extraction import SeveralCredentialsError
from config.secret_values import SecretValue
from middleware.context import CONTEXT
from middleware.errors import CredentialsInvalidError, CredentialsMissingError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from config.attributes import RequestAttributes
    from config.policy.client_auth import ApiKeyAuthentication, BasicAuthentication
    from config.policy.extraction import Extraction
    from config.policy.jwt import JwtAuthentication
    from middleware.context import RequestContext


class CredentialChecks(Protocol):
    """What takes keys from elsewhere, or time."""

    async def claims(self, policy: JwtAuthentication, token: SecretValue, now: float) -> dict[str, Any]:
        """Return the claims of a valid token; `now` is Unix time in seconds.

        Raises:
            CredentialRefusedError: it is not valid.

        """

    async def user(self, policy: BasicAuthentication, credential: SecretValue) -> dict[str, Any]:
        """Return what policies see of the user whose name and password these are.

        Raises:
            CredentialRefusedError: there is no such user, or it has another password.
            GatewayError: it cannot be found out now.

        """


@dataclass(frozen=True, slots=True)
class ClientAuthenticationMiddleware:
    """Verify the token, password or key that a route asks for, in this order, and take it off the request.

    The origin has no business with a credential that is meant for the gateway. Routes that ask for none pay nothing.
    """

    app: ASGIApp
    checks: CredentialChecks

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        context: RequestContext = scope[CONTEXT]
        route, _ = context.routed()
        if route.jwt is None and route.basic_auth is None and route.api_key is None:
            return self.app(scope, receive, send)
        return self._authenticated(scope, receive, send)

    async def _authenticated(self, scope: Scope, receive: Receive, send: Send) -> None:
        context: RequestContext = scope[CONTEXT]
        route, attributes = context.routed()
        checks = self.checks
        if (jwt := route.jwt) is not None and (token := _credential("jwt", jwt, context, attributes)):
            try:
                attributes.jwt = await checks.claims(jwt, token, context.start_time)
            except CredentialRefusedError as error:
                _refuse("jwt", jwt, error, context, attributes)
            else:
                _accept(jwt, token, context, attributes)
        if (basic := route.basic_auth) is not None and (pair := _credential("basic", basic, context, attributes)):
            try:
                attributes.basic_auth = await checks.user(basic, pair)
            except CredentialRefusedError as error:
                _refuse("basic", basic, error, context, attributes)
            else:
                _accept(basic, pair, context, attributes)
        if (keys := route.api_key) is not None and (key := _credential("api key", keys, context, attributes)):
            try:
                attributes.api_key = keys.find(key)
            except CredentialRefusedError as error:
                _refuse("api key", keys, error, context, attributes)
            else:
                _accept(keys, key, context, attributes)
        await self.app(scope, receive, send)


def _credential(
    kind: str,
    policy: JwtAuthentication | BasicAuthentication | ApiKeyAuthentication,
    context: RequestContext,
    attributes: RequestAttributes,
) -> SecretValue | None:
    """Return what the caller shows; none where it shows nothing that counts and need not.

    Raises:
        CredentialsMissingError: it must show something.
        CredentialsInvalidError: it shows several, or nobody can tell where to look.

    """
    if policy.location is None:
        raise CredentialsInvalidError(f"{kind}: the location has a fault", policy.rejection)
    try:
        found = policy.location.read(attributes)
    except SeveralCredentialsError:
        _refuse(kind, policy, CredentialRefusedError("several credentials"), context, attributes)
        return None
    if found is not None:
        return SecretValue(found)
    if policy.mode is Mode.STRICT:
        raise CredentialsMissingError(f"{kind}: no credentials", policy.challenge)
    return None


def _refuse(
    kind: str,
    policy: JwtAuthentication | BasicAuthentication | ApiKeyAuthentication,
    error: CredentialRefusedError,
    context: RequestContext,
    attributes: RequestAttributes,
) -> None:
    """Answer an invalid credential; a permissive policy lets the request pass as if it had none, and as it is."""
    if policy.mode is Mode.PERMISSIVE:
        return
    if policy.location is not None:  # what is logged of a request can be made from its fields
        _take_off(policy.location, context, attributes)
    raise CredentialsInvalidError(f"{kind}: {error}", policy.rejection) from None


def _accept(
    policy: JwtAuthentication | BasicAuthentication | ApiKeyAuthentication,
    credential: SecretValue,
    context: RequestContext,
    attributes: RequestAttributes,
) -> None:
    """Keep a verified credential for whoever passes it on: the first one, where a route asks for several."""
    if attributes.credential is None:
        attributes.credential = credential
    if policy.location is not None:
        _take_off(policy.location, context, attributes)


def _take_off(location: Extraction, context: RequestContext, attributes: RequestAttributes) -> None:
    """Take every copy of a credential off what policies see and what the origin gets."""
    headers = location.without(context.headers)
    is_shared = attributes.headers is context.headers
    attributes.headers = headers if is_shared else location.without(attributes.headers)
    attributes.header_values = None
    context.headers = headers
    query = location.without_query(attributes.query)
    if query != attributes.query:
        attributes.query = query
        context.target = attributes.path_and_query
