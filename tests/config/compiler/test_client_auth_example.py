from __future__ import annotations

from pathlib import Path
from typing import Any

from config.compiler.api_keys import compile_api_key_authentication
from config.compiler.client_auth import compile_basic_authentication, compile_jwt_authentication
from config.compiler.place import Place
from tests.config.examples import codes, resources_of

EXAMPLE = Path(__file__).parents[3] / "deploy" / "examples" / "24-client-auth.yaml"


def test_the_policies_of_the_example_are_valid() -> None:
    resources, findings = resources_of(EXAMPLE.read_text(encoding="utf-8"))
    compiled: dict[str, Any] = {}
    for parsed in resources.policies.values():
        traffic = parsed.model.spec.traffic
        assert traffic is not None
        place = Place(parsed, resources, findings, ("spec", "traffic"))
        if traffic.jwt_authentication is not None:
            compiled["jwt"] = compile_jwt_authentication(place.at("jwtAuthentication"), traffic.jwt_authentication)
        if traffic.basic_authentication is not None:
            at = place.at("basicAuthentication")
            compiled["basic"] = compile_basic_authentication(at, traffic.basic_authentication)
        if traffic.api_key_authentication is not None:
            at = place.at("apiKeyAuthentication")
            compiled["api key"] = compile_api_key_authentication(at, traffic.api_key_authentication)

    assert codes(findings) == ["no-credentials"]  # the empty key set lets nobody in
    assert list(compiled["basic"].users) == ["alice"]
    assert [known["team"] for known in compiled["api key"].keys.values()] == ["a"]
    assert "egress-direct/partner" in resources.routes
