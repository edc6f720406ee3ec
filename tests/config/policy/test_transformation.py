from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.attributes import ResponseAttributes
from config.cel import EvaluationError, compile_expression
from config.policy.body import BodyValue, without_description
from config.policy.conditional import Choice, Conditional
from config.policy.delay import MAX_DELAY_SECONDS, Delay
from config.policy.direct_response import DirectResponse, DirectResponses
from config.policy.headers import HeaderModifier, HeaderRewrite, HeaderValue
from config.policy.transformation import Rewrites, Transform, Transformation
from tests.config.examples import literal, request


def body(text: str) -> BodyValue:
    return BodyValue(compile_expression(text))


def metadata(*pairs: tuple[str, str]) -> Transform:
    return Transform(metadata=tuple((name, compile_expression(text)) for name, text in pairs))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"é"', "é".encode()),
        ('b"\\xff\\x00"', b"\xff\x00"),
        ("{'a': [1, 2.5, true, null]}", b'{"a":[1,2.5,true,null]}'),
        ("7", b"7"),
        ("null", b"null"),
        ("optional.of('x')", b"x"),
        ('duration("90s")', b'"90s"'),
    ],
)
def test_a_body_is_text_bytes_or_json(text: str, expected: bytes) -> None:
    assert body(text).content(request()) == expected


@pytest.mark.parametrize("text", ["1 / 0", "{1: 'a', '1': 'b'}", "0.0 / 0.0", 'request.headers["x"]', "type(1)"])
def test_a_body_that_cannot_be_written_is_an_error(text: str) -> None:
    with pytest.raises(EvaluationError):
        body(text).content(request())
    with pytest.raises(EvaluationError):
        BodyValue(None).content(request())


def test_what_describes_the_old_content_goes_with_it() -> None:
    kept = [(b"content-type", b"text/plain"), (b"last-modified", b"yesterday")]

    assert without_description([(b"content-encoding", b"gzip"), *kept, (b"etag", b"x"), (b"digest", b"y")]) == kept


def test_later_metadata_sees_earlier_metadata() -> None:
    attributes = request("/a")
    metadata(("one", "request.path"), ("two", 'metadata.one + "!"')).note(attributes)

    assert attributes.metadata == {"one": "/a", "two": "/a!"}


def test_metadata_of_the_answer_adds_to_that_of_the_request() -> None:
    attributes = request("/a")
    metadata(("a", "1"), ("b", "2")).note(attributes)
    before = attributes.metadata
    attributes.response = ResponseAttributes(404)
    metadata(("b", "metadata.b + response.code"), ("c", "3")).note(attributes)

    assert attributes.metadata == {"a": 1, "b": 406, "c": 3}
    assert before == {"a": 1, "b": 2}


def test_metadata_that_fails_has_no_value() -> None:
    attributes = request()
    attributes.metadata = {"a": "old"}
    Transform(metadata=(("a", compile_expression("1 / 0")), ("b", None))).note(attributes)

    assert attributes.metadata == {}


def test_only_header_fields_on_every_request_take_the_short_way() -> None:
    headers = HeaderRewrite(set=(HeaderValue(b"a", compile_expression('"1"')),))

    def short(rewrites: Rewrites, condition: str = "") -> Any:
        choice = Choice(rewrites, compile_expression(condition)) if condition else Choice(rewrites)
        return Transformation(Conditional((choice,))).plain_request

    assert short(Rewrites(Transform(headers))) is headers
    assert short(Rewrites(Transform(headers)), "true") is None
    assert short(Rewrites(Transform(headers), Transform())) is None
    assert short(Rewrites(Transform(headers, body=body("1")))) is None
    assert short(Rewrites(response=Transform(headers))) is None


@pytest.mark.parametrize("place", ["condition", "metadata", "value", "pseudo", "replace", "body"])
def test_a_body_that_is_read_anywhere_is_known_to_be_read(place: str) -> None:
    reading = compile_expression("size(request.body) > 1 || size(response.bodyPrefix) > 1")
    value = (HeaderValue(b"a", reading),)
    transform = {
        "condition": Transform(),
        "metadata": Transform(metadata=(("a", reading),)),
        "value": Transform(HeaderRewrite(add=value)),
        "pseudo": Transform(pseudo=value),
        "replace": Transform(HeaderRewrite(replace=value)),
        "body": Transform(body=BodyValue(reading)),
    }[place]
    choice = Choice(Rewrites(None, transform), reading if place == "condition" else None)
    transformation = Transformation(Conditional((choice,)))

    assert transformation.reads_body
    assert transformation.rewrites_responses
    assert transformation.reads_response_body is (place != "condition")


