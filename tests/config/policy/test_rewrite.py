from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.policy.normalisation import AmbiguousTargetError, normalise_path
from config.policy.rewrite import FullPath, PrefixPath, Redirect, RewriteError, UrlRewrite

REQUEST = ("api.example.org", None)


@pytest.mark.parametrize(
    ("path", "prefix", "replacement", "expected"),
    [  # Gateway API, HTTPPathModifier.replacePrefixMatch, row by row
        ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
        ("/foo", "/foo", "/xyz", "/xyz"),
        ("/foo/", "/foo", "/xyz", "/xyz/"),
        ("/foo/bar", "/foo", "", "/bar"),
        ("/foo/", "/foo", "", "/"),
        ("/foo", "/foo", "", "/"),
        ("/foo/", "/foo", "/", "/"),
        ("/foo", "/foo", "/", "/"),
        # and what it does not list
        ("/foo", "/foo/", "/xyz", "/xyz"),
        ("/bar", "/", "/xyz", "/xyz/bar"),
        ("/", "/", "", "/"),
        ("/foo/bar/", "/foo", "/", "/bar/"),
        ("/foo/foo", "/foo", "/xyz", "/xyz/foo"),
    ],
)
def test_a_prefix_is_replaced_as_gateway_api_says(path: str, prefix: str, replacement: str, expected: str) -> None:
    assert PrefixPath(replacement).apply(path, prefix) == expected


@pytest.mark.parametrize(
    ("path", "prefix"), [("/foobar", "/foo"), ("/bar", "/foo"), ("/Foo/x", "/foo"), ("/foo", None), ("/foo;x", "/foo")]
)
def test_a_path_without_the_prefix_is_not_rewritten(path: str, prefix: str | None) -> None:
    with pytest.raises(RewriteError):
        PrefixPath("/xyz").apply(path, prefix)


@pytest.mark.parametrize("modifier", [FullPath(None), PrefixPath(None)])
def test_a_replacement_that_was_refused_rewrites_nothing(modifier: FullPath | PrefixPath) -> None:
    with pytest.raises(RewriteError):
        UrlRewrite(path=modifier).rewritten("/foo", "/foo")


@pytest.mark.parametrize("query", ["", "?", "?a=%2f..&b", "??/foo", "?a=b?c=/foo/"])
def test_the_query_stays_byte_for_byte(query: str) -> None:
    assert UrlRewrite(path=FullPath("/zen")).rewritten(f"/motto{query}", None) == f"/zen{query}"
    assert UrlRewrite(path=PrefixPath("/x")).rewritten(f"/foo{query}", "/foo") == f"/x{query}"
    assert UrlRewrite(host=b"a").rewritten(f"/foo{query}", None) == f"/foo{query}"


SEGMENT = st.sampled_from(["a", "foo", "xyz", "a;b", "%C3%A4", "%3F", "foo%20", "..a", "@", "a:80"])
PATHS = st.builds(
    lambda segments, slash: "/" + "/".join(segments) + (slash if segments else ""),
    st.lists(SEGMENT, max_size=4),
    st.sampled_from(["", "/"]),
)


@given(PATHS, PATHS, st.one_of(st.just(""), PATHS), st.sampled_from(["", "?", "?x=../y", "?a#"]))
def test_a_rewritten_path_stays_below_the_replacement_and_is_canonical(
    prefix: str, rest: str, replacement: str, query: str
) -> None:
    path = prefix.removesuffix("/") + rest
    try:
        assert normalise_path(path.encode()) == path
    except AmbiguousTargetError:
        return

    rewritten = UrlRewrite(path=PrefixPath(replacement)).rewritten(path + query, prefix)

    result, mark, kept = rewritten.partition("?")
    below = replacement.removesuffix("/")
    assert result == below or result.startswith(f"{below}/")
    assert mark + kept == query
    assert normalise_path(result.encode()) == result
    assert result.removeprefix(below) in {rest, ""}


@pytest.mark.parametrize(
    ("redirect", "scheme", "authority", "expected"),
    [
        (Redirect(), "https", ("h", None), "https://h/a?b"),
        (Redirect(), "http", ("h", 8080), "http://h:8080/a?b"),
        (Redirect(), "https", ("h", 443), "https://h/a?b"),
        (Redirect(scheme="https"), "http", ("h", 8080), "https://h/a?b"),
        (Redirect(scheme="http"), "https", ("h", None), "http://h/a?b"),
        (Redirect(host="other"), "http", ("h", 8080), "http://other:8080/a?b"),
        (Redirect(host="other"), "http", ("h", 80), "http://other/a?b"),
        (Redirect(scheme="https", host="other"), "http", ("h", 80), "https://other/a?b"),
        (Redirect(port=8443), "https", ("h", None), "https://h:8443/a?b"),
        (Redirect(port=443), "https", ("h", 8080), "https://h/a?b"),
        (Redirect(port=443, scheme="http"), "https", ("h", None), "http://h:443/a?b"),
        (Redirect(port=80, scheme="http"), "https", ("h", 1), "http://h/a?b"),
        (Redirect(), "https", ("2001:db8::1", 8080), "https://[2001:db8::1]:8080/a?b"),
        (Redirect(path=FullPath("/z")), "https", ("h", None), "https://h/z?b"),
        (Redirect(path=PrefixPath("/z")), "https", ("h", None), "https://h/z?b"),
    ],
)
def test_a_redirect_keeps_what_is_not_set_and_writes_no_default_port(
    redirect: Redirect, scheme: str, authority: tuple[str, int | None], expected: str
) -> None:
    assert redirect.location(scheme, authority, "/a?b", "/a") == expected


def test_a_redirect_whose_path_was_refused_leads_nowhere() -> None:
    with pytest.raises(RewriteError):
        Redirect(path=FullPath(None)).location("https", REQUEST, "/", "/")
