from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from config.compiler.credentials import compile_auth
from config.compiler.place import Place
from config.errors import Severity
from config.model.backend import BackendAuthSpec
from config.policy.credentials import ClientCredentials, Passthrough
from config.policy.locations import BEARER
from config.policy.upstream import Upstream, UpstreamTls
from tests.config.examples import codes, place, resources_of, several

if TYPE_CHECKING:
    from config.errors import Finding
    from config.policy.credentials import Credentials

SECRETS = f"""\
apiVersion: v1
kind: Secret
metadata: {{name: partner, namespace: infra}}
data:
  encoded: {base64.b64encode(b"from-data").decode()}
  latin: {base64.b64encode("café".encode("latin-1")).decode()}
stringData:
  Authorization: Bearer hunter2
  password: pä:ss
  clientSecret: "s3cr&t\\n"
  line: "hunter2\\r\\n"
  lines: "hunter2\\n\\n"
  empty: ""
  blank: "\\n"
  inner: "hun\\nter2"
  spaced: "hunter2 "
  twoWords: hunter two
"""
BACKENDS = """\
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayBackend
metadata: {name: login, namespace: infra}
spec:
  static: {host: Login.Example.org., port: 8443}
  policies: {tls: {}}
---
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayBackend
metadata: {name: plain, namespace: infra}
spec: {static: {host: login.example.org, port: 80}}
---
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayBackend
metadata: {name: unverified, namespace: infra}
spec:
  static: {host: login.example.org, port: 443}
  policies: {tls: {insecureSkipVerify: All}}
---
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayBackend
metadata: {name: slow, namespace: infra}
spec:
  static: {host: login.example.org, port: 443}
  policies: {tls: {}, tcp: {connectTimeout: 9s}}
---
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayBackend
metadata: {name: anywhere, namespace: infra}
spec: {dynamicForwardProxy: {}}
"""
BACKEND = """\
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayBackend
metadata: {{name: origin, namespace: infra}}
spec:
  static: {{host: api.example.org, port: 443}}
  policies:
    tls: {{}}
    auth: {}
"""
CLIENT = "clientAuth: {clientId: 'my app', secretRef: {name: partner}}"


def compiled(auth: str) -> tuple[Credentials, list[Finding]]:
    resources, findings = resources_of(several(BACKEND.format(auth), SECRETS, BACKENDS))
    assert findings == []
    parsed = resources.backends["infra/origin"]
    spec = parsed.model.spec.policies.auth
    assert spec is not None
    at = Place(parsed, resources, findings, ("spec", "policies", "auth"))
    return compile_auth(at, spec), findings


def sent(auth: str, target: str = "/") -> tuple[list[tuple[bytes, bytes]], str]:
    credentials, findings = compiled(auth)
    assert findings == []
    assert credentials.ready is not None
    return credentials.ready.apply([], target)


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        ("{key: hunter2}", (b"authorization", b"Bearer hunter2")),
        ("{key: Bearer hunter2}", (b"authorization", b"Bearer Bearer hunter2")),
        ("{secretRef: {name: partner}}", (b"authorization", b"Bearer hunter2")),
        ("{secretRef: {name: partner, key: Authorization}}", (b"authorization", b"Bearer hunter2")),
        ("{secretRef: {name: partner, key: encoded}}", (b"authorization", b"Bearer from-data")),
        ("{secretRef: {name: partner, key: line}}", (b"authorization", b"Bearer hunter2")),
        ("{secretRef: {name: partner}, location: {header: {name: Authorization}}}", (b"authorization", b"hunter2")),
        ("{secretRef: {name: partner}, location: {header: {name: X-Key}}}", (b"x-key", b"hunter2")),
        ("{key: a, location: {header: {name: X-Key, prefix: 'token '}}}", (b"x-key", b"token a")),
        ("{key: a, location: {cookie: {name: session}}}", (b"cookie", b"session=a")),
        (
            "{basic: {username: Aladdin, secretRef: {name: partner}}}",
            (b"authorization", b"Basic " + base64.b64encode("Aladdin:pä:ss".encode())),
        ),
        (
            "{basic: {username: Zoë, secretRef: {name: partner, key: line}}}",
            (b"authorization", b"Basic " + base64.b64encode("Zoë:hunter2".encode())),
        ),
        (
            "{credentials: [{secretRef: {name: partner}, location: {header: {name: x-key}}}]}",
            (b"x-key", b"Bearer hunter2"),  # no prefix is taken off there, as AgentGateway has it
        ),
    ],
)
def test_a_credential_is_written_where_the_manifest_says(auth: str, header: tuple[bytes, bytes]) -> None:
    assert sent(auth) == ([header], "/")


