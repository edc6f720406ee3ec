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
PORT = 8080
GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: egress, namespace: test}
spec:
  gatewayClassName: enterprise-agentgateway-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
"""


def plain_service(name: str) -> str:
    """Return the service `NAME.test`, which is forwarded to in plain text."""
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: test, labels: {{istio.io/use-waypoint: egress}}}}
spec:
  hosts: [{name}.test]
  resolution: DNS
  ports: [{{number: {PORT}, name: http, protocol: HTTP}}]
"""


def manifests(directory: Path, *documents: str) -> str:
    """Write a Gateway and other manifests: without any, the service `origin.test`."""
    path = directory / "manifests.yaml"
    path.write_text("\n---\n".join([GATEWAY, *(documents or [plain_service("origin")])]))
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

    def line(self, name: str) -> dict[str, Any]:
        """Return the access line with this decision or request id, as soon as it is written."""
        for _ in range(1000):
            for line in self.log.read_text().splitlines(keepends=True):
                if line.endswith("\n") and name in (fields := json.loads(line)).values():
                    return dict(fields)
            time.sleep(0.01)
        raise AssertionError(f"no access line holds {name}")


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
