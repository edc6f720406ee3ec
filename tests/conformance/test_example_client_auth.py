"""Example 24 over real sockets: what callers show beside their certificate, and that the origin never sees it."""

from __future__ import annotations

import base64
import json
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.conformance.harness.certificates import ORIGIN_HOSTS
from tests.conformance.harness.examples import example, origin_pair, rewritten, running_manifests
from tests.conformance.harness.origin import running_origin
from tests.conformance.harness.waiting import eventually
from tests.support.tokens import claims, key_set, public, token

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conformance.harness.certificates import Pki
    from tests.conformance.harness.client import Answer
    from tests.conformance.harness.gateway import Gateway
    from tests.conformance.harness.origin import Origin

BINGO, PARTNER, ISSUER = "httpbingo.org", "api.partner.example", "issuer.example"
NONE, INVALID = "authentication failure: no credentials", "authentication failure: invalid credentials"
NO_KEYS = """inline: '{"keys":[]}'"""
ALICE = "$apr1$abcdefgh$CZcD5GHF1x9cWMTm/ugwm1"
HTPASSWD = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="
"""`secret` in the scheme that is the fastest to compare."""
RULES = """\
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayPolicy
metadata: {name: agents, namespace: egress-direct}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: github}]
  traffic:
    authorization:
      action: Require
      policy: {matchExpressions: ['jwt.sub == "agent-7" && !("authorization" in request.headers)']}
---
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayPolicy
metadata: {name: teams, namespace: egress-direct}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: httpbingo}]
  traffic:
    authorization:
      action: Require
      policy: {matchExpressions: ['apiKey.team == "a"']}
"""


@dataclass(frozen=True, slots=True)
class Field:
    gateway: Gateway
    partner: Origin


@pytest.fixture(autouse=True)
def _forget(origin: Origin) -> None:
    origin.requests.clear()


def both(origin: Origin) -> dict[str, int]:
    return {f"{host}:443": origin.port for host in ORIGIN_HOSTS}


def bearer(**others: object) -> str:
    return f"Authorization: Bearer {token(claims(**{'exp': time.time() + 600, **others}))}"


def refused(answer: Answer, body: str, scheme: str) -> None:
    assert (answer.status, answer.text) == (401, body)
    assert answer.value("www-authenticate").startswith(scheme)


def basic(pair: str) -> str:
    return f"Authorization: Basic {base64.b64encode(pair.encode()).decode()}"


