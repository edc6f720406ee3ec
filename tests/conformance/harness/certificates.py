"""The mesh's and the origins' certificates of one test session, as files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from app.cli.certificates import CertificateAuthority, Leaf

if TYPE_CHECKING:
    from pathlib import Path

ORIGIN_HOSTS = ("api.github.com", "httpbingo.org")
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its key."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Pki:
    """Two authorities, one for the callers and the gateway, one for the origins, and what they signed."""

    directory: Path
    mesh: CertificateAuthority
    origins: CertificateAuthority
    gateway: KeyPair
    origin: KeyPair
    team_a: KeyPair
    team_b: KeyPair

    @classmethod
    def create(cls, directory: Path) -> Pki:
        mesh, origins = CertificateAuthority.create("mesh"), CertificateAuthority.create("origins")
        (directory / "ca.pem").write_bytes(mesh.pem()[0])
        (directory / "origins-ca.pem").write_bytes(origins.pem()[0])
        return cls(
            directory,
            mesh,
            origins,
            gateway=issue(directory, mesh, Leaf("gateway", names=(*ORIGIN_HOSTS, "localhost", "127.0.0.1"))),
            origin=issue(directory, origins, Leaf("origin", names=ORIGIN_HOSTS)),
            team_a=issue(directory, mesh, workload("team-a", "team-a")),
            team_b=issue(directory, mesh, workload("team-b", "team-b")),
        )

    @property
    def mesh_ca(self) -> Path:
        return self.directory / "ca.pem"

    @property
    def origins_ca(self) -> Path:
        return self.directory / "origins-ca.pem"


def spiffe_id(namespace: str, service_account: str, trust_domain: str = "cluster.local") -> str:
    return f"spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}"


def workload(namespace: str, service_account: str) -> Leaf:
    return Leaf(service_account, uris=(spiffe_id(namespace, service_account),))


def issue(directory: Path, authority: CertificateAuthority, leaf: Leaf, lifetime: timedelta = DAY) -> KeyPair:
    certificate, key = authority.issue(leaf, lifetime)
    pair = KeyPair(directory / f"{leaf.name}.pem", directory / f"{leaf.name}-key.pem")
    pair.certificate.write_bytes(certificate)
    pair.key.write_bytes(key)
    return pair
