"""What the origin is asked for, and where a caller is sent, through the layers around."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from config.cel import compile_expression
from config.policy.rewrite import FullPath, PrefixPath, Redirect, UrlRewrite
from config.policy.rules import Action, Rule
from tests.support.asgi import Call
from tests.support.routes import Origin, Served, route_of

PREFIX = UrlRewrite(path=PrefixPath("/repos"))
GUARD = Rule("test/guard#0", Action.DENY, compile_expression('request.path.startsWith("/repos/secret")'))


def ask(target: str, *rules: Rule, prefix: str | None = "/v1/code", **fields: Any) -> tuple[Call, Served, Origin]:
    """Make a request of a route with these fields."""
    origin = Origin()
    served = Served(route_of(*rules, **fields), origin, prefix)
    host = fields.pop("host", b"origin.test")
    call = Call(served, target=target.encode(), headers=[(b"host", host)])
    call.body(b"")
    asyncio.run(call.run())
    return call, served, origin


@pytest.mark.parametrize(
    ("rewrite", "target", "expected"),
    [
        (PREFIX, "/v1/code/octocat/hello?a=%2F..", "/repos/octocat/hello?a=%2F.."),
        (PREFIX, "/v1/code", "/repos"),
        (PREFIX, "/v1/code?", "/repos?"),
        (PREFIX, "/v1/c%6Fde/x", "/repos/x"),
        (UrlRewrite(path=FullPath("/zen")), "/motto?a=b&a=b", "/zen?a=b&a=b"),
        (UrlRewrite(host=b"other.test"), "/v1/code/x?", "/v1/code/x?"),
        (None, "/v1/code/x", "/v1/code/x"),
    ],
)
def test_the_origin_is_asked_for_the_rewritten_target(rewrite: UrlRewrite | None, target: str, expected: str) -> None:
    call, served, origin = ask(target, rewrite=rewrite)

    assert call.status == 200
    assert [context.target for context in origin.contexts] == [expected]
    (record,) = served.records
    assert record.attributes is not None
    assert record.attributes.path != "/repos/x"  # what policy and the log see is the caller's


def test_a_rewritten_host_is_told_to_the_origin_and_changes_nothing_else() -> None:
    _, served, origin = ask("/", rewrite=UrlRewrite(host=b"other.test"), host_rewrite=False)

    assert origin.contexts[0].authority == b"other.test"
    (record,) = served.records
    assert record.attributes is not None
    assert record.attributes.host == "origin.test"


@pytest.mark.parametrize("host", [b"origin.test", b"ORIGIN.test:8080", b"origin.test."])
def test_without_host_rewrite_the_caller_s_host_stays_as_it_came(host: bytes) -> None:
    origin = Origin()
    call = Call(Served(route_of(host_rewrite=False), origin), headers=[(b"host", host)])
    call.body(b"")
    asyncio.run(call.run())

    assert origin.contexts[0].authority == host


def test_with_host_rewrite_the_backend_says_which_host_is_sent() -> None:
    assert ask("/")[2].contexts[0].authority is None


@pytest.mark.parametrize(
    ("rewrite", "prefix"),
    [
        (UrlRewrite(path=PrefixPath(None)), "/v1/code"),
        (UrlRewrite(path=FullPath(None)), "/v1/code"),
        (PREFIX, None),
        (PREFIX, "/v1/cod"),
    ],
)
def test_what_cannot_be_rewritten_is_not_sent(rewrite: UrlRewrite, prefix: str | None) -> None:
    call, served, origin = ask("/v1/code/x", rewrite=rewrite, prefix=prefix)

    assert (call.status, call.content) == (500, b"internal error")
    assert served.records[0].reason == "rewrite_failed"
    assert origin.contexts == []


def test_a_rewrite_slips_past_no_rule_on_the_path() -> None:
    call, served, origin = ask("/v1/code/secret/x", GUARD, rewrite=PREFIX)

    assert (call.status, call.content) == (403, b"authorization failed")
    (record,) = served.records
    assert (record.verdict, record.decision and record.decision.rule) == ("deny_matched", "test/guard#0")
    assert origin.contexts == []
    assert ask("/v1/code/open", GUARD, rewrite=PREFIX)[0].status == 200


def test_a_rewrite_opens_no_path_that_was_refused_as_it_came() -> None:
    call, _, origin = ask("/repos/secret", GUARD, rewrite=UrlRewrite(path=FullPath("/open")))

    assert call.status == 403
    assert origin.contexts == []


@pytest.mark.parametrize(
    ("redirect", "target", "location"),
    [
        (Redirect(), "/a?b=%2e", b"https://origin.test/a?b=%2e"),
        (
            Redirect(301, "https", "docs.github.com", path=PrefixPath("/rest")),
            "/v1/code/x?y",
            b"https://docs.github.com/rest/x?y",
        ),
        (Redirect(308, "http", port=8080, path=FullPath("/z")), "/a", b"http://origin.test:8080/z"),
    ],
)
def test_a_redirect_answers_at_once(redirect: Redirect, target: str, location: bytes) -> None:
    call, served, origin = ask(target, redirect=redirect)

    (record,) = served.records
    assert call.status == record.status == redirect.status
    assert call.is_complete
    assert call.content == b""
    assert call.headers == {
        b"location": location,
        b"content-length": b"0",
        b"x-egress-decision-id": record.decision_id.encode(),
        b"date": call.headers[b"date"],
    }
    assert record.is_allowed
    assert origin.contexts == []


@pytest.mark.parametrize(
    ("host", "location"),
    [
        (b"ORIGIN.test.", b"https://origin.test/"),
        (b"origin.test:80", b"https://origin.test/"),
        (b"origin.test:443", b"https://origin.test/"),
        (b"origin.test:8080", b"https://origin.test:8080/"),
    ],
)
def test_a_redirect_writes_the_caller_s_host_and_port_in_their_canonical_form(host: bytes, location: bytes) -> None:
    call = Call(Served(route_of(redirect=Redirect()), Origin()), headers=[(b"host", host)])
    asyncio.run(call.run())

    assert call.headers[b"location"] == location


def test_a_redirect_is_told_to_nobody_who_may_not_ask() -> None:
    call, _, _ = ask("/repos/secret", GUARD, redirect=Redirect())

    assert call.status == 403
    assert b"location" not in call.headers


def test_a_redirect_speaks_of_the_request_as_it_was_rewritten() -> None:
    rewrite = UrlRewrite(b"other.test", FullPath("/z"))

    assert ask("/a?b", rewrite=rewrite, redirect=Redirect())[0].headers[b"location"] == b"https://other.test/z?b"


def test_a_redirect_whose_path_cannot_be_made_is_an_error() -> None:
    call, served, _ = ask("/a", redirect=Redirect(path=PrefixPath("/x")), prefix=None)

    assert (call.status, served.records[0].reason) == (500, "rewrite_failed")
