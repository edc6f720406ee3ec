"""Who may connect, who is whom, and what no field can change about that."""

from __future__ import annotations

import json
import random
import ssl
import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from app.cli.certificates import SERVER_AUTH, CertificateAuthority, Leaf
from tests.conformance.harness.certificates import ORIGIN_HOSTS, KeyPair, issue, spiffe_id, workload
from tests.conformance.harness.client import Caller, client_context
from tests.conformance.harness.client import request as spell
from tests.conformance.harness.gateway import WORKSHOP, Gateway, running_gateway

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conformance.harness.certificates import Pki
    from tests.conformance.harness.origin import Origin

TEAM_A = spiffe_id("team-a", "team-a")
UNUSABLE = {
    "no URI SAN": Leaf("none", names=("team-a.example",)),
    "no SAN at all": Leaf("bare"),
    "two SPIFFE IDs": Leaf("two", uris=(TEAM_A, spiffe_id("team-b", "team-b"))),
    "the same SPIFFE ID twice": Leaf("twice", uris=(TEAM_A, TEAM_A)),
    "a SPIFFE ID and another URI": Leaf("mixed", uris=(TEAM_A, "https://team-a.example")),
    "a foreign trust domain": Leaf("foreign", uris=(spiffe_id("team-a", "team-a", "cluster.example"),)),
    "a trust domain in capitals": Leaf("capitals", uris=("spiffe://CLUSTER.LOCAL/ns/team-a/sa/team-a",)),
    "a port": Leaf("port", uris=("spiffe://cluster.local:443/ns/team-a/sa/team-a",)),
    "a query": Leaf("query", uris=(f"{TEAM_A}?x",)),
    "a slash at the end": Leaf("slash", uris=(f"{TEAM_A}/",)),
    "a dot segment": Leaf("dots", uris=("spiffe://cluster.local/ns/team-b/../team-a/sa/team-a",)),
    "an escape": Leaf("escape", uris=("spiffe://cluster.local/ns/team%2Da/sa/team-a",)),
    "no path": Leaf("domain", uris=("spiffe://cluster.local",)),
    "another scheme": Leaf("scheme", uris=("https://cluster.local/ns/team-a/sa/team-a",)),
    "another case of the scheme": Leaf("scheme-case", uris=("SPIFFE://cluster.local/ns/team-a/sa/team-a",)),
}
"""Certificates that the mesh's own authority signed, and that still name no workload."""
ELSEWHERE = {
    "another service account": (spiffe_id("team-a", "default"), 403),
    "another namespace": (spiffe_id("team-b", "team-a"), 403),
    "another shape": ("spiffe://cluster.local/team-a/team-a", 403),
    "a longer path": (f"{TEAM_A}/x", 403),
    "another case": (spiffe_id("Team-A", "team-a"), 403),
    "the very one": (TEAM_A, 200),
}
"""Usable identities and what the workshop's Allow rule makes of them."""


@pytest.fixture(autouse=True)
def _forget(origin: Origin) -> None:
    origin.requests.clear()


def is_let_in(gateway: Gateway, identity: KeyPair | None) -> bool:
    """Tell whether a request gets any answer. Under TLS 1.3 a client learns of a refusal only when it reads."""
    context = client_context(gateway.pki.mesh_ca, identity)
    try:
        with Caller(gateway.port, context) as caller:
            caller.send(spell("/zen"))
            return bool(caller.sock.recv(1))
    except (ssl.SSLError, OSError):
        return False