def test_a_query_parameter_is_a_place_too() -> None:
    auth = "{secretRef: {name: partner, key: twoWords}, location: {queryParameter: {name: api_key}}}"

    assert sent(auth, "/get?a=1") == ([], "/get?a=1&api_key=hunter%20two")


def test_further_credentials_come_beside_the_first() -> None:
    auth = (
        "{secretRef: {name: partner}, credentials: ["
        "{location: {header: {name: X-Partner-Key}}, secretRef: {name: partner, key: encoded}},"
        "{location: {cookie: {name: c}}, secretRef: {name: partner, key: line}}]}"
    )

    assert sent(auth) == (
        [(b"authorization", b"Bearer hunter2"), (b"x-partner-key", b"from-data"), (b"cookie", b"c=hunter2")],
        "/",
    )


def test_the_callers_own_credential_is_known_only_with_the_request() -> None:
    credentials, findings = compiled("{passthrough: {}}")

    assert findings == []
    assert [(entry.source, entry.location) for entry in credentials.entries] == [(Passthrough(), BEARER)]
    assert (credentials.ready, credentials.unusable) == (None, "")


SAME_PLACE = """{secretRef: {name: partner}, credentials: [
      {location: {header: {name: X_Key}}, secretRef: {name: partner, key: encoded}},
      {location: {header: {name: x-key}}, secretRef: {name: partner, key: line}}]}"""


def test_of_two_credentials_for_one_place_the_later_one_is_sent() -> None:
    credentials, findings = compiled(SAME_PLACE)

    assert [(finding.code, finding.severity) for finding in findings] == [("credential-conflict", Severity.WARNING)]
    assert credentials.ready is not None
    assert credentials.ready.headers == ((b"authorization", b"Bearer hunter2"), (b"x-key", b"hunter2"))


@pytest.mark.parametrize(
    ("auth", "code", "column"),
    [
        ("{secretRef: {name: missing}}", "dangling-reference", 23),
        ("{secretRef: {name: partner, key: Missing}}", "dangling-reference", 23),
        ("{secretRef: {name: partner, group: vault.io, kind: Vault}}", "invalid-reference", 23),
        ("{secretRef: {name: partner, key: empty}}", "invalid-credential", 23),
        ("{secretRef: {name: partner, key: blank}}", "invalid-credential", 23),
        ("{secretRef: {name: partner, key: lines}}", "invalid-credential", 23),
        ("{secretRef: {name: partner, key: inner}}", "invalid-credential", 23),
        ("{secretRef: {name: partner, key: spaced}}", "invalid-credential", 23),
        ("{key: ''}", "invalid-credential", 17),
        ("{key: a, location: {header: {name: Host}}}", "forbidden-header", 46),
        ("{key: a, location: {header: {name: transfer-encoding}}}", "forbidden-header", 46),
        ("{secretRef: {name: partner, key: twoWords}, location: {cookie: {name: a}}}", "invalid-credential", 23),
        ("{basic: {username: a, secretRef: {name: partner, key: empty}}}", "invalid-credential", 44),
        ("{basic: {username: a, secretRef: {name: partner, key: latin}}}", "invalid-credential", 44),
        ("{basic: {username: a, secretRef: {name: missing}}}", "dangling-reference", 44),
        (
            "{key: a, credentials: [{location: {cookie: {name: a}}, secretRef: {name: partner, key: twoWords}}]}",
            "invalid-credential",
            34,
        ),
        (
            "{key: a, credentials: [{location: {cookie: {name: a}}, secretRef: {name: missing}}]}",
            "dangling-reference",
            77,
        ),
    ],
)
def test_a_credential_that_cannot_be_had_makes_all_of_them_unusable(auth: str, code: str, column: int) -> None:
    credentials, findings = compiled(auth)

    assert codes(findings) == [code]
    assert place(findings[0]) == (8, column)
    assert credentials.unusable
    assert credentials.ready is None
    assert "hunter" not in str(findings[0])


