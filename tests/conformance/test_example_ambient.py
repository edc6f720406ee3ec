"""Example 26 alone over real sockets: routes on a listener inside, and the destination in another namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conformance.harness.examples import dialled, example
from tests.conformance.harness.gateway import Gateway, running_gateway

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conformance.harness.certificates import Pki
    from tests.conformance.harness.origin import Origin


@pytest.fixture(scope="module")
def alone(pki: Pki, origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    settings = {"EGRESS_RESOLVE": dialled({"api.github.com:443": origin.port})}
    directory = tmp_path_factory.mktemp("alone")
    with running_gateway(pki, directory, {}, manifests=[example("26")], settings=settings) as gateway:
        yield gateway


def test_the_route_of_the_inner_listener_serves_every_identity(alone: Gateway, pki: Pki, origin: Origin) -> None:
    for name, identity in (("a", pki.team_a), ("b", pki.team_b)):
        assert alone.ask(identity, "/zen?x=1", f"X-Request-Id: {name}").status == 200
        line = alone.access_line("request_id", name)
        assert (line["route"], line["backend"]) == ("egress-direct/github", "egress-direct/github")
        assert (line["gateway"], line["decision"], line["rule"]) == ("egress-direct/egress", "allow", None)
    assert origin.targets() == ["/zen?x=1"] * 2
    assert origin.requests[0].values("x-caller-identity") == []
    assert set(origin.handshakes) == {"api.github.com"}


def test_nothing_else_is_reached(alone: Gateway, pki: Pki) -> None:
    assert alone.ask(pki.team_a, "/get", host="httpbingo.org").status == 404
    assert alone.ask(pki.team_a, "/zen", host="api.github.com:15008").status == 404
    assert alone.ask(pki.team_a, "/repos/../zen").status == 400
