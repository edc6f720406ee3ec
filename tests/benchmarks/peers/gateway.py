"""This gateway, started as its users start it, with the workshop's manifests."""

from __future__ import annotations

import shutil
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

from app import __version__
from tests.benchmarks import traces
from tests.benchmarks.options import ROOT
from tests.benchmarks.peers.base import Launch
from tests.benchmarks.pki import HOST

if TYPE_CHECKING:
    from pathlib import Path

    from tests.benchmarks.peers.base import Work

WORKSHOP = ROOT / "deploy" / "workshop"
RULES = "03-policy-rbac.yaml"
ITS_RULE = 'source.identity.namespace == "team-a" && source.identity.serviceAccount == "team-a"'
ITS_NAME = "name: rbac-team-a"
RULES_PER_POLICY = 200
"""The kind takes 256."""
HOST_MANIFESTS = """\
---
apiVersion: networking.istio.io/v1beta1
kind: ServiceEntry
metadata: {{name: {name}, namespace: egress-direct, labels: {{istio.io/use-waypoint: egress}}}}
spec: {{hosts: [{host}], location: MESH_EXTERNAL, resolution: DNS, ports: [{{number: 80, name: http, protocol: HTTP}}]}}
---
apiVersion: agentgateway.dev/v1alpha1
kind: AgentgatewayBackend
metadata: {{name: {name}, namespace: egress-direct}}
spec: {{static: {{host: {host}, port: 443}}, policies: {{tls: {{}}}}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: egress-direct}}
spec:
  parentRefs: [{{group: networking.istio.io, kind: ServiceEntry, name: {name}}}]
  rules: [{{backendRefs: [{{group: agentgateway.dev, kind: AgentgatewayBackend, name: {name}}}]}}]
"""


def rules_manifest(workshop: str, teams: list[str]) -> str:
    """Return the workshop's Allow policy with one expression for each team, as several policies if they are many."""
    line = next(line for line in workshop.splitlines(keepends=True) if ITS_RULE in line)
    documents = []
    for start in range(0, len(teams), RULES_PER_POLICY):
        lines = [line.replace('"team-a"', f'"{team}"') for team in teams[start : start + RULES_PER_POLICY]]
        documents.append(workshop.replace(ITS_NAME, f"{ITS_NAME}-{start}").replace(line, "".join(lines)))
    return "---\n".join(documents)


def host_manifests(hosts: list[str]) -> str:
    return "".join(HOST_MANIFESTS.format(name=host.partition(".")[0], host=host) for host in hosts)


def write_manifests(directory: Path, teams: list[str], hosts: list[str]) -> None:
    """Write the workshop's manifests with other callers allowed and further hosts."""
    shutil.copytree(WORKSHOP, directory)
    (directory / RULES).write_text(rules_manifest((WORKSHOP / RULES).read_text(), teams))
    for start in range(0, len(hosts), 500):
        (directory / f"10-hosts-{start:06}.yaml").write_text(host_manifests(hosts[start : start + 500]))


def launch(work: Work) -> Launch:
    manifests = work.directory / "manifests"
    write_manifests(manifests, work.teams(), work.other_hosts())
    environment = {
        "EGRESS_ACCESS_LOG": str(work.log),
        "EGRESS_CONFIG": str(manifests),
        "EGRESS_DIAL_ALLOW": "127.0.0.0/8",
        "EGRESS_RESOLVE": f"{HOST}:443:127.0.0.1:{work.origin_port}",
        "EGRESS_STATUS_LISTEN": "off",
        "SSL_CERT_FILE": str(work.pki.origins_ca),
        "UVICORN_HOST": "127.0.0.1",
        "UVICORN_PORT": str(work.port),
        "UVICORN_SSL_CERTFILE": str(work.pki.gateway.certificate),
        "UVICORN_SSL_KEYFILE": str(work.pki.gateway.key),
        "UVICORN_SSL_CA_CERTS": str(work.pki.mesh_ca),
    }
    notes = []
    if work.collector is not None:
        environment |= traces.environment(work.options.otel, work.collector)
        notes.append(traces.note(work.options.otel))
    command = [sys.executable, "-m", "uvicorn", "app.main:app", "--ssl-cert-reqs", "2"]
    if work.options.workers > 1:
        command += ["--workers", str(work.options.workers)]
    python = ".".join(map(str, sys.version_info[:3]))
    return Launch(
        command,
        version=f"{__version__} (Python {python}, uvicorn {version('uvicorn')}, uvloop {version('uvloop')})",
        environment=environment,
        working_directory=ROOT,
        notes=tuple(notes),
    )
