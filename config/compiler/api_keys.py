"""`apiKeyAuthentication` to a compiled policy."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from config.cel import EvaluationError
from config.cel.json_text import parse_json
from config.compiler.extraction import compile_extraction
from config.policy.client_auth import MASKED, ApiKeyAuthentication, Mode
from config.policy.extraction import BEARER
from config.secret_values import SecretValue

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from config.compiler.place import Place
    from config.model.base import SecretReference
    from config.model.client_auth import ApiKeyAuthenticationSpec, LabelledObjects
    from config.model.cluster import ConfigMap, Secret
    from config.resources import Parsed

    Value = tuple[Place, str, bytes, bool]

L = TypeVar("L", "Secret", "ConfigMap")

_KEY_HASH = re.compile(r"sha256:([0-9A-Fa-f]{64})")
_ENTRY_FIELDS: Final = frozenset({"key", "keyHash", "metadata"})


def compile_api_key_authentication(place: Place, spec: ApiKeyAuthenticationSpec) -> ApiKeyAuthentication:
    """Compile `apiKeyAuthentication`. A value that is no key, or a key that two values claim, is left out."""
    keys: dict[str, dict[str, Any]] = {}
    disputed: set[str] = set()
    before = len(place.findings)
    for at, what, value, is_confidential in _values(place, spec):
        entry = _api_key(at, what, value, is_confidential=is_confidential)
        if entry is None:
            continue
        digest, metadata = entry
        if keys.setdefault(digest, metadata) != metadata:
            at.error("duplicate-key", f"{what} is a key that stands twice, with other metadata: neither is used")
            disputed.add(digest)
    if not keys and len(place.findings) == before:
        place.warn("no-credentials", "there is no key: nobody is let in")
    kept = {digest: metadata for digest, metadata in keys.items() if digest not in disputed}
    return ApiKeyAuthentication(
        Mode(spec.mode), MappingProxyType(kept), compile_extraction(place.at("location"), spec.location, BEARER)
    )


def _values(place: Place, spec: ApiKeyAuthenticationSpec) -> Iterator[Value]:
    """Yield place, description and value of every key, and whether what it stands in may hold one in the clear."""
    resources = place.resources
    if spec.secret_ref is not None:
        yield from _of_reference(place.at("secretRef"), spec.secret_ref)
    if spec.secret_selector is not None:
        at = place.at("secretSelector")
        for _, secret in _labelled(place, spec.secret_selector, resources.secrets):
            yield from _of_secret(at, secret)
    if spec.config_map_selector is not None:
        at = place.at("configMapSelector")
        for name, config_map in _labelled(place, spec.config_map_selector, resources.config_maps):
            for key, text in sorted(config_map.model.data.items()):
                yield at, f"{key!r} of the ConfigMap {name}", text.encode(), False


def _of_reference(place: Place, reference: SecretReference) -> Iterator[Value]:
    full_name = f"{place.namespace}/{reference.name}"
    if (reference.group, reference.kind) != ("", "Secret"):
        place.error("invalid-reference", f"keys are read from a Secret, not a {reference.kind} of {reference.group!r}")
    elif (secret := place.resources.secrets.get(full_name)) is None:
        place.dangling("Secret", full_name, place.resources.secrets)
    else:
        yield from _of_secret(place, secret)


def _of_secret(place: Place, secret: Parsed[Secret]) -> Iterator[Value]:
    for key in secret.model.keys:
        value = secret.model.value(key)
        yield place, f"{key!r} of the Secret {secret.name}", b"" if value is None else value.reveal(), True


def _labelled(
    place: Place, selector: LabelledObjects, objects: Mapping[str, Parsed[L]]
) -> Iterator[tuple[str, Parsed[L]]]:
    """Yield the objects of the policy's namespace that carry every label, in the order of their names."""
    for name, found in sorted(objects.items()):
        labels = found.model.metadata.labels
        if found.namespace == place.namespace and selector.match_labels.items() <= labels.items():
            yield name, found


def _api_key(at: Place, what: str, value: bytes, *, is_confidential: bool) -> tuple[str, dict[str, Any]] | None:
    """Return digest and metadata of a key; none, and a fault, where it is none. Nothing of it is quoted."""
    text = value.strip()
    if not text.startswith(b"{"):
        # One final line end is an editor's, not the key's.
        return _plain_key(at, what, value.removesuffix(b"\n").removesuffix(b"\r"), {}, is_confidential=is_confidential)
    try:
        entry = parse_json(text.decode())
    except (EvaluationError, UnicodeDecodeError):
        entry = None
    if not isinstance(entry, dict):
        at.error("invalid-credentials", f"{what} is no JSON object, or has a name twice")
        return None
    key, key_hash, metadata = entry.get("key"), entry.get("keyHash"), entry.get("metadata")
    if unknown := sorted(entry.keys() - _ENTRY_FIELDS):
        at.error("unknown-field", f"{what} has an unknown field {unknown[0]!r}", "known here: key, keyHash, metadata")
    elif not isinstance(metadata, dict | None):
        at.error("invalid-credentials", f"{what} has metadata that is no object")
    elif (key is None) == (key_hash is None):
        at.error("invalid-credentials", f"{what} needs either key or keyHash")
    elif key is not None:
        plain = key.encode() if isinstance(key, str) else b""
        return _plain_key(at, what, plain, metadata or {}, is_confidential=is_confidential)
    elif not isinstance(key_hash, str) or (match := _KEY_HASH.fullmatch(key_hash)) is None:
        at.error("invalid-credentials", f"{what} has a keyHash that is not sha256: and 64 hexadecimal digits")
    elif match[1].lower() == SecretValue(b"").digest:
        at.error("invalid-credentials", f"{what} is the hash of an empty key")
    else:
        return match[1].lower(), {**(metadata or {}), "key": MASKED}
    return None


def _plain_key(
    at: Place, what: str, key: bytes, metadata: dict[str, Any], *, is_confidential: bool
) -> tuple[str, dict[str, Any]] | None:
    if not is_confidential:
        at.error("invalid-credentials", f"{what} is not a keyHash: a ConfigMap is no place for a key itself")
    elif not key.strip():
        at.error("invalid-credentials", f"{what} is empty or no string")
    elif key != key.strip() or any(byte < 0x20 or byte == 0x7F for byte in key):  # noqa: PLR2004  ASCII controls
        at.error(
            "invalid-credentials", f"{what} has white space around it or a control character, which nobody can send"
        )
    else:
        return SecretValue(key).digest, {**metadata, "key": MASKED}
    return None
