"""The whole application, running on manifests of the test, with a TestClient as its caller."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.testclient import TestClient

from app.factory import create_app
from config.settings import Settings
from tests.support.tls import TlsCaller

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKSHOP = str(Path(__file__).parents[2] / "deploy" / "workshop")
HOST = "origin.test"
PORT = 8080
GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: egress, namespace: test}
spec:
  gatewayClassName: enterprise-agentgateway-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
"""
PLAIN_SERVICE = f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: origin, namespace: test, labels: {{istio.io/use-waypoint: egress}}}}
spec:
  hosts: [{HOST}]
  resolution: DNS
  ports: [{{number: {PORT}, name: http, protocol: HTTP}}]
"""


def manifests(directory: Path, *documents: str) -> str:
    """Write manifests: a Gateway, and a service that is forwarded to in plain text unless others are given."""
    path = directory / "manifests.yaml"
    path.write_text("---".join([GATEWAY, *(documents or [PLAIN_SERVICE])]))
    return str(path)


def settings(config: str, origins: dict[str, int] | None = None, **others: Any) -> Settings:
    """Return settings under which every origin, `host:port`, is dialled on loopback."""
    return Settings(
        **{
            "config": config,
            "status_listen": "off",
            "access_log": "off",
            "resolve": ",".join(f"{name}:127.0.0.1:{port}" for name, port in (origins or {}).items()),
            "dial_allow": "127.0.0.0/8",
            **others,
        }
    )


@dataclass
class RunningGateway:
    """A gateway, its caller and its access log."""

    client: TestClient
    caller: TlsCaller
    log: Path

    def line(self, decision_id: str) -> dict[str, Any]:
        """Return the access line of an answer, as soon as it is written."""
        while True:
            for line in self.log.read_text().splitlines(keepends=True):
                if line.endswith("\n") and (fields := json.loads(line))["decision_id"] == decision_id:
                    return dict(fields)
            time.sleep(0.01)


@contextmanager
def running(
    directory: Path, config: str, origins: dict[str, int] | None = None, **others: Any
) -> Iterator[RunningGateway]:
    """Start a gateway; its caller is team-a unless the test says otherwise."""
    log = directory / "access.log"
    caller = TlsCaller(create_app(settings(config, origins, access_log=str(log), **others)))
    with TestClient(caller, base_url="https://origin.test") as client:
        # What TestClient sends of its own would be mistaken for the gateway's doing.
        client.headers.clear()
        yield RunningGateway(client, caller, log)
