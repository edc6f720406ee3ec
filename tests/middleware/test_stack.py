from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from config.cel import compile_expression
from config.policy.authorization import Authorization
from config.policy.headers import HeaderRewrite
from config.policy.rules import Action, Rule
from config.snapshot import Route, Snapshot, VirtualHost
from middleware.authorization import AuthorizationMiddleware
from middleware.body import BodyMiddleware
from middleware.headers import HeaderRewriteMiddleware
from middleware.identity import IdentityMiddleware
from middleware.observe import ObserveMiddleware
from middleware.path_guard import PathGuardMiddleware
from middleware.problems import ProblemMiddleware
from middleware.routing import RoutingMiddleware
from middleware.stack import layers

if TYPE_CHECKING:
    from collections.abc import Iterable

DENY_BY_PATH = Authorization.of([Rule("ns/a#0", Action.DENY, compile_expression('request.path == "/x"'))])
ALWAYS = [ObserveMiddleware, ProblemMiddleware, IdentityMiddleware, RoutingMiddleware, AuthorizationMiddleware]


def order(routes: Iterable[Route]) -> list[object]:
    """Return the layers of a configuration with these routes; the last one belongs to a wildcard."""
    *exact, last = (VirtualHost(f"ns/{number}", frozenset(), route) for number, route in enumerate(routes))
    snapshot = Snapshot("0" * 12, "ns/gateway", {host.name: host for host in exact}, {"example.org": last})
    return [layer.cls for layer in layers(snapshot, frozenset({"cluster.local"}), lambda *_: None)]


def test_the_layers_stand_in_the_order_of_the_design() -> None:
    everything = Route("ns/r", DENY_BY_PATH, HeaderRewrite(remove=(b"a",)), reads_body=True)

    assert order([everything]) == [
        ObserveMiddleware,
        ProblemMiddleware,
        IdentityMiddleware,
        RoutingMiddleware,
        BodyMiddleware,
        AuthorizationMiddleware,
        PathGuardMiddleware,
        HeaderRewriteMiddleware,
    ]


@pytest.mark.parametrize(
    ("route", "needed"),
    [
        (Route("ns/r", Authorization.of()), set()),
        (Route("ns/r", DENY_BY_PATH), {PathGuardMiddleware}),
        (Route("ns/r", Authorization.of(), HeaderRewrite(remove=(b"a",))), {HeaderRewriteMiddleware}),
        (Route("ns/r", Authorization.of(), reads_body=True), {BodyMiddleware}),
    ],
)
def test_a_layer_is_there_if_some_route_needs_it_and_those_that_protect_always_are(
    route: Route, needed: set[object]
) -> None:
    plain = Route("ns/plain", Authorization.of())

    for routes in ([route, plain], [plain, route]):
        assert set(order(routes)) == {*ALWAYS, *needed}
