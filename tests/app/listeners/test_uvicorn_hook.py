"""What the hook publishes and refuses: uvicorn's protocol classes over a transport that keeps what is written."""

from __future__ import annotations

import asyncio
import gc
import logging
import ssl
import weakref
from typing import TYPE_CHECKING, Any, cast

import pytest
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from app.listeners import uvicorn_hook
from app.listeners.uvicorn_connection import (
    ADMIT,
    MAX_PIPELINED,
    MAX_PIPELINED_BYTES,
    READ_BUFFER,
    REFUSED,
    tls_extension,
)
from app.listeners.uvicorn_hook import SERVER_CONFIG, install
from middleware.context import CONNECTION, TARGET, Connection
from tests.support.loops import in_loop, until
from tests.support.tls import TEAM_A, TEAM_B, svid

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Receive, Scope, Send

    from middleware.errors import GatewayError

REQUEST = b"GET /a HTTP/1.1\r\nHost: origin.test\r\n\r\n"
PARSERS = pytest.mark.parametrize("parser", ["h11", "httptools"])


class TlsObject:
    """The part of a finished handshake that the hook reads."""

    session_reused = False

    def __init__(self, pem: str | None, version: str = "TLSv1.3") -> None:
        self._der = ssl.PEM_cert_to_DER_cert(pem) if pem else None
        self._version = version

    def getpeercert(self, *, binary_form: bool) -> bytes | None:
        assert binary_form
        return self._der

    def version(self) -> str:
        return self._version


class KeepingTransport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self, pem: str | None = None, peername: tuple[str, int] = ("192.0.2.7", 1234)) -> None:
        tls = {"ssl_object": TlsObject(pem), "sslcontext": object()} if pem else {}
        super().__init__({"peername": peername, "sockname": ("127.0.0.1", 8443), **tls})
        self.written = b""
        self.protocol: asyncio.BaseProtocol | None = None
        self.closed = self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high
        assert low is None

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol
        self.kept = getattr(protocol, "get_buffer", None)  # as both event loops do under TLS, to the very end


class Listener:
    """A uvicorn server that the hook has prepared, and the requests that its application got."""

    def __init__(self, parser: str) -> None:
        self.scopes: list[Scope] = []
        self.states: list[dict[str, Any]] = []
        self.refused: list[tuple[Connection, GatewayError]] = []
        self.answering = asyncio.Event()
        self.answering.set()
        self.config = Config(self._app, http=cast("Any", parser), log_config=None, lifespan="on", interface="asgi3")
        self.config.load()
        server = Server(self.config)
        server.lifespan = self.config.lifespan_class(self.config)
        uvicorn_hook._prepare(server)
        self.state: dict[str, Any] = {
            ADMIT: lambda _: None,
            REFUSED: self._refused,
            READ_BUFFER: server.lifespan.state[READ_BUFFER],
        }
        self.server_state = ServerState()

    async def _app(self, scope: Scope, _: Receive, send: Send) -> None:
        self.scopes.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await self.answering.wait()
        await send({"type": "http.response.body", "body": b"ok"})

    def _refused(self, connection: Connection, problem: GatewayError) -> str:
        self.refused.append((connection, problem))
        return "the-decision-id"

    def connect(self, transport: KeepingTransport) -> asyncio.Protocol:
        make = cast("Any", self.config.http_protocol_class)
        protocol: asyncio.Protocol = make(config=self.config, server_state=self.server_state, app_state=self.state)
        protocol.connection_made(transport)
        return protocol

    async def got(self, count: int) -> Scope:
        """Wait for a request, counted from 1."""
        await until(lambda: len(self.scopes) >= count)
        return self.scopes[count - 1]


def end(protocols: Iterable[asyncio.Protocol]) -> None:
    for protocol in protocols:
        protocol.connection_lost(None)


@PARSERS
@in_loop
async def test_each_connection_shows_its_own_certificate_however_requests_interleave(parser: str) -> None:
    listener = Listener(parser)
    one, two = (listener.connect(KeepingTransport(svid(identity))) for identity in (TEAM_A, TEAM_B))

    for count, (protocol, identity) in enumerate([(one, TEAM_A), (two, TEAM_B), (one, TEAM_A), (two, TEAM_B)], start=1):
        protocol.data_received(REQUEST)
        connection = (await listener.got(count))["state"][CONNECTION]
        assert connection.tls["client_cert_chain"] == [svid(identity)]
        await asyncio.sleep(0)
        await until(lambda count=count: len(listener.scopes) == count)  # type: ignore[misc]
        await asyncio.sleep(0.01)
    assert CONNECTION not in listener.state
    end((one, two))


