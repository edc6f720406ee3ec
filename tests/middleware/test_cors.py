"""Preflights and the answers to pages, through the layers around."""

from __future__ import annotations

import asyncio

import pytest

from config.policy.cors import Cors, Origin
from config.policy.rules import Action, Rule
from tests.support import routes
from tests.support.asgi import Call

APP = b"https://app.example"
CORS = Cors(origins=(Origin.parse("https://app.example"),), methods=("GET", "POST"), headers=("x-a",), max_age=600)
NOBODY = Rule("test/nobody#0", Action.DENY, None)
OWN = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"DELETE"),
    (b"vary", b"accept-encoding"),
    (b"x-a", b"1"),
]


def ask(
    *fields: tuple[bytes, bytes], method: str = "GET", rules: tuple[Rule, ...] = (), cors: Cors | None = CORS
) -> tuple[Call, routes.Origin, routes.Served]:
    """Make a request of a route with `cors`, whose origin has an opinion of its own."""
    origin = routes.Origin(OWN)
    served = routes.Served(routes.route_of(*rules, cors=cors), origin)
    call = Call(served, method, headers=[(b"host", b"origin.test"), *fields])
    call.body(b"")
    asyncio.run(call.run())
    return call, origin, served


def cors_fields(call: Call) -> dict[bytes, bytes]:
    return {name: value for name, value in call.sent[0]["headers"] if name.startswith(b"access-control-")}


PREFLIGHT = (b"access-control-request-method", b"POST")


def test_a_preflight_is_answered_without_asking_policy_or_the_origin() -> None:
    call, origin, served = ask((b"origin", APP), PREFLIGHT, method="OPTIONS", rules=(NOBODY,))

    (record,) = served.records
    assert (call.status, call.content, record.status) == (200, b"", 200)
    assert cors_fields(call) == {
        b"access-control-allow-origin": APP,
        b"access-control-allow-methods": b"GET, POST",
        b"access-control-allow-headers": b"x-a",
        b"access-control-max-age": b"600",
    }
    assert call.headers[b"vary"] == b"origin"
    assert call.headers[b"x-egress-decision-id"] == record.decision_id.encode()
    assert origin.contexts == []


@pytest.mark.parametrize("value", [b"https://evil.test", b"null", b"http://app.example", b"*", b"\xff", b""])
def test_the_preflight_of_another_page_is_told_nothing(value: bytes) -> None:
    call, origin, _ = ask((b"origin", value), PREFLIGHT, method="OPTIONS")

    assert (call.status, cors_fields(call)) == (200, {})
    assert origin.contexts == []


@pytest.mark.parametrize(
    "fields", [[(b"origin", APP)], [PREFLIGHT], [(b"origin", APP), (b"access-control-request-method", b"")]]
)
def test_options_that_is_no_preflight_goes_to_the_origin(fields: list[tuple[bytes, bytes]]) -> None:
    call, origin, _ = ask(*fields, method="OPTIONS")

    assert call.content == b"ok"
    assert len(origin.contexts) == 1


def test_policy_replaces_what_the_origin_says() -> None:
    call, _, _ = ask((b"origin", APP))

    assert call.sent[0]["headers"] == [
        (b"vary", b"accept-encoding"),
        (b"x-a", b"1"),
        (b"access-control-allow-origin", APP),
        (b"vary", b"origin"),
    ]


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [(b"origin", b"https://evil.test")],
        [(b"origin", b"null")],
        [(b"origin", APP), (b"origin", APP)],
        [(b"origin", b"https://evil.test"), (b"origin", APP)],
    ],
)
def test_any_other_origin_gets_the_answer_without_leave_to_read_it(fields: list[tuple[bytes, bytes]]) -> None:
    call, _, _ = ask(*fields)

    assert (call.status, cors_fields(call)) == (200, {})
    assert (b"vary", b"origin") in call.sent[0]["headers"]


def test_a_refusal_can_be_read_by_an_allowed_page() -> None:
    call, origin, _ = ask((b"origin", APP), rules=(NOBODY,))

    assert (call.status, cors_fields(call)) == (403, {b"access-control-allow-origin": APP})
    assert origin.contexts == []


def test_an_origin_that_connection_names_counts() -> None:
    call, _, _ = ask((b"origin", b"https://evil.test"), (b"connection", b"origin"), PREFLIGHT, method="OPTIONS")

    assert cors_fields(call) == {}


def test_a_route_without_cors_is_the_origin_s_business() -> None:
    call, _, _ = ask((b"origin", APP), PREFLIGHT, method="OPTIONS", cors=None)

    assert call.sent[0]["headers"] == OWN


def test_nobody_without_an_identity_gets_a_preflight_answered() -> None:
    served = routes.Served(routes.route_of(cors=CORS), routes.Origin())
    fields = [(b"host", b"origin.test"), (b"origin", APP), PREFLIGHT]
    call = Call(served, "OPTIONS", headers=fields, chain=[])
    asyncio.run(call.run())

    assert (call.status, cors_fields(call)) == (403, {})
