from __future__ import annotations

import pytest

from config.compiler.hostnames import closeness, covers, intersection, wildcards_above


@pytest.mark.parametrize(
    ("pattern", "host", "expected"),
    [
        ("a.test", "a.test", True),
        ("*.test", "a.test", True),
        ("*.test", "*.a.test", True),
        ("*.test", "*.test", True),
        ("*.test", "test", False),
        ("*.test", "attest", False),
        ("*.a.test", "*.test", False),
        ("a.test", "*.test", False),
    ],
)
def test_a_suffix_covers_what_is_below_it_and_not_itself(pattern: str, host: str, *, expected: bool) -> None:
    assert covers(pattern, host) is expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("*.test", "a.test", "a.test"), ("*.test", "*.a.test", "*.a.test"), ("a.test", "b.test", None)],
)
def test_the_intersection_is_the_narrower_one_in_whichever_order(one: str, other: str, expected: str | None) -> None:
    assert intersection(one, other) == intersection(other, one) == expected


def test_a_name_is_closer_than_a_suffix_and_a_longer_suffix_than_a_shorter() -> None:
    names = ["*.test", None, "a.b.test", "*.b.test", "*.a-long-one.b.test"]

    ordered = sorted(names, key=closeness, reverse=True)

    assert ordered == ["a.b.test", "*.a-long-one.b.test", "*.b.test", "*.test", None]


@pytest.mark.parametrize(
    ("host", "above"), [("a.b.test", ["*.b.test", "*.test"]), ("*.b.test", ["*.test"]), ("test", []), ("*.test", [])]
)
def test_the_suffixes_above_a_host_come_the_closest_first(host: str, above: list[str]) -> None:
    assert list(wildcards_above(host)) == above
