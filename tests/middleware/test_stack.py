from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from config.cel import compile_expression
from config.policy.authorization import Authorization
from config.policy.body import BodyBuffer, Buffer
from config.policy.client_auth import ApiKeyAuthentication, Mode
from config.policy.conditional import Conditional
from config.policy.cors import Cors
from config.policy.csrf import Csrf
from config.policy.delay import Delay
from config.policy.direct_response import DirectResponse, DirectResponses
from config.policy.headers import HeaderModifier
from config.policy.matching import RouteTable
from config.policy.rewrite import Redirect, UrlRewrite
from config.policy.rules import Action, Rule
from config.snapshot import Route, Snapshot, VirtualHost
from middleware.authorization import AuthorizationMiddleware
from middleware.body import BodyMiddleware
from middleware.buffer import BufferMiddleware
from middleware.client_auth import ClientAuthenticationMiddleware
from middleware.cors import CorsMiddleware
from middleware.csrf import CsrfMiddleware
from middleware.delay import DelayMiddleware
from middleware.direct_response import DirectResponseMiddleware
from middleware.headers import HeaderRewriteMiddleware
from middleware.identity import IdentityMiddleware
from middleware.observe import ObserveMiddleware
from middleware.path_guard import PathGuardMiddleware
from middleware.problems import ProblemMiddleware
from middleware.responses import ResponsePolicyMiddleware
from middleware.rewrite import RedirectMiddleware, UrlRewriteMiddleware
from middleware.routing import RoutingMiddleware
from middleware.stack import layers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from middleware.client_auth import CredentialChecks

ALWAYS = [ObserveMiddleware, ProblemMiddleware, IdentityMiddleware, RoutingMiddleware, AuthorizationMiddleware]


def deny(text: str) -> Authorization:
    return Authorization.of([Rule("ns/a#0", Action.DENY, compile_expression(text))])


def route(authorization: Authorization | None = None, **fields: Any) -> Route:
    return Route("ns/r", authorization or Authorization.of(), **fields)


NEEDS: dict[str, tuple[Route, set[object]]] = {
    "nothing": (route(), set()),
    "a path deny": (route(deny('request.path == "/x"')), {PathGuardMiddleware}),
    "a rule on the body": (route(deny('request.body == b""')), {BodyMiddleware}),
    "header modifiers": (route(request_headers=HeaderModifier(remove=(b"a",))), {HeaderRewriteMiddleware}),
    "response headers": (route(response_headers=HeaderModifier(remove=(b"a",))), {ResponsePolicyMiddleware}),
    "cors": (route(cors=Cors()), {CorsMiddleware, ResponsePolicyMiddleware}),
    "csrf": (route(csrf=Csrf()), {CsrfMiddleware}),
    "api keys": (route(api_key=ApiKeyAuthentication(Mode.STRICT, {})), {ClientAuthenticationMiddleware}),
    "a request buffer": (route(buffer=Buffer(request=BodyBuffer(1))), {BufferMiddleware}),
    "a response buffer": (route(buffer=Buffer(response=BodyBuffer(1))), {ResponsePolicyMiddleware}),
    "a rewrite": (route(rewrite=UrlRewrite(host=b"a")), {UrlRewriteMiddleware}),
    "the caller's host": (route(host_rewrite=False), {UrlRewriteMiddleware}),
    "a redirect": (route(redirect=Redirect()), {RedirectMiddleware}),
    "a delay": (route(delay=Delay(1.0)), {DelayMiddleware}),
    "an answer": (
        route(direct_response=DirectResponses(Conditional.always(DirectResponse(204)))),
        {DirectResponseMiddleware},
    ),
}


def order(routes: Iterable[Route]) -> list[object]:
    """Return the layers of a configuration with these routes; the last one belongs to a wildcard."""
    *exact, last = (
        VirtualHost(f"ns/{number}", frozenset(), RouteTable.of(found)) for number, found in enumerate(routes)
    )
    snapshot = Snapshot("0" * 12, "ns/gateway", {host.name: host for host in exact}, {"example.org": last})
    checks = cast("CredentialChecks", None)  # nobody calls while layers are listed
    return [layer.cls for layer in layers(snapshot, frozenset({"cluster.local"}), checks, lambda *_: None)]


def test_the_layers_stand_in_the_order_of_the_design() -> None:
    assert order(found for found, _ in NEEDS.values()) == [
        ObserveMiddleware,
        ResponsePolicyMiddleware,
        ProblemMiddleware,
        IdentityMiddleware,
        RoutingMiddleware,
        CorsMiddleware,
        ClientAuthenticationMiddleware,
        BodyMiddleware,
        AuthorizationMiddleware,
        PathGuardMiddleware,
        BufferMiddleware,
        HeaderRewriteMiddleware,
        CsrfMiddleware,
        UrlRewriteMiddleware,
        RedirectMiddleware,
        DelayMiddleware,
        DirectResponseMiddleware,
    ]


@pytest.mark.parametrize(("found", "needed"), NEEDS.values(), ids=NEEDS.keys())
def test_a_layer_is_there_if_some_route_needs_it_and_those_that_protect_always_are(
    found: Route, needed: set[object]
) -> None:
    plain = Route("ns/plain", Authorization.of())

    for routes in ([found, plain], [plain, found]):
        assert set(order(routes)) == {*ALWAYS, *needed}
