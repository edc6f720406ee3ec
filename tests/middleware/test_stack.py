from __future__ import annotations

from config.snapshot import SnapshotStore
from middleware.authorization import AuthorizationMiddleware
from middleware.body import BodyMiddleware
from middleware.headers import HeaderRewriteMiddleware
from middleware.identity import IdentityMiddleware
from middleware.observe import ObserveMiddleware
from middleware.path_guard import PathGuardMiddleware
from middleware.problems import ProblemMiddleware
from middleware.routing import RoutingMiddleware
from middleware.stack import layers


def test_the_layers_stand_in_the_order_of_the_design() -> None:
    stack = layers(SnapshotStore(), frozenset({"cluster.local"}), lambda *_: None)

    order: list[object] = [layer.cls for layer in stack]
    assert order == [
        ObserveMiddleware,
        ProblemMiddleware,
        IdentityMiddleware,
        RoutingMiddleware,
        BodyMiddleware,
        AuthorizationMiddleware,
        PathGuardMiddleware,
        HeaderRewriteMiddleware,
    ]
