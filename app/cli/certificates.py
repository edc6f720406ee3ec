"""A throw-away certificate authority: EC P-256, X509-SVID rules for its leaves."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CLIENT_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH

CLOCK_SKEW = timedelta(hours=1)
"""Certificates begin this much earlier than they are made: the clocks of two machines differ."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate that is wanted."""

    name: str
    """File name without its ending, and the subject's common name; at most 64 characters."""
    uris: tuple[str, ...] = ()
    """URI SANs. An X509-SVID has exactly one, its SPIFFE ID; tests ask for others."""
    names: tuple[str, ...] = ()
    """DNS and IP SANs."""
    usages: tuple[x509.ObjectIdentifier, ...] = (CLIENT_AUTH, SERVER_AUTH)
    """Extended key usages. SPIRE and Istio give a workload both."""
    is_ca: bool = False
    """Whether it may sign others. Never true of an X509-SVID leaf; tests ask for it."""

    def alternative_names(self) -> list[x509.GeneralName]:
        """Return the SANs, URIs first."""
        return [*map(x509.UniformResourceIdentifier, self.uris), *map(_general_name, self.names)]


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """A self-signed EC P-256 authority and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls, common_name: str, lifetime: timedelta = timedelta(days=30)) -> Self:
        """Make a new authority that signs leaves only."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _subject(common_name)
        builder = _builder(name, name, key.public_key(), datetime.now(UTC) + lifetime, is_ca=True)
        return cls(builder.sign(key, hashes.SHA256()), key)

    @classmethod
    def load(cls, certificate_pem: bytes, key_pem: bytes) -> Self:
        """Read an authority back; ValueError where the two do not belong together or are no EC authority."""
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        key = load_pem_private_key(key_pem, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise ValueError("the key does not belong to the certificate")
        if not any(isinstance(e.value, x509.BasicConstraints) and e.value.ca for e in certificate.extensions):
            raise ValueError("the certificate is no authority's")
        return cls(certificate, key)

    def pem(self) -> tuple[bytes, bytes]:
        """Return certificate and private key."""
        return self.certificate.public_bytes(Encoding.PEM), _key_pem(self.key)

    def issue(self, leaf: Leaf, lifetime: timedelta = timedelta(days=30)) -> tuple[bytes, bytes]:
        """Return certificate and key as PEM. It never outlives the authority; a negative lifetime is over."""
        key = ec.generate_private_key(ec.SECP256R1())
        until = min(datetime.now(UTC) + lifetime, self.certificate.not_valid_after_utc)
        builder = _builder(_subject(leaf.name), self.certificate.subject, key.public_key(), until, is_ca=leaf.is_ca)
        identifier = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
        builder = builder.add_extension(issuer, critical=False)
        if leaf.usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(leaf.usages), critical=False)
        if alternative_names := leaf.alternative_names():
            builder = builder.add_extension(x509.SubjectAlternativeName(alternative_names), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        return certificate.public_bytes(Encoding.PEM), _key_pem(key)

    def signed(self, certificate: x509.Certificate) -> bool:
        """Tell whether a certificate is this authority's."""
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (InvalidSignature, ValueError, TypeError):
            return False
        return True


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, until: datetime, *, is_ca: bool
) -> x509.CertificateBuilder:
    """Return what an authority and a leaf have in common."""
    usage = x509.KeyUsage(
        digital_signature=not is_ca,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(datetime.now(UTC), until) - CLOCK_SKEW)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=0 if is_ca else None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def is_address(name: str) -> bool:
    """Tell an IP address from a DNS name."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _general_name(name: str) -> x509.GeneralName:
    return x509.IPAddress(ipaddress.ip_address(name)) if is_address(name) else x509.DNSName(name)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