@pytest.mark.parametrize("kind", ["none", "foreign", "self-signed", "expired", "server only", "authority"])
def test_the_handshake_fails_without_a_valid_certificate_of_the_mesh(
    gateway: Gateway, pki: Pki, origin: Origin, tmp_path: Path, kind: str
) -> None:
    lookalike = CertificateAuthority.create("mesh")
    identities: dict[str, Callable[[], KeyPair | None]] = {
        "none": lambda: None,
        "foreign": lambda: issue(tmp_path, lookalike, workload("team-a", "team-a")),
        "self-signed": lambda: _own(tmp_path, lookalike),
        "expired": lambda: issue(tmp_path, pki.mesh, workload("team-a", "team-a"), -timedelta(minutes=1)),
        "authority": lambda: issue(tmp_path, pki.mesh, Leaf("authority", uris=(TEAM_A,), is_ca=True)),
        "server only": lambda: issue(tmp_path, pki.mesh, Leaf("server", uris=(TEAM_A,), usages=(SERVER_AUTH,))),
    }

    assert not is_let_in(gateway, identities[kind]())
    assert is_let_in(gateway, pki.team_a)
    assert origin.targets() == ["/zen"]


def _own(directory: Path, authority: CertificateAuthority) -> KeyPair:
    certificate, key = authority.pem()
    pair = KeyPair(directory / "own.pem", directory / "own-key.pem")
    pair.certificate.write_bytes(certificate)
    pair.key.write_bytes(key)
    return pair


