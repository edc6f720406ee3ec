from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.cel.encoders import key_text
from config.cel.errors import EvaluationError
from config.cel.limits import MAX_RESULT_CHARACTERS
from config.cel.overloads import LIBRARY
from config.cel.values import FALSE_KEY, TRUE_KEY, UInt


def call(name: str, *arguments: Any) -> Any:
    return LIBRARY.dispatcher(name, is_method=False)(*arguments)


@pytest.mark.parametrize(
    ("name", "argument", "expected"),
    [
        ("base64.encode", b"hello", "aGVsbG8="),
        ("base64.encode", "hello", "aGVsbG8="),
        ("base64Encode", "hello", "aGVsbG8="),
        ("base64.decode", "aGVsbG8=", b"hello"),
        ("base64.decode", "aGVsbG8", b"hello"),
        ("base64.decode", b"Zg", b"f"),
        ("base64Decode", "Zg==", b"f"),
        ("base64.decode", "", b""),
        ("url.encode", "hello world/?x=1&y=2", "hello%20world%2F%3Fx%3D1%26y%3D2"),
        ("url.encode", "abc-._~!", "abc-._~%21"),
        ("url.encode", "é", "%C3%A9"),
        ("url.encode", b"\xff", "%FF"),
        ("url.decode", "hello%20world%2f", "hello world/"),
        ("url.decode", "a+b%C3%A9", "a+bé"),
        ("form.decode", "client_id=abc&scope=openid+profile", {"client_id": "abc", "scope": "openid profile"}),
        ("form.decode", b"a=1&a=2&b&&c=", {"a": ["1", "2"], "b": "", "c": ""}),
        ("form.decode", "a=1;b=2", {"a": "1;b=2"}),
        ("form.decode", "", {}),
        ("form.encode", {"scope": "openid profile"}, "scope=openid+profile"),
        ("form.encode", {"b": ["2", "1"], "a": "~*é", "n": None}, "a=%7E*%C3%A9&b=2&b=1"),
        ("form.encode", {1: "x", TRUE_KEY: "y"}, "1=x&true=y"),
        ("sha1.encode", "hello", "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d"),
        ("sha256.encode", b"hello", "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"),
        ("md5.encode", "hello", "5d41402abc4b2a76b9719d911017c592"),
    ],
)
def test_encodings_are_the_reference_s(name: str, argument: object, expected: object) -> None:
    assert call(name, argument) == expected


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("base64.decode", "aGVsbG8=="),
        ("base64.decode", "Zg="),
        ("base64.decode", "Zh=="),
        ("base64.decode", "aGVs\nbG8="),
        ("base64.decode", "aGVsbG8=aGVsbG8="),
        ("base64.decode", "a-_b"),
        ("base64.decode", "a"),
        ("base64.decode", "="),
        ("base64.decode", "é"),
        ("url.decode", "%FF"),
        ("url.decode", "%zz"),
        ("url.decode", "100%"),
        ("url.decode", "%4"),
        ("form.decode", "a=%FF"),
        ("form.decode", b"a=\xff"),
        ("form.decode", {}),
        ("form.encode", {"a": 1}),
        ("form.encode", {"a": ["1", None]}),
        ("form.encode", {"bad": {}}),
        ("sha256.encode", "\ud800"),
        ("url.encode", "\ud800"),
        ("base64.encode", "\ud800"),
        ("form.encode", {"a": "\ud800"}),
        ("sha256.encode", 1),
    ],
)
def test_malformed_input_is_an_error(name: str, argument: object) -> None:
    with pytest.raises(EvaluationError):
        call(name, argument)


@pytest.mark.parametrize("name", ["base64.encode", "url.encode"])
def test_a_result_beyond_a_mebibyte_is_refused(name: str) -> None:
    with pytest.raises(EvaluationError, match="result too large"):
        call(name, b"\xff" * MAX_RESULT_CHARACTERS)


@given(st.binary(max_size=40))
def test_base64_round_trips_padded_or_not(value: bytes) -> None:
    encoded = call("base64.encode", value)

    assert call("base64.decode", encoded) == value
    assert call("base64.decode", encoded.rstrip("=")) == value


@given(st.text(alphabet="QUab+/=-\n", max_size=9))
def test_no_two_spellings_with_padding_decode_to_the_same(text: str) -> None:
    try:
        value = call("base64.decode", text)
    except EvaluationError:
        return

    assert call("base64.encode", value) in {text, text + "=", text + "=="}


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=20))
def test_percent_escapes_round_trip(text: str) -> None:
    assert call("url.decode", call("url.encode", text)) == text


@given(st.dictionaries(st.text(alphabet="a&=+%é ~", max_size=3), st.text(alphabet="b&=+%é ~", max_size=3)))
def test_forms_round_trip(items: dict[str, str]) -> None:
    assert call("form.decode", call("form.encode", items)) == items


def test_keys_are_written_as_cel_writes_them() -> None:
    assert [key_text(key) for key in (FALSE_KEY, -1, UInt(7), "name")] == ["false", "-1", "7", "name"]


def test_a_form_has_a_thousand_fields_at_most() -> None:
    fields = [f"f{number}=1" for number in range(1_001)]

    assert len(call("form.decode", "&".join(fields[1:]))) == 1_000
    with pytest.raises(EvaluationError, match="result too large"):
        call("form.decode", "&".join(fields))


def test_a_form_is_not_written_of_lists_without_end() -> None:
    shared = [""] * 10_000

    with pytest.raises(EvaluationError, match="result too large"):
        call("form.encode", dict.fromkeys(map(str, range(10_000)), shared))
