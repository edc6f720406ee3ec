from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.policy.normalisation import (
    AmbiguousTargetError,
    check_query,
    normalise_escaped_path,
    normalise_path,
    parse_authority,
    split_target,
)

if TYPE_CHECKING:
    from collections.abc import Callable

PIECES = st.sampled_from(
    [
        *"aZ0-._~!$&'()*+,;=:@/?#%\\ \"<>",
        *("..", "//", "/.", "/..", "%2e", "%2E", "%2f", "%5c", "%25", "%252e", "%3b", "%3B", "%3f", "%23", "%20"),
        *("%7E", "%41", "%61", "%2d", "%00", "%0a", "%7f", "%c0%ae", "%c0%af", "%e0%80%af", "%e2%80%a4", "%ef%bc%8f"),
        *("%c3%a4", "%e2%82%ac", "%c3", "%a4", "%ff", "%", "%2", "ä", "\u2044", "\x00", "\x7f", ";x=1", "repos", "zen"),
    ]
)
NEAR_MISSES = st.sampled_from(
    [
        "a",
        "repos",
        "/",
        "/",
        "..",
        ".",
        ";",
        ";..",
        "%20",
        "%3B",
        "%3b",
        "%23",
        "%3F",
        "%7E",
        "%c3%a4",
        "...",
        "%2d",
        "%3D",
    ]
)
RAW_PATHS = st.lists(PIECES, max_size=10).map(lambda pieces: ("/" + "".join(pieces)).encode()) | st.lists(
    NEAR_MISSES, max_size=6
).map(lambda pieces: ("/" + "".join(pieces)).encode())


def canonical(raw: bytes) -> str | None:
    try:
        return normalise_path(raw)
    except AmbiguousTargetError:
        return None


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/zen",
        "/repos/",
        "/repos/octocat/Hello-World",
        "/a.b/..c/d../.../.git",
        "/a;b=1/c,d/e=f/g:h/i@j/k!l/$&'()*+",
        "/;x",
        "/a;..",
        "/a%3B..",
        "/%20",
        "/a%20b",
        "/x.%20",
        "/...%20",
        "/%20.",
        "/caf%C3%A9/%E2%82%AC/%F0%9F%98%80",
        "/%c3%a9",
        "/a%3Fb%23c",
        "/~-._",
    ],
)
def test_an_unambiguous_path_is_left_as_it_is(path: str) -> None:
    assert normalise_path(path.encode()) == path


@pytest.mark.parametrize(
    ("raw", "path"),
    [("/%7Euser", "/~user"), ("/%41%62%30", "/Ab0"), ("/%2D%5f%7e", "/-_~"), ("/%7a%C3%A9%2d", "/z%C3%A9-")],
)
def test_escapes_of_unreserved_characters_are_decoded(raw: str, path: str) -> None:
    assert normalise_path(raw.encode()) == path


@pytest.mark.parametrize("raw", [b"", b"zen", b"*", b"%2fzen", b"http://a/"])
def test_a_path_begins_with_a_slash(raw: bytes) -> None:
    assert canonical(raw) is None


ALLOWED_RAW = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@/"


@pytest.mark.parametrize("byte", range(256))
def test_only_pchar_and_slash_may_stand_raw(byte: int) -> None:
    raw = b"/a" + bytes([byte]) + b"b"
    allowed = byte in ALLOWED_RAW

    assert canonical(raw) == (raw.decode() if allowed else None)


@pytest.mark.parametrize("byte", range(128))
@pytest.mark.parametrize("form", ["%{:02x}", "%{:02X}"])
def test_an_encoded_control_slash_backslash_dot_or_percent_is_refused(byte: int, form: str) -> None:
    character = chr(byte)
    escape = form.format(byte)
    if byte < 0x20 or byte == 0x7F or character in "/\\.%":
        expected = None
    elif character.isalnum() or character in "-_~":
        expected = f"/a{character}b"
    else:
        expected = f"/a{escape}b"

    assert canonical(f"/a{escape}b".encode()) == expected


@pytest.mark.parametrize("raw", ["/%", "/a%", "/%2", "/%zz", "/%2g", "/%g2", "/%%41", "/%4%31", "/% 41", "/%u002e"])
def test_a_percent_needs_two_hexadecimal_digits(raw: str) -> None:
    assert canonical(raw.encode()) is None


