from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.cel import EvaluationError, compile_expression
from config.policy.headers import FRAMING_AND_HOP_BY_HOP, HeaderRewrite, HeaderValue, fold_name
from tests.config.examples import TEAM_B, literal, request

if TYPE_CHECKING:
    from config.attributes import RawHeaders

REQUEST = request()


def value(name: str, constant: Any) -> HeaderValue:
    return HeaderValue(name.encode(), compile_expression(literal(constant)))


def rewritten(rewrite: HeaderRewrite, *headers: tuple[bytes, bytes]) -> RawHeaders:
    return rewrite.apply(headers, REQUEST)


def test_set_replaces_every_copy_of_the_caller() -> None:
    rewrite = HeaderRewrite(set=(value("x-caller", "team-a"),))

    assert rewritten(rewrite, (b"x-caller", b"admin"), (b"accept", b"*/*"), (b"x-caller", b"root")) == [
        (b"accept", b"*/*"),
        (b"x-caller", b"team-a"),
    ]


def test_set_adds_a_header_that_the_caller_did_not_send() -> None:
    assert rewritten(HeaderRewrite(set=(value("x-caller", "team-a"),))) == [(b"x-caller", b"team-a")]


def test_add_keeps_what_the_caller_sent() -> None:
    rewrite = HeaderRewrite(add=(value("via-x", "two"),))

    assert rewritten(rewrite, (b"via-x", b"one")) == [(b"via-x", b"one"), (b"via-x", b"two")]


def test_remove_drops_every_copy_in_whichever_spelling() -> None:
    rewrite = HeaderRewrite(remove=(b"x-internal-debug",))

    assert rewritten(
        rewrite,
        (b"x-internal-debug", b"1"),
        (b"x_internal_debug", b"1"),
        (b"x-internal_debug", b"1"),
        (b"x-internal-debug-2", b"kept"),
    ) == [(b"x-internal-debug-2", b"kept")]


def test_the_order_is_add_set_remove() -> None:
    rewrite = HeaderRewrite(
        add=(value("both", "added"), value("gone", "added")),
        set=(value("both", "set"), value("also-gone", "set")),
        remove=(b"gone", b"also-gone"),
    )

    assert rewritten(rewrite, (b"both", b"sent"), (b"gone", b"sent")) == [(b"both", b"set")]


def test_several_additions_of_one_name_are_all_kept_and_the_last_set_wins() -> None:
    rewrite = HeaderRewrite(
        add=(value("a", "1"), value("a", "2")),
        set=(value("s", "1"), value("s", "2")),
    )

    assert rewritten(rewrite) == [(b"a", b"1"), (b"a", b"2"), (b"s", b"2")]


INVALID = [
    EvaluationError,
    None,
    [],
    ["a"],
    {},
    {"a": "b"},
    "a\r\nb",
    "a\n",
    "\r",
    "a\0b",
    "\x1f",
    "\x7f",
    b"\x00",
    b"a\nb",
]


@pytest.mark.parametrize("constant", INVALID)
@pytest.mark.parametrize("block", ["add", "set"])
def test_a_value_that_fails_removes_the_header(block: str, constant: Any) -> None:
    # A spoofed identity is worse than none.
    rewrite = HeaderRewrite(**{block: (value("x-caller", constant),)})  # type: ignore[arg-type]

    assert rewritten(rewrite, (b"x-caller", b"admin"), (b"x_caller", b"admin"), (b"a", b"b")) == [(b"a", b"b")]


@pytest.mark.parametrize("block", ["add", "set"])
def test_a_value_that_did_not_compile_removes_the_header(block: str) -> None:
    rewrite = HeaderRewrite(**{block: (HeaderValue(b"x-caller", None),)})  # type: ignore[arg-type]

    assert rewritten(rewrite, (b"x-caller", b"admin")) == []


def test_a_failing_set_removes_what_add_wrote() -> None:
    rewrite = HeaderRewrite(add=(value("x", "added"),), set=(value("x", None),))

    assert rewritten(rewrite, (b"x", b"sent")) == []


@pytest.mark.parametrize(
    ("constant", "expected"),
    [
        ("text", b"text"),
        ("", b""),
        ("a\tb", b"a\tb"),
        ("  a b\t", b"a b"),
        ("naïve", "naïve".encode()),
        (b"\x80\xff", b"\x80\xff"),
        (True, b"true"),
        (False, b"false"),
        (-7, b"-7"),
        (1.5, b"1.5"),
    ],
)
def test_strings_bytes_booleans_and_numbers_are_header_values(constant: Any, expected: bytes) -> None:
    assert rewritten(HeaderRewrite(set=(value("x", constant),))) == [(b"x", expected)]


