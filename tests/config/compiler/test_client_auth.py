from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from config.compiler.api_keys import compile_api_key_authentication
from config.compiler.client_auth import compile_basic_authentication, compile_jwt_authentication
from config.compiler.place import Place
from config.policy.client_auth import MASKED, Mode
from config.policy.extraction import (
    BASIC,
    BEARER,
    CookieExtraction,
    ExpressionExtraction,
    HeaderExtraction,
    QueryExtraction,
)
from config.policy.jwks import NO_KEYS, KeySet
from config.policy.jwt import RemoteKeys
from config.secret_values import SecretValue
from tests.config.examples import EXAMPLES, ON_ROUTE, codes, resources_of, several
from tests.support.tokens import key_set, public

if TYPE_CHECKING:
    from config.errors import Finding
    from config.policy.client_auth import ApiKeyAuthentication, BasicAuthentication
    from config.policy.jwt import JwtAuthentication

APR1 = "$apr1$ivPt0D4C$DmRhnewfHRSrb3DQC.WHC."
COMPILE: dict[str, Any] = {
    "jwtAuthentication": compile_jwt_authentication,
    "basicAuthentication": compile_basic_authentication,
    "apiKeyAuthentication": compile_api_key_authentication,
}
ATTRIBUTES = {
    "jwtAuthentication": "jwt_authentication",
    "basicAuthentication": "basic_authentication",
    "apiKeyAuthentication": "api_key_authentication",
}


def compiled(block: str, spec: dict[str, Any], *others: str) -> tuple[Any, list[Finding]]:
    policy = f"""\
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayPolicy
metadata: {{name: auth, namespace: infra}}
spec:
  targetRefs: [{ON_ROUTE}]
  traffic:
    {block}: {json.dumps(spec)}
"""
    resources, findings = resources_of(several(policy, *others))
    assert findings == []
    [parsed] = resources.policies.values()
    place = Place(parsed, resources, findings, ("spec", "traffic", block))
    traffic = parsed.model.spec.traffic
    assert traffic is not None
    return COMPILE[block](place, getattr(traffic, ATTRIBUTES[block])), findings


def jwt(jwks: dict[str, Any], *others: str, **spec: Any) -> tuple[JwtAuthentication, list[Finding]]:
    provider = {"issuer": "https://issuer.example", "audiences": ["egress"], "jwks": jwks}
    found: JwtAuthentication
    found, findings = compiled("jwtAuthentication", {"providers": [provider], **spec}, *others)
    return found, findings


def basic(*users: str, **spec: Any) -> tuple[BasicAuthentication, list[Finding]]:
    found: BasicAuthentication
    found, findings = compiled("basicAuthentication", {"users": users, **spec})
    return found, findings


def secret(values: dict[str, str], name: str = "keys", namespace: str = "infra", **labels: str) -> str:
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values}) + "\n"


def config_map(values: dict[str, str], name: str = "hashes", **labels: str) -> str:
    metadata = {"name": name, "namespace": "infra", "labels": labels}
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": values}) + "\n"


def api_keys(*manifests: str, **spec: Any) -> tuple[ApiKeyAuthentication, list[Finding]]:
    found: ApiKeyAuthentication
    found, findings = compiled("apiKeyAuthentication", spec or {"secretRef": {"name": "keys"}}, *manifests)
    return found, findings


def test_an_inline_key_set_is_parsed_at_load() -> None:
    policy, findings = jwt({"inline": key_set()}, mode="Permissive")

    assert findings == []
    assert (policy.mode, policy.location) == (Mode.PERMISSIVE, BEARER)
    [provider] = policy.providers
    assert provider.audiences == {"egress"}
    assert isinstance(provider.keys, KeySet)
    assert list(provider.keys.keys) == ["k1"]


def test_an_empty_key_set_is_valid_lets_nobody_in_and_is_reported() -> None:
    policy, findings = jwt({"inline": '{"keys":[]}'})

    assert [(finding.code, finding.severity) for finding in findings] == [("no-credentials", "warning")]
    assert isinstance(policy.providers[0].keys, KeySet)
    assert not policy.providers[0].keys.keys


def test_a_key_that_cannot_be_used_and_a_set_that_is_none_are_faults() -> None:
    policy, findings = jwt({"inline": key_set(public(use="enc"), public("RSA", "other"))})
    assert codes(findings) == ["invalid-jwks"]
    assert isinstance(policy.providers[0].keys, KeySet)
    assert list(policy.providers[0].keys.keys) == ["other"]

    policy, findings = jwt({"inline": "[]"})
    assert codes(findings) == ["invalid-jwks"]
    assert policy.providers[0].keys == NO_KEYS