@pytest.mark.parametrize(
    "escapes",
    [
        "%c0%ae",  # a dot in two bytes
        "%c0%af",  # a slash in two bytes
        "%e0%80%ae",
        "%e0%80%af",
        "%f0%80%80%af",
        "%c1%9c",  # a backslash in two bytes
        "%c1%81",  # an A in two bytes
        "%ed%a0%80",  # a surrogate
        "%f4%90%80%80",  # beyond U+10FFFF
        "%f8%88%80%80%80",
        "%80",
        "%bf",
        "%c3",
        "%c3%28",
        "%e2%82",
        "%fe",
        "%ff",
        "%c3a%a9",  # a character torn apart
    ],
)
def test_an_escape_sequence_that_is_not_shortest_form_utf_8_is_refused(escapes: str) -> None:
    assert canonical(f"/a{escapes}b".encode()) is None


@pytest.mark.parametrize("character", "\u2024\u2044\u2215\u29f8\uff0e\uff0f\uff3c")
def test_an_encoded_look_alike_of_a_slash_or_dot_is_refused(character: str) -> None:
    assert canonical(f"/a{quote(character)}b".encode()) is None
    assert canonical(f"/{quote(character).lower()}".encode()) is None
    assert canonical(f"/a{quote(chr(ord(character) + 2))}b".encode()) is not None


@pytest.mark.parametrize("dots", [".", ".."])
@pytest.mark.parametrize(
    "tail",
    [
        "",
        ";",
        ";x=1",
        ";;",
        "%3B",
        "%3b",
        "%3Bx",
        "%3F",
        "%3f",
        "%3fa=b",
        "%23",
        "%23x",
        "%20",
        "%20%20",
        "%20x",
        ";/x",
    ],
)
@pytest.mark.parametrize("where", ["/{}", "/{}/", "/a/{}", "/a/{}/b"])
def test_a_dot_segment_is_refused_also_with_a_tail_that_servers_cut(dots: str, tail: str, where: str) -> None:
    assert canonical(where.format(dots + tail).encode()) is None


@pytest.mark.parametrize("raw", ["/%2e", "/%2E%2e/x", "/.%2e/x", "/%2e./x", "/a/%2e%2e;/b", "/repos/%2e%2e;/users/x"])
def test_an_encoded_dot_segment_is_refused(raw: str) -> None:
    assert canonical(raw.encode()) is None


@pytest.mark.parametrize("raw", ["//", "//a", "/a//b", "/a//", "///", "//evil.example/x"])
def test_an_empty_segment_is_refused(raw: str) -> None:
    assert canonical(raw.encode()) is None


@pytest.mark.parametrize("raw", ["/", "/a/", "/a/b/"])
def test_the_last_segment_may_be_empty(raw: str) -> None:
    assert canonical(raw.encode()) == raw


@pytest.mark.parametrize("raw", ["/a#b", "/#", "/a?b"])
def test_fragment_and_query_are_no_part_of_a_path(raw: str) -> None:
    assert canonical(raw.encode()) is None


@given(RAW_PATHS)
def test_normalising_twice_changes_nothing(raw: bytes) -> None:
    path = canonical(raw)
    if path is None:
        return

    assert normalise_path(path.encode()) == path


@given(RAW_PATHS)
def test_the_result_means_what_was_sent(raw: bytes) -> None:
    path = canonical(raw)
    if path is None:
        return

    assert unquote_to_bytes(path) == unquote_to_bytes(raw)


READERS: dict[str, Callable[[str], str]] = {
    "as it is": lambda path: path,
    "decoded": unquote,
    "decoded twice": lambda path: unquote(unquote(path)),
    "latin-1": lambda path: unquote(path, "latin-1"),
    "parameters cut": lambda path: re.sub(r";[^/]*", "", path),
    "decoded, parameters cut": lambda path: re.sub(r";[^/]*", "", unquote(path)),
    "parameters cut, decoded": lambda path: unquote(re.sub(r";[^/]*", "", path)),
    "decoded, query cut": lambda path: re.split(r"[?#]", unquote(path))[0],
    "decoded, blanks trimmed": lambda path: "/".join(segment.rstrip(" ") for segment in unquote(path).split("/")),
    "backslashes as slashes": lambda path: unquote(path).replace("\\", "/"),
}


