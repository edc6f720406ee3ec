"""`jwtAuthentication` and `basicAuthentication` to compiled policies.

What has a fault lets nobody in by it: a user or a provider's keys are left out, and a location that cannot be read
refuses every request.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from config.compiler.extraction import compile_extraction
from config.compiler.key_sets import compile_key_set
from config.policy.client_auth import DEFAULT_REALM, BasicAuthentication, Mode
from config.policy.extraction import BASIC, BEARER
from config.policy.jwt import JwtAuthentication, JwtProvider
from config.policy.passwords import UnusableHashError, parse_hash

if TYPE_CHECKING:
    from config.compiler.place import Place
    from config.model.client_auth import BasicAuthenticationSpec, JwtAuthenticationSpec
    from config.policy.passwords import PasswordHash

HTPASSWD_KEY: Final = ".htaccess"
"""Key of the Secret unless `secretRef` names one: AgentGateway's."""


def compile_jwt_authentication(place: Place, spec: JwtAuthenticationSpec) -> JwtAuthentication:
    """Compile `jwtAuthentication`. Of a provider whose keys cannot be used no token is valid."""
    providers = tuple(
        JwtProvider(
            provider.issuer,
            frozenset(provider.audiences),
            compile_key_set(place.at("providers", index, "jwks"), provider.jwks),
        )
        for index, provider in enumerate(spec.providers)
    )
    return JwtAuthentication(
        Mode(spec.mode), providers, compile_extraction(place.at("location"), spec.location, BEARER)
    )


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
