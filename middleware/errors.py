"""Errors with an HTTP answer: one class per answer. Raised where the fact is known, answered in `problems`."""

from __future__ import annotations

from http import HTTPStatus
from typing import ClassVar


class GatewayError(Exception):
    """An error with an HTTP answer. Its message is for the log, never for the caller."""

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    body: ClassVar[str] = "internal error"
    """What the caller reads. It names no rule, backend, address or exception."""
    reason: ClassVar[str] = "internal_error"
    """Stable slug: metric label, access-log field and problem type. Never reworded."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """Further fields of the answer; an instance may have its own."""


class InvalidRequestError(GatewayError):
    """The target, authority or framing is ambiguous."""

    status = HTTPStatus.BAD_REQUEST
    body = "invalid request"
    reason = "invalid_request"
    headers = ((b"connection", b"close"),)


class IdentityRequiredError(GatewayError):
    """The caller has no usable SPIFFE identity."""

    status = HTTPStatus.FORBIDDEN
    body = "authorization failed"
    reason = "identity_required"


class CertificateExpiredError(IdentityRequiredError):
    """The connection, or the TLS 1.2 session it resumed, outlived the certificate it was made with."""

    headers = ((b"connection", b"close"),)


class CredentialsMissingError(GatewayError):
    """The route asks for a credential of the caller's own, and there is none."""

    status = HTTPStatus.UNAUTHORIZED
    body = "authentication failure: no credentials"
    reason = "credentials_missing"

    def __init__(self, message: str, challenge: bytes) -> None:
        """Say what is missing; `challenge` is the value of `WWW-Authenticate` (RFC 9110 section 11.6.1)."""
        super().__init__(message)
        self.headers = ((b"www-authenticate", challenge),)


class CredentialsInvalidError(CredentialsMissingError):
    """The caller's own credential is refused."""

    body = "authentication failure: invalid credentials"
    reason = "credentials_invalid"


class PasswordChecksBusyError(GatewayError):
    """More passwords wait to be compared than may: hashes are slow on purpose."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    body = "overloaded"
    reason = "password_checks_busy"
    headers = ((b"retry-after", b"1"),)


class AuthorizationDeniedError(GatewayError):
    """No rule allowed the request, or one denied it."""

    status = HTTPStatus.FORBIDDEN
    body = "authorization failed"
    reason = "authorization_denied"


class NetworkDeniedError(GatewayError):
    """`networkAuthorization` refuses the connection: it is closed, and nothing is answered."""

    status = HTTPStatus.FORBIDDEN
    body = ""
    reason = "network_authorization_denied"


class PayloadTooLargeError(GatewayError):
    """The request's body is larger than a policy lets it be."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    body = "payload too large"
    reason = "payload_too_large"
    # The rest of the body is still to come.
    headers = ((b"connection", b"close"),)


class CsrfError(GatewayError):
    """A request that changes something comes from a page of another site."""

    status = HTTPStatus.FORBIDDEN
    body = "CSRF validation failed"
    reason = "csrf_validation_failed"


class RewriteFailedError(GatewayError):
    """The path cannot be rewritten as the route says, so nothing is sent."""

    reason = "rewrite_failed"


class RouteNotFoundError(GatewayError):
    """No service has this host, or no route takes the request."""

    status = HTTPStatus.NOT_FOUND
    body = "route not found"
    reason = "route_not_found"


class MethodNotAllowedError(GatewayError):
    """CONNECT, TRACE, or a method that the parser does not know."""

    status = HTTPStatus.METHOD_NOT_ALLOWED
    body = "method not allowed"
    reason = "method_not_allowed"
    # Closed, as httptools reads nothing more on a connection after CONNECT.
    headers = ((b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"), (b"connection", b"close"))


class UpgradeNotSupportedError(GatewayError):
    """The caller asks for another protocol on this connection."""

    status = HTTPStatus.NOT_IMPLEMENTED
    body = "upgrade not supported"
    reason = "upgrade_not_supported"
    headers = ((b"connection", b"close"),)


class HttpVersionNotSupportedError(GatewayError):
    """The caller speaks neither HTTP/1.0 nor HTTP/1.1."""

    status = HTTPStatus.HTTP_VERSION_NOT_SUPPORTED
    body = "http version not supported"
    reason = "http_version_not_supported"
    headers = ((b"connection", b"close"),)


class NoValidBackendError(GatewayError):
    """The route's backend reference dangles, or its TLS material cannot be used."""

    body = "no valid backends"
    reason = "no_valid_backends"


class BackendAuthenticationError(GatewayError):
    """The credential for the origin cannot be had, or may not be sent: nothing was sent."""

    body = "backend authentication failed"
    reason = "backend_authentication_failed"


class NoHealthyBackendError(GatewayError):
    """Every endpoint that the route leads to is left out for its failures: nothing was sent."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    body = "no healthy backends"
    reason = "no_healthy_backends"


class RequestTimeoutError(GatewayError):
    """The route's whole time for an answer is over. Source: `traffic.timeouts.request`."""

    status = HTTPStatus.GATEWAY_TIMEOUT
    body = "request timeout"
    reason = "request_timeout"


class UpstreamTimeoutError(GatewayError):
    """One attempt's time for an answer is over. Source: `backend.http.requestTimeout`."""

    status = HTTPStatus.GATEWAY_TIMEOUT
    body = "upstream call timeout"
    reason = "upstream_timeout"


class CallerIdleError(GatewayError):
    """The caller kept the gateway waiting within its body, or does not read its answer."""

    status = HTTPStatus.REQUEST_TIMEOUT
    body = "request timeout"
    reason = "caller_idle"
    headers = ((b"connection", b"close"),)


class UpstreamProtocolError(GatewayError):
    """The origin broke HTTP before the end of its response head."""

    status = HTTPStatus.BAD_GATEWAY
    body = "upstream protocol error"
    reason = "upstream_protocol_error"


class ResponseTooLargeError(GatewayError):
    """The origin's answer is larger than a policy lets it be."""

    status = HTTPStatus.BAD_GATEWAY
    body = "response too large"
    reason = "response_too_large"


class UpstreamConnectError(GatewayError):
    """The origin could not be reached: DNS, TCP, TLS, a refused address, a deadline."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    body = "upstream call failed"
    reason = "upstream_call_failed"


class UpstreamAbortedError(GatewayError):
    """The origin failed after its response head was passed on: the caller's connection is aborted."""

    status = HTTPStatus.BAD_GATEWAY
    body = "upstream protocol error"
    reason = "upstream_aborted"


class DownstreamClosedError(Exception):
    """The caller left; nobody is there to answer."""


class ShuttingDownError(GatewayError):
    """The process ends and the time for requests to go on is over."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    body = "overloaded"
    reason = "shutting_down"
    headers = ((b"retry-after", b"1"), (b"connection", b"close"))
