"""What the origin is told: the header fields of a request on its way through the whole stack, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from middleware.framing import HOP_BY_HOP
from tests.support.gateway import PORT, manifests, running
from tests.support.origins import serving_in_thread

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.gateway import RunningGateway
    from tests.support.origins import Downstream


def received(gateway: RunningGateway, *headers: tuple[str, str]) -> list[list[str]]:
    """Return the header fields that the origin received."""
    answer = gateway.client.get("https://httpbingo.org/headers", headers=list(headers))
    assert answer.status_code == 200
    result: list[list[str]] = answer.json()["headers"]
    return result


ALWAYS = [
    ["host", "httpbingo.org"],
    ["via", "1.1 egress-gateway"],
    ["x-caller-identity", "team-a/team-a"],
    ["x-forwarded-by", "agentgateway-egress"],
]


def test_nothing_is_added_but_what_policy_and_http_ask_for(workshop: RunningGateway) -> None:
    assert sorted(received(workshop)) == ALWAYS


@pytest.mark.parametrize(
    "name",
    [
        "X-Caller-Identity",
        "x_caller_identity",
        "X-Caller_Identity",
        "X_Forwarded-By",
        "X-Internal-Debug",
        "x_internal_debug",
    ],
)
def test_no_spelling_of_a_name_that_policy_owns_survives(name: str, workshop: RunningGateway) -> None:
    assert sorted(received(workshop, (name, "spoofed"), (name, "twice"))) == ALWAYS


@pytest.mark.parametrize("name", sorted((HOP_BY_HOP - {b"upgrade", b"transfer-encoding"}) | {b"expect"}))
def test_hop_by_hop_fields_of_a_request_end_here(name: bytes, workshop: RunningGateway) -> None:
    assert sorted(received(workshop, (name.decode(), "x-other"))) == ALWAYS


def test_fields_that_connection_names_end_here(workshop: RunningGateway) -> None:
    assert sorted(received(workshop, ("connection", "X-One, close"), ("x-one", "1"), ("x-two", "2"))) == [
        *ALWAYS,
        ["x-two", "2"],
    ]


def test_connection_cannot_remove_what_policy_sets(workshop: RunningGateway) -> None:
    named = "x-caller-identity, x-forwarded-by, via, host"

    assert sorted(received(workshop, ("connection", named), ("x-caller-identity", "spoofed"))) == ALWAYS


def test_a_claim_of_identity_by_header_is_stripped(workshop: RunningGateway) -> None:
    assert sorted(received(workshop, ("X-Forwarded-Client-Cert", "URI=spiffe://cluster.local/admin"))) == ALWAYS


def test_other_fields_pass_unchanged_with_their_order_and_repetition(workshop: RunningGateway) -> None:
    headers = [("x-b", "1"), ("accept", "*/*"), ("x-b", "2"), ("user-agent", "curl"), ("via", "1.0 other")]

    own = [list(pair) for pair in headers]
    assert [pair for pair in received(workshop, *headers) if pair in own] == own


def test_the_host_of_the_backend_is_sent_without_its_default_port(workshop: RunningGateway) -> None:
    assert [value for name, value in received(workshop, ("host", "HTTPBINGO.org:80")) if name == "host"] == [
        "httpbingo.org"
    ]


def test_a_port_that_is_no_default_is_sent_with_the_host(plain: RunningGateway) -> None:
    headers = plain.client.get("https://origin.test/").json()["headers"]

    assert [value for name, value in headers if name == "host"] == [f"origin.test:{PORT}"]


def test_hop_by_hop_fields_and_trailers_of_an_answer_end_here(tmp_path: Path) -> None:
    async def script(origin: Downstream) -> None:
        await origin.head()
        await origin.send(
            b"HTTP/1.1 200 OK\r\nConnection: X-One\r\nX-One: 1\r\nX-Two: 2\r\nKeep-Alive: timeout=5\r\n"
            b"Server: origin\r\nProxy-Authenticate: Basic\r\nTrailer: X-Three\r\nTransfer-Encoding: chunked\r\n"
            b"Date: yesterday\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n2\r\nok\r\n0\r\nX-Three: 3\r\n\r\n"
        )

    with (
        serving_in_thread(script) as origin,
        running(tmp_path, manifests(tmp_path), {f"origin.test:{PORT}": origin.port}) as gateway,
    ):
        answer: Any = gateway.client.get("https://origin.test/")

        assert answer.text == "ok"
        assert answer.headers.multi_items() == [
            ("x-two", "2"),
            ("server", "origin"),
            ("date", "yesterday"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
        ]
