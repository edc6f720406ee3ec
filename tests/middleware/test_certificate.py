from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from app.cli.certificates import CLIENT_AUTH, SERVER_AUTH
from middleware.certificate import InvalidSvidError, peer_from_certificate
from tests.support.tls import MESH, TEAM_A, authority, svid


@cache
def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def certificate(*extensions: x509.ExtensionType) -> str:
    """Return a certificate with these extensions and no others."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "odd")])
    builder = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=_key().public_key())
        .serial_number(1)
        .not_valid_before(datetime.now(UTC))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(_key(), hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def key_usage(*, cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


TEAM_A_SAN = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(TEAM_A)])


def test_an_x509_svid_names_its_workload() -> None:
    pem = svid(TEAM_A, names=("client.team-a.svc", "192.0.2.1"))

    peer = peer_from_certificate(pem)

    assert str(peer.spiffe_id) == TEAM_A
    assert (peer.spiffe_id.namespace, peer.spiffe_id.service_account) == ("team-a", "team-a")
    assert peer.subject_alt_names == (TEAM_A, "client.team-a.svc")
    assert (peer.subject, peer.issuer) == ("CN=workload", f"CN={MESH}")
    assert peer.certificate == pem


@pytest.mark.parametrize("usages", [(), (CLIENT_AUTH,), (CLIENT_AUTH, SERVER_AUTH)])
def test_the_extended_key_usage_may_be_absent_or_hold_client_authentication(
    usages: tuple[x509.ObjectIdentifier, ...],
) -> None:
    assert str(peer_from_certificate(svid(TEAM_A, usages=usages)).spiffe_id) == TEAM_A


def test_a_certificate_with_a_san_alone_is_enough() -> None:
    assert str(peer_from_certificate(certificate(TEAM_A_SAN)).spiffe_id) == TEAM_A


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (svid, "0 URI SANs"),
        (lambda: svid(names=("client.team-a.svc",)), "0 URI SANs"),
        (lambda: svid(TEAM_A, "spiffe://cluster.local/other"), "2 URI SANs"),
        (lambda: svid(TEAM_A, TEAM_A), "2 URI SANs"),
        (lambda: svid(TEAM_A, "https://example.com/"), "2 URI SANs"),
        (lambda: svid(TEAM_A, is_ca=True), "certificate authority"),
        (lambda: str(authority(MESH).pem()[0], "ascii"), "0 URI SANs"),
        (lambda: certificate(TEAM_A_SAN, x509.BasicConstraints(ca=True, path_length=None)), "certificate authority"),
        (lambda: certificate(TEAM_A_SAN, key_usage(cert_sign=True)), "may sign"),
        (lambda: certificate(TEAM_A_SAN, key_usage(crl_sign=True)), "may sign"),
        (lambda: svid(TEAM_A, usages=(SERVER_AUTH,)), "lacks clientAuth"),
        (lambda: svid(TEAM_A, usages=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)), "lacks clientAuth"),
        (lambda: svid("https://cluster.local/ns/team-a/sa/team-a"), "no SPIFFE ID"),
        (lambda: svid("spiffe://cluster.local"), "no SPIFFE ID"),
        (lambda: svid("spiffe://cluster.local/"), "no SPIFFE ID"),
        (lambda: svid("SPIFFE://cluster.local/a"), "no SPIFFE ID"),
        (lambda: svid("spiffe://Cluster.local/a"), "no SPIFFE ID"),
        (lambda: svid("spiffe://cluster.local/a/../b"), "no SPIFFE ID"),
        (lambda: svid("spiffe://cluster.local/a%2fb"), "no SPIFFE ID"),
        (lambda: svid("spiffe://user@cluster.local/a"), "no SPIFFE ID"),
        (lambda: svid("spiffe://cluster.local:443/a"), "no SPIFFE ID"),
        (lambda: svid("spiffe://cluster.local/a?b"), "no SPIFFE ID"),
        (lambda: svid("spiffe://cluster.local/a#b"), "no SPIFFE ID"),
        (certificate, "0 URI SANs"),
        (lambda: "no certificate", "cannot be read"),
        (lambda: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be read"),
        (lambda: "-----BEGIN CERTIFICATE-----\n\u20ac\n-----END CERTIFICATE-----\n", "cannot be read"),
        (lambda: certificate(TEAM_A_SAN, broken(b"2.5.29.19")), "cannot be read"),
        (lambda: certificate(broken(b"2.5.29.17")), "cannot be read"),
    ],
)
def test_a_certificate_that_is_no_workloads_svid_names_nobody(make: object, reason: str) -> None:
    assert callable(make)
    with pytest.raises(InvalidSvidError, match=reason):
        peer_from_certificate(make())


def broken(oid: bytes) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid.decode()), b"\xff\xff")
