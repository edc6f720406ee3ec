"""Subject alternative names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.backends.names import carries_one, matches_dns


@pytest.mark.parametrize(
    ("presented", "wanted", "matches"),
    [
        ("api.example.org", "api.example.org", True),
        ("API.example.org", "api.EXAMPLE.org", True),
        ("api.example.org.", "api.example.org", True),
        ("*.example.org", "api.example.org", True),
        ("*.example.org", "xn--bcher-kva.example.org", True),
        ("*.example.org", "a.b.example.org", False),
        ("*.example.org", "example.org", False),
        ("*.example.org", ".example.org", False),
        ("*.example.org", "*.example.org", False),
        ("*.org", "example.org", False),
        ("*", "example", False),
        ("*.", "example", False),
        ("a*.example.org", "api.example.org", False),
        ("*i.example.org", "api.example.org", False),
        ("api.*.org", "api.example.org", False),
        ("*.*.org", "api.example.org", False),
        ("**.example.org", "api.example.org", False),
        ("api.example.org\0.evil.test", "api.example.org", False),
        ("10.0.0.1", "10.0.0.1", False),
        ("*.0.0.1", "10.0.0.1", False),
        ("bücher.example.org", "bücher.example.org", False),
        ("", "", False),
    ],
)
def test_dns_names(presented: str, wanted: str, *, matches: bool) -> None:
    assert matches_dns(presented, wanted) is matches
    assert carries_one([("DNS", presented)], [wanted]) is matches


@pytest.mark.parametrize(
    ("kind", "presented", "wanted", "carries"),
    [
        ("URI", "spiffe://a.test/ns/b", "spiffe://a.test/ns/b", True),
        ("URI", "spiffe://a.test/ns/b/", "spiffe://a.test/ns/b", False),
        ("URI", "SPIFFE://a.test/ns/b", "spiffe://a.test/ns/b", False),
        ("URI", "api.example.org", "api.example.org", False),
        ("DNS", "spiffe://a.test/ns/b", "spiffe://a.test/ns/b", False),
        ("email", "api.example.org", "api.example.org", False),
        ("IP Address", "10.0.0.1", "10.0.0.1", False),
    ],
)
def test_a_name_counts_as_what_it_is_only(kind: str, presented: str, wanted: str, *, carries: bool) -> None:
    assert carries_one([(kind, presented)], [wanted]) is carries


def test_one_of_several_is_enough_and_none_of_none_is_not() -> None:
    names = [("DNS", "a.test"), ("DNS", "b.test"), ("URI", "spiffe://a.test/x")]

    assert carries_one(names, ["c.test", "b.test"])
    assert carries_one(names, ["spiffe://a.test/x"])
    assert not carries_one(names, ["c.test"])
    assert not carries_one(names, [])
    assert not carries_one([], ["c.test"])


LABELS = st.lists(st.sampled_from(["a", "b", "*", "a*", "", "org", "1"]), max_size=5).map(".".join)


@given(LABELS, LABELS)
def test_a_name_matches_itself_or_differs_in_its_first_label_only(presented: str, wanted: str) -> None:
    if not matches_dns(presented, wanted):
        return
    ours, theirs = wanted.removesuffix(".").split("."), presented.removesuffix(".").split(".")
    assert "*" not in wanted
    assert "" not in ours
    assert ours == theirs or (theirs[0] == "*" and ours[1:] == theirs[1:] and len(ours) > 2)
