from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.policy.identity import InvalidSpiffeIdError, is_trust_domain, parse_spiffe_id

TRUST_DOMAINS = st.text("abcz019.-_", min_size=1, max_size=255)
SEGMENTS = st.text("azAZ09._-", min_size=1, max_size=40).filter(lambda segment: segment not in {".", ".."})
SPIFFE_IDS = st.builds(
    lambda domain, segments: f"spiffe://{domain}/{'/'.join(segments)}",
    TRUST_DOMAINS,
    st.lists(SEGMENTS, min_size=1, max_size=6),
)


@pytest.mark.parametrize(
    ("uri", "trust_domain", "path"),
    [
        ("spiffe://cluster.local/ns/team-a/sa/team-a", "cluster.local", "/ns/team-a/sa/team-a"),
        ("spiffe://a/b", "a", "/b"),
        ("spiffe://10.0.0.1/vm", "10.0.0.1", "/vm"),
        ("spiffe://my_org-1.x/A.b_c-9", "my_org-1.x", "/A.b_c-9"),
        ("spiffe://a/...", "a", "/..."),
        ("spiffe://a/.x/..y/z..", "a", "/.x/..y/z.."),
    ],
)
def test_a_well_formed_id_is_split_at_its_first_slash(uri: str, trust_domain: str, path: str) -> None:
    found = parse_spiffe_id(uri)

    assert (found.trust_domain, found.path, str(found)) == (trust_domain, path, uri)


@pytest.mark.parametrize(
    ("path", "namespace", "service_account"),
    [
        ("/ns/team-a/sa/default", "team-a", "default"),
        ("/ns/sa/sa/ns", "sa", "ns"),
        ("/ns/a/sa/b/c", None, None),
        ("/x/ns/a/sa/b", None, None),
        ("/ns/a/sb/b", None, None),
        ("/NS/a/sa/b", None, None),
        ("/ns/a", None, None),
        ("/vm/db-1", None, None),
    ],
)
def test_only_the_istio_form_yields_a_kubernetes_identity(
    path: str, namespace: str | None, service_account: str | None
) -> None:
    found = parse_spiffe_id(f"spiffe://cluster.local{path}")

    assert (found.namespace, found.service_account) == (namespace, service_account)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "spiffe",
        "spiffe:",
        "spiffe://",
        "spiffe:///ns/a/sa/b",
        "https://cluster.local/ns/a/sa/b",
        "SPIFFE://cluster.local/ns/a/sa/b",
        "spiffe:/cluster.local/ns/a",
        " spiffe://cluster.local/a",
        "spiffe://cluster.local",
        "spiffe://cluster.local/",
        "spiffe://cluster.local/a/",
        "spiffe://cluster.local//a",
        "spiffe://cluster.local/a//b",
        "spiffe://cluster.local/.",
        "spiffe://cluster.local/a/../b",
        "spiffe://cluster.local/./a",
        "spiffe://cluster.local:443/a",
        "spiffe://user@cluster.local/a",
        "spiffe://Cluster.local/a",
        "spiffe://cluster local/a",
        "spiffe://[::1]/a",
        "spiffe://cluster%2elocal/a",
        "spiffe://clüster.local/a",
        "spiffe://cluster.local/a?b",
        "spiffe://cluster.local/a#b",
        "spiffe://cluster.local/a%2fb",
        "spiffe://cluster.local/a%41",
        "spiffe://cluster.local/a b",
        "spiffe://cluster.local/a;b",
        "spiffe://cluster.local/a\\b",
        "spiffe://cluster.local/a\n",
        "spiffe://cluster.local\n/a",
        "spiffe://cluster.local/a\x00",
        "spiffe://cluster.local/ä",
        # DEVANAGARI DIGIT ONE is a digit to `\d`, and KELVIN SIGN a `k` to a case-folding match.
        "spiffe://cluster.local/\u0967",
        "spiffe://cluster.local/\u212a",
        "spiffe://\ud800/a",
        "spiffe://a/\ud800",
    ],
)
def test_what_is_not_a_workload_id_is_refused(uri: str) -> None:
    with pytest.raises(InvalidSpiffeIdError):
        parse_spiffe_id(uri)


@pytest.mark.parametrize(("length", "accepted"), [(1, True), (255, True), (256, False), (0, False)])
def test_a_trust_domain_has_1_to_255_bytes(length: int, *, accepted: bool) -> None:
    assert is_trust_domain("a" * length) is accepted


@pytest.mark.parametrize(("length", "accepted"), [(2048, True), (2049, False)])
def test_an_id_has_at_most_2048_bytes(length: int, *, accepted: bool) -> None:
    uri = "spiffe://a/".ljust(length, "x")

    if accepted:
        assert str(parse_spiffe_id(uri)) == uri
    else:
        with pytest.raises(InvalidSpiffeIdError):
            parse_spiffe_id(uri)


@given(SPIFFE_IDS)
def test_an_accepted_id_is_written_as_it_was_read(uri: str) -> None:
    assert str(parse_spiffe_id(uri)) == uri


@given(SPIFFE_IDS, st.data())
def test_one_forbidden_character_anywhere_refuses_an_id(uri: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(uri)))
    character = data.draw(st.sampled_from([*" %?#@:;,+*~\\\"'<>[]{}|^`&=!$()\n\r\t\x00\x7f", "ä", "\u2044", "\uff0f"]))

    with pytest.raises(InvalidSpiffeIdError):
        parse_spiffe_id(uri[:at] + character + uri[at:])


@given(st.lists(st.sampled_from(["spiffe://", "a", "A", "ns", "sa", ".", "..", "/", "%2f", "@", ":1"])).map("".join))
def test_an_id_is_accepted_exactly_if_it_has_the_grammar_of_an_svid(uri: str) -> None:
    grammar = re.fullmatch(r"spiffe://[a-z0-9._-]+(/(?!\.{1,2}(/|\Z))[A-Za-z0-9._-]+)+", uri)
    try:
        accepted = str(parse_spiffe_id(uri)) == uri
    except InvalidSpiffeIdError:
        accepted = False

    assert accepted is (grammar is not None)
