from __future__ import annotations

import pytest

from middleware import framing as framing_module
from middleware.errors import InvalidRequestError
from middleware.framing import HOP_BY_HOP, BrokenHeadError, check_framing, request_headers, written_head

HOST = (b"host", b"origin.test")


def end_to_end(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return framing_module.end_to_end(headers, dict(headers))


def framing(headers: list[tuple[bytes, bytes]]) -> tuple[bytes, int | None, bool]:
    return check_framing(headers, dict(headers))


def test_hop_by_hop_fields_are_not_passed_on() -> None:
    headers = [(name, b"x") for name in sorted(HOP_BY_HOP - {b"connection"})]

    assert end_to_end([*headers, (b"accept", b"*/*"), (b"connection", b"close")]) == [(b"accept", b"*/*")]


@pytest.mark.parametrize("connection", [b"x-one, x-two", b"X-ONE ,\tx-Two", b",x-one,,x-two,", b"close,x-one,x-two"])
def test_fields_that_connection_names_are_not_passed_on(connection: bytes) -> None:
    headers = [(b"x-one", b"1"), (b"connection", connection), (b"x-two", b"2"), (b"x-three", b"3")]

    assert end_to_end(headers) == [(b"x-three", b"3")]


def test_every_connection_field_counts() -> None:
    headers = [(b"connection", b"x-one"), (b"connection", b"x-two"), (b"x-one", b"1"), (b"x-two", b"2")]

    assert end_to_end(headers) == []


def test_the_order_and_repetition_of_other_fields_are_kept() -> None:
    headers = [(b"b", b"1"), (b"a", b"2"), (b"b", b"3")]

    assert end_to_end(headers) == headers


@pytest.mark.parametrize("name", [b"host", b"content-length", b"expect", b"x-forwarded-client-cert"])
def test_what_is_written_anew_for_the_origin_is_not_taken_from_the_caller(name: bytes) -> None:
    sent = [(name, b"x"), (b"a", b"b")]
    assert request_headers(sent, dict(sent)) == [(b"a", b"b")]
    assert end_to_end([(name, b"x")]) == [(name, b"x")]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], (b"origin.test", None, False)),
        ([(b"content-length", b"0")], (b"origin.test", 0, False)),
        ([(b"content-length", b"42")], (b"origin.test", 42, False)),
        ([(b"transfer-encoding", b"Chunked")], (b"origin.test", None, True)),
    ],
)
def test_sound_framing_is_read(headers: list[tuple[bytes, bytes]], expected: tuple[bytes, int | None, bool]) -> None:
    assert framing([HOST, *headers]) == expected


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [HOST, HOST],
        [HOST, (b"host", b"other.test")],
        [HOST, (b"content-length", b"1"), (b"content-length", b"1")],
        [HOST, (b"content-length", b"1"), (b"transfer-encoding", b"chunked")],
        [HOST, (b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")],
        [HOST, (b"transfer-encoding", b"gzip, chunked")],
        [HOST, (b"transfer-encoding", b"identity")],
        [HOST, (b"transfer-encoding", b"xchunked")],
        [HOST, (b"content-length", b"")],
        [HOST, (b"content-length", b"-1")],
        [HOST, (b"content-length", b"+1")],
        [HOST, (b"content-length", b"1, 1")],
        [HOST, (b"content-length", b"0x10")],
        [HOST, (b"content-length", b"1_0")],
        [HOST, (b"content-length", "\u0661".encode())],
        [HOST, (b"content-length", b"9" * 5000)],
    ],
)
def test_ambiguous_framing_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(InvalidRequestError):
        framing(headers)


def test_a_head_is_written_line_by_line() -> None:
    assert written_head(b"GET / HTTP/1.1", [(b"host", b"a"), (b"x", b"b\tc")]) == (
        b"GET / HTTP/1.1\r\nhost: a\r\nx: b\tc\r\n\r\n"
    )


@pytest.mark.parametrize("control", [b"\r", b"\n", b"\0", b"\x7f", b"\r\n"])
@pytest.mark.parametrize("where", ["start line", "name", "value"])
def test_a_head_that_would_be_read_as_another_one_is_not_written(where: str, control: bytes) -> None:
    start_line, name, value = (part.encode() + control * (part == where) for part in ("start line", "name", "value"))

    with pytest.raises(BrokenHeadError):
        written_head(start_line, [(name, value)])
