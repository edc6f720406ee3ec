from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from config.errors import Severity
from tests.config.examples import BACKEND, GATEWAY, SERVICE, codes, place, several, snapshot_of

if TYPE_CHECKING:
    from config.errors import Finding

FILTER = "filters: [{type: RequestRedirect, requestRedirect: {statusCode: 302}}]"


def route(name: str, *matches: str, hostnames: str = "[]", parent: str = "ServiceEntry") -> str:
    """Return a route with a rule for each match."""
    group = "networking.istio.io" if parent == "ServiceEntry" else "gateway.networking.k8s.io"
    parent_name = "origin" if parent == "ServiceEntry" else "egress"
    rules = "".join(f"  - matches: [{match}]\n    {FILTER}\n" for match in matches)
    return f"""\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: infra}}
spec:
  parentRefs: [{{group: {group}, kind: {parent}, name: {parent_name}}}]
  hostnames: {hostnames}
  rules:
{rules}"""


def path(value: str, kind: str = "PathPrefix", more: str = "") -> str:
    return f"{{path: {{type: {kind}, value: '{value}'}}{more}}}"


def findings_of(*routes: str) -> list[Finding]:
    _, findings = snapshot_of(several(GATEWAY, SERVICE, BACKEND, *routes))
    return [finding for finding in findings if finding.code != "no-authorization"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (path("/a"), path("/a")),
        (path("/a"), path("/a/")),
        (path("/a", "Exact"), path("/a", "Exact")),
        (path("/.*", "RegularExpression"), path("/.*", "RegularExpression")),
        (path("/"), path("/x.*", "RegularExpression")),
    ],
)
def test_a_rule_is_unreachable_where_another_takes_all_that_it_matches(first: str, second: str) -> None:
    [finding] = findings_of(route("r", first, second))

    assert (finding.code, finding.severity) == ("unreachable-rule", Severity.WARNING)
    assert place(finding) == (34, 5), "the second rule"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (path("/"), path("/a")),
        (path("/a"), path("/a", "Exact")),
        (path("/a", "Exact"), path("/a")),
        (path("/a"), path("/ab")),
        (path("/a", more=", method: GET"), path("/a")),
        (path("/a"), path("/a", more=", method: GET")),
        (path("/a", more=", headers: [{name: x, value: y}]"), path("/a", more=", headers: [{name: x, value: z}]")),
        (path("/a"), path("/a.*", "RegularExpression")),
        (path("/a"), f"{path('/a')}, {path('/b')}"),
    ],
)
def test_a_rule_that_takes_some_requests_is_none(first: str, second: str) -> None:
    assert findings_of(route("r", first, second)) == []


@pytest.mark.parametrize(
    ("close", "wide", "found"),
    [
        ("/", "/a", ["unreachable-rule"]),
        ("/a", "/a/b", ["unreachable-rule"]),
        ("/a", "/ab", []),
        ("/a/b", "/a", []),
    ],
)
def test_a_route_that_names_the_host_more_closely_takes_everything_below_its_prefix(
    close: str, wide: str, found: list[str]
) -> None:
    named = route("close", path(close), hostnames="[api.example.org]")

    assert codes(findings_of(named, route("wide", path(wide)))) == found


def test_a_rule_that_one_host_reaches_is_reached() -> None:
    routes = [
        route("close", path("/"), hostnames="[a.example.org]", parent="Gateway"),
        route("wide", path("/"), hostnames="['*.example.org']", parent="Gateway"),
    ]

    assert findings_of(*routes) == []
