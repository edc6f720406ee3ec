"""Fixtures of several folders; a `conftest.py` imports them by name. Gateways are shared by a whole test module."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from app.cli.certificates import Leaf
from tests.support.gateway import PORT, WORKSHOP, RunningGateway, manifests, plain_service, running
from tests.support.origins import echo, serving_in_thread
from tests.support.tls import MESH, TEAM_A, authority, server_context, svid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.origins import Downstream

LOGGERS = ("egress", "uvicorn", "uvicorn.error", "uvicorn.asgi", "uvicorn.access")
DENY_AND_DANGLE = """
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayPolicy
metadata: {name: deny, namespace: test}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: egress}]
  traffic:
    authorization:
      action: Deny
      policy:
        matchExpressions: ['request.host == "denied.test"', 'request.path == "/denied"']
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: dangling, namespace: test}
spec:
  parentRefs: [{group: networking.istio.io, kind: ServiceEntry, name: dangling}]
  rules: [{backendRefs: [{group: agentgateway.dev, kind: AgentgatewayBackend, name: missing}]}]
"""


def _fresh(gateway: RunningGateway) -> RunningGateway:
    """Undo what the test before changed."""
    gateway.caller.chain, gateway.caller.error = [svid(TEAM_A)], None
    gateway.caller.scope, gateway.caller.state = {}, {}
    gateway.client.cookies.clear()
    return gateway


@pytest.fixture(scope="module")
def workshop_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    directory = tmp_path_factory.mktemp("workshop")
    roots = directory / "roots.pem"
    roots.write_bytes(authority(MESH).pem()[0])
    origins = {}
    with ExitStack() as stack:
        for host in ("api.github.com", "httpbingo.org"):
            context = server_context(Leaf("origin", names=(host,)))
            origins[f"{host}:443"] = stack.enter_context(serving_in_thread(echo, context)).port
        environment = stack.enter_context(pytest.MonkeyPatch.context())
        environment.setenv("SSL_CERT_FILE", str(roots))
        environment.delenv("SSL_CERT_DIR", raising=False)
        yield stack.enter_context(running(directory, WORKSHOP, origins))


@pytest.fixture
def workshop(workshop_gateway: RunningGateway) -> RunningGateway:
    """Return a gateway on the workshop's manifests; its two origins answer over TLS with what they received."""
    return _fresh(workshop_gateway)


@pytest.fixture(scope="module")
def plain_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    async def garbage(origin: Downstream) -> None:
        await origin.head()
        await origin.send(b"garbage\r\n\r\n")

    directory = tmp_path_factory.mktemp("plain")
    names = ("origin", "broken", "dead", "dangling", "denied")
    config = manifests(directory, *map(plain_service, names), DENY_AND_DANGLE)
    with serving_in_thread(garbage) as dead:
        pass  # nobody listens there any more
    with serving_in_thread(echo) as origin, serving_in_thread(garbage) as broken:
        ports = {"origin": origin.port, "broken": broken.port, "dead": dead.port, "denied": origin.port}
        origins = {f"{name}.test:{PORT}": port for name, port in ports.items()}
        with running(directory, config, origins, strict=False) as gateway:
            yield gateway


@pytest.fixture
def plain(plain_gateway: RunningGateway) -> RunningGateway:
    """Return a gateway whose service `origin.test` answers in plain text with what it received.

    `broken.test` answers garbage, nobody answers for `dead.test`, `dangling.test` has no backend, and policy denies
    `denied.test` and the path `/denied`.
    """
    return _fresh(plain_gateway)


@pytest.fixture
def process_log_as_it_was() -> Iterator[None]:
    """Undo what starting a gateway does to the process log."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(log, log.handlers, log.propagate, log.level, list(log.filters)) for log in loggers]
    yield
    for log, handlers, propagate, level, filters in before:
        log.handlers, log.propagate, log.filters = handlers, propagate, filters
        log.setLevel(level)
