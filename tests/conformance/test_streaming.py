"""Bodies stream: as fast as the slower side, without being kept, and an end on one side is an end on the other."""

from __future__ import annotations

import http.client
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conformance.harness.client import TruncatedError
from tests.conformance.harness.client import request as spell
from tests.conformance.harness.gateway import BOTH_PARSERS, Gateway, each_way
from tests.conformance.harness.waiting import PATIENCE_SECONDS, eventually, settled

if TYPE_CHECKING:
    from tests.conformance.harness.certificates import Pki
    from tests.conformance.harness.origin import Exchange, Origin

MIB = 1 << 20
GIB = 1 << 30
PART = bytes(MIB)
ENDLESS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"%x\r\n%b\r\n" % (len(PART), PART)


pytestmark = each_way(BOTH_PARSERS)


def memory_bytes(gateway: Gateway, name: str) -> int:
    """Return a number of /proc/PID/status: VmRSS is now, VmHWM the most there ever was."""
    for line in Path(f"/proc/{gateway.process.pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    pytest.fail(f"no {name}")


def resident_before(gateway: Gateway, pki: Pki) -> int:
    """Return what the gateway holds once it has everything that a first request loads."""
    if sys.platform != "linux":
        pytest.skip("resident memory is read from /proc")
    assert gateway.ask(pki.team_a, "/zen").status == 200
    return memory_bytes(gateway, "VmRSS")


def test_a_download_of_1_gib_is_not_kept_in_memory(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    def download(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % GIB)
        for _ in range(GIB // MIB):
            exchange.send(PART)

    origin.handlers["/repos/download"] = download
    before = resident_before(gateway, pki)
    with gateway.connect(pki.team_a) as caller:
        caller.send(spell("/repos/download", "X-Request-Id: download"))
        assert caller.read_head().value("content-length") == str(GIB)
        received = len(caller.take_buffered())
        buffer = bytearray(MIB)
        while received < GIB:
            received += (count := caller.sock.recv_into(buffer))
            assert count, f"the download ended after {received} bytes"
        assert received == GIB
        assert caller.ask("/zen").status == 200
    assert memory_bytes(gateway, "VmHWM") - before < 64 * MIB
    assert gateway.access_line("request_id", "download")["bytes_out"] == GIB


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_an_upload_of_1_gib_is_not_kept_in_memory(gateway: Gateway, pki: Pki, origin: Origin, framing: str) -> None:
    size = GIB if framing == "length" else GIB // 4

    def upload(exchange: Exchange) -> None:
        exchange.answer(str(sum(len(part) for part in exchange.body_parts())).encode())

    origin.handlers["/repos/upload"] = upload
    before = resident_before(gateway, pki)
    field = f"Content-Length: {size}" if framing == "length" else "Transfer-Encoding: chunked"
    with gateway.connect(pki.team_a) as caller:
        caller.send(spell("/repos/upload", field, f"X-Request-Id: upload-{framing}", method="POST"))
        for _ in range(size // MIB):
            caller.send(PART if framing == "length" else CHUNK)
        if framing == "chunks":
            caller.send(b"0\r\n\r\n")
        assert caller.read().text == str(size)
    assert memory_bytes(gateway, "VmHWM") - before < 64 * MIB
    assert gateway.access_line("request_id", f"upload-{framing}")["bytes_in"] == size


def test_a_slow_reader_stalls_the_origin(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    sent = 0

    def flood(exchange: Exchange) -> None:
        nonlocal sent
        exchange.send(ENDLESS)
        while sent < 512:
            exchange.send(CHUNK)
            sent += 1
        exchange.send(b"0\r\n\r\n")

    origin.handlers["/repos/flood"] = flood
    with gateway.connect(pki.team_a, receive_buffer_bytes=65_536) as caller:
        caller.send(spell("/repos/flood"))
        caller.read_head()
        assert settled(lambda: sent) < 64
        stalled_at = sent
        for _ in range(96):
            caller.read_chunk()
        eventually("the origin to go on", lambda: sent > stalled_at)
        caller.close()


def test_a_slow_origin_stalls_the_caller(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    go_on = threading.Event()

    def slow(exchange: Exchange) -> None:
        go_on.wait(PATIENCE_SECONDS)
        exchange.answer(str(sum(len(part) for part in exchange.body_parts())).encode())

    origin.handlers["/repos/slow"] = slow
    sent = 0
    with gateway.connect(pki.team_a) as caller:
        caller.send(spell("/repos/slow", f"Content-Length: {64 * MIB}", method="POST"))

        def upload() -> None:
            nonlocal sent
            while sent < 64:
                caller.send(PART)
                sent += 1

        thread = threading.Thread(target=upload)
        thread.start()
        assert settled(lambda: sent) < 64
        go_on.set()
        thread.join(PATIENCE_SECONDS)
        assert caller.read().text == str(64 * MIB)


@pytest.mark.parametrize("when", ["before the head", "within the body"])
def test_a_caller_that_leaves_a_download_ends_it_at_the_origin(
    gateway: Gateway, pki: Pki, origin: Origin, when: str
) -> None:
    asked, ended = threading.Event(), threading.Event()

    def endless(exchange: Exchange) -> None:
        if when == "within the body":
            exchange.send(ENDLESS + b"5\r\nhello\r\n")
        asked.set()
        exchange.wait_for_the_end()
        ended.set()

    origin.handlers["/repos/endless"] = endless
    request_id = f"left-{when.replace(' ', '-')}"
    with gateway.connect(pki.team_a) as caller:
        caller.send(spell("/repos/endless", f"X-Request-Id: {request_id}"))
        assert asked.wait(PATIENCE_SECONDS)
        if when == "within the body":
            caller.read_head()
            assert caller.read_chunk() == b"hello"
    assert ended.wait(PATIENCE_SECONDS)
    line = gateway.access_line("request_id", request_id)
    assert line["error"]
    assert line["http.status"] == (200 if when == "within the body" else None)


def test_a_caller_that_leaves_an_upload_ends_it_at_the_origin(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    arrived, ended, whole = threading.Event(), threading.Event(), threading.Event()

    def upload(exchange: Exchange) -> None:
        try:
            for _ in exchange.body_parts():
                arrived.set()
            whole.set()
        finally:
            ended.set()

    origin.handlers["/repos/half"] = upload
    with gateway.connect(pki.team_a) as caller:
        head = spell("/repos/half", "Transfer-Encoding: chunked", "X-Request-Id: left-upload", method="POST")
        caller.send(head + b"5\r\nhello\r\n")
        assert arrived.wait(PATIENCE_SECONDS)
    assert ended.wait(PATIENCE_SECONDS)
    assert not whole.is_set()
    assert gateway.access_line("request_id", "left-upload")["error"]


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_http_client_notices_that_an_origin_died(gateway: Gateway, pki: Pki, origin: Origin, framing: str) -> None:
    def die(exchange: Exchange) -> None:
        if framing == "length":
            exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"a" * 1000)
        else:
            exchange.send(ENDLESS + b"5\r\nhello\r\n")
        exchange.reset()

    origin.handlers["/repos/dies"] = die
    with gateway.connect(pki.team_a) as caller:
        connection = http.client.HTTPConnection("api.github.com")
        connection.sock = caller.sock
        connection.request("GET", "/repos/dies")
        with pytest.raises((http.client.IncompleteRead, OSError)):
            connection.getresponse().read()


def test_server_sent_events_arrive_one_by_one(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    taken = threading.Semaphore(0)
    finished = threading.Event()

    def events(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(5):
            event = b"data: %d\n\n" % number
            exchange.send(b"%x\r\n%b\r\n" % (len(event), event))
            # The next event is not sent before this one has reached the caller.
            if not taken.acquire(timeout=PATIENCE_SECONDS):
                return
        exchange.send(b"0\r\n\r\n")
        finished.set()

    origin.handlers["/repos/events"] = events
    with gateway.connect(pki.team_a) as caller:
        caller.send(spell("/repos/events", "Accept: text/event-stream"))
        assert caller.read_head().value("content-type") == "text/event-stream"
        for number in range(5):
            assert caller.read_chunk() == b"data: %d\n\n" % number
            taken.release()
        assert caller.read_chunk() == b""
    assert finished.wait(PATIENCE_SECONDS)


def test_both_directions_stream_at_once(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    def talk(exchange: Exchange) -> None:
        exchange.send(ENDLESS)
        for part in exchange.body_parts():
            exchange.send(b"%x\r\n%b\r\n" % (len(part), part))
        exchange.send(b"0\r\n\r\n")

    origin.handlers["/repos/talk"] = talk
    with gateway.connect(pki.team_a) as caller:
        caller.send(spell("/repos/talk", "Transfer-Encoding: chunked", method="POST"))
        for number in range(5):
            word = b"word %d" % number
            caller.send(b"%x\r\n%b\r\n" % (len(word), word))
            if number == 0:
                assert caller.read_head().status == 200
            assert caller.read_chunk() == word
        caller.send(b"0\r\n\r\n")
        assert caller.read_chunk() == b""


def test_an_answer_without_a_length_ends_with_its_connection(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    def until_the_end(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 100_000)
        exchange.end()

    origin.handlers["/repos/until"] = until_the_end
    assert len(gateway.ask(pki.team_a, "/repos/until").body) == 100_000


def test_a_caller_that_ends_only_its_sending_direction_is_gone(gateway: Gateway, pki: Pki, origin: Origin) -> None:
    asked, ended = threading.Event(), threading.Event()

    def wait(exchange: Exchange) -> None:
        asked.set()
        exchange.wait_for_the_end()
        ended.set()

    origin.handlers["/repos/half-closed"] = wait
    with gateway.connect(pki.team_a) as caller:
        caller.send(spell("/repos/half-closed"))
        assert asked.wait(PATIENCE_SECONDS)
        caller.sock.shutdown(socket.SHUT_WR)
        assert ended.wait(PATIENCE_SECONDS)
        with pytest.raises(TruncatedError):
            caller.read()