@pytest.mark.parametrize(("url", "host", "port", "is_tls", "authority", "target"), [
    ("https://issuer.example/keys", "issuer.example", 443, True, b"issuer.example", "/keys"),
    ("https://Issuer.Example.:8443", "issuer.example", 8443, True, b"issuer.example:8443", "/"),
    ("http://issuer.example:80/a/b", "issuer.example", 80, False, b"issuer.example", "/a/b"),
    ("http://issuer.example:443/", "issuer.example", 443, False, b"issuer.example:443", "/"),
    ("https://[2001:db8::1]/keys", "2001:db8::1", 443, True, b"[2001:db8::1]", "/keys"),
])  # fmt: skip
def test_a_url_says_where_keys_are_fetched(  # noqa: PLR0913, PLR0917  a column each
    url: str,
    host: str,
    port: int,
    is_tls: bool,  # noqa: FBT001
    authority: bytes,
    target: str,
) -> None:
    policy, findings = jwt({"remote": {"url": url, "cacheDuration": "10m"}})

    keys = policy.providers[0].keys
    assert isinstance(keys, RemoteKeys)
    assert (keys.upstream.host, keys.upstream.port, keys.upstream.tls is not None) == (host, port, is_tls)
    assert (keys.authority, keys.target, keys.cache_seconds) == (authority, target, 600)
    assert codes(findings) == ([] if is_tls else ["insecure-jwks"])


@pytest.mark.parametrize(
    "url", ["https://a b/", "https://issuer.example:x/", "https://i.example:0/", "https://é.example/"]
)
def test_a_url_that_is_none_leaves_no_key(url: str) -> None:
    policy, findings = jwt({"remote": {"url": url}})

    assert codes(findings) == ["invalid-value"]
    assert policy.providers[0].keys == NO_KEYS


BACKEND = """\
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayBackend
metadata: {name: idp, namespace: infra}
spec: {static: {host: idp.example, port: 443}, policies: {tls: {}}}
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: idp, namespace: infra}
spec: {ports: [{port: 8080}]}
"""
GRANT = """\
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: grant, namespace: idp}
spec:
  from: [{group: agentgateway.dev, kind: AgentgatewayPolicy, namespace: infra}]
  to: [{group: "", kind: Service, name: idp}]
"""


@pytest.mark.parametrize(("reference", "manifests", "url"), [
    ({"name": "idp", "port": 8080}, (), "http://idp.infra.svc.cluster.local:8080/certs"),
    ({"name": "idp", "port": 8080}, (SERVICE,), "http://idp.infra.svc.cluster.local:8080/certs"),
    ({"name": "idp", "port": 80, "namespace": "idp"}, (GRANT,), "http://idp.idp.svc.cluster.local/certs"),
    ({"name": "idp", "kind": "AgentgatewayBackend", "group": "agentgateway.dev"}, (BACKEND,), "https://idp.example/certs"),
])  # fmt: skip
def test_a_backend_reference_says_where_keys_are_fetched(
    reference: dict[str, Any], manifests: tuple[str, ...], url: str
) -> None:
    policy, findings = jwt({"remote": {"backendRef": reference, "jwksPath": "certs"}}, *manifests)

    assert findings == []
    assert [remote.url for remote in policy.remotes] == [url]
    [remote] = policy.remotes
    assert remote.upstream.guarded is (reference.get("kind") == "AgentgatewayBackend")


@pytest.mark.parametrize(("reference", "manifests", "code"), [
    ({"name": "idp"}, (), "missing-field"),
    ({"name": "idp", "port": 81}, (SERVICE,), "dangling-reference"),
    ({"name": "idp", "port": 80, "namespace": "idp"}, (), "reference-not-granted"),
    ({"name": "other", "port": 80, "namespace": "idp"}, (GRANT,), "reference-not-granted"),
    ({"name": "idp", "kind": "AgentgatewayBackend", "group": "agentgateway.dev"}, (), "dangling-reference"),
    ({"name": "idp", "kind": "Gateway", "group": "gateway.networking.k8s.io"}, (), "invalid-backend"),
    ({"name": "idp", "kind": "AgentgatewayBackend", "group": "agentgateway.dev"},
     (BACKEND.replace("tls: {}", "tls: {insecureSkipVerify: All}"),), "not-available"),
    ({"name": "idp", "kind": "AgentgatewayBackend", "group": "agentgateway.dev"},
     (BACKEND.replace("static: {host: idp.example, port: 443}", "dynamicForwardProxy: {}"),), "invalid-backend"),
])  # fmt: skip
def test_a_backend_reference_that_leads_nowhere_leaves_no_key(
    reference: dict[str, Any], manifests: tuple[str, ...], code: str
) -> None:
    policy, findings = jwt({"remote": {"backendRef": reference, "jwksPath": "/certs"}}, *manifests)

    assert codes(findings) == [code]
    assert policy.providers[0].keys == NO_KEYS