@pytest.mark.parametrize("reader", READERS)
@given(raw=RAW_PATHS)
def test_no_reader_finds_a_dot_segment_or_another_slash_in_the_result(reader: str, raw: bytes) -> None:
    path = canonical(raw)
    if path is None:
        return
    reading = READERS[reader](path)

    assert not {".", ".."} & set(reading.split("/"))
    assert reading.count("/") <= path.count("/")


@given(st.binary(max_size=30).map(lambda tail: b"/" + tail))
def test_any_bytes_are_either_normalised_or_refused(raw: bytes) -> None:
    path = canonical(raw)

    assert path is None or re.fullmatch(r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*", path)


@pytest.mark.parametrize("query", ["", "a=b&c", "a=%00%2e%2e/%2f", "../..//", "%zz", "?", '<>"\\^`{|}[]', "a=b;c"])
def test_a_query_is_not_judged_but_passed_on(query: str) -> None:
    assert check_query(query.encode()) == query


@pytest.mark.parametrize("byte", [*range(0x21), 0x23, *range(0x7F, 0x100)])
def test_a_query_with_a_control_blank_hash_or_non_ascii_byte_is_refused(byte: int) -> None:
    with pytest.raises(AmbiguousTargetError):
        check_query(b"a" + bytes([byte]))


@pytest.mark.parametrize(
    ("raw", "host", "port"),
    [
        ("api.github.com", "api.github.com", None),
        ("API.GitHub.COM", "api.github.com", None),
        ("api.github.com.", "api.github.com", None),
        ("api.github.com.:80", "api.github.com", 80),
        ("api.github.com:1", "api.github.com", 1),
        ("api.github.com:65535", "api.github.com", 65535),
        ("localhost", "localhost", None),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", None),
        ("_dmarc.a_b.example", "_dmarc.a_b.example", None),
        ("127.0.0.1:8443", "127.0.0.1", 8443),
        ("[::1]", "::1", None),
        ("[2001:DB8:0:0::0001]:443", "2001:db8::1", 443),
        ("a" * 63 + ".example", "a" * 63 + ".example", None),
        (".".join(["a" * 49] * 5) + ".abc", ".".join(["a" * 49] * 5) + ".abc", None),
    ],
)
def test_an_authority_has_one_canonical_host_and_a_port(raw: str, host: str, port: int | None) -> None:
    assert parse_authority(raw.encode()) == (host, port)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b".",
        b":80",
        b"a..b",
        b".a",
        b"a..",
        b"-a.example",
        b"a-.example",
        b"a" * 64 + b".example",
        b".".join([b"a" * 49] * 5) + b".abcd",
        b"user@a.example",
        b"user:secret@a.example",
        b"a.example:",
        b"a.example:0",
        b"a.example:65536",
        b"a.example:123456",
        b"a.example:+80",
        b"a.example: 80",
        b"a.example:80:80",
        b"a.example:80x",
        b"a.example:\xd9\xa1",
        b" a.example",
        b"a.example ",
        b"a example",
        b"a.example\n",
        b"a.example:80\n",
        b"a\x00b",
        b"a,b",
        b"a/b",
        b"a?b",
        b"a#b",
        b"a\\b",
        b"a%2eb",
        b"*.example",
        "bücher.example".encode(),
        b"::1",
        b"2001:db8::1",
        b"[::1",
        b"::1]",
        b"[]",
        b"[::1]x",
        b"[::1]80",
        b"[::1]x80",
        b"[::1]:",
        b"[::1]:0",
        b"[::1].",
        b"[fe80::1%eth0]",
        b"[fe80::1%25eth0]",
        b"[127.0.0.1]",
        b"[api.github.com]",
        b"[[::1]]",
    ],
)
def test_an_ambiguous_authority_is_refused(raw: bytes) -> None:
    with pytest.raises(AmbiguousTargetError):
        parse_authority(raw)


@given(st.lists(st.sampled_from([*"aB1-_.:[]@% ", "80", "::", "xn--"]), max_size=12).map("".join))
def test_a_canonical_authority_stays_as_it_is(raw: str) -> None:
    try:
        host, port = parse_authority(raw.encode())
    except AmbiguousTargetError:
        return
    written = (f"[{host}]" if ":" in host else host) + ("" if port is None else f":{port}")

    assert parse_authority(written.encode()) == (host, port)
    assert host == host.lower()
    assert not host.endswith(".")


