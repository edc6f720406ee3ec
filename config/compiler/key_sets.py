"""`jwks` to keys, or to where they are fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.compiler.endpoints import resolve_endpoint
from config.policy.jwks import NO_KEYS, JwksError, KeySet, parse_jwks
from config.policy.jwt import RemoteKeys

if TYPE_CHECKING:
    from config.compiler.place import Place
    from config.model.client_auth import JwksSpec


def compile_key_set(place: Place, spec: JwksSpec) -> KeySet | RemoteKeys:
    """Compile `jwks`. Keys that cannot be used are left out, and reported; no key is left where none can."""
    if spec.inline is not None:
        return _inline(place.at("inline"), spec.inline)
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


def _inline(place: Place, text: str) -> KeySet:
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
