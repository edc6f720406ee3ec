"""Example 16 over real sockets: credentials of the gateway's own, which callers neither see nor replace."""

from __future__ import annotations

import base64
import json
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.conformance.harness.certificates import ORIGIN_HOSTS
from tests.conformance.harness.examples import dialled, example, origin_pair, running_manifests
from tests.conformance.harness.gateway import WORKSHOP, failed_start
from tests.conformance.harness.origin import running_origin
from tests.conformance.harness.waiting import eventually
from tests.support.collector import collecting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conformance.harness.certificates import Pki
    from tests.conformance.harness.client import Answer
    from tests.conformance.harness.gateway import Gateway
    from tests.conformance.harness.origin import Exchange, Origin, Received
    from tests.support.collector import Collector

LOGIN, API, BINGO = "login.partner.example", "api.partner.example", "httpbingo.org"
TOKEN, KEY = "ghp_example_not_a_real_token", "example-partner-key"
PAIR = base64.b64encode(b"egress-gateway:example-password").decode()
SECRETS = (TOKEN, KEY, PAIR, "example-password", "example-client-secret", "token-number-")
UNAVAILABLE = "backend authentication failed"


@dataclass(frozen=True, slots=True)
class Field:
    """The gateway, everything that it calls, and where its spans go."""

    gateway: Gateway
    login: Origin
    api: Origin
    collector: Collector

    def ask(self, pki: Pki, target: str, *fields: str, host: str = API, method: str = "GET") -> Answer:
        return self.gateway.ask(pki.team_a, target, *fields, host=host, method=method)


@pytest.fixture(autouse=True)
def _forget(origin: Origin) -> None:
    origin.requests.clear()


@pytest.fixture(scope="module")
def field(pki: Pki, origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    directory = tmp_path_factory.mktemp("credentials")
    with ExitStack() as stack:
        login, api = (stack.enter_context(running_origin(origin_pair(directory, pki, host))) for host in (LOGIN, API))
        collector = stack.enter_context(collecting())
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "10"}
        places = places_of(origin) | {f"{LOGIN}:443": login.port, f"{API}:443": api.port}
        gateway = stack.enter_context(running_manifests(pki, directory, [example("16")], places, settings))
        yield Field(gateway, login, api, collector)


def places_of(origin: Origin) -> dict[str, int]:
    return {f"{host}:443": origin.port for host in ORIGIN_HOSTS}


def only(origin: Origin) -> Received:
    [received] = origin.requests
    return received


def test_the_token_stands_in_place_of_every_copy_of_the_callers(field: Field, pki: Pki, origin: Origin) -> None:
    forged = ("Authorization: Bearer forged", "AUTHORIZATION: Basic forged", "X-Partner-Key: forged")
    spelled = ("X_Partner_Key: forged", "x_partner-key: forged", "Connection: X-Partner-Key, Authorization")

    assert field.ask(pki, "/repos/acme/x", *forged, *spelled, host="api.github.com").status == 200

    received = only(origin)
    assert received.values("authorization") == [f"Bearer {TOKEN}"]
    assert received.values("x-partner-key") == [KEY]
    assert b"forged" not in received.head
    assert origin.handshakes[-1] == "api.github.com"


def test_only_the_backend_that_it_is_for_gets_a_credential(field: Field, pki: Pki, origin: Origin) -> None:
    for target in ("/repos/acmex/x", "/zen"):
        assert field.ask(pki, target, host="api.github.com").status == 200
    assert not any(TOKEN.encode() in received.head or KEY.encode() in received.head for received in origin.requests)


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        ("/get", f"/get?api_key={KEY}"),
        ("/get?a=%20&api_key=forged&b=/?", f"/get?a=%20&b=/?&api_key={KEY}"),
        ("/get?api%5Fkey=forged&api_key", f"/get?api_key={KEY}"),
        ("/get?api_key=forged&api_key=forged&API_KEY=theirs", f"/get?API_KEY=theirs&api_key={KEY}"),
    ],
)
def test_a_query_parameter_is_the_gateways_own(field: Field, pki: Pki, origin: Origin, target: str, sent: str) -> None:
    assert field.ask(pki, target, host=BINGO).status == 200
    assert only(origin).target == sent


def test_user_and_password_reach_the_partner(field: Field, pki: Pki) -> None:
    assert field.ask(pki, "/v1/orders", "Authorization: Basic forged").status == 200
    assert field.api.requests[-1].values("authorization") == [f"Basic {PAIR}"]


def granting(exchange: Exchange) -> None:
    """Give a token that names how often it was asked."""
    granting.asked = getattr(granting, "asked", 0) + 1  # type: ignore[attr-defined]
    assert re.search(rb"scope=orders\.read\+orders\.write", exchange.read_body())
    answer = {"access_token": f"token-number-{granting.asked}", "token_type": "Bearer", "expires_in": 600}  # type: ignore[attr-defined]
    exchange.answer(json.dumps(answer).encode())


