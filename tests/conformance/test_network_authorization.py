"""Who may connect: a refused caller gets no byte of HTTP, over real mTLS and with both parsers."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from app.cli.certificates import Leaf
from tests.conformance.harness.certificates import ORIGIN_HOSTS, issue, spiffe_id, workload
from tests.conformance.harness.client import Caller, client_context
from tests.conformance.harness.client import request as spell
from tests.conformance.harness.gateway import ROOT, WORKSHOP, Gateway, running_gateway
from tests.conformance.harness.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.conformance.harness.certificates import KeyPair, Pki
    from tests.conformance.harness.origin import Origin

EXAMPLE = ROOT / "deploy" / "examples" / "23-network-authorization.yaml"
STEPS = [WORKSHOP / f"{name}.yaml" for name in ("01-setup", "02-egress-direct")]
STRANGER = spiffe_id("other", "stranger")
ALLOWED_SECONDS = 10.0
"""Within which a refused caller is cut off, though it never confirms the end of TLS."""


@pytest.fixture(autouse=True)
def _forget(origin: Origin) -> None:
    origin.requests.clear()


def _running(pki: Pki, origin: Origin, directory: Path, parser: str, manifests: Sequence[Path]) -> Iterator[Gateway]:
    origins = dict.fromkeys(ORIGIN_HOSTS, origin.port)
    arguments = ("--http", parser)
    with running_gateway(pki, directory, origins, manifests=[*STEPS, *manifests], arguments=arguments) as running:
        yield running


@pytest.fixture(scope="module", params=["httptools", "h11"])
def guarded(
    request: pytest.FixtureRequest, pki: Pki, origin: Origin, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """Run a gateway to which namespaces `team-*` may connect."""
    yield from _running(pki, origin, tmp_path_factory.mktemp("guarded"), request.param, [EXAMPLE])


@pytest.fixture(scope="module", params=["httptools", "h11"])
def watched(
    request: pytest.FixtureRequest, pki: Pki, origin: Origin, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """Run a gateway on which the same rule only tells."""
    directory = tmp_path_factory.mktemp("watched")
    shadow = directory / "shadow.yaml"
    annotation = "  annotations: {egress-gateway.dev/mode: shadow}\nspec:"
    shadow.write_text(EXAMPLE.read_text().replace("spec:", annotation, 1))
    yield from _running(pki, origin, directory / "run", request.param, [shadow])


@pytest.fixture
def stranger(pki: Pki, tmp_path: Path) -> KeyPair:
    return issue(tmp_path, pki.mesh, workload("other", "stranger"))


def received(gateway: Gateway, identity: KeyPair, data: bytes) -> bytes:
    """Return every byte that a caller gets."""
    with Caller(gateway.port, client_context(gateway.pki.mesh_ca, identity)) as caller:
        answer = b""
        with suppress(OSError):
            caller.sock.sendall(data)
            while part := caller.sock.recv(65536):
                answer += part
        return answer


@pytest.mark.parametrize("data", [b"", spell("/zen"), spell("/zen") * 20, b"garbage\r\n\r\n"])
def test_a_refused_caller_is_cut_off_without_an_answer_and_logged(
    guarded: Gateway, origin: Origin, stranger: KeyPair, data: bytes
) -> None:
    before = len(refusals(guarded))

    assert received(guarded, stranger, data) == b""
    eventually("the refusal's line", lambda: len(refusals(guarded)) > before)
    line = refusals(guarded)[-1]
    assert (line["level"], line["decision"], line["http.status"]) == ("warning", "deny", None)
    assert line["src.identity"] == STRANGER
    assert "no_allow_matched" in str(line["error"])
    assert origin.requests == []


def refusals(gateway: Gateway) -> list[dict[str, object]]:
    return [line for line in gateway.access_lines() if line["reason"] == "network_authorization_denied"]


def test_a_refused_caller_that_does_not_leave_is_cut_off(guarded: Gateway, stranger: KeyPair) -> None:
    with Caller(guarded.port, client_context(guarded.pki.mesh_ca, stranger)) as caller:
        began = time.monotonic()
        plain = caller.sock.detach()
        with socket.socket(fileno=plain) as raw:
            raw.settimeout(ALLOWED_SECONDS)
            while raw.recv(65536):
                pass
        assert time.monotonic() - began < ALLOWED_SECONDS


def test_an_allowed_caller_is_served(guarded: Gateway, pki: Pki) -> None:
    with guarded.connect(pki.team_a) as caller:
        assert [caller.ask("/zen").status for _ in range(2)] == [200, 200]
    assert guarded.ask(pki.team_b, "/zen").status == 200


def test_a_caller_without_an_identity_is_answered_as_ever(guarded: Gateway, pki: Pki, tmp_path: Path) -> None:
    answer = guarded.ask(issue(tmp_path, pki.mesh, Leaf("none", names=("team-a.example",))), "/zen")

    assert (answer.status, answer.text) == (403, "authorization failed")
    assert guarded.line_of(answer)["reason"] == "identity_required"


def test_in_shadow_mode_the_caller_is_served_and_the_process_log_says_what_would_be(
    watched: Gateway, pki: Pki, stranger: KeyPair
) -> None:
    assert watched.ask(pki.team_a, "/zen").status == 200
    assert "shadow" not in watched.stderr
    assert watched.ask(stranger, "/zen").status == 200
    eventually("the shadow rule's line", lambda: "egress-direct/l4-caller#0" in watched.stderr)
    assert refusals(watched) == []
