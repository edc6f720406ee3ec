import ipaddress
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import config.cel.expression  # noqa: F401  fills the library
from config.cel.errors import EvaluationError
from config.cel.overloads import DYN, KINDS, LIBRARY, Overload
from config.cel.values import (
    DURATION_MAX,
    INT_MAX,
    INT_MIN,
    NONE,
    TIMESTAMP_MAX,
    TIMESTAMP_MIN,
    TRUE_KEY,
    UINT_MAX,
    CelType,
    Cidr,
    Duration,
    Optional,
    Timestamp,
    UInt,
)

TEXTS = st.sampled_from(
    [
        *(
            "",
            " ",
            "a",
            "é😀",
            "\ud800",
            "\0",
            "1",
            "-1",
            "0x1",
            "9" * 65,
            "9" * 5000,
            "1e999",
            "NaN",
            "٣",
            "true",
            "+Inf",
        ),
        *("1h", "-1.5s", "9" * 127 + "h", "11s" * 34 + "x", "2020-01-01T00:00:00Z", "0001-01-01T00:00:00+99:99"),
        *("UTC", "+14:00", "-99:99", "America/New_York", "../etc", "Europe", "/", "a" * 200),
        *("10.0.0.0/8", "::1", "::ffff:1.2.3.4", "fe80::1%a", "1.2.3.4/33", "/", "%", "%FF", "%s %d %.9999f %x", "%b"),
        *("(", "(a)", "(a)|b", r"\p{L}", ".*", "a{1000}", "(?P<n>a)", r"\1", r"\9", "$1${n}${", "\\"),
        *("{}", "[", "[[1]]", '{"a": 1, "a": 2}', r'"\ud800"', "1" * 400, "-0", "[" * 5000, "a=b&a=c;d", "a=1; a=2"),
        *("YQ==", "YR==", "a.e30.c", "a" * 2000, "a," * 1001, "a=1&" * 1001),
    ]
) | st.text(max_size=8)
INTEGERS = st.sampled_from([0, 1, -1, 2, 63, 64, 65, 10_001, INT_MAX, INT_MIN]) | st.integers(INT_MIN, INT_MAX)
DOUBLES = st.sampled_from([0.0, -0.0, 0.5, 2.0**63, -(2.0**63), 5e-324, 1e308, math.inf, -math.inf, math.nan])
ADDRESSES = st.sampled_from(["0.0.0.0", "10.1.2.3", "255.255.255.255", "::", "ff02::1", "2001:db8::1"]).map(  # noqa: S104  values to classify
    ipaddress.ip_address
)
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "int": INTEGERS,
    "uint": st.sampled_from([0, 1, 64, UINT_MAX]).map(UInt),
    "double": DOUBLES | st.floats(),
    "string": TEXTS,
    "bytes": st.sampled_from([b"", b"a", b"\xff", b"{}", b"a=b", b"YQ", b"a" * 3000]) | st.binary(max_size=4),
    "null": st.none(),
    "timestamp": st.sampled_from([0, 1, TIMESTAMP_MIN, TIMESTAMP_MAX]).map(Timestamp),
    "duration": st.sampled_from([0, -1, DURATION_MAX, -DURATION_MAX - 1]).map(Duration),
    "type": st.just(CelType("int")),
    "ip": ADDRESSES,
    "cidr": st.builds(Cidr, ADDRESSES, st.sampled_from([0, 8, 32])),
}
VALUES = st.recursive(
    st.one_of(*SCALARS.values()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "cookie", 1, TRUE_KEY]), inner),
    max_leaves=4,
)
KIND_VALUES = {
    **SCALARS,
    "list": st.lists(VALUES, max_size=3) | st.sampled_from([list(range(3)), ["a", "b"], [1.0, math.nan], [[[]]]]),
    "map": st.dictionaries(st.sampled_from(["a", "cookie", 1, UInt(2), TRUE_KEY]), VALUES | TEXTS, max_size=3),
    "optional": st.just(NONE) | VALUES.map(lambda value: Optional(present=True, content=value)),
    DYN: VALUES,
}


@pytest.mark.parametrize(
    "overload",
    [
        pytest.param(o, id=f"{o.function}({' '.join(o.parameters)})")
        for found in LIBRARY.overloads.values()
        for o in found
    ],
)
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_function_gives_a_value_of_its_kind_or_the_error_that_policies_expect(
    overload: Overload, data: st.DataObject
) -> None:
    kinds = (*overload.parameters, *overload.parameters[-1:] * data.draw(st.integers(0, 2 * overload.variadic)))
    arguments = [data.draw(KIND_VALUES[kind]) for kind in kinds]
    try:
        result = overload.code(*arguments)
    except EvaluationError:
        assert not overload.total
        return

    assert overload.result in {DYN, KINDS[type(result)]}


def test_there_are_values_of_every_kind() -> None:
    named = {kind for found in LIBRARY.overloads.values() for overload in found for kind in overload.parameters}

    assert named <= set(KIND_VALUES)