@PARSERS
@in_loop
async def test_the_addresses_are_the_sockets_whatever_a_header_says(parser: str) -> None:
    listener = Listener(parser)
    transport = KeepingTransport(svid(TEAM_A), ("127.0.0.1", 1234))
    protocol = listener.connect(transport)

    protocol.data_received(b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 8.8.8.8\r\nX-Forwarded-Proto: http\r\n\r\n")

    connection = (await listener.got(1))["state"][CONNECTION]
    assert (connection.address, connection.port, connection.scheme) == ("127.0.0.1", 1234, "https")
    assert (connection.local_address, connection.local_port) == ("127.0.0.1", 8443)
    connection.abort()
    assert transport.aborted
    end([protocol])


@PARSERS
@in_loop
async def test_a_connection_without_tls_says_so(parser: str) -> None:
    listener = Listener(parser)
    protocol = listener.connect(KeepingTransport())
    protocol.data_received(REQUEST)

    connection = (await listener.got(1))["state"][CONNECTION]
    assert (connection.tls, connection.scheme) == (None, "http")
    end([protocol])


@pytest.mark.parametrize("target", [b"/a?b=c", b"/a%2fb", b"http://origin.test/a?b", b"/a#b", b"//a/b"])
@PARSERS
@in_loop
async def test_the_target_is_published_as_it_was_received(parser: str, target: bytes) -> None:
    listener = Listener(parser)
    protocol = listener.connect(KeepingTransport(svid(TEAM_A)))
    for count, sent in enumerate([target, b"/second"], start=1):
        protocol.data_received(b"GET %b HTTP/1.1\r\nHost: origin.test\r\n\r\n" % sent)

        assert (await listener.got(count))["state"][TARGET] == sent
        await asyncio.sleep(0.01)
    assert listener.scopes[0]["state"][TARGET] == target
    end([protocol])


@PARSERS
@in_loop
async def test_trailer_fields_do_not_become_header_fields(parser: str) -> None:
    listener = Listener(parser)
    protocol = listener.connect(KeepingTransport(svid(TEAM_A)))

    protocol.data_received(
        b"POST / HTTP/1.1\r\nHost: origin.test\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nok\r\n0\r\nHost: other.test\r\nX-Caller-Identity: spoofed\r\n\r\n"
    )

    assert (await listener.got(1))["headers"] == [(b"host", b"origin.test"), (b"transfer-encoding", b"chunked")]
    end([protocol])


@pytest.mark.parametrize(
    ("request_bytes", "status", "body"),
    [
        (b"garbage\r\n\r\n", 400, b"invalid request"),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, b"invalid request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400, b"invalid request"),
    ],
)
@PARSERS
@in_loop
async def test_what_the_parser_refuses_gets_the_answer_of_the_contract(
    parser: str, request_bytes: bytes, status: int, body: bytes
) -> None:
    listener = Listener(parser)
    transport = KeepingTransport(svid(TEAM_A))
    protocol = listener.connect(transport)

    protocol.data_received(request_bytes)

    head, _, content = transport.written.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0].startswith(b"HTTP/1.1 %d " % status)
    assert content == body
    assert {b"x-egress-decision-id: the-decision-id", b"connection: close"} <= set(lines)
    assert [line for line in lines if line.startswith(b"connection")] == [b"connection: close"]
    assert transport.closed
    assert listener.refused[0][0].address == "192.0.2.7"
    assert listener.scopes == []
    end([protocol])


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"WHATEVER / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"GET / HTTP/3.7\r\nHost: a\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ],
)
@in_loop
async def test_httptools_refusals_are_told_apart(request_bytes: bytes, status: int) -> None:
    listener = Listener("httptools")
    transport = KeepingTransport(svid(TEAM_A))
    protocol = listener.connect(transport)

    protocol.data_received(request_bytes)

    assert transport.written.startswith(b"HTTP/1.1 %d " % status)
    assert listener.refused[0][1].status == status
    end([protocol])


@PARSERS
@in_loop
async def test_connect_reaches_the_application_which_refuses_it(parser: str) -> None:
    listener = Listener(parser)
    protocol = listener.connect(KeepingTransport(svid(TEAM_A)))

    protocol.data_received(b"CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test:443\r\n\r\n")

    scope = await listener.got(1)
    assert (scope["method"], scope["state"][TARGET]) == ("CONNECT", b"origin.test:443")
    end([protocol])