@pytest.mark.parametrize(
    ("target", "authority", "path", "query"),
    [
        (b"/", None, b"/", None),
        (b"/a?b", None, b"/a", b"b"),
        (b"/a?", None, b"/a", b""),
        (b"/a?b?c", None, b"/a", b"b?c"),
        (b"//evil.example/a", None, b"//evil.example/a", None),
        (b"http://A.example/b?c", ("a.example", None), b"/b", b"c"),
        (b"HTTPS://a.example:444/b", ("a.example", 444), b"/b", None),
        (b"http://a.example", ("a.example", None), b"/", None),
        (b"http://a.example?q", ("a.example", None), b"/", b"q"),
        (b"http://[::1]:80/", ("::1", 80), b"/", None),
    ],
)
def test_a_target_is_split_into_authority_path_and_query(
    target: bytes, authority: tuple[str, int | None] | None, path: bytes, query: bytes | None
) -> None:
    assert split_target(target) == (authority, path, query)


@pytest.mark.parametrize(
    "target",
    [
        b"",
        b"*",
        b"a.example:443",
        b"zen",
        b"ftp://a.example/",
        b"ws://a.example/",
        b"http:/a.example/",
        b"http:///a",
        b"://a.example/",
        b"http://user@a.example/",
        b"http://a.example@evil.example/",
        b"http://a.example\\@evil.example/",
        b" /a",
    ],
)
def test_another_form_of_target_is_refused(target: bytes) -> None:
    with pytest.raises(AmbiguousTargetError):
        split_target(target)


@pytest.mark.parametrize("target", [b"/a#b", b"http://a.example#b", b"http://a.example/#b", b"http://a.example/b#c"])
def test_the_fragment_of_a_target_stays_in_its_path_where_it_is_refused(target: bytes) -> None:
    _, path, _ = split_target(target)

    assert canonical(path) is None


@pytest.mark.parametrize(
    ("raw", "kept", "decoded"),
    [
        (b"/a%2Fb", "/a%2Fb", "/a/b"),
        (b"/a%2fb", "/a%2Fb", "/a/b"),
        (b"/a%2F", "/a%2F", "/a/"),
        (b"/%7Ea%2Fb%20c", "/~a%2Fb%20c", "/~a/b%20c"),
        # A decoded letter is no slash, whichever letter stands in for one meanwhile.
        (b"/%41%2Fx", "/A%2Fx", "/A/x"),
        (b"/a%41..%41secret%2Fx", "/aA..Asecret%2Fx", "/aA..Asecret/x"),
        (b"/%42%41%43%2Fx", "/BAC%2Fx", "/BAC/x"),
    ],
)
def test_an_encoded_slash_has_two_readings(raw: bytes, kept: str, decoded: str) -> None:
    assert normalise_escaped_path(raw) == (kept, decoded)


@pytest.mark.parametrize(
    "raw",
    [
        b"/a%2F..%2Fb",
        b"/..%2Fb",
        b"/a%2F%2Fb",
        b"/a/%2Fb",
        b"/a%2F/b",
        b"/%2Fa",
        b"/a%2F.",
        b"/a%2F..;x",
        b"/a%2F%2e%2e%2Fb",
        b"/a%252Fb",
        b"/a%5Cb%2Fc",
        b"/a%2Fb%00",
        b"/%2%2F5",
        b"/%%2F41",
        b"/%4%2F1",
        b"/a%2Fb\\c",
        b"/a%2F%EF%BC%8F",
        b"a%2Fb",
        b"",
    ],
)
def test_a_path_with_an_encoded_slash_is_refused_if_either_reading_is(raw: bytes) -> None:
    with pytest.raises(AmbiguousTargetError):
        normalise_escaped_path(raw)


@given(
    st.lists(
        st.sampled_from(["%2F", "%2f", "/", "a", "A", "B", "..", ".", "%41", "%42", "%2e", "%30", "0", ";", "-", "~"]),
        max_size=12,
    ).map("".join)
)
def test_the_two_readings_differ_in_the_slashes_alone(text: str) -> None:
    try:
        kept, decoded = normalise_escaped_path(b"/" + text.encode())
    except AmbiguousTargetError:
        return

    assert kept.replace("%2F", "/") == decoded
    assert normalise_path(decoded.encode()) == decoded
    assert normalise_escaped_path(kept.encode()) == (kept, decoded)
    assert kept.count("%2F") == text.upper().count("%2F")
