from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from app.cli.certificates import CLIENT_AUTH, SERVER_AUTH, CertificateAuthority, Leaf

TEAM_A = "spiffe://cluster.local/ns/team-a/sa/team-a"


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    return CertificateAuthority.create("test CA")


def issued(authority: CertificateAuthority, leaf: Leaf, **lifetime: timedelta) -> x509.Certificate:
    return x509.load_pem_x509_certificate(authority.issue(leaf, **lifetime)[0])


def policy(authority: CertificateAuthority) -> PolicyBuilder:
    return PolicyBuilder().store(Store([authority.certificate]))


def test_a_client_certificate_verifies_and_states_its_spiffe_id_only(authority: CertificateAuthority) -> None:
    certificate = issued(authority, Leaf("team-a", uris=(TEAM_A,)))

    verified = policy(authority).build_client_verifier().verify(certificate, [])

    assert verified.subjects == [x509.UniformResourceIdentifier(TEAM_A)]


def test_a_leaf_follows_the_x509_svid_rules(authority: CertificateAuthority) -> None:
    extensions = issued(authority, Leaf("team-a", uris=(TEAM_A,))).extensions

    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    assert not usage.value.crl_sign
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == {CLIENT_AUTH, SERVER_AUTH}


def test_a_server_certificate_verifies_for_its_names(authority: CertificateAuthority) -> None:
    certificate = issued(authority, Leaf("gateway", names=("api.github.com", "127.0.0.1"), usages=(SERVER_AUTH,)))

    for name in (x509.DNSName("api.github.com"), x509.IPAddress(ip_address("127.0.0.1"))):
        policy(authority).build_server_verifier(name).verify(certificate, [])
    with pytest.raises(VerificationError):
        policy(authority).build_server_verifier(x509.DNSName("github.com")).verify(certificate, [])


def test_another_authority_is_not_trusted(authority: CertificateAuthority) -> None:
    foreign = issued(CertificateAuthority.create("test CA"), Leaf("team-a", uris=(TEAM_A,)))

    assert not authority.signed(foreign)
    with pytest.raises(VerificationError):
        policy(authority).build_client_verifier().verify(foreign, [])


def test_a_leaf_never_outlives_its_authority() -> None:
    authority = CertificateAuthority.create("short", timedelta(days=1))

    leaf = issued(authority, Leaf("team-a"), lifetime=timedelta(days=30))

    assert leaf.not_valid_after_utc == authority.certificate.not_valid_after_utc


def test_a_negative_lifetime_gives_an_expired_certificate(authority: CertificateAuthority) -> None:
    leaf = issued(authority, Leaf("old"), lifetime=timedelta(minutes=-5))

    assert leaf.not_valid_before_utc < leaf.not_valid_after_utc < datetime.now(UTC)


def test_an_authority_can_be_read_back(authority: CertificateAuthority) -> None:
    again = CertificateAuthority.load(*authority.pem())

    assert again.certificate == authority.certificate
    assert again.signed(issued(again, Leaf("team-a")))


def test_certificate_and_key_must_belong_together(authority: CertificateAuthority) -> None:
    with pytest.raises(ValueError, match="does not belong"):
        CertificateAuthority.load(authority.pem()[0], CertificateAuthority.create("other").pem()[1])


def test_a_leaf_is_no_authority(authority: CertificateAuthority) -> None:
    with pytest.raises(ValueError, match="no authority"):
        CertificateAuthority.load(*authority.issue(Leaf("team-a")))


def test_tests_can_ask_for_a_leaf_that_may_sign(authority: CertificateAuthority) -> None:
    assert issued(authority, Leaf("bad", is_ca=True)).extensions.get_extension_for_class(x509.BasicConstraints).value.ca
