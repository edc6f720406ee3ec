from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from config.model.backend import AgentgatewayBackend
from config.model.base import ByteSize, NotAvailable, Seconds, field_names
from config.model.route import HTTPRoute

SECONDS: TypeAdapter[float] = TypeAdapter(Seconds)
BYTES: TypeAdapter[int] = TypeAdapter(ByteSize)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5s", 5.0),
        ("500ms", 0.5),
        ("1m30s", 90.0),
        ("1h", 3600.0),
        ("0s", 0.0),
        ("1h1m1s1ms", 3661.001),
        ("10m", 600.0),
    ],
)
def test_a_duration_is_written_as_gateway_api_does(text: str, seconds: float) -> None:
    assert SECONDS.validate_python(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value", ["", "5", 5, 5.0, "5S", "-5s", "1.5s", "5 s", "s", "1d", "100000s", "1s1s1s1s1s", None]
)
def test_anything_else_is_no_duration(value: Any) -> None:
    with pytest.raises(ValidationError):
        SECONDS.validate_python(value)


@pytest.mark.parametrize(
    ("value", "size"),
    [(1, 1), ("1", 1), ("64Ki", 65536), ("1k", 1000), ("1M", 10**6), ("2Mi", 2 * 1024**2), (2**32 - 1, 2**32 - 1)],
)
def test_a_size_is_written_as_a_quantity(value: Any, size: int) -> None:
    assert BYTES.validate_python(value) == size


@pytest.mark.parametrize("value", [0, "0", -1, "1.5Mi", "1KB", "", True, None, 2**32, "4Gi", "1 Mi", "9" * 100])
def test_anything_else_is_no_size(value: Any) -> None:
    with pytest.raises(ValidationError):
        BYTES.validate_python(value)


def test_what_is_not_available_is_refused_and_its_absence_is_not() -> None:
    adapter: TypeAdapter[None] = TypeAdapter(NotAvailable)

    adapter.validate_python(None)
    values: list[Any] = [{}, [], "", 0, False]
    for value in values:
        with pytest.raises(ValidationError, match="not available here"):
            adapter.validate_python(value)


def test_the_known_names_below_a_field_are_those_that_can_be_written() -> None:
    assert field_names(AgentgatewayBackend, ("spec",)) == ["static", "dynamicForwardProxy", "policies"]
    assert "queryParams" in field_names(HTTPRoute, ("spec", "rules", 0, "matches", 1))
    assert field_names(HTTPRoute, ("spec", "nothing", "below")) == []
