"""The certificates of one run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.cli.certificates import CertificateAuthority, Leaf

if TYPE_CHECKING:
    from pathlib import Path

HOST = "api.github.com"
"""The host that is called; the origin stands in for it."""
TLS_CONFIG = """\
openssl_conf = init
[init]
ssl_conf = ssl
[ssl]
system_default = suites
[suites]
Ciphersuites = TLS_AES_128_GCM_SHA256
"""
"""For the load generator and the origin: every connection uses one cipher then. OpenSSL and BoringSSL would differ."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key."""

    certificate: Path
    key: Path

    @property
    def both(self) -> Path:
        """Both in one file, as HAProxy and mitmproxy want it."""
        return self.certificate.with_suffix(".both.pem")


@dataclass(frozen=True, slots=True)
class Pki:
    """Two authorities, of the mesh and of the origins, and what they signed."""

    mesh_ca: Path
    origins_ca: Path
    gateway: Pair
    origin: Pair
    team_a: Pair
    team_b: Pair
    tls_config: Path

    @classmethod
    def create(cls, directory: Path) -> Pki:
        mesh, origins = CertificateAuthority.create("mesh"), CertificateAuthority.create("origins")
        mesh_ca, origins_ca = directory / "mesh-ca.pem", directory / "origins-ca.pem"
        mesh_ca.write_bytes(mesh.pem()[0])
        origins_ca.write_bytes(origins.pem()[0])
        tls_config = directory / "openssl.cnf"
        tls_config.write_text(TLS_CONFIG)
        return cls(
            mesh_ca,
            origins_ca,
            gateway=_issue(directory, mesh, Leaf("gateway", names=(HOST, "localhost", "127.0.0.1"))),
            origin=_issue(directory, origins, Leaf("origin", names=(HOST,))),
            team_a=_issue(directory, mesh, _workload("team-a")),
            team_b=_issue(directory, mesh, _workload("team-b")),
            tls_config=tls_config,
        )


def spiffe_id(team: str) -> str:
    return f"spiffe://cluster.local/ns/{team}/sa/{team}"


def _workload(team: str) -> Leaf:
    return Leaf(team, uris=(spiffe_id(team),))


def _issue(directory: Path, authority: CertificateAuthority, leaf: Leaf) -> Pair:
    certificate, key = authority.issue(leaf)
    pair = Pair(directory / f"{leaf.name}.pem", directory / f"{leaf.name}-key.pem")
    pair.certificate.write_bytes(certificate)
    pair.key.write_bytes(key)
    pair.both.write_bytes(certificate + key)
    return pair
