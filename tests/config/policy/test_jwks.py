from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.policy.jwks import JwksError, parse_jwks
from tests.support.tokens import encoded, key, key_set, public


def parsed(*entries: Any) -> Any:
    return parse_jwks(json.dumps({"keys": list(entries)}).encode())


@pytest.mark.parametrize(
    ("kind", "algorithms"),
    [
        ("RSA", {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        ("P-256", {"ES256"}),
        ("P-384", {"ES384"}),
        ("P-521", {"ES512"}),
        ("Ed25519", {"EdDSA", "Ed25519"}),
    ],
)
def test_a_key_verifies_what_its_type_can_sign_and_nothing_else(kind: str, algorithms: set[str]) -> None:
    keys = parsed(public(kind))

    assert keys.faults == ()
    assert keys.keys["k1"].algorithms == algorithms
    assert not keys.keys["k1"].verify("HS256", b"", b"")
    assert not keys.keys["k1"].verify("none", b"", b"")


def test_a_stated_alg_is_the_only_one() -> None:
    assert parsed(public("RSA", alg="PS256")).keys["k1"].algorithms == {"PS256"}


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("text", "kid"),
        ({key: value for key, value in public().items() if key != "kid"}, "kid"),
        (public(kid=""), "kid"),
        (public(kid=7), "kid"),
        (public(kid="k" * 257), "kid"),
        ({"kty": "oct", "k": "c2VjcmV0", "kid": "k1"}, "symmetric"),
        ({**key("RSA").as_dict(private=True), "kid": "k1"}, "private"),
        (public(use="enc"), "use"),
        (public(use=["sig"]), "use"),
        (public(key_ops=["encrypt"]), "key_ops"),
        (public(key_ops="verify"), "key_ops"),
        (public(kty="XXX"), "type"),
        (public(kty=["EC"]), "type"),
        (public(crv="secp256k1"), "type"),
        (public(crv={}), "type"),
        (public("Ed25519", crv="X25519"), "type"),
        (public(alg="RS256"), "alg"),
        (public("RSA", alg="HS256"), "alg"),
        (public(alg=7), "alg"),
        (public(x="AAAA"), "numbers"),
        (public(x=7), "numbers"),
        (public("Ed25519", x="AAAA"), "numbers"),
        (public("RSA", n=7), "modulus"),
        (public("RSA", n="!"), "modulus"),
        (public("RSA", e="AA"), "numbers"),
    ],
)
def test_a_key_that_cannot_be_used_is_left_out_and_the_others_stay(entry: Any, reason: str) -> None:
    keys = parsed(entry, public("P-384", "other"))

    assert list(keys.keys) == ["other"]
    [(index, text)] = keys.faults
    assert index == 0
    assert reason in text


@pytest.mark.parametrize("bits", [1024, 2040, 16384])
def test_an_rsa_key_is_neither_short_nor_slow(bits: int) -> None:
    keys = parsed(public("RSA", n=encoded(b"\xff" * (bits // 8))))

    assert not keys.keys
    assert "2048 to 8192 bits" in keys.faults[0][1]


def test_of_two_keys_with_one_kid_neither_is_used_unless_they_are_the_same() -> None:
    assert not parsed(public(), public("RSA")).keys
    assert list(parsed(public(), public()).keys) == ["k1"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"keys": {}}', '{"keys":[],"keys":[]}', "\xff", "[" * 5000])
def test_what_is_no_key_set_is_refused(text: str) -> None:
    with pytest.raises(JwksError):
        parse_jwks(text.encode("latin-1"))


def test_equal_documents_have_one_version() -> None:
    assert parse_jwks(key_set().encode()).version == parse_jwks(key_set().encode()).version
    assert parse_jwks(key_set().encode()).version != parse_jwks(b'{"keys":[]}').version


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(["RSA", "P-256", "Ed25519"]), st.sampled_from(["kty", "kid", "crv", "x", "n", "e", "alg"]), JSON)
def test_no_member_of_a_key_raises_anything(kind: str, name: str, value: Any) -> None:
    keys = parsed(public(kind, **{name: value}))

    assert len(keys.keys) + len(keys.faults) == 1