@pytest.mark.parametrize(("location", "expected"), [
    ({"header": {"name": "X-Token"}}, HeaderExtraction(b"x-token")),
    ({"header": {"name": "Authorization"}}, BEARER),
    ({"header": {"name": "Authorization", "prefix": "Token "}}, HeaderExtraction(b"authorization", b"Token ")),
    ({"queryParameter": {"name": "key"}}, QueryExtraction(b"key")),
    ({"cookie": {"name": "key"}}, CookieExtraction(b"key")),
])  # fmt: skip
def test_the_location_says_where_the_credential_is_read(location: dict[str, Any], expected: object) -> None:
    policy, findings = jwt({"inline": key_set()}, location=location)

    assert findings == []
    assert policy.location == expected


def test_in_authorization_each_kind_has_its_own_prefix() -> None:
    assert basic(f"alice:{APR1}", location={"header": {"name": "authorization"}})[0].location == BASIC
    assert basic(f"alice:{APR1}")[0].location == BASIC


def test_an_expression_is_a_location() -> None:
    policy, findings = jwt({"inline": key_set()}, location={"expression": 'request.headers["x"]'})

    assert findings == []
    assert isinstance(policy.location, ExpressionExtraction)


@pytest.mark.parametrize(("location", "code"), [
    ({"header": {"name": "Host"}}, "forbidden-header"),
    ({"expression": "nonsense("}, "invalid-expression"),
    ({"expression": "string(request.body)"}, "invalid-expression"),
    ({"expression": "string(response.code)"}, "invalid-expression"),
])  # fmt: skip
def test_a_location_with_a_fault_is_none_which_lets_nobody_in(location: dict[str, Any], code: str) -> None:
    policy, findings = jwt({"inline": key_set()}, location=location)

    assert codes(findings) == [code]
    assert policy.location is None


def test_users_are_lines_of_an_htpasswd_file() -> None:
    policy, findings = basic("# comment", "", f"alice:{APR1}", f" bob:{APR1} ", realm="egress")

    assert findings == []
    assert list(policy.users) == ["alice", "bob"]
    assert policy.challenge == b'Basic realm="egress"'


@pytest.mark.parametrize(("line", "code"), [
    ("mallory:hunter2", "invalid-credentials"),
    ("hunter2", "invalid-credentials"),
    (f":{APR1}", "invalid-credentials"),
    (f"a\u0007b:{APR1}", "invalid-credentials"),
])  # fmt: skip
def test_a_line_that_cannot_be_used_is_left_out_and_not_quoted(line: str, code: str) -> None:
    policy, findings = basic(f"alice:{APR1}", line)

    assert codes(findings) == [code]
    assert "hunter2" not in str(findings)
    assert list(policy.users) == ["alice"]


def test_of_two_lines_of_one_user_none_is_used() -> None:
    policy, findings = basic(f"alice:{APR1}", f"alice:{APR1}", f"alice:{APR1}")

    assert codes(findings) == ["duplicate-user", "duplicate-user"]
    assert not policy.users


def test_a_weak_hash_is_reported_and_so_is_a_file_without_users() -> None:
    assert codes(basic("alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=")[1]) == ["weak-hash"]
    assert codes(basic("# nobody")[1]) == ["no-credentials"]


def test_users_stand_in_a_secret_under_a_key_that_has_a_default() -> None:
    text = f"alice:{APR1}\nbob:{APR1}\n"
    manifest = secret({".htaccess": text, "others": text.replace("alice", "carol")})

    found, findings = compiled("basicAuthentication", {"secretRef": {"name": "keys"}}, manifest)
    assert (list(found.users), findings) == (["alice", "bob"], [])
    found, _ = compiled("basicAuthentication", {"secretRef": {"name": "keys", "key": "others"}}, manifest)
    assert list(found.users) == ["carol", "bob"]
    found, findings = compiled("basicAuthentication", {"secretRef": {"name": "missing"}}, manifest)
    assert (dict(found.users), codes(findings)) == ({}, ["dangling-reference"])


def digest(key: str) -> str:
    return SecretValue(key.encode()).digest


def test_every_value_of_a_secret_is_a_key() -> None:
    values = {
        "a": "k-a\n",
        "b": '{"key": "k-b", "metadata": {"team": "b", "key": "shadowed"}}',
        "c": f'{{"keyHash": "sha256:{digest("k-c").upper()}"}}',
    }
    policy, findings = api_keys(secret(values))

    assert findings == []
    assert policy.keys == {
        digest("k-a"): {"key": MASKED},
        digest("k-b"): {"team": "b", "key": MASKED},
        digest("k-c"): {"key": MASKED},
    }


