"""The CONNECT exchange: what opens a tunnel, and that nothing else does."""

from __future__ import annotations

import contextlib
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.backends.errors import OriginConnectError
from app.backends.tunnel import MAX_HEAD_BYTES, ConnectHead, connect_request, open_tunnel
from tests.support.loops import in_each_loop
from tests.support.origins import Downstream, serving

OPEN = [
    b"HTTP/1.1 200 Connection established\r\n\r\n",
    b"HTTP/1.0 200\r\n\r\n",
    b"HTTP/1.1 299 \r\nVia: a\r\nx:\r\n\r\n",
]
CLOSED = {
    b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\nbody": "it answered CONNECT with 407",
    b"HTTP/1.1 502 Bad Gateway\r\nX: secret\r\n\r\n": "it answered CONNECT with 502",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n": "it answered CONNECT with 100",
    b"HTTP/1.1 200 OK\r\n\r\nmore": "it sent more than its answer to CONNECT",
    b"HTTP/2 200 OK\r\n\r\n": "its answer to CONNECT is no HTTP",
    b"HTTP/1.1 2000 OK\r\n\r\n": "its answer to CONNECT is no HTTP",
    b"HTTP/1.1 200 O\nK\r\n\r\n": "its answer to CONNECT is no HTTP",
    b"HTTP/1.1 200 OK\r\n folded\r\n\r\n": "its answer to CONNECT is no HTTP",
    b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n": "its answer to CONNECT is no HTTP",
    b"HTTP/1.1 200 OK\r\nx: a\0\r\n\r\n": "its answer to CONNECT is no HTTP",
    b"SSH-2.0-x\r\n\r\n": "its answer to CONNECT is no HTTP",
    b"\r\n\r\n": "its answer to CONNECT is no HTTP",
    b"x" * (MAX_HEAD_BYTES + 1): "its answer to CONNECT is too large",
}


@pytest.mark.parametrize("answer", OPEN)
def test_a_2xx_opens_the_tunnel(answer: bytes) -> None:
    head = ConnectHead()

    assert not any(head.feed(answer[n : n + 1]) for n in range(len(answer) - 1))
    assert head.feed(answer[-1:])


@pytest.mark.parametrize(("answer", "reason"), CLOSED.items(), ids=range(len(CLOSED)))
def test_nothing_else_does(answer: bytes, reason: str) -> None:
    with pytest.raises(OriginConnectError, match=f"^{reason}$"):
        ConnectHead().feed(answer)


PIECES = st.sampled_from(
    [
        b"HTTP/1.1 ",
        b"HTTP/1.0 ",
        b"200",
        b"404",
        b" OK",
        b"\r\n",
        b"\r\n\r\n",
        b"x: y",
        b"\n",
        b"\r",
        b"\0",
        b" ",
        b"\xff",
    ]
)


@given(st.lists(PIECES, max_size=12).map(b"".join), st.integers(1, 7))
def test_whatever_comes_a_tunnel_is_open_after_one_whole_2xx_head_only(data: bytes, size: int) -> None:
    head = ConnectHead()
    opened = False
    try:
        for start in range(0, len(data), size):
            opened = head.feed(data[start : start + size])
            if opened:
                break
    except OriginConnectError:
        return
    if opened:
        seen = data[: start + size]
        assert seen.startswith((b"HTTP/1.1 2", b"HTTP/1.0 2"))
        assert seen.index(b"\r\n\r\n") == len(seen) - 4


@pytest.mark.parametrize(
    ("host", "authority"),
    [("api.test", "api.test:443"), ("192.0.2.1", "192.0.2.1:443"), ("2001:db8::1", "[2001:db8::1]:443")],
)
def test_the_request_names_the_origin_twice(host: str, authority: str) -> None:
    assert connect_request(host, 443).decode() == f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n"


@given(st.text(alphabet="a.:\r\n \t\0/@é[]%", max_size=8))
def test_no_host_breaks_out_of_the_request(host: str) -> None:
    with contextlib.suppress(OriginConnectError):
        request = connect_request(host, 443).decode()
        assert request.count("\r\n") == 3
        assert request.split("\r\n")[0].count(" ") == 2


async def connected(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setblocking(False)  # noqa: FBT003  its signature
    return sock


@in_each_loop
async def test_the_answer_is_awaited() -> None:
    async def proxy(side: Downstream) -> None:
        await side.head()
        await side.send(b"HTTP/1.1 200")
        await side.send(b" OK\r\n\r\n")
        assert await side.reader.readexactly(2) == b"hi"

    async with serving(proxy) as origin:
        with await connected(origin.port) as sock:
            await open_tunnel(sock, "api.test", 443)
            sock.send(b"hi")
        assert origin.heads == [b"CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n"]


@in_each_loop
async def test_a_proxy_that_leaves() -> None:
    async def proxy(side: Downstream) -> None:
        await side.head()
        if side.number == 1:
            await side.send(b"HTTP/1.1 200 OK\r\n")
        else:
            side.reset()

    async with serving(proxy) as origin:
        with (
            await connected(origin.port) as sock,
            pytest.raises(OriginConnectError, match="closed the connection where"),
        ):
            await open_tunnel(sock, "api.test", 443)
        with await connected(origin.port) as sock, pytest.raises(OriginConnectError, match="ended the connection"):
            await open_tunnel(sock, "api.test", 443)
