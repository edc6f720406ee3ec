"""X.509-SVID to peer: which certificates of a verified TLS handshake name a workload, and which do not."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from config.attributes import Peer
from config.policy.identity import InvalidSpiffeIdError, parse_spiffe_id

E = TypeVar("E", bound=x509.ExtensionType)

CACHED_CERTIFICATES = 4096
"""Peers kept by their certificate, as parsing one costs far more than a request."""


class InvalidSvidError(ValueError):
    """A certificate that is no X.509-SVID of a workload."""


@lru_cache(maxsize=CACHED_CERTIFICATES)
def peer_from_certificate(pem: str) -> Peer:
    """Read the leaf certificate of a connection whose chain TLS has verified.

    The trust domain is not judged here: which ones are accepted is a setting.

    Raises:
        InvalidSvidError: not exactly one URI SAN, no SPIFFE ID in it, a CA or a certificate that may sign others, or
            an extended key usage without clientAuth. Source: X509-SVID, sections 2 to 5.

    """
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        names = _extension(certificate, x509.SubjectAlternativeName)
        constraints = _extension(certificate, x509.BasicConstraints)
        key_usage = _extension(certificate, x509.KeyUsage)
        purposes = _extension(certificate, x509.ExtendedKeyUsage)
        subject, issuer = certificate.subject.rfc4514_string(), certificate.issuer.rfc4514_string()
    except (ValueError, x509.InvalidVersion, x509.UnsupportedGeneralNameType, x509.DuplicateExtension) as error:
        raise InvalidSvidError(f"the certificate cannot be read: {type(error).__name__}") from None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier) if names else []
    if len(uris) != 1:
        raise InvalidSvidError(f"{len(uris)} URI SANs where there must be exactly one")
    if constraints and constraints.ca:
        raise InvalidSvidError("the leaf is a certificate authority")
    if key_usage and (key_usage.key_cert_sign or key_usage.crl_sign):
        raise InvalidSvidError("the leaf may sign certificates or revocation lists")
    if purposes and ExtendedKeyUsageOID.CLIENT_AUTH not in purposes:
        raise InvalidSvidError("the extended key usage lacks clientAuth")
    try:
        spiffe_id = parse_spiffe_id(uris[0])
    except InvalidSpiffeIdError as error:
        raise InvalidSvidError(f"no SPIFFE ID in the URI SAN: {error}") from None
    dns_names = names.get_values_for_type(x509.DNSName) if names else []
    not_after = certificate.not_valid_after_utc.timestamp()
    return Peer(spiffe_id, (*uris, *dns_names), issuer, subject, pem, not_after)


def _extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
