"""`jwtAuthentication` and `basicAuthentication` to compiled policies.

What has a fault lets nobody in by it: a user or a provider's keys are left out, and a location that cannot be read
refuses every request.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from config.compiler.endpoints import resolve_endpoint
from config.compiler.extraction import compile_extraction
from config.policy.client_auth import DEFAULT_REALM, BasicAuthentication, Mode
from config.policy.extraction import BASIC, BEARER
from config.policy.jwks import NO_KEYS, JwksError, KeySet, parse_jwks
from config.policy.jwt import JwtAuthentication, JwtProvider, RemoteKeys
from config.policy.passwords import UnusableHashError, parse_hash

if TYPE_CHECKING:
    from config.compiler.place import Place
    from config.model.client_auth import BasicAuthenticationSpec, JwksSpec, JwtAuthenticationSpec
    from config.policy.passwords import PasswordHash

HTPASSWD_KEY: Final = ".htaccess"
"""Key of the Secret unless `secretRef` names one: AgentGateway's."""


def compile_jwt_authentication(place: Place, spec: JwtAuthenticationSpec) -> JwtAuthentication:
    """Compile `jwtAuthentication`. Of a provider whose keys cannot be used no token is valid."""
    providers = tuple(
        JwtProvider(
            provider.issuer,
            frozenset(provider.audiences),
            _key_set(place.at("providers", index, "jwks"), provider.jwks),
        )
        for index, provider in enumerate(spec.providers)
    )
    return JwtAuthentication(
        Mode(spec.mode), providers, compile_extraction(place.at("location"), spec.location, BEARER)
    )


def _key_set(place: Place, spec: JwksSpec) -> KeySet | RemoteKeys:
    """Compile `jwks`. Keys that cannot be used are left out, and reported; no key is left where none can."""
    if spec.inline is not None:
        return _inline_keys(place.at("inline"), spec.inline)
    if spec.remote is None:
        return NO_KEYS
    path = spec.remote.jwks_path or "/"
    at, path = place.at("remote"), path if path.startswith("/") else f"/{path}"
    found = resolve_endpoint(at, spec.remote, "a key set", path=path, path_field="jwksPath")
    if found is None:
        return NO_KEYS
    if spec.remote.url is not None and found.upstream.tls is None:
        message = "the keys are fetched in plain text: whoever is on the way can exchange them"
        at.at("url").warn("insecure-jwks", message, "use https")
    return RemoteKeys(found.upstream, found.target, found.upstream.authority, spec.remote.cache_duration)


def _inline_keys(place: Place, text: str) -> KeySet:
    try:
        keys = parse_jwks(text.encode())
    except JwksError as error:
        place.error("invalid-jwks", str(error))
        return NO_KEYS
    for index, reason in keys.faults:
        place.error("invalid-jwks", f"keys[{index}] is not used: {reason}", "remove the key")
    if not keys.keys and not keys.faults:
        place.warn("no-credentials", "there is no key: no token is valid")
    return keys


def compile_basic_authentication(place: Place, spec: BasicAuthenticationSpec) -> BasicAuthentication:
    """Compile `basicAuthentication`. A line that cannot be used is left out, and its user is not let in."""
    before = len(place.findings)
    lines: list[tuple[Place, str]]
    if spec.secret_ref is not None:
        at = place.at("secretRef")
        reference = spec.secret_ref
        secret = at.secret(reference.name, reference.key or HTPASSWD_KEY, group=reference.group, kind=reference.kind)
        text = secret.reveal().decode("utf-8", "replace") if secret is not None else ""
        lines = [(at, line) for line in text.splitlines()]
    else:
        lines = [(place.at("users", index), line) for index, line in enumerate(spec.users or ())]
    users = _users(lines)
    if not users and len(place.findings) == before:
        place.warn("no-credentials", "there is no user: nobody is let in")
    realm = DEFAULT_REALM if spec.realm is None else spec.realm
    return BasicAuthentication(
        Mode(spec.mode), MappingProxyType(users), realm, compile_extraction(place.at("location"), spec.location, BASIC)
    )


def _users(lines: list[tuple[Place, str]]) -> dict[str, PasswordHash]:
    users: dict[str, PasswordHash] = {}
    repeated: set[str] = set()
    for number, (at, raw) in enumerate(lines, 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        # A faulty line may be a password that somebody forgot to hash: nothing of it is quoted.
        name, colon, stored = line.partition(":")
        if not colon or not name or not name.isprintable():
            at.error("invalid-credentials", f"line {number} is not name:hash")
            continue
        if name in users or name in repeated:
            at.error("duplicate-user", f"line {number} has the user of an earlier line: neither is used")
            users.pop(name, None)
            repeated.add(name)
            continue
        try:
            users[name] = parse_hash(stored)
        except UnusableHashError as error:
            at.error("invalid-credentials", f"line {number} holds {error}", "make one with htpasswd -B")
            continue
        if users[name].scheme == "sha1":
            at.warn("weak-hash", f"line {number} is hashed with SHA-1 without salt", "make one with htpasswd -B")
    return users
