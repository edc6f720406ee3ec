"""One question to a token endpoint, over real TLS."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any

import pytest

from app.backends.dial import Dialer
from app.backends.oauth import DEFAULT_LIFETIME, MAX_ANSWER_BYTES, MAX_LIFETIME, TokenError, fetch_token
from app.backends.tls import client_context
from app.backends.transport import OriginTransport
from tests.app.backends.tokens import HOST, LOOPBACK, SECRET, answer, token, token_endpoint
from tests.support.loops import in_each_loop, in_loop

if TYPE_CHECKING:
    from tests.support.origins import Downstream


def sending(data: bytes) -> Any:
    async def reply(downstream: Downstream, _: int) -> None:
        await downstream.send(data)

    return reply


async def fetched(document: Any) -> tuple[bytes, float]:
    async with token_endpoint(sending(answer(document))) as endpoint:
        value, lifetime = await fetch_token(endpoint.client, endpoint.transport)
        return value.reveal(), lifetime


@in_each_loop
async def test_the_secret_goes_into_the_head_form_encoded() -> None:
    asked = {"scopes": ("read", "write"), "audiences": ("a", "b"), "resources": ("https://api.test/",)}
    async with token_endpoint(sending(answer(token("abc", expires_in=60))), **asked) as endpoint:
        value, lifetime = await fetch_token(endpoint.client, endpoint.transport)

        assert (value.reveal(), lifetime) == (b"abc", 60.0)
        [head] = endpoint.origin.heads
        basic = base64.b64encode(b"my+app:s3cr%26t%3A+%C3%A4").decode()
        line, *fields = head.decode().split("\r\n")[:-2]
        assert line == "POST /oauth/token HTTP/1.1"
        assert sorted(fields) == [
            "accept: application/json",
            f"authorization: Basic {basic}",
            "connection: close",
            "content-length: 103",
            "content-type: application/x-www-form-urlencoded",
            f"host: {HOST}:{endpoint.origin.port}",
        ]
        assert endpoint.forms == [
            [
                ("grant_type", "client_credentials"),
                ("scope", "read write"),
                ("audience", "a"),
                ("audience", "b"),
                ("resource", "https://api.test/"),
            ]
        ]


@in_loop
async def test_the_secret_goes_into_the_body_where_the_manifest_says_so() -> None:
    async with token_endpoint(sending(answer(token("abc"))), secret_in_body=True) as endpoint:
        await fetch_token(endpoint.client, endpoint.transport)

        assert b"authorization" not in endpoint.origin.heads[0]
        assert endpoint.forms == [
            [("grant_type", "client_credentials"), ("client_id", "my app"), ("client_secret", SECRET)]
        ]


@pytest.mark.parametrize(
    ("fields", "lifetime"),
    [
        ({}, DEFAULT_LIFETIME),
        ({"expires_in": None}, DEFAULT_LIFETIME),
        ({"expires_in": 0}, 0.0),
        ({"expires_in": 3599.5}, 3599.5),
        ({"expires_in": "3599"}, 3599.0),
        ({"expires_in": 10**400}, MAX_LIFETIME),
        ({"token_type": "bEARER"}, DEFAULT_LIFETIME),
        ({"scope": "less than was asked for", "refresh_token": "not used"}, DEFAULT_LIFETIME),
    ],
)
@in_loop
async def test_a_token_lives_as_long_as_the_endpoint_says(fields: dict[str, Any], lifetime: float) -> None:
    assert await fetched({**token("abc"), **fields}) == (b"abc", lifetime)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"garbage hunter2",
        b"\xff\xfe\xfd",
        b"[" * 60_000,
        b'{"access_token": "hunter2", "token_type": "Bearer", "expires_in": NaN}',
        b"9" * 5000,
        [],
        "hunter2",
        {},
        {"error": "invalid_client", "error_description": "hunter2"},
        {"access_token": "hunter2"},
        {**token("hunter2"), "token_type": "mac"},
        token("hunter2", token_type=None),
        {"token_type": "Bearer", "access_token": ["hunter2"]},
        token(""),
        token("hunter2\r\nx-evil: 1"),
        token("hunter2 "),
        token("hunter2\ud800"),
        token("hunter2", expires_in=-1),
        token("hunter2", expires_in=True),
        token("hunter2", expires_in="soon"),
        token("hunter2", expires_in="9" * 5000),
        token("hunter2", expires_in=[1]),
    ],
)
@in_loop
async def test_an_answer_that_is_no_token_is_a_failure_that_shows_nothing_of_it(document: Any) -> None:
    async with token_endpoint(sending(answer(document))) as endpoint:
        with pytest.raises(TokenError) as caught:
            await fetch_token(endpoint.client, endpoint.transport)

        assert str(caught.value).startswith(f"token endpoint {HOST}:{endpoint.origin.port}: ")
        assert "hunter2" not in str(caught.value)
        assert "invalid_client" not in str(caught.value)
        assert endpoint.asked == 1


@pytest.mark.parametrize(
    "status",
    ["201 Created", "204 No Content", "302 Found", "307 Temporary Redirect", "400 Bad Request", "401 No", "500 Oh"],
)
@in_loop
async def test_only_200_is_an_answer_and_no_redirect_is_followed(status: str) -> None:
    # A redirect to the endpoint itself: if it were followed, the second request would be seen.
    document = b"" if status.startswith("204") else token("hunter2")
    data = answer(document, status, f"location: https://{HOST}/oauth/token")
    async with token_endpoint(sending(data)) as endpoint:
        with pytest.raises(TokenError) as caught:
            await fetch_token(endpoint.client, endpoint.transport)

        assert str(caught.value) == f"token endpoint {HOST}:{endpoint.origin.port}: status {status[:3]}"
        assert endpoint.asked == 1


@pytest.mark.parametrize("framing", ["content-length", "chunked"])
@in_loop
async def test_a_huge_answer_is_not_read_to_its_end(framing: str) -> None:
    left = asyncio.Event()

    async def reply(downstream: Downstream, _: int) -> None:
        length = "content-length: 1000000000" if framing == "content-length" else "transfer-encoding: chunked"
        await downstream.send(f"HTTP/1.1 200 OK\r\n{length}\r\n\r\n".encode())
        part = b" " * 8192
        try:
            while True:
                await downstream.send(part if framing == "content-length" else b"2000\r\n" + part + b"\r\n")
        finally:
            left.set()

    async with token_endpoint(reply) as endpoint:
        with pytest.raises(TokenError, match=f"longer than {MAX_ANSWER_BYTES} bytes"):
            await fetch_token(endpoint.client, endpoint.transport)
        await left.wait()


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"])
@in_loop
async def test_a_slow_answer_is_a_failure(sent: bytes) -> None:
    async def reply(downstream: Downstream, _: int) -> None:
        await downstream.send(sent)
        await downstream.until_closed()

    async with token_endpoint(reply) as endpoint:
        with pytest.raises(TokenError, match=r"no whole answer within 0\.2 s"):
            await fetch_token(endpoint.client, endpoint.transport, 0.2)


@in_loop
async def test_a_connection_that_ends_before_the_answer_is_tried_once_more() -> None:
    async def reply(downstream: Downstream, number: int) -> None:
        if number == 1:
            downstream.reset()
            raise ConnectionResetError
        await downstream.send(answer(token("abc")))

    async with token_endpoint(reply) as endpoint:
        assert (await fetch_token(endpoint.client, endpoint.transport)).value.reveal() == b"abc"
        assert endpoint.asked == 2


@in_loop
async def test_broken_http_is_a_failure_after_two_tries() -> None:
    async with token_endpoint(sending(b"garbage hunter2\r\n\r\n")) as endpoint:
        with pytest.raises(TokenError) as caught:
            await fetch_token(endpoint.client, endpoint.transport)

        assert "hunter2" not in str(caught.value)
        assert endpoint.asked == 2


@in_loop
async def test_an_endpoint_that_cannot_be_verified_is_not_told_the_secret() -> None:
    async with token_endpoint(sending(answer(token("abc")))) as endpoint:
        dialer = Dialer({(HOST, endpoint.origin.port): ("127.0.0.1", endpoint.origin.port)}, LOOPBACK)
        strict = OriginTransport(endpoint.client.endpoint, dialer, client_context())
        guarded = OriginTransport(
            endpoint.client.endpoint,
            Dialer({(HOST, endpoint.origin.port): ("127.0.0.1", endpoint.origin.port)}),
            client_context(),
        )
        for transport in (strict, guarded):
            with pytest.raises(TokenError):
                await fetch_token(endpoint.client, transport)
            await transport.aclose()

        assert endpoint.asked == 0
