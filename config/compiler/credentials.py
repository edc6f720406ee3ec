"""`backend.auth` to the credentials that a backend is sent. What cannot be had makes all of them unusable."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from config.model.backend import BackendPoliciesSpec, BackendTlsSpec
from config.policy.credentials import (
    ClientCredentials,
    Credential,
    Credentials,
    InvalidCredentialError,
    Passthrough,
    check_value,
    without_line_end,
)
from config.policy.headers import fold_name
from config.policy.locations import BASIC, BEARER, CookieLocation, HeaderLocation, ParameterLocation
from config.policy.upstream import Upstream, UpstreamTls
from config.resources import AGENTGATEWAY
from config.secret_values import SecretValue

if TYPE_CHECKING:
    from collections.abc import Callable

    from config.compiler.place import Place
    from config.model.backend import BackendAuthSpec, BasicCredentialSpec, OAuthClientCredentialsSpec
    from config.model.base import BackendReference, SecretKeyReference
    from config.model.headers import CredentialLocation as CredentialLocationSpec
    from config.policy.credentials import Source
    from config.policy.locations import CredentialLocation

    ResolveBackend = Callable[[Place, BackendReference], Upstream | None]

DEFAULT_KEY = "Authorization"
"""Key of a `Secret` that is read where the manifest names none."""
_BEARER = re.compile(rb"bearer +", re.IGNORECASE)
_TARGET = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?")
"""A target in origin form: RFC 3986 section 3.3 and 3.4."""
_HTTPS = 443
_ADD_TLS = "add tls: {} to the policies of the backend"
_NOTHING_SENT = "nothing is sent to the backend without it"
_HOST = re.compile(r"[a-z0-9_.-]+|[0-9a-f:.]*:[0-9a-f:.]*")


def backend_upstream(place: Place, reference: BackendReference) -> Upstream | None:
    """Return where an `AgentgatewayBackend` of the same namespace with `tls: {}` is; none, and a fault, for others."""
    name = f"{reference.namespace or place.namespace}/{reference.name}"
    if (reference.group, reference.kind) != (AGENTGATEWAY, "AgentgatewayBackend"):
        message = f"a token endpoint is an AgentgatewayBackend or a url, not a {reference.kind} of {reference.group!r}"
        place.error("invalid-backend", message, f"refer to an AgentgatewayBackend of {AGENTGATEWAY}")
        return None
    if reference.namespace not in {None, place.namespace}:
        place.error("reference-not-granted", "a token endpoint is a backend of the policy's own namespace")
        return None
    parsed = place.resources.backends.get(name)
    if parsed is None:
        place.dangling("AgentgatewayBackend", name, place.resources.backends)
        return None
    spec = parsed.model.spec
    if spec.static is None:
        place.error("invalid-backend", f"{name} has no host of its own", "refer to a backend with 'static'")
        return None
    host = spec.static.host.lower().removesuffix(".")
    # Anything else it says, a tunnel or a client certificate, would be passed over in silence.
    if spec.policies not in (BackendPoliciesSpec(), BackendPoliciesSpec(tls=BackendTlsSpec())):
        place.error("not-available", f"a token endpoint is reached as 'tls: {{}}' has it, and {name} says otherwise")
        return None
    tls = None if spec.policies.tls is None else UpstreamTls(server_name=host)
    return Upstream(host, spec.static.port, tls)


def compile_auth(place: Place, spec: BackendAuthSpec, resolve: ResolveBackend = backend_upstream) -> Credentials:
    """Compile `auth`.

    Args:
        place: of the `auth` block.
        spec: the block.
        resolve: finds the upstream that a `backendRef` names, or reports why there is none.

    """
    compiler = _Compiler(place, resolve)
    primary, at = compiler.primary(spec)
    if at is not None:
        location = BASIC if spec.basic is not None else compiler.location(place.at("location"), spec.location)
        compiler.add(at, primary, location)
    for index, entry in enumerate(spec.credentials):
        at = place.at("credentials", index)
        secret = compiler.secret(at.at("secretRef"), entry.secret_ref, DEFAULT_KEY)
        compiler.add(at, secret, compiler.location(at.at("location"), entry.location))
    unusable = f"{place.name}: a credential cannot be had" if compiler.is_faulty else ""
    return Credentials(tuple(compiler.entries), unusable)


def over_tls_only(place: Place, credentials: Credentials, *, has_tls: bool) -> Credentials:
    """Return the credentials; unusable ones, and a fault, where the backend they are for is spoken to in plain text.

    Args:
        place: of the `auth` block, or of the backend it was merged into.
        credentials: what the block was compiled to.
        has_tls: whether the backend has TLS once the policies of all levels are merged.

    """
    if has_tls:
        return credentials
    place.error("credential-without-tls", "a credential goes over TLS only, and this backend has none", _ADD_TLS)
    return replace(credentials, unusable=f"{place.name}: a credential goes over TLS only")


class _Compiler:
    """Gathers the entries of one block."""

    def __init__(self, place: Place, resolve: ResolveBackend) -> None:
        self.place = place
        self.resolve = resolve
        self.entries: list[Credential] = []
        self.is_faulty = False
        """Whether some credential cannot be had; each has its finding."""

    def add(self, at: Place, source: Source | None, location: CredentialLocation | None) -> None:
        """Take a credential that can be had and can stand where it is to go; what is none is reported already."""
        if isinstance(source, SecretValue) and location is not None:
            source = SecretValue(without_line_end(source.reveal()))
            if not _is_valid(at, source.reveal(), location):
                source = None
        if source is None or location is None:
            self.is_faulty = True
            return
        taken = [entry for entry in self.entries if _is_same(entry.location, location)]
        if taken:
            message = "another credential of this block goes to the same place"
            at.warn("credential-conflict", message, "this one is sent: remove the other")
            self.entries.remove(taken[0])
        self.entries.append(Credential(source, location))

    def primary(self, spec: BackendAuthSpec) -> tuple[Source | None, Place | None]:
        """Return the credential beside `credentials` and its place; none for what cannot be had."""
        place = self.place
        if spec.key is not None:
            return SecretValue(spec.key.get_secret_value().encode()), place.at("key")
        if spec.secret_ref is not None:
            at = place.at("secretRef")
            return self.bearer(at, spec.secret_ref), at
        if spec.passthrough is not None:
            return Passthrough(), place.at("passthrough")
        if spec.basic is not None:
            at = place.at("basic")
            return self.basic(at.at("secretRef"), spec.basic), at
        if spec.oauth_client_credentials is not None:
            at = place.at("oauthClientCredentials")
            return self.client(at, spec.oauth_client_credentials), at
        return None, None

    def secret(self, at: Place, reference: SecretKeyReference, default_key: str) -> SecretValue | None:
        """Return the value that a reference names; none, and a fault, where there is none."""
        key = reference.key or default_key
        return at.secret(reference.name, key, group=reference.group, kind=reference.kind)

    def bearer(self, at: Place, reference: SecretKeyReference) -> SecretValue | None:
        """Return the value of `secretRef`: under the key `Authorization` it may stand as it does in the header."""
        value = self.secret(at, reference, DEFAULT_KEY)
        if value is None or (reference.key or DEFAULT_KEY) != DEFAULT_KEY:
            return value
        scheme = _BEARER.match(value.reveal())
        return value if scheme is None else SecretValue(value.reveal()[scheme.end() :])

    def basic(self, at: Place, spec: BasicCredentialSpec) -> SecretValue | None:
        """Return user and password as RFC 7617 writes them, in UTF-8."""
        password = self.password(at, spec.secret_ref, "password")
        return None if password is None else SecretValue(base64.b64encode(f"{spec.username}:{password}".encode()))

    def client(self, at: Place, spec: OAuthClientCredentialsSpec) -> ClientCredentials | None:
        """Return what is asked of a token endpoint, and how the gateway proves who it is there."""
        auth = spec.client_auth
        endpoint, path = self._endpoint(at, spec)
        secret = self.password(at.at("clientAuth", "secretRef"), auth.secret_ref, "clientSecret")
        if endpoint is None or secret is None:
            return None
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        return ClientCredentials(
            endpoint,
            (host if endpoint.port == _HTTPS else f"{host}:{endpoint.port}").encode(),
            path,
            auth.client_id,
            SecretValue(secret.encode()),
            auth.method == "ClientSecretPost",
            spec.scopes,
            spec.audiences,
            spec.resources,
        )

    def password(self, at: Place, reference: SecretKeyReference, default_key: str) -> str | None:
        """Return the value that a reference names; none, and a fault, where it is empty, no UTF-8 or holds controls."""
        secret = self.secret(at, reference, default_key)
        if secret is None or not _is_valid(at, value := without_line_end(secret.reveal()), BEARER):
            return None
        try:
            return value.decode()
        except UnicodeDecodeError:
            at.error("invalid-credential", "the credential is not UTF-8", _NOTHING_SENT)
            return None

    def _endpoint(self, at: Place, spec: OAuthClientCredentialsSpec) -> tuple[Upstream | None, str]:
        """Return the token endpoint; none, and a fault, where it is nowhere, or in plain text."""
        if spec.backend_ref is not None:
            endpoint, path = self.resolve(at.at("backendRef"), spec.backend_ref), spec.path or "/"
            if endpoint is not None and endpoint.tls is None:
                message = "a client secret goes over TLS only, and the token endpoint has none"
                at.at("backendRef").error("credential-without-tls", message, _ADD_TLS)
                endpoint = None
            at = at.at("path")
        else:
            at, (endpoint, path) = at.at("url"), _parse(spec.url or "")
            if endpoint is None:
                at.error("invalid-value", "not an https URL of a host, a port and a path")
                return None, path
        if not _TARGET.fullmatch(path):
            at.error("invalid-value", "a path holds what RFC 3986 lets stand in one, the rest percent-encoded")
            return None, path
        return endpoint, path

    def location(self, at: Place, spec: CredentialLocationSpec | None) -> CredentialLocation | None:
        """Return where a credential goes; none, and a fault, where no policy may write."""
        if spec is None:
            return BEARER
        if spec.header is not None:
            name = at.at("header", "name").header_name(spec.header.name)
            return None if name is None else HeaderLocation(name, (spec.header.prefix or "").encode())
        if spec.query_parameter is not None:
            return ParameterLocation(spec.query_parameter.name.encode())
        return CookieLocation(spec.cookie.name.encode()) if spec.cookie is not None else None


def _is_valid(at: Place, value: bytes, location: CredentialLocation) -> bool:
    try:
        check_value(value, location)
    except InvalidCredentialError as error:
        at.error("invalid-credential", str(error), _NOTHING_SENT)
        return False
    return True


def _parse(url: str) -> tuple[Upstream | None, str]:
    """Return host, port and path of an https URL; no upstream if it is none."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").removesuffix("."), _HTTPS if parts.port is None else parts.port
    except ValueError:
        return None, "/"
    # `urlsplit` takes tabs and line ends out, so it is not asked about them.
    is_valid = parts.scheme == "https" and url.isascii() and url.isprintable() and _HOST.fullmatch(host) and port
    upstream = Upstream(host, port, UpstreamTls(server_name=host)) if is_valid else None
    return upstream, parts.path or "/"


def _is_same(one: CredentialLocation, other: CredentialLocation) -> bool:
    """Tell whether two credentials would stand in one place."""
    if isinstance(one, HeaderLocation) and isinstance(other, HeaderLocation):
        return fold_name(one.name) == fold_name(other.name)
    return type(one) is type(other) and one.name == other.name
