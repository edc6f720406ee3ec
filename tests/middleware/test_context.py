from __future__ import annotations

import pytest

from config.snapshot import Snapshot
from middleware.context import (
    CONNECTION,
    TARGET,
    Connection,
    RequestContext,
    bind_context,
    connection_of,
    request_context,
    target_of,
)

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


def test_a_guard_that_did_not_pass_the_outer_layers_fails_closed() -> None:
    with pytest.raises(KeyError):
        request_context({"type": "http"})


def test_a_guard_before_routing_fails_closed() -> None:
    scope: dict[str, object] = {}
    bind_context(scope, RequestContext(Snapshot("0" * 12, "ns/gateway"), PUBLISHED, {}))

    with pytest.raises(RuntimeError, match="before routing"):
        request_context(scope).routed()


def test_certificates_do_not_show_in_the_record_of_a_connection() -> None:
    assert "secret" not in repr(PUBLISHED)