@pytest.mark.parametrize("leaf", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_valid_certificate_without_a_usable_spiffe_id_is_nobody(
    gateway: Gateway, pki: Pki, origin: Origin, tmp_path: Path, leaf: Leaf
) -> None:
    answer = gateway.ask(issue(tmp_path, pki.mesh, leaf), "/zen")
    line = gateway.line_of(answer)

    assert (answer.status, answer.text) == (403, "authorization failed")
    assert (line["reason"], line["src.identity"]) == ("identity_required", None)
    assert origin.requests == []


@pytest.mark.parametrize(("uri", "status"), ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_the_allow_rule_means_one_identity_only(
    gateway: Gateway, pki: Pki, tmp_path: Path, uri: str, status: int
) -> None:
    answer = gateway.ask(issue(tmp_path, pki.mesh, Leaf("leaf", uris=(uri,))), "/zen")

    assert answer.status == status


def test_no_identity_is_resumed_without_showing_its_certificate(gateway: Gateway, pki: Pki) -> None:
    context = client_context(pki.mesh_ca, pki.team_a)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with Caller(gateway.port, context) as first:
        assert first.ask("/zen").status == 200
        session = first.sock.session
    assert session is not None
    assert not session.has_ticket
    with Caller(gateway.port, context, session=session) as second:
        assert second.ask("/zen").status == 200
        assert second.sock.session_reused is False


def test_a_resumed_tls_1_2_session_does_not_outlive_its_certificate(gateway: Gateway, pki: Pki, tmp_path: Path) -> None:
    leaf = issue(tmp_path, pki.mesh, workload("team-a", "team-a"), timedelta(seconds=3))
    context = client_context(pki.mesh_ca, leaf)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with Caller(gateway.port, context) as first:
        assert first.ask("/zen").status == 200
        session = first.sock.session
    time.sleep(3.5)
    # Where OpenSSL does not resume it, the certificate is looked at again, and the handshake fails.
    with suppress(ssl.SSLError), Caller(gateway.port, context, session=session) as second:
        assert second.ask("/zen").status == 403


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_tls_is_refused(gateway: Gateway, pki: Pki, version: ssl.TLSVersion) -> None:
    context = client_context(pki.mesh_ca, pki.team_a)
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.minimum_version = version
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        Caller(gateway.port, context)


@pytest.mark.parametrize(
    "field",
    [
        "X-Forwarded-Client-Cert: By=x;Hash=y;URI=spiffe://cluster.local/ns/team-a/sa/team-a",
        "X-Caller-Identity: team-a/team-a",
        "X-Forwarded-For: 10.0.0.1",
        "X-SSL-Client-Cert: x",
        "Authorization: Bearer team-a",
    ],
)
def test_no_field_makes_one_workload_another(gateway: Gateway, pki: Pki, origin: Origin, field: str) -> None:
    assert gateway.ask(pki.team_b, "/headers", field, host="httpbingo.org").status == 403
    assert origin.requests == []


def test_a_forwarded_client_certificate_is_not_passed_on(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    fields = ("X-Forwarded-Client-Cert: URI=spiffe://cluster.local/ns/x/sa/x", "x-forwarded-client-cert: Hash=1")
    assert gateway.ask(pki.team_a, "/headers", *fields, host="httpbingo.org").status == 200
    assert origin.requests[0].values("x-forwarded-client-cert") == []


SOURCE = """
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayPolicy
metadata: {name: source, namespace: egress-direct}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: egress}]
  traffic:
    transformation:
      request:
        set:
          - {name: X-Source, value: 'source.address + " " + string(source.port) + " " + request.scheme'}
          - {name: X-Caller-Identity, value: source.spiffeId}
"""


@pytest.fixture(scope="module", params=["httptools", "h11", "workers"])
def open_gateway(
    request: pytest.FixtureRequest, pki: Pki, origin: Origin, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """Let every identity in, and show the origin what the gateway knows about it."""
    directory = tmp_path_factory.mktemp("open")
    (directory / "source.yaml").write_text(SOURCE)
    manifests = [*(WORKSHOP / f"{name}.yaml" for name in ("01-setup", "02-egress-direct", "06-verify-headers"))]
    arguments = ("--workers", "2") if request.param == "workers" else ("--http", request.param)
    origins = dict.fromkeys(ORIGIN_HOSTS, origin.port)
    with running_gateway(
        pki, directory / "run", origins, manifests=[*manifests, directory / "source.yaml"], arguments=arguments
    ) as running:
        yield running


@pytest.mark.parametrize(
    "fields",
    [
        (),
        ("X-Forwarded-For: 10.1.2.3", "X-Forwarded-Proto: http"),
        ("X-Forwarded-For: 10.1.2.3, 127.0.0.1", "X-Forwarded-Proto: ws", "Forwarded: for=10.1.2.3;proto=http"),
        ("X-Real-IP: 10.1.2.3", "X-Forwarded-Port: 80"),
    ],
)
def test_the_source_is_the_socket_whatever_a_field_says(
    open_gateway: Gateway, pki: Pki, origin: Origin, fields: tuple[str, ...]
) -> None:
    with open_gateway.connect(pki.team_a) as caller:
        answer = caller.ask("/headers", f"X-Request-Id: port-{caller.address[10:]}", *fields, host="httpbingo.org")
        address = caller.address
    host, _, port = address.partition(":")

    assert answer.status == 200
    assert origin.requests[0].values("x-source") == [f"{host} {port} https"]
    assert open_gateway.access_line("request_id", f"port-{port}")["src.addr"] == address


def test_identities_on_many_open_connections_are_never_swapped(open_gateway: Gateway, pki: Pki) -> None:
    dice = random.Random(7)  # noqa: S311  a fixed shuffle, no secret
    teams = ((spiffe_id("team-a", "team-a"), pki.team_a), (spiffe_id("team-b", "team-b"), pki.team_b))
    callers = [(identity, open_gateway.connect(pair)) for _ in range(20) for identity, pair in teams]
    try:
        for number in range(8):
            dice.shuffle(callers)
            for at, (_, caller) in enumerate(callers):
                caller.send(spell(f"/{number}/{at}", "X-Caller-Identity: evil", host="httpbingo.org"))
            order = list(enumerate(callers))
            dice.shuffle(order)
            for at, (identity, caller) in order:
                echoed = json.loads(caller.read().body)
                assert echoed["target"] == f"/{number}/{at}"
                assert echoed["headers"]["x-caller-identity"] == [identity]
                assert echoed["headers"]["x-source"][0].split()[1] == caller.address.partition(":")[2]
    finally:
        for _, caller in callers:
            caller.close()
