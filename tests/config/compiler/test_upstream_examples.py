"""The example manifests of this subject compile without a fault."""

from __future__ import annotations

from pathlib import Path

from config.compiler.place import Place
from config.compiler.upstreams import check_protocols, compile_http, compile_tls, compile_tunnel
from config.policy.upstream import Tunnel, upstream_of
from tests.config.examples import WORKSHOP, several
from tests.config.examples import resources_of as resources_of_text

EXAMPLES = Path(__file__).parents[3] / "deploy" / "examples"


def test_the_partner_is_called_with_a_certificate_of_ours() -> None:
    texts = [(EXAMPLES / "17-backend-mtls.yaml").read_text(), (WORKSHOP / "01-setup.yaml").read_text()]
    resources, findings = resources_of_text(several(*texts))
    assert findings == []
    parsed = resources.backends["egress-direct/partner"]
    place, policies = Place(parsed, resources, [], ("spec", "policies")), parsed.model.spec.policies
    assert policies.tls is not None
    assert policies.http is not None

    tls, http = compile_tls(place.at("tls"), policies.tls), compile_http(place.at("http"), policies.http)
    check_protocols(place, tls, http)
    upstream = upstream_of("api.partner.example", 8443, tls=tls, http=http)

    assert place.findings == []
    assert upstream is not None
    assert upstream.tls is not None
    assert upstream.tls.client_certificate is not None
    assert (upstream.tls.verify_names, http.request_timeout) == (("api.partner.example",), 10.0)


def test_the_proxy_is_the_service_of_its_manifest() -> None:
    resources, findings = resources_of_text((EXAMPLES / "21-upstream-connect-proxy.yaml").read_text())
    assert findings == []
    [parsed] = resources.policies.values()
    place, block = Place(parsed, resources, [], ("spec", "backend")), parsed.model.spec.backend
    assert block is not None
    assert block.tunnel is not None

    tunnel = compile_tunnel(place.at("tunnel"), block.tunnel)

    assert (tunnel, place.findings) == (Tunnel("corporate-proxy.egress-direct.svc.cluster.local", 3128), [])