def test_tokens_are_fetched_once_for_all_and_never_in_vain(field: Field, pki: Pki) -> None:
    before = len(field.api.requests)
    for status in ("503 No", "302 Found"):
        field.login.handlers["/oauth2/token"] = lambda exchange, status=status: exchange.answer(  # type: ignore[misc]
            b"{}", f"Location: https://{API}/x", status=status
        )
        answer = field.ask(pki, "/v2/orders")
        assert (answer.status, answer.text) == (500, UNAVAILABLE)
        line = field.gateway.line_of(answer)
        assert (line["reason"], line["endpoint"]) == ("backend_authentication_failed", None)
    assert len(field.api.requests) == before

    field.login.handlers["/oauth2/token"] = granting

    def served() -> bool:  # a failed fetch is not repeated at once
        return field.ask(pki, "/v2/orders").status == 200

    eventually("a token after the failures", served)
    asked = len(field.login.requests)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: field.ask(pki, "/v2/orders", "Authorization: forged"), range(32)))
    assert {answer.status for answer in answers} == {200}
    assert len(field.login.requests) == asked
    sent = {tuple(received.values("authorization")) for received in field.api.requests[-32:]}
    assert sent == {("Bearer token-number-1",)}

    field.api.handlers["/v2/expired"] = lambda exchange: exchange.answer(b"", status="401 Unauthorized")
    assert field.ask(pki, "/v2/expired").status == 401  # the origin's answer is the caller's
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: field.ask(pki, "/v2/orders"), range(32)))
    assert {answer.status for answer in answers} == {200}
    assert len(field.login.requests) == asked + 1
    assert field.api.requests[-1].values("authorization") == ["Bearer token-number-2"]
    assert field.login.handshakes[-1] == LOGIN


def test_no_secret_is_in_anything_that_the_gateway_says(field: Field, pki: Pki, origin: Origin) -> None:
    answers = [
        field.ask(pki, "/repos/acme/x", host="api.github.com"),
        field.ask(pki, "/get?a=1", host=BINGO),
        field.ask(pki, "/v1/x"),
    ]
    origin.handlers["/repos/acme/down"] = lambda exchange: exchange.reset()
    answers.append(field.ask(pki, "/repos/acme/down", "X-Request-Id: down", host="api.github.com"))
    assert answers[-1].status in {502, 503}
    field.gateway.access_line("request_id", "down")
    spans = b""
    while b"api.partner.example" not in spans or b"api.github.com" not in spans:
        received = field.collector.next()
        spans += received.resource_spans.SerializeToString()
    written = field.gateway.output().encode() + spans
    heads = b"".join(value.encode() for answer in answers for pair in answer.headers for value in pair)
    assert [secret for secret in SECRETS if secret.encode() in written + heads] == []


@pytest.fixture
def without_secret(tmp_path: Path) -> Path:
    """Return the example without the Secret of its first document."""
    copy = tmp_path / "without-secret.yaml"
    copy.write_text(example("16").read_text().split("---\n", 1)[1])
    return copy


def test_a_secret_that_is_missing_closes_its_routes_alone(
    pki: Pki, origin: Origin, tmp_path: Path, without_secret: Path
) -> None:
    with running_origin(origin_pair(tmp_path, pki, API)) as api:
        places = places_of(origin) | {f"{API}:443": api.port}
        settings = {"EGRESS_STRICT": "false"}
        with running_manifests(pki, tmp_path / "run", [without_secret], places, settings) as gateway:
            for host, target in (("api.github.com", "/repos/acme/x"), (BINGO, "/get")):
                answer = gateway.ask(pki.team_a, target, host=host)
                assert (answer.status, answer.text) == (500, UNAVAILABLE)
                assert gateway.line_of(answer)["reason"] == "backend_authentication_failed"
            assert origin.requests == []
            assert gateway.ask(pki.team_a, "/zen").status == 200
            assert gateway.ask(pki.team_a, "/v1/x", host=API).status == 200


def test_a_secret_that_is_missing_stops_a_strict_start(pki: Pki, tmp_path: Path, without_secret: Path) -> None:
    written = failed_start(
        tmp_path, pki, {"EGRESS_RESOLVE": dialled({f"{API}:443": 9})}, manifests=(WORKSHOP, without_secret)
    )

    text = without_secret.read_text().splitlines()
    number = next(index for index, line in enumerate(text, 1) if "name: github-token" in line)
    assert f"{without_secret}:{number}" in written, written
    assert not any(secret in written for secret in SECRETS)
