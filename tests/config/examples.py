"""What the tests of `config` build their inputs from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.attributes import Peer, RequestAttributes
from config.cel import EvaluationError
from config.compiler import compile_snapshot
from config.manifests import read_documents
from config.policy.identity import parse_spiffe_id
from config.resources import parse_resources
from config.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from config.errors import Finding
    from config.policy.upstream import Upstream
    from config.resources import Resources
    from config.snapshot import Backend, Route, Snapshot, VirtualHost

DEPLOY = Path(__file__).parents[2] / "deploy"
WORKSHOP, EXAMPLES = DEPLOY / "workshop", DEPLOY / "examples"
TEAM_A = "spiffe://cluster.local/ns/team-a/sa/team-a"
TEAM_B = "spiffe://cluster.local/ns/team-b/sa/team-b"

GATEWAY = """\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: egress, namespace: infra}
spec:
  gatewayClassName: waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
"""

SERVICE = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: origin
  namespace: infra
  labels: {istio.io/use-waypoint: egress}
spec:
  hosts: [api.example.org]
  ports: [{number: 8080, name: http, protocol: HTTP}]
"""

BACKEND = """\
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayBackend
metadata: {name: origin, namespace: infra}
spec:
  static: {host: api.example.org, port: 443}
  policies: {tls: {}}
"""

ROUTE = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: origin-route, namespace: infra}
spec:
  parentRefs: [{group: networking.istio.io, kind: ServiceEntry, name: origin}]
  rules:
    - name: main
      backendRefs: [{group: agentgateway.dev, kind: AgentgatewayBackend, name: origin}]
"""

ON_GATEWAY = "{group: gateway.networking.k8s.io, kind: Gateway, name: egress}"
ON_SERVICE = "{group: networking.istio.io, kind: ServiceEntry, name: origin}"
ON_ROUTE = "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: origin-route}"
ON_RULE = "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: origin-route, sectionName: main}"


def several(*manifests: str) -> str:
    """Join manifests to one file."""
    return "---\n".join(manifests)


SETUP = several(GATEWAY, SERVICE, BACKEND, ROUTE)


def authorization_policy(
    action: str,
    *expressions: str,
    name: str = "rules",
    target: str = ON_GATEWAY,
    metadata: str = "",
) -> str:
    """Write a policy with one authorization block; `metadata` holds further fields, `a: b, c: d`."""
    entries = "".join(f"\n          - {expression!r}" for expression in expressions)
    return f"""\
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayPolicy
metadata: {{name: {name}, namespace: infra, {metadata}}}
spec:
  targetRefs: [{target}]
  traffic:
    authorization:
      action: {action}
      policy:
        matchExpressions:{entries}
"""


def transformation_policy(request: str, *, name: str = "headers", target: str = ON_GATEWAY, metadata: str = "") -> str:
    """Write a policy with one transformation block, in flow style."""
    return f"""\
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayPolicy
metadata: {{name: {name}, namespace: infra, {metadata}}}
spec:
  targetRefs: [{target}]
  traffic:
    transformation:
      request: {request}
"""


def resources_of(text: str) -> tuple[Resources, list[Finding]]:
    """Read one file's text as far as typed models."""
    documents, findings = read_documents("f.yaml", text)
    resources, faults = parse_resources(documents)
    return resources, findings + faults


def settings(**values: Any) -> Settings:
    """Return settings with everything else at its default."""
    return Settings(**values)


def snapshot_of(text: str, **values: Any) -> tuple[Snapshot, list[Finding]]:
    """Compile one file's text. That a route has no rules is no finding worth a word in most tests."""
    resources, findings = resources_of(text)
    now = values.pop("now", None)
    snapshot, faults = compile_snapshot(resources, settings(**values), revision="0" * 12, now=now)
    assert snapshot is not None
    return snapshot, [finding for finding in findings + faults if finding.code != "no-authorization"]


def only(virtual_host: VirtualHost) -> Route:
    """Return the route that takes every request of a host."""
    assert virtual_host.table.only is not None
    return virtual_host.table.only


def routed(snapshot: Snapshot, host: str, path: str = "/", method: str = "GET", **values: Any) -> Route | None:
    """Return the route that takes a request, if one does; `values`: its `headers` and `query`."""
    virtual_host = snapshot.find(host)
    if virtual_host is None:
        return None
    found = virtual_host.table.find(method, path, values.get("headers", ()), values.get("query"))
    return found[0] if found else None


def upstream_of(backend: Backend | None) -> Upstream:
    """Return the origin of a backend that has one."""
    assert backend is not None
    [endpoint] = backend.endpoints
    return endpoint.upstream


def codes(findings: Sequence[Finding]) -> list[str]:
    """Return the slugs of findings, in their order."""
    return [finding.code for finding in findings]


def place(finding: Finding) -> tuple[int, int]:
    """Return line and column of a finding."""
    assert finding.location is not None
    return finding.location.line, finding.location.column


def request(path: str = "/", *, caller: str = TEAM_A, **values: Any) -> RequestAttributes:
    """Return the attributes of one request."""
    fields: dict[str, Any] = {"method": "GET", "host": "api.example.org", **values}
    return RequestAttributes(peer=Peer(parse_spiffe_id(caller)), path=path, **fields)


def literal(value: Any) -> str:  # noqa: PLR0911  one for each type
    """Write a value in CEL; `EvaluationError` becomes an expression that fails."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return '"' + "".join(f"\\U{ord(character):08x}" for character in value) + '"'
        case bytes():
            return 'b"' + "".join(f"\\x{byte:02x}" for byte in value) + '"'
        case list():
            return "[" + ", ".join(map(literal, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{literal(key)}: {literal(item)}" for key, item in value.items()) + "}"
        case _:
            assert value is EvaluationError
            return "1 / 0"
