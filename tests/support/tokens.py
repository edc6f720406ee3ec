"""Issuers of tokens: their keys, and tokens as they and others write them."""

from __future__ import annotations

import base64
import functools
import json
from typing import Any

from joserfc.jwa import JWS_ALGORITHMS
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

ISSUER = "https://issuer.example"
NOW = 1_800_000_000.0
"""Unix time at which the tests' tokens are judged."""
MODELS = {model.name: model for model in JWS_ALGORITHMS}

SigningKey = RSAKey | ECKey | OKPKey | OctKey


@functools.cache
def key(kind: str = "P-256", name: str = "k1") -> SigningKey:  # noqa: ARG001  tells two keys of a kind apart
    """Return a key: the same one throughout a test run."""
    if kind == "RSA":
        return RSAKey.generate_key(2048)
    return OKPKey.generate_key("Ed25519") if kind == "Ed25519" else ECKey.generate_key(kind)


def public(kind: str = "P-256", name: str = "k1", **members: Any) -> dict[str, Any]:
    """Return the public part of a key as a member of a set."""
    return {**key(kind, name).as_dict(private=False), "kid": name, **members}


def key_set(*entries: dict[str, Any]) -> str:
    """Write a key set: of the first key alone unless it says otherwise."""
    return json.dumps({"keys": list(entries or [public()])})


def encoded(value: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def claims(**others: Any) -> dict[str, Any]:
    """Return the claims of a valid token."""
    return {"iss": ISSUER, "sub": "agent-7", "aud": "egress", "exp": NOW + 300, **others}


def token(
    payload: dict[str, Any] | str | None = None,
    header: dict[str, Any] | str | None = None,
    *,
    kind: str = "P-256",
    name: str = "k1",
    signer: tuple[str, SigningKey] | None = None,
) -> str:
    """Write a token, signed by a key of the issuer's unless `signer` names another algorithm and key."""
    algorithm, signing_key = signer or ({"RSA": "RS256", "Ed25519": "EdDSA"}.get(kind, "ES256"), key(kind, name))
    header = {"alg": algorithm, "kid": name, "typ": "JWT"} if header is None else header
    parts = [part if isinstance(part, str) else json.dumps(part) for part in (header, payload or claims())]
    message = ".".join(encoded(part.encode()) for part in parts)
    return f"{message}.{encoded(MODELS[algorithm].sign(message.encode(), signing_key))}"