@PARSERS
@in_loop
async def test_a_secret_of_the_request_is_not_in_the_reason_of_its_refusal(parser: str) -> None:
    listener = Listener(parser)
    for sent in (
        b"GET http://[hunter2/?hunter2 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nx hunter2: a\r\n\r\n",
    ):
        protocol = listener.connect(KeepingTransport(svid(TEAM_A)))
        protocol.data_received(sent)
        end([protocol])
    await asyncio.sleep(0.01)

    assert [problem for _, problem in listener.refused if "hunter2" in str(problem)] == []


@PARSERS
@in_loop
async def test_garbage_within_an_exchange_aborts_it(parser: str) -> None:
    listener = Listener(parser)
    listener.answering.clear()
    transport = KeepingTransport(svid(TEAM_A))
    protocol = listener.connect(transport)
    protocol.data_received(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    await listener.got(1)
    await until(lambda: transport.written)

    protocol.data_received(b"zz\r\n")

    assert transport.aborted
    assert b"invalid request" not in transport.written
    assert listener.refused == []
    listener.answering.set()
    end([protocol])
    await asyncio.sleep(0.01)


@PARSERS
@in_loop
async def test_an_upgrade_reaches_the_application_as_a_plain_request(parser: str) -> None:
    listener = Listener(parser)
    protocol = listener.connect(KeepingTransport(svid(TEAM_A)))

    protocol.data_received(
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )

    scope = await listener.got(1)
    assert scope["type"] == "http"
    assert (b"upgrade", b"websocket") in scope["headers"]
    end([protocol])


@in_loop
async def test_while_many_requests_wait_nothing_more_is_read() -> None:
    listener = Listener("httptools")
    listener.answering.clear()
    transport = KeepingTransport(svid(TEAM_A))
    protocol = cast("Any", listener.connect(transport))
    waiting_when_read: list[int] = []
    transport.resume_reading = lambda: waiting_when_read.append(len(protocol.pipeline))  # type: ignore[method-assign]

    protocol.data_received(REQUEST * (MAX_PIPELINED + 5))
    assert protocol.flow.read_paused
    listener.answering.set()
    await until(lambda: transport.written.count(b"ok") == MAX_PIPELINED + 5)

    assert waiting_when_read == [MAX_PIPELINED]
    end([protocol])


@in_loop
async def test_while_much_waits_behind_a_request_h11_reads_nothing_more_whatever_the_application_asks() -> None:
    class Reading(Listener):
        async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
            await receive()
            await super()._app(scope, receive, send)

    listener = Reading("h11")
    transport = KeepingTransport(svid(TEAM_A))
    protocol = cast("Any", listener.connect(transport))
    waiting_when_read: list[int] = []
    transport.resume_reading = lambda: waiting_when_read.append(  # type: ignore[method-assign]
        len(protocol.conn.trailing_data[0])
    )
    count = 2 * MAX_PIPELINED_BYTES // len(REQUEST)

    protocol.data_received(REQUEST * count)
    await until(lambda: transport.written.count(b"ok") == count)

    assert waiting_when_read
    assert max(waiting_when_read) < MAX_PIPELINED_BYTES
    end([protocol])


EXPECTING = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"


@pytest.mark.parametrize(("sent", "closes"), [(EXPECTING, True), (EXPECTING + b"hi", False)])
@in_loop
async def test_a_caller_that_was_not_told_to_go_on_and_may_keep_its_body_is_let_go(
    sent: bytes, *, closes: bool
) -> None:
    listener = Listener("httptools")
    transport = KeepingTransport(svid(TEAM_A))
    protocol = listener.connect(transport)

    protocol.data_received(sent)
    await until(lambda: transport.written.endswith(b"ok"))

    assert (b"\r\nconnection: close\r\n" in transport.written, transport.closed) == (closes, closes)
    end([protocol])


@in_loop
async def test_a_caller_that_speaks_http_1_0_is_not_told_to_go_on() -> None:
    listener = Listener("httptools")
    listener.answering.clear()
    transport = KeepingTransport(svid(TEAM_A))
    protocol = cast("Any", listener.connect(transport))

    protocol.data_received(EXPECTING.replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert not protocol.cycle.waiting_for_100_continue
    listener.answering.set()
    await until(lambda: transport.closed)
    end([protocol])


@PARSERS
@pytest.mark.parametrize("began", [b"", b"\r\n", REQUEST])
@in_loop
async def test_an_idle_connection_is_closed_though_it_never_asked(parser: str, began: bytes) -> None:
    listener = Listener(parser)
    listener.config.timeout_keep_alive = cast("Any", 0.05)
    transport = KeepingTransport(svid(TEAM_A))
    protocol = listener.connect(transport)
    listener.answering.clear()
    if began == REQUEST:
        protocol.data_received(began)
        await listener.got(1)
        await asyncio.sleep(0.1)
        assert not transport.closed, "an answer that takes longer than the connection may be idle"
        listener.answering.set()
    elif parser == "httptools":
        protocol.data_received(began)  # h11 stops its timer with the first byte

    await until(lambda: transport.closed)
    end([protocol])


# the preparation


@PARSERS
@in_loop
async def test_a_lost_connection_is_freed_without_a_search_for_cycles(parser: str) -> None:
    listener = Listener(parser)
    gc.disable()
    try:
        transport = KeepingTransport(svid(TEAM_A))
        protocol = listener.connect(transport)
        freed = weakref.ref(protocol)
        for number in (1, 2):
            protocol.data_received(REQUEST)
            await listener.got(number)
            await asyncio.sleep(0)
        cast("Any", transport.protocol or protocol).connection_lost(None)
        transport.protocol = None  # as event loops do
        del protocol, transport
        listener.scopes.clear()
        await asyncio.sleep(0)

        assert freed() is None
    finally:
        gc.enable()


@PARSERS
@in_loop
async def test_no_ticket_resumes_an_identity_and_the_servers_own_fields_stay_away(parser: str) -> None:
    config = Config("app.main:app", http=cast("Any", parser), log_config=None, lifespan="on")
    config.load()
    config.ssl = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server = Server(config)
    server.lifespan = config.lifespan_class(config)

    uvicorn_hook._prepare(server)

    assert config.ssl.num_tickets == 0
    assert config.ssl.options & ssl.OP_NO_TICKET
    assert b"server" not in dict(config.encoded_headers)
    assert not config.date_header
    assert config.ws_protocol_class is None
    base = H11Protocol if parser == "h11" else HttpToolsProtocol
    assert issubclass(cast("Any", config.http_protocol_class), base)
    assert config.http_protocol_class is not base
    assert server.lifespan.state[SERVER_CONFIG] is config


def test_without_a_lifespan_nothing_is_served(caplog: pytest.LogCaptureFixture) -> None:
    config = Config("app.main:app", log_config=None, lifespan="off")
    config.load()

    with caplog.at_level(logging.ERROR, "uvicorn.error"), pytest.raises(SystemExit) as stopped:
        uvicorn_hook._prepare(Server(config))
    assert stopped.value.code == 3
    assert "--lifespan off" in caplog.text


def test_a_protocol_that_the_hook_does_not_know_is_not_served(caplog: pytest.LogCaptureFixture) -> None:
    config = Config("app.main:app", log_config=None, lifespan="on")
    config.load()
    config.http_protocol_class = asyncio.Protocol

    with caplog.at_level(logging.ERROR, "uvicorn.error"), pytest.raises(SystemExit) as stopped:
        uvicorn_hook._prepare(Server(config))
    assert stopped.value.code == 3
    assert "--http" in caplog.text


def test_installing_twice_wraps_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def startup(_: Server, sockets: object = None) -> None:
        """Stand in for uvicorn's."""

    monkeypatch.setattr(Server, "startup", startup)
    install()
    wrapped = Server.startup
    install()

    assert Server.startup is wrapped
    assert cast("Any", wrapped).__wrapped__ is startup


@pytest.mark.parametrize(("version", "number"), [("TLSv1.3", 0x0304), ("TLSv1.2", 0x0303), ("TLSv9", None)])
def test_the_extension_tells_the_certificate_and_the_version(version: str, number: int | None) -> None:
    extension = tls_extension(cast("Any", TlsObject(svid(TEAM_A), version)))

    assert extension["client_cert_chain"] == [svid(TEAM_A)]
    assert extension["client_cert_error"] is None
    assert extension["tls_version"] == number


def test_a_handshake_without_a_client_certificate_has_an_empty_chain() -> None:
    assert tls_extension(cast("Any", TlsObject(None)))["client_cert_chain"] == []