def test_a_direct_response_leaves_out_fields_that_fail_and_fails_with_its_body() -> None:
    headers = tuple(
        HeaderValue(name, compile_expression(text))
        for name, text in [(b"a", '"1"'), (b"b", "1 / 0"), (b"a", '"2"'), (b"c", '"x\\r\\ny: z"')]
    )
    answer = DirectResponse(200, body("request.body"), headers)

    assert answer.fields(request()) == [(b"a", b"2")]
    with pytest.raises(EvaluationError):
        answer.content(request())
    assert DirectResponses(Conditional.always(answer)).reads_body
    assert DirectResponse(200, b"text").content(request()) == b"text"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ('duration("1.5s")', 1.5),
        ("250", 0.25),
        ("250u", 0.25),
        ("0.5", 0.0005),
        ("-1", 0.0),
        ('duration("-1s")', 0.0),
        ("1 / 0", 0.0),
        ("0.0 / 0.0", 0.0),
        ("1.0 / 0.0", MAX_DELAY_SECONDS),
        ('duration("24h")', MAX_DELAY_SECONDS),
        ("true", 0.0),
        ('"2s"', 0.0),
        ("null", 0.0),
    ],
)
def test_a_delay_is_a_duration_or_milliseconds_and_bounded(text: str, seconds: float) -> None:
    assert Delay(compile_expression(text)).seconds(request()) == seconds


def test_a_fixed_delay_reads_nothing_and_one_that_did_not_compile_is_none() -> None:
    assert Delay(2.0).seconds(request()) == 2.0
    assert not Delay(2.0).reads_body
    assert Delay(None).seconds(request()) == 0.0
    assert Delay(compile_expression("size(request.body)")).reads_body


def test_modifiers_add_then_set_then_remove() -> None:
    modifier = HeaderModifier(
        add=((b"a", b"added"), (b"both", b"added"), (b"gone", b"added")),
        set=((b"both", b"first"), (b"both", b"set"), (b"also-gone", b"set")),
        remove=(b"gone", b"also-gone"),
    )

    assert modifier.apply([(b"a", b"sent"), (b"both", b"sent"), (b"gone", b"sent"), (b"x", b"y")]) == [
        (b"a", b"sent"),
        (b"x", b"y"),
        (b"a", b"added"),
        (b"both", b"set"),
    ]


NAMES = st.sampled_from([b"x-a", b"x_a", b"x-b", b"x_b", b"y"])
PAIRS = st.lists(st.tuples(NAMES, st.just(b"written")), max_size=3).map(tuple)


@given(st.builds(HeaderModifier, PAIRS, PAIRS, st.lists(NAMES, max_size=2).map(tuple)), st.lists(NAMES, max_size=5))
def test_no_copy_survives_of_a_name_that_a_modifier_sets_or_removes(
    modifier: HeaderModifier, names: list[bytes]
) -> None:
    owned = {name.replace(b"_", b"-") for name in (*(name for name, _ in modifier.set), *modifier.remove)}
    result = modifier.apply([(name, b"sent") for name in names])

    assert not owned & {name.replace(b"_", b"-") for name, value in result if value == b"sent"}
    assert not set(modifier.remove) & {name for name, _ in result}


@pytest.mark.parametrize("spelling", [b"x-caller", b"x_caller"])
@pytest.mark.parametrize(("constant", "expected"), [("new", [(b"x-caller", b"new")]), (None, [])])
def test_replace_sets_where_the_header_is_in_whichever_spelling(
    spelling: bytes, constant: Any, expected: list[tuple[bytes, bytes]]
) -> None:
    rewrite = HeaderRewrite(replace=(HeaderValue(b"x-caller", compile_expression(literal(constant))),))

    assert rewrite.apply([(spelling, b"old"), (spelling, b"older")], request()) == expected
    assert rewrite.apply([(b"other", b"1")], request()) == [(b"other", b"1")]


def test_what_is_replaced_can_be_added_to_and_set_and_removed() -> None:
    def value(name: bytes, text: str) -> HeaderValue:
        return HeaderValue(name, compile_expression(literal(text)))

    rewrite = HeaderRewrite(
        replace=(value(b"a", "1"), value(b"b", "1"), value(b"c", "1")),
        add=(value(b"a", "2"),),
        set=(value(b"b", "2"),),
        remove=(b"c",),
    )

    assert rewrite.apply([(b"a", b"0"), (b"b", b"0"), (b"c", b"0")], request()) == [
        (b"a", b"1"),
        (b"a", b"2"),
        (b"b", b"2"),
    ]