@pytest.mark.parametrize(
    ("endpoint", "host", "port", "path", "authority"),
    [
        ("url: 'https://login.example.org'", "login.example.org", 443, "/", b"login.example.org"),
        ("url: 'https://Login.Example.org:443/a/b%20c'", "login.example.org", 443, "/a/b%20c", b"login.example.org"),
        ("url: 'https://login.example.org.:8443/t'", "login.example.org", 8443, "/t", b"login.example.org:8443"),
        ("url: 'https://[2001:DB8::1]:8443/t'", "2001:db8::1", 8443, "/t", b"[2001:db8::1]:8443"),
        (
            "backendRef: {group: agentgateway.dev, kind: AgentgatewayBackend, name: login}",
            "login.example.org",
            8443,
            "/",
            b"login.example.org:8443",
        ),
        (
            "backendRef: {group: agentgateway.dev, kind: AgentgatewayBackend, name: login}, path: /oauth/token",
            "login.example.org",
            8443,
            "/oauth/token",
            b"login.example.org:8443",
        ),
    ],
)
def test_a_token_endpoint_is_a_url_or_a_backend(
    endpoint: str, host: str, port: int, path: str, authority: bytes
) -> None:
    credentials, findings = compiled(f"{{oauthClientCredentials: {{{CLIENT}, {endpoint}}}}}")

    assert findings == []
    [client] = credentials.clients
    assert client.endpoint == Upstream(host, port, UpstreamTls(host))
    assert (client.path, client.authority) == (path, authority)
    assert (client.client_id, client.client_secret.reveal(), client.secret_in_body) == ("my app", b"s3cr&t", False)


def test_what_is_asked_of_a_token_endpoint() -> None:
    auth = (
        "{oauthClientCredentials: {url: 'https://login.example.org/', clientAuth: {clientId: me, method: "
        "ClientSecretPost, secretRef: {name: partner, key: encoded}}, scopes: [a, b], audiences: [c], resources: [d]}, "
        "location: {header: {name: x-token}}}"
    )

    credentials, findings = compiled(auth)

    assert findings == []
    [entry] = credentials.entries
    client = entry.source
    assert isinstance(client, ClientCredentials)
    assert (client.scopes, client.audiences, client.resources) == (("a", "b"), ("c",), ("d",))
    assert (client.client_secret.reveal(), client.secret_in_body) == (b"from-data", True)
    assert entry.location.name == b"x-token"


@pytest.mark.parametrize(
    ("endpoint", "code"),
    [
        ("url: 'https://login.example.org:0/'", "invalid-value"),
        ("url: 'https://login.example.org:99999/'", "invalid-value"),
        ("url: 'https://lo gin.example.org/'", "invalid-value"),
        ('url: "https://login.example.org\\t/"', "invalid-value"),
        ("url: 'https://lögin.example.org/'", "invalid-value"),
        ("url: 'https://login.example.org/a b'", "invalid-value"),
        ("url: 'https://[::1/'", "invalid-value"),
        ("backendRef: {group: agentgateway.dev, kind: AgentgatewayBackend, name: plain}", "credential-without-tls"),
        ("backendRef: {group: agentgateway.dev, kind: AgentgatewayBackend, name: unverified}", "not-available"),
        ("backendRef: {group: agentgateway.dev, kind: AgentgatewayBackend, name: slow}", "not-available"),
        ("backendRef: {group: agentgateway.dev, kind: AgentgatewayBackend, name: anywhere}", "invalid-backend"),
        ("backendRef: {group: agentgateway.dev, kind: AgentgatewayBackend, name: missing}", "dangling-reference"),
        ("backendRef: {name: login, port: 443}", "credential-without-tls"),
        (
            "backendRef: {group: agentgateway.dev, kind: AgentgatewayBackend, name: login, namespace: other}",
            "reference-not-granted",
        ),
        (
            "path: '/a b', backendRef: {group: agentgateway.dev, kind: AgentgatewayBackend, name: login}",
            "invalid-value",
        ),
    ],
)
def test_a_token_endpoint_that_cannot_be_asked_makes_the_credentials_unusable(endpoint: str, code: str) -> None:
    credentials, findings = compiled(f"{{oauthClientCredentials: {{{CLIENT}, {endpoint}}}}}")

    assert codes(findings) == [code]
    assert credentials.unusable


def test_a_client_without_its_secret_is_unusable() -> None:
    client = "clientAuth: {clientId: me, secretRef: {name: partner, key: empty}}, url: 'https://login.example.org/'"

    credentials, findings = compiled(f"{{oauthClientCredentials: {{{client}}}}}")

    assert codes(findings) == ["invalid-credential"]
    assert credentials.unusable


def test_the_example_of_the_page_is_valid() -> None:
    page = (Path(__file__).parents[3] / "docs" / "credentials.md").read_text(encoding="utf-8")
    example, block = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    resources, findings = resources_of(example)
    parsed = resources.backends["egress-direct/github-with-token"]
    auth = parsed.model.spec.policies.auth
    assert auth is not None

    credentials = compile_auth(Place(parsed, resources, findings, ("spec", "policies", "auth")), auth)

    assert findings == []
    assert credentials.ready is not None
    BackendAuthSpec.model_validate_json(json.dumps(yaml.safe_load(block)["auth"]))
