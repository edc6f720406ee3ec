"""`backend.auth` to the credentials that a backend is sent. What cannot be had makes all of them unusable."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

from config.compiler.endpoints import resolve_endpoint
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
from config.secret_values import SecretValue

if TYPE_CHECKING:
    from config.compiler.endpoints import Endpoint
    from config.compiler.place import Place
    from config.model.backend import BackendAuthSpec, BasicCredentialSpec, OAuthClientCredentialsSpec
    from config.model.base import SecretKeyReference
    from config.model.headers import CredentialLocation as CredentialLocationSpec
    from config.policy.credentials import Source
    from config.policy.locations import CredentialLocation

DEFAULT_KEY = "Authorization"
"""Key of a `Secret` that is read where the manifest names none."""
_BEARER = re.compile(rb"bearer +", re.IGNORECASE)
_NOTHING_SENT = "nothing is sent to the backend without it"


def compile_auth(place: Place, spec: BackendAuthSpec) -> Credentials:
    """Compile `auth`."""
    compiler = _Compiler(place)
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


class _Compiler:
    """Gathers the entries of one block."""

    def __init__(self, place: Place) -> None:
        self.place = place
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
        endpoint = self._endpoint(at, spec)
        secret = self.password(at.at("clientAuth", "secretRef"), auth.secret_ref, "clientSecret")
        if endpoint is None or secret is None:
            return None
        return ClientCredentials(
            endpoint.upstream,
            endpoint.upstream.authority,
            endpoint.target,
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

    def _endpoint(self, at: Place, spec: OAuthClientCredentialsSpec) -> Endpoint | None:
        """Return the token endpoint; none, and a fault, where it is nowhere, or in plain text."""
        found = resolve_endpoint(at, spec, "a token endpoint", path=spec.path or "/")
        if found is not None and found.upstream.tls is None:
            message = "a client secret goes over TLS only, and the token endpoint has none"
            at.at("backendRef").error("credential-without-tls", message, "add tls: {} to the policies of the backend")
            return None
        return found

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


def _is_same(one: CredentialLocation, other: CredentialLocation) -> bool:
    """Tell whether two credentials would stand in one place."""
    if isinstance(one, HeaderLocation) and isinstance(other, HeaderLocation):
        return fold_name(one.name) == fold_name(other.name)
    return type(one) is type(other) and one.name == other.name
