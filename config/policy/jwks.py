"""JSON Web Key Sets: the public keys that tokens are verified with. Source: RFC 7517."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.errors import JoseError
from joserfc.jwa import JWS_ALGORITHMS
from joserfc.jwk import ECKey, OKPKey, RSAKey

from config.cel import EvaluationError
from config.cel.json_text import parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_KEY_ID_CHARACTERS: Final = 256
MIN_RSA_BITS: Final = 2048
"""RFC 7518 section 3.3."""
MAX_RSA_BITS: Final = 8192
"""Verifying with one of 16,384 bits costs a millisecond of the event loop."""

_MODELS: Final = {model.name: model for model in JWS_ALGORITHMS}
_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES: Final = {
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("EC", "P-521"): frozenset({"ES512"}),
    # RFC 9864 names the curve; RFC 8037 had one name for two.
    ("OKP", "Ed25519"): frozenset({"EdDSA", "Ed25519"}),
}
_IMPORTERS: Final[dict[str, type[RSAKey | ECKey | OKPKey]]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
_PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_PUBLIC_MEMBERS: Final = frozenset({"kty", "n", "e", "crv", "x", "y"})


class JwksError(Exception):
    """The document is no key set. The message quotes nothing of it."""


class UnusableKeyError(Exception):
    """A key of a set cannot be used. The message quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key, and what it may verify: an algorithm is never taken from a token alone (RFC 8725 section 3.1)."""

    key: Any = field(repr=False)
    algorithms: frozenset[str]

    def verify(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        """Tell whether a signature is this key's, made with this algorithm."""
        if algorithm not in self.algorithms:
            return False
        # The model's own step: joserfc's `deserialize_compact` bounds headers at 512 bytes and warns of `EdDSA`.
        try:
            return _MODELS[algorithm].verify(message, signature, self.key)
        except ValueError:  # an ECDSA signature of numbers that cannot be encoded
            return False


@dataclass(frozen=True, slots=True)
class KeySet:
    """The usable keys of a set, by `kid`."""

    keys: Mapping[str, VerificationKey] = field(default_factory=dict)
    version: str = ""
    """SHA-256 of the document."""
    faults: tuple[tuple[int, str], ...] = ()
    """Position in `keys`, and why the key was left out."""


NO_KEYS: Final = KeySet(MappingProxyType({}))


def parse_jwks(document: bytes) -> KeySet:
    """Read a key set. Keys that cannot be used are left out and listed (RFC 7517 section 5).

    Raises:
        JwksError: not JSON, or not an object with a list of `keys`.

    """
    try:
        value = parse_json(document.decode())
    except (UnicodeDecodeError, EvaluationError):
        raise JwksError("not JSON, or with a name twice in one object") from None
    entries = value.get("keys") if isinstance(value, dict) else None
    if not isinstance(entries, list):
        raise JwksError("not a JSON Web Key Set: an object with a list of keys is")
    keys: dict[str, VerificationKey] = {}
    seen: dict[str, Any] = {}
    faults: list[tuple[int, str]] = []
    for index, entry in enumerate(entries):
        try:
            key_id = _key_id(entry)
            if key_id in seen:
                if seen[key_id] == entry:
                    continue
                keys.pop(key_id, None)
                raise UnusableKeyError("the kid of another key: neither is used")  # noqa: TRY301  listed below
            seen[key_id] = entry
            keys[key_id] = _key(entry)
        except UnusableKeyError as error:
            faults.append((index, str(error)))
    return KeySet(MappingProxyType(keys), hashlib.sha256(document).hexdigest(), tuple(faults))


def _key_id(entry: Any) -> str:
    key_id = entry.get("kid") if isinstance(entry, dict) else None
    if not isinstance(key_id, str) or not 0 < len(key_id) <= MAX_KEY_ID_CHARACTERS:
        raise UnusableKeyError("it has no kid, which tokens name it by")
    return key_id


def _key(entry: dict[str, Any]) -> VerificationKey:
    kind, usage, operations, algorithm = (entry.get(name) for name in ("kty", "use", "key_ops", "alg"))
    if kind == "oct":
        raise UnusableKeyError("a symmetric key: whoever can verify with it can sign")
    if not _PRIVATE_MEMBERS.isdisjoint(entry):
        raise UnusableKeyError("a private key: only its public part belongs here")
    if usage is not None and usage != "sig":
        raise UnusableKeyError("its use is not sig")
    if operations is not None and (not isinstance(operations, list) or "verify" not in operations):
        raise UnusableKeyError("its key_ops do not name verify")
    importer = _IMPORTERS.get(kind) if isinstance(kind, str) else None
    possible = _possible(entry, kind)
    if importer is None or not possible:
        raise UnusableKeyError("its type is none of RSA, EC on P-256, P-384 or P-521, OKP on Ed25519")
    if algorithm is not None and not (isinstance(algorithm, str) and algorithm in possible):
        raise UnusableKeyError("its alg is no signature that a key of its type makes")
    try:
        key = importer.import_key({name: value for name, value in entry.items() if name in _PUBLIC_MEMBERS})
        key.get_op_key("verify")
    except (JoseError, UnsupportedAlgorithm, LookupError, TypeError, ValueError):
        raise UnusableKeyError("its numbers are no key of its type") from None
    return VerificationKey(key, possible if algorithm is None else frozenset({algorithm}))


def _possible(entry: dict[str, Any], kind: Any) -> frozenset[str]:
    """Return the algorithms of the key's type; none where the type is not used here."""
    if kind != "RSA":
        curve = entry.get("crv")
        if not isinstance(kind, str) or not isinstance(curve, str):
            return frozenset()
        return _CURVES.get((kind, curve), frozenset())
    modulus = entry.get("n")
    try:
        number = base64.urlsafe_b64decode(modulus + "=" * (-len(modulus) % 4)) if isinstance(modulus, str) else b""
    except ValueError:
        number = b""
    if not MIN_RSA_BITS <= int.from_bytes(number).bit_length() <= MAX_RSA_BITS:
        raise UnusableKeyError(f"an RSA modulus has {MIN_RSA_BITS} to {MAX_RSA_BITS} bits")
    return _RSA
