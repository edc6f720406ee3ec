from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from middleware.trace_context import MAX_TRACESTATE, Parent, Trace, extract, parse_tracestate

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE_ID}-{SPAN_ID}-01"


def headers(*traceparents: str, tracestate: str | None = None) -> list[tuple[bytes, bytes]]:
    fields = [(b"host", b"origin.test"), *((b"traceparent", value.encode()) for value in traceparents)]
    return fields if tracestate is None else [*fields, (b"tracestate", tracestate.encode())]


def test_the_callers_span_is_the_parent() -> None:
    assert extract(headers(VALID, tracestate="a=1, b@c=2")) == Parent(TRACE_ID, SPAN_ID, 1, "a=1,b@c=2")


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "garbage",
        VALID[:-1],
        VALID.upper(),
        VALID + "-more",
        VALID + "00",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID}{SPAN_ID}-01",
        f"01-{TRACE_ID}-{SPAN_ID}-01more",
        f"01-{TRACE_ID}-{SPAN_ID}-01-" + "x" * 512,
    ],
)
def test_a_malformed_traceparent_is_ignored_and_its_tracestate_too(traceparent: str) -> None:
    assert extract(headers(traceparent, tracestate="a=1")) is None


def test_two_traceparents_are_ignored_even_if_they_agree() -> None:
    assert extract(headers(VALID, VALID)) is None


def test_without_a_traceparent_there_is_no_parent() -> None:
    assert extract(headers(tracestate="a=1")) is None


@pytest.mark.parametrize("more", ["", "-", "-what later versions add"])
def test_a_later_version_is_read_as_far_as_it_is_known(more: str) -> None:
    assert extract(headers(f"cc-{TRACE_ID}-{SPAN_ID}-09{more}")) == Parent(TRACE_ID, SPAN_ID, 1, "")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([b"a=1", b"b=2"], "a=1,b=2"),
        ([b" a=1 ,, \t,b=2\t"], "a=1,b=2"),
        ([b"a=1,a=2"], ""),
        ([b"a=1", b"a=2"], ""),
        ([b"A=1"], ""),
        ([b"a=b=c"], ""),
        ([b"a=\xff"], ""),
        ([b"tenant@system=x y"], "tenant@system=x y"),
        ([b",".join(b"k%d=v" % n for n in range(32))], ",".join(f"k{n}=v" for n in range(32))),
        ([b",".join(b"k%d=v" % n for n in range(33))], ""),
        ([b"a=" + b"v" * 250 + b",b=" + b"v" * 257], ""),
        ([b"a=" + b"v" * 253, b"b=" + b"v" * 254], "a=" + "v" * 253 + ",b=" + "v" * 254),
        ([b"a=" + b"v" * 254, b"b=" + b"v" * 254], ""),
    ],
)
def test_a_tracestate_is_taken_as_a_whole_or_not_at_all(fields: list[bytes], expected: str) -> None:
    assert parse_tracestate(fields) == expected


def test_a_trace_is_sampled_if_its_flags_say_so() -> None:
    assert Trace(TRACE_ID, SPAN_ID, "", 3, "").sampled
    assert not Trace(TRACE_ID, SPAN_ID, "", 2, "").sampled


PIECES = st.sampled_from(
    [
        *("00", "01", "cc", "ff", "0", "FF", "-", "-", "-", " ", "\t", "x", ""),
        *(TRACE_ID, SPAN_ID, "0" * 32, "0" * 16, "0" * 31 + "1", TRACE_ID.upper(), VALID, VALID[2:]),
    ]
)
TRACEPARENTS = st.one_of(
    st.lists(PIECES, max_size=9).map("".join),
    st.builds(
        "{}-{}-{}-{}{}".format,
        st.sampled_from(["00", "01", "fe", "ff", "0g"]),
        st.sampled_from([TRACE_ID, "0" * 32, TRACE_ID[1:], "f" * 32]),
        st.sampled_from([SPAN_ID, "0" * 16, SPAN_ID + "0", "f" * 16]),
        st.integers(0, 255).map("{:02x}".format),
        st.sampled_from(["", " ", "-", "-x", "x", "- "]),
    ),
)
TRACESTATES = st.lists(
    st.lists(
        st.sampled_from(
            ["a=1", "b=2", "a@b=3", "1a=4", "1a@b=5", " c=6 ", "", "=", "d=", "e= ", "f=x y", "A=1", "g=\x7f"]
        ),
        max_size=5,
    ).map(",".join),
    max_size=3,
)


@given(TRACEPARENTS, TRACESTATES)
def test_opentelemetry_reads_the_same(traceparent: str, tracestates: list[str]) -> None:
    carrier = {"traceparent": [traceparent], **({"tracestate": tracestates} if tracestates else {})}
    theirs = get_current_span(TraceContextTextMapPropagator().extract(carrier)).get_span_context()

    ours = extract([*headers(traceparent), *((b"tracestate", value.encode()) for value in tracestates)])

    assert (ours is not None) is theirs.is_valid
    if ours is not None:
        assert int(ours.trace_id, 16) == theirs.trace_id
        assert int(ours.span_id, 16) == theirs.span_id
        assert ours.flags == theirs.trace_flags & 3
        assert ours.tracestate == theirs.trace_state.to_header()


@given(st.binary(max_size=80), st.binary(max_size=600))
def test_no_bytes_break_the_parser(traceparent: bytes, tracestate: bytes) -> None:
    parent = extract([(b"traceparent", VALID.encode()), (b"tracestate", tracestate)])

    assert parent is not None
    assert len(parent.tracestate) <= MAX_TRACESTATE
    extract([(b"traceparent", traceparent)])