@pytest.fixture(scope="module")
def field(pki: Pki, origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    """Run the example as it is."""
    directory = tmp_path_factory.mktemp("clients")
    with running_origin(origin_pair(directory, pki, PARTNER)) as partner:
        places = both(origin) | {f"{PARTNER}:443": partner.port}
        with running_manifests(pki, directory, [example("24")], places) as gateway:
            yield Field(gateway, partner)


def test_without_keys_every_token_is_invalid(field: Field, pki: Pki, origin: Origin) -> None:
    refused(field.gateway.ask(pki.team_a, "/zen"), NONE, "Bearer")
    for credential in (bearer(), "Authorization: Bearer x", "Authorization: Bearer a.b.c"):
        answer = field.gateway.ask(pki.team_a, "/zen", credential)
        refused(answer, INVALID, "Bearer")
        line = field.gateway.line_of(answer)
        assert (line["http.status"], line["reason"]) == (401, "credentials_invalid")
    assert origin.requests == []


def test_a_key_of_a_team_opens_its_route_and_stays_here(field: Field, pki: Pki, origin: Origin) -> None:
    ask = field.gateway.ask
    refused(ask(pki.team_a, "/get", host=BINGO), NONE, "")
    refused(ask(pki.team_a, "/get", "X-Api-Key: k-example-b", host=BINGO), INVALID, "")
    refused(ask(pki.team_a, "/get", "X-Api-Key: k-example-a", "X_Api_Key: k-example-a", host=BINGO), INVALID, "")
    assert origin.requests == []

    assert ask(pki.team_a, "/get", "X-Api-Key: k-example-a", host=BINGO).status == 200
    assert origin.requests[0].values("x-api-key") == []
    assert b"k-example-a" not in origin.requests[0].head
    # Authentication is on top of authorization, not in its place.
    answer = ask(pki.team_b, "/get", "X-Api-Key: k-example-a", host=BINGO)
    assert (answer.status, answer.text) == (403, "authorization failed")


def test_a_password_is_asked_for_with_its_realm(field: Field, pki: Pki) -> None:
    answer = field.gateway.ask(pki.team_a, "/orders", host=PARTNER)
    refused(answer, NONE, "Basic")
    assert 'realm="egress"' in answer.value("www-authenticate")
    for credential in (basic("alice:no"), basic(f"alice:{ALICE}"), basic("bob:no"), "Authorization: Basic !"):
        refused(field.gateway.ask(pki.team_a, "/orders", credential, host=PARTNER), INVALID, "Basic")
    assert field.partner.requests == []


def test_nothing_that_was_shown_is_written_down(field: Field, pki: Pki) -> None:
    shown = bearer()
    field.gateway.line_of(field.gateway.ask(pki.team_a, "/zen", shown))
    field.gateway.line_of(field.gateway.ask(pki.team_a, "/orders", basic("alice:written"), host=PARTNER))
    field.gateway.ask(pki.team_a, "/get?x=1", "X-Api-Key: k-example-a", "X-Request-Id: key", host=BINGO)
    field.gateway.access_line("request_id", "key")

    output = field.gateway.output()
    for secret in (shown.rpartition(" ")[2], basic("alice:written").rpartition(" ")[2], "written", "k-example-a"):
        assert secret not in output


@pytest.fixture(scope="module")
def keyed(pki: Pki, origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    """Run the example with an issuer's key, a password that is known, and rules on what was verified."""
    directory = tmp_path_factory.mktemp("keyed")
    copy = rewritten(directory, "24", (NO_KEYS, f"inline: '{key_set()}'"), (ALICE, HTPASSWD))
    (directory / "rules.yaml").write_text(RULES)
    with running_origin(origin_pair(directory, pki, PARTNER)) as partner:
        places = both(origin) | {f"{PARTNER}:443": partner.port}
        with running_manifests(pki, directory / "run", [copy, directory / "rules.yaml"], places) as gateway:
            yield Field(gateway, partner)


def test_a_valid_token_is_read_by_rules_and_taken_off(keyed: Field, pki: Pki, origin: Origin) -> None:
    with keyed.gateway.connect(pki.team_a) as caller:
        assert [caller.ask("/zen", bearer()).status for _ in range(3)] == [200, 200, 200]
        assert caller.ask("/zen", bearer(sub="agent-8")).status == 403
        assert caller.ask("/users/x", bearer()).status == 403
        refused(caller.ask("/zen", bearer(aud="other")), INVALID, "Bearer")
        refused(caller.ask("/zen", bearer(iss="https://other.example")), INVALID, "Bearer")
        refused(caller.ask("/zen", bearer(exp=time.time() - 3600)), INVALID, "Bearer")
        refused(caller.ask("/zen", bearer(), bearer()), INVALID, "Bearer")
        refused(caller.ask("/zen"), NONE, "Bearer")
    assert origin.targets() == ["/zen"] * 3
    assert not any(received.values("authorization") for received in origin.requests)
    assert keyed.gateway.ask(pki.team_b, "/zen", bearer()).status == 403


def test_a_keys_metadata_is_read_by_rules(keyed: Field, pki: Pki, origin: Origin) -> None:
    assert keyed.gateway.ask(pki.team_a, "/get", "X-Api-Key: k-example-a", host=BINGO).status == 200
    refused(keyed.gateway.ask(pki.team_a, "/get", host=BINGO), NONE, "")
    assert origin.targets() == ["/get"]


def test_a_password_is_taken_off_too(keyed: Field, pki: Pki) -> None:
    assert keyed.gateway.ask(pki.team_a, "/orders", basic("alice:secret"), host=PARTNER).status == 200
    refused(keyed.gateway.ask(pki.team_a, "/orders", basic("alice:Secret"), host=PARTNER), INVALID, "Basic")
    assert [received.values("authorization") for received in keyed.partner.requests] == [[]]


def test_keys_are_fetched_over_tls_and_again_for_one_that_is_new(pki: Pki, origin: Origin, tmp_path: Path) -> None:
    copy = rewritten(tmp_path, "24", (NO_KEYS, f"remote: {{url: 'https://{ISSUER}/keys', cacheDuration: 1s}}"))
    with ExitStack() as stack:
        issuer = stack.enter_context(running_origin(origin_pair(tmp_path, pki, ISSUER)))
        issuer.handlers["/keys"] = lambda exchange: exchange.answer(b"", status="503 No")
        places = both(origin) | {f"{ISSUER}:443": issuer.port}
        gateway = stack.enter_context(running_manifests(pki, tmp_path / "run", [copy], places))
        refused(gateway.ask(pki.team_a, "/zen", bearer()), INVALID, "Bearer")

        document = key_set(public()).encode()
        issuer.handlers["/keys"] = lambda exchange: exchange.answer(document)
        eventually("the keys", lambda: gateway.ask(pki.team_a, "/zen", bearer()).status == 200)
        assert issuer.handshakes[-1] == ISSUER
        assert issuer.requests[-1].values("host") == [ISSUER]

        none = json.dumps({"keys": []}).encode()
        issuer.handlers["/keys"] = lambda exchange: exchange.answer(none)
        eventually("the keys to be withdrawn", lambda: gateway.ask(pki.team_a, "/zen", bearer()).status == 401)
    assert all(received.values("authorization") == [] for received in origin.requests)