@pytest.mark.parametrize(("value", "code"), [
    ("", "invalid-credentials"),
    (" \n", "invalid-credentials"),
    ("k\nk", "invalid-credentials"),
    (" hunter2", "invalid-credentials"),
    ("{hunter2", "invalid-credentials"),
    ('{"key": "hunter2", "key": "hunter2"}', "invalid-credentials"),
    ("{}", "invalid-credentials"),
    ('{"key": ""}', "invalid-credentials"),
    ('{"key": 7}', "invalid-credentials"),
    ('{"key": "hunter2", "metadata": []}', "invalid-credentials"),
    ('{"key": "hunter2", "kind": 1}', "unknown-field"),
    (f'{{"key": "hunter2", "keyHash": "sha256:{"0" * 64}"}}', "invalid-credentials"),
    ('{"keyHash": "md5:0"}', "invalid-credentials"),
    ('{"keyHash": 7}', "invalid-credentials"),
    (f'{{"keyHash": "sha256:{SecretValue(b"").digest}"}}', "invalid-credentials"),
])  # fmt: skip
def test_a_value_that_is_no_key_is_left_out_and_not_quoted(value: str, code: str) -> None:
    policy, findings = api_keys(secret({"a": value, "b": "good"}))

    assert codes(findings) == [code]
    assert "hunter2" not in str(findings)
    assert list(policy.keys) == [digest("good")]


def test_a_key_that_stands_twice_with_other_metadata_is_not_used() -> None:
    same, other = '{"key": "k", "metadata": {"team": "a"}}', '{"key": "k", "metadata": {"team": "b"}}'

    assert api_keys(secret({"a": same, "b": same}))[1] == []
    policy, findings = api_keys(secret({"a": same, "b": other, "c": same}))
    assert codes(findings) == ["duplicate-key"]
    assert policy.keys == {}


def test_a_selector_takes_the_objects_of_its_namespace_that_carry_every_label() -> None:
    manifests = (
        secret({"k": "one"}, "one", team="a", use="keys"),
        secret({"k": "two"}, "two", team="a"),
        secret({"k": "three"}, "three", "elsewhere", team="a", use="keys"),
    )
    policy, findings = api_keys(*manifests, secretSelector={"matchLabels": {"team": "a", "use": "keys"}})

    assert findings == []
    assert list(policy.keys) == [digest("one")]


def test_a_config_map_may_hold_hashes_only() -> None:
    hashed = f'{{"keyHash": "sha256:{digest("k")}"}}'
    manifest = config_map({"a": hashed, "b": "hunter2", "c": '{"key": "hunter2"}'}, use="keys")
    policy, findings = api_keys(manifest, configMapSelector={"matchLabels": {"use": "keys"}})

    assert codes(findings) == ["invalid-credentials"] * 2
    assert "hunter2" not in str(findings)
    assert list(policy.keys) == [digest("k")]


@pytest.mark.parametrize(("spec", "code"), [
    ({"secretRef": {"name": "missing"}}, "dangling-reference"),
    ({"secretRef": {"name": "keys", "kind": "ConfigMap"}}, "invalid-reference"),
    ({"secretSelector": {"matchLabels": {"no": "body"}}}, "no-credentials"),
])  # fmt: skip
def test_without_keys_nobody_is_let_in_and_that_is_reported(spec: dict[str, Any], code: str) -> None:
    policy, findings = api_keys(secret({"a": "k"}), **spec)

    assert codes(findings) == [code]
    assert policy.keys == {}


def test_inline_users_are_not_shown() -> None:
    resources, _ = resources_of(f"""\
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayPolicy
metadata: {{name: auth, namespace: infra}}
spec: {{targetRefs: [{ON_ROUTE}], traffic: {{basicAuthentication: {{users: ["alice:{APR1}"]}}}}}}
""")

    assert APR1 not in repr(resources)


def test_the_policies_of_the_example_are_valid() -> None:
    resources, findings = resources_of((EXAMPLES / "24-client-auth.yaml").read_text(encoding="utf-8"))
    compiled: dict[str, Any] = {}
    for parsed in resources.policies.values():
        traffic = parsed.model.spec.traffic
        assert traffic is not None
        place = Place(parsed, resources, findings, ("spec", "traffic"))
        if traffic.jwt_authentication is not None:
            compiled["jwt"] = compile_jwt_authentication(place.at("jwtAuthentication"), traffic.jwt_authentication)
        if traffic.basic_authentication is not None:
            at = place.at("basicAuthentication")
            compiled["basic"] = compile_basic_authentication(at, traffic.basic_authentication)
        if traffic.api_key_authentication is not None:
            at = place.at("apiKeyAuthentication")
            compiled["api key"] = compile_api_key_authentication(at, traffic.api_key_authentication)

    assert codes(findings) == ["no-credentials"]  # the empty key set lets nobody in
    assert list(compiled["basic"].users) == ["alice"]
    assert [known["team"] for known in compiled["api key"].keys.values()] == ["a"]
    assert "egress-direct/partner" in resources.routes
