from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from config.snapshot import Snapshot
from middleware.authorization import AuthorizationMiddleware
from middleware.context import (
    CONNECTION,
    CONTEXT,
    TARGET,
    Connection,
    RequestContext,
    connection_of,
    target_of,
)
from middleware.headers import HeaderRewriteMiddleware
from middleware.identity import IdentityMiddleware
from middleware.path_guard import PathGuardMiddleware
from middleware.routing import RoutingMiddleware
from tests.support.asgi import Call
from tests.support.loops import in_loop

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

PUBLISHED = Connection("192.0.2.7", 1, "192.0.2.8", 2, "https", {"client_cert_chain": ["secret"]})


def test_what_the_listener_published_wins_over_the_scope() -> None:
    scope = {"state": {CONNECTION: PUBLISHED, TARGET: b"/a#b"}, "client": ("10.0.0.1", 9), "raw_path": b"/a"}

    assert connection_of(scope) is PUBLISHED
    assert target_of(scope) == b"/a#b"


def test_without_a_listener_of_ours_the_plain_scope_is_read() -> None:
    tls: dict[str, list[str]] = {"client_cert_chain": []}
    scope = {
        "scheme": "https",
        "client": None,
        "server": ("unix", None),
        "extensions": {"tls": tls},
        "raw_path": b"/a",
        "query_string": b"b=c",
    }

    connection = connection_of(scope)
    assert (connection.address, connection.port, connection.local_port, connection.tls) == ("", 0, 0, tls)
    assert target_of(scope) == b"/a?b=c"
    assert target_of({**scope, "query_string": b""}) == b"/a"
    with pytest.raises(ConnectionAbortedError):
        connection.abort()


GUARDS = [IdentityMiddleware, RoutingMiddleware, AuthorizationMiddleware, PathGuardMiddleware, HeaderRewriteMiddleware]


async def let_through(_: Scope, __: Receive, ___: Send) -> None:
    pytest.fail("a request got through")


def guarded(guard: Any) -> Any:
    return guard(let_through, frozenset()) if guard is IdentityMiddleware else guard(let_through)


@pytest.mark.parametrize("guard", GUARDS)
@in_loop
async def test_a_guard_that_did_not_pass_the_outer_layers_fails_closed(guard: Any) -> None:
    with pytest.raises(KeyError):
        await Call(guarded(guard)).run()


@pytest.mark.parametrize("guard", GUARDS[2:])
@in_loop
async def test_a_guard_before_routing_fails_closed(guard: Any) -> None:
    call = Call(guarded(guard))
    call.scope[CONTEXT] = RequestContext(Snapshot("0" * 12, "ns/gateway"), PUBLISHED, {})

    with pytest.raises(RuntimeError, match="before routing"):
        await call.run()


def test_certificates_do_not_show_in_the_record_of_a_connection() -> None:
    assert "secret" not in repr(PUBLISHED)
