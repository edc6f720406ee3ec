"""State-changing requests of pages, through the layers around."""

from __future__ import annotations

import asyncio

import pytest

from config.policy import cors
from config.policy.csrf import Csrf
from tests.support.asgi import Call
from tests.support.routes import Origin, Served, route_of

CSRF = Csrf(frozenset({cors.Origin.parse("https://app.example")}))


def ask(*fields: tuple[bytes, bytes], method: str = "POST", host: bytes = b"origin.test") -> tuple[Call, Served]:
    origin = Origin()
    served = Served(route_of(csrf=CSRF), origin)
    call = Call(served, method, headers=[(b"host", host), *fields])
    call.body(b"")
    asyncio.run(call.run())
    assert len(origin.contexts) == (call.status == 200)
    return call, served


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        (b"origin.test", b"https://origin.test"),
        (b"Origin.test.:80", b"https://origin.test:443"),
        (b"origin.test:8080", b"https://origin.test:8080"),
        (b"origin.test", b"https://app.example"),
    ],
)
def test_the_destination_s_own_pages_and_listed_ones_pass(host: bytes, origin: bytes) -> None:
    assert ask((b"origin", origin), host=host)[0].status == 200


@pytest.mark.parametrize("origin", [b"https://evil.test", b"http://origin.test", b"https://origin.test:8080", b"null"])
def test_other_pages_are_refused(origin: bytes) -> None:
    call, served = ask((b"origin", origin))

    assert (call.status, call.content) == (403, b"CSRF validation failed")
    assert served.records[0].reason == "csrf_validation_failed"
    assert not origin or origin not in call.content


def test_what_connection_names_is_judged_too() -> None:
    fields = ((b"origin", b"https://evil.test"), (b"sec-fetch-site", b"cross-site"))

    assert ask(*fields, (b"connection", b"origin, sec-fetch-site"))[0].status == 403


def test_what_no_browser_sent_passes() -> None:
    assert ask()[0].status == 200


def test_reading_is_left_alone() -> None:
    assert ask((b"origin", b"https://evil.test"), (b"sec-fetch-site", b"cross-site"), method="GET")[0].status == 200
