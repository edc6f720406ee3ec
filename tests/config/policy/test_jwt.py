from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import OctKey

from config.policy.client_auth import CredentialRefusedError, Mode
from config.policy.jwks import NO_KEYS, KeySet, parse_jwks
from config.policy.jwt import JwtAuthentication, JwtProvider, RemoteKeys, UnknownKeyError
from config.policy.upstream import Upstream, UpstreamTls
from tests.support.tokens import ISSUER, NOW, claims, encoded, key, key_set, public, token

KINDS = ("P-256", "RSA", "Ed25519")
KEYS = parse_jwks(key_set(*(public(kind, kind) for kind in KINDS), public()).encode())
PROVIDER = JwtProvider(ISSUER, frozenset({"egress"}), KEYS)
POLICY = JwtAuthentication(Mode.STRICT, (PROVIDER,))
REMOTE = RemoteKeys(Upstream("issuer.example", 443, UpstreamTls("issuer.example")), "/keys", b"issuer.example")


def inline(provider: JwtProvider) -> KeySet:
    return provider.keys if isinstance(provider.keys, KeySet) else NO_KEYS


def verify(text: str, policy: JwtAuthentication = POLICY, now: float = NOW) -> dict[str, Any]:
    return policy.verify(text.encode("latin-1"), inline, now).claims


def refusal(text: str, policy: JwtAuthentication = POLICY, now: float = NOW) -> str:
    with pytest.raises(CredentialRefusedError) as caught:
        verify(text, policy, now)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_of_the_issuer_is_valid(kind: str) -> None:
    assert verify(token(kind=kind, name=kind)) == claims()


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256", "PS384", "PS512"])
def test_an_rsa_key_verifies_its_whole_family(algorithm: str) -> None:
    assert verify(token(name="RSA", signer=(algorithm, key("RSA", "RSA")))) == claims()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"exp": NOW - 61}, "expired"),
        ({"exp": NOW - 60}, "expired"),
        ({"exp": None}, "no expiry"),
        ({"exp": str(NOW + 300)}, "no expiry"),
        ({"exp": True}, "no expiry"),
        ({"exp": [NOW + 300]}, "no expiry"),
        ({"exp": 10**400}, "malformed token"),
        ({"nbf": NOW + 61}, "not valid yet"),
        ({"nbf": "0"}, "malformed token"),
        ({"nbf": None}, "malformed token"),
        ({"aud": "other"}, "wrong audience"),
        ({"aud": ["other", 7]}, "wrong audience"),
        ({"aud": {"egress": 1}}, "wrong audience"),
        ({"aud": None}, "wrong audience"),
        ({"iss": "https://other.example"}, "unknown issuer"),
        ({"iss": None}, "unknown issuer"),
        ({"iss": [ISSUER]}, "unknown issuer"),
        ({"iss": ISSUER + "/"}, "unknown issuer"),
    ],
)
def test_claims_that_do_not_hold_are_refused_by_the_class_of_their_reason(change: dict[str, Any], reason: str) -> None:
    assert refusal(token(claims(**change))) == reason


@pytest.mark.parametrize("change", [{"exp": NOW - 59}, {"nbf": NOW + 60}, {"aud": ["other", "egress"]}, {"exp": 1e300}])
def test_clocks_may_differ_by_a_minute_and_audiences_may_be_several(change: dict[str, Any]) -> None:
    assert verify(token(claims(**change)))


def test_without_exp_nothing_is_valid_and_without_audiences_any_audience_is() -> None:
    unbound = JwtAuthentication(Mode.STRICT, (JwtProvider(ISSUER, frozenset(), KEYS),))
    without = {name: value for name, value in claims().items() if name not in {"aud", "exp"}}

    assert refusal(token(without), unbound) == "no expiry"
    assert verify(token({**without, "exp": NOW + 1}), unbound)


@pytest.mark.parametrize(
    ("header", "signer", "reason"),
    [
        ({"alg": "none", "kid": "RSA"}, None, "wrong algorithm"),
        ({"alg": "None", "kid": "RSA"}, None, "wrong algorithm"),
        # RFC 8725 section 2.1: the public key as the secret of an HMAC
        (
            {"alg": "HS256", "kid": "RSA"},
            ("HS256", OctKey.import_key("c2VjcmV0LXNlY3JldC1zZWNyZXQ")),
            "wrong algorithm",
        ),
        ({"alg": "ES256", "kid": "RSA"}, None, "wrong algorithm"),
        ({"alg": "RS256", "kid": "k1"}, ("RS256", key("RSA", "RSA")), "wrong algorithm"),
        ({"alg": "ES256", "kid": "P-256"}, None, "wrong signature"),
        ({"alg": "ES256", "kid": "unknown"}, None, "unknown key"),
        ({"alg": "ES256"}, None, "unusable token header"),
        ({"alg": "ES256", "kid": None}, None, "unusable token header"),
        ({"kid": "k1"}, None, "unusable token header"),
        ({"alg": ["ES256"], "kid": "k1"}, None, "unusable token header"),
        ({"alg": "ES256", "kid": "k1", "crit": ["exp"]}, None, "unusable token header"),
        ({"alg": "ES256", "kid": "k1", "crit": []}, None, "unusable token header"),
        ({"alg": "ES256", "kid": "k1", "b64": False, "crit": ["b64"]}, None, "unusable token header"),
        ('{"alg":"none","alg":"ES256","kid":"k1"}', None, "malformed token"),
        ('["ES256"]', None, "malformed token"),
    ],
)
def test_hostile_headers_are_refused(header: Any, signer: Any, reason: str) -> None:
    assert refusal(token(header=header, signer=signer)) == reason