def test_every_expression_sees_the_request_as_it_came() -> None:
    rewrite = HeaderRewrite(
        set=(
            HeaderValue(b"a", compile_expression('"new"')),
            HeaderValue(b"b", compile_expression('request.headers["a"]')),
            HeaderValue(b"c", compile_expression('source.identity.namespace + "/" + source.identity.serviceAccount')),
        ),
        remove=(b"gone",),
        add=(HeaderValue(b"d", compile_expression('request.headers["gone"]')),),
    )
    headers = [(b"a", b"old"), (b"gone", b"still here")]

    assert dict(rewrite.apply(headers, request(caller=TEAM_B, headers=headers))) == {
        b"a": b"new",
        b"b": b"old",
        b"c": b"team-b/team-b",
        b"d": b"still here",
    }


def test_the_headers_given_are_not_changed() -> None:
    headers = [(b"x", b"1"), (b"y", b"2")]

    HeaderRewrite(set=(value("x", "3"),), remove=(b"y",)).apply(headers, REQUEST)

    assert headers == [(b"x", b"1"), (b"y", b"2")]


def test_a_folded_name_is_what_a_cgi_like_origin_sees() -> None:
    assert fold_name(b"x_caller-id") == fold_name(b"x-caller_id") == b"x-caller-id"


@pytest.mark.parametrize(
    "name", ["host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade"]
)
def test_framing_and_hop_by_hop_names_are_listed(name: str) -> None:
    assert name.encode() in FRAMING_AND_HOP_BY_HOP


NAMES = ["x-caller-id", "x-caller", "x-debug"]
SPELLINGS = st.sampled_from(
    [
        "".join(parts).encode()
        for name in NAMES
        for parts in product(*([character] if character != "-" else ["-", "_"] for character in name))
    ]
)
CLIENT_HEADERS = st.lists(st.tuples(SPELLINGS | st.just(b"accept"), st.just(b"sent by the caller")), max_size=6)
CONSTANTS = st.sampled_from(["written by policy", *INVALID])
BLOCKS = st.lists(st.builds(value, st.sampled_from(NAMES), CONSTANTS), max_size=3).map(tuple)
REWRITES = st.builds(
    HeaderRewrite,
    add=BLOCKS,
    set=BLOCKS,
    remove=st.lists(st.sampled_from([n.encode() for n in NAMES]), max_size=2).map(tuple),
)


@given(REWRITES, CLIENT_HEADERS)
def test_no_copy_of_the_caller_survives_of_a_name_that_policy_sets_or_removes(
    rewrite: HeaderRewrite, headers: RawHeaders
) -> None:
    owned = {header.name for header in rewrite.set} | set(rewrite.remove)

    survivors = {name for name, sent in rewritten(rewrite, *headers) if sent == b"sent by the caller"}

    assert not owned & {name.replace(b"_", b"-") for name in survivors}


@given(REWRITES, CLIENT_HEADERS)
def test_no_name_whose_last_value_failed_survives(rewrite: HeaderRewrite, headers: RawHeaders) -> None:
    last = {header.name: header for header in [*rewrite.add, *rewrite.set]}
    failed = {name for name, header in last.items() if header.evaluate(REQUEST) is None}

    assert not failed & {name.replace(b"_", b"-") for name, _ in rewritten(rewrite, *headers)}


@given(REWRITES, CLIENT_HEADERS)
def test_headers_that_policy_does_not_name_stay_in_their_order(rewrite: HeaderRewrite, headers: RawHeaders) -> None:
    named = {header.name for header in [*rewrite.add, *rewrite.set]} | set(rewrite.remove)
    others = [pair for pair in headers if pair[0].replace(b"_", b"-") not in named]

    assert [pair for pair in rewritten(rewrite, *headers) if pair[0].replace(b"_", b"-") not in named] == others


@given(st.text(max_size=20) | st.binary(max_size=20) | st.lists(st.sampled_from("a\r\n\0\t é")).map("".join))
def test_no_value_ever_holds_a_line_end_or_nul(constant: str | bytes) -> None:
    written = rewritten(HeaderRewrite(set=(value("x", constant),)))

    assert not any(character in sent for _, sent in written for character in (b"\r", b"\n", b"\0"))
    raw = constant if isinstance(constant, bytes) else constant.encode("utf-8", "surrogatepass")
    assert bool(written) is not any((byte < 0x20 and byte != 9) or byte == 0x7F for byte in raw)