def test_the_key_in_a_header_is_never_used() -> None:
    theirs = key("P-256", "theirs")
    header = {"alg": "ES256", "kid": "k1", "jwk": theirs.as_dict(private=False), "jku": "https://evil.example/"}

    assert refusal(token(header=header, signer=("ES256", theirs))) == "wrong signature"


GOOD = token()
HEAD, BODY, SIGNATURE = GOOD.split(".")


@pytest.mark.parametrize("text", [
    "", ".", "..", "a.b", HEAD, f"{HEAD}.{BODY}", f"{HEAD}.{BODY}.", f".{BODY}.{SIGNATURE}", f"{GOOD}.", f"{GOOD}=",
    f" {GOOD}", f"{GOOD}\n", f"{GOOD}, {GOOD}", f"{HEAD}.{BODY}.{SIGNATURE}.x.y", f"{HEAD}.{BODY[:-1]}+.{SIGNATURE}",
    f"a.{BODY}.{SIGNATURE}", f"{HEAD}.{encoded(b'[1]')}.{SIGNATURE}", f"{HEAD}.{encoded(b'{')}.{SIGNATURE}", "\xff.a.b",
    f"{HEAD}.{encoded(b'[' * 5000)}.{SIGNATURE}", f"{HEAD}.{encoded(bytes([255]))}.{SIGNATURE}",
])  # fmt: skip
def test_malformed_tokens_are_refused(text: str) -> None:
    assert refusal(text) == "malformed token"


def test_a_claim_that_stands_twice_makes_a_token_malformed() -> None:
    assert refusal(token(json.dumps(claims())[:-1] + ', "sub": "root"}')) == "malformed token"


def test_a_huge_token_is_refused_before_it_is_read() -> None:
    assert refusal(token(claims(pad="x" * 16384))) == "token too large"


def test_another_issuers_key_does_not_sign_for_this_one() -> None:
    other = JwtProvider("https://other.example", frozenset(), parse_jwks(key_set(public("P-256", "theirs")).encode()))
    both = JwtAuthentication(Mode.STRICT, (PROVIDER, other))

    assert refusal(token(name="theirs"), both) == "unknown key"
    assert verify(token(claims(iss=other.issuer), name="theirs"), both)


def test_an_empty_set_lets_nobody_in() -> None:
    empty = parse_jwks(b'{"keys":[]}')

    assert refusal(GOOD, JwtAuthentication(Mode.STRICT, (JwtProvider(ISSUER, frozenset(), empty),))) == "unknown key"


def test_an_unknown_key_names_the_sets_that_may_have_changed() -> None:
    policy = JwtAuthentication(Mode.STRICT, (JwtProvider(ISSUER, frozenset(), REMOTE), PROVIDER))

    with pytest.raises(UnknownKeyError) as caught:
        verify(token(name="new"), policy)
    assert caught.value.remotes == (REMOTE,)
    assert verify(GOOD, policy)
    assert policy.remotes == {REMOTE}
    assert REMOTE.url == "https://issuer.example/keys"


def test_policies_that_differ_have_different_versions() -> None:
    others = [
        (JwtProvider("https://other.example", PROVIDER.audiences, KEYS),),
        (JwtProvider(ISSUER, frozenset({"other"}), KEYS),),
        (JwtProvider(ISSUER, PROVIDER.audiences, NO_KEYS),),
        (JwtProvider(ISSUER, PROVIDER.audiences, REMOTE),),
    ]
    versions = {JwtAuthentication(Mode.STRICT, providers).version for providers in others}

    assert len(versions | {POLICY.version}) == 5
    assert JwtAuthentication(Mode.OPTIONAL, (PROVIDER,)).version == POLICY.version


@given(st.integers(0, len(GOOD) - 2), st.characters(max_codepoint=255))
def test_no_changed_token_is_valid(position: int, character: str) -> None:
    changed = GOOD[:position] + character + GOOD[position + 1 :]

    assert changed == GOOD or refusal(changed)


@given(st.binary(max_size=200))
def test_whatever_it_is_it_is_refused(text: bytes) -> None:
    with pytest.raises(CredentialRefusedError):
        POLICY.verify(text, inline, NOW)


def test_nothing_a_token_says_is_shown() -> None:
    assert "agent-7" not in repr(POLICY.verify(GOOD.encode(), inline, NOW))
