"""`backend.tls`, `tcp`, `http` and `tunnel` to connection settings. Certificates and keys are checked here, once."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from config.compiler.endpoints import resolve_endpoint
from config.errors import nearest
from config.policy.upstream import (
    HTTP1_ALPN,
    HTTP2_ALPN,
    ClientCertificate,
    HttpSettings,
    Keepalive,
    TcpSettings,
    TlsSettings,
    Tunnel,
    Verification,
)
from config.secret_values import SecretValue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from config.compiler.place import Place
    from config.model.backend import BackendHttpSpec, BackendTlsSpec, CaCertificateReference, TunnelSpec
    from config.model.base import SecretReference
    from config.model.resilience import BackendTcpSpec

_VERIFICATION: Final = {None: Verification.FULL, "Hostname": Verification.CHAIN, "All": Verification.NONE}
_UNUSABLE_TUNNEL: Final = Tunnel("", 0, unusable=True)
_DNS_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([-a-z0-9_]*[a-z0-9])?(\.[a-z0-9_]([-a-z0-9_]*[a-z0-9])?)*\Z")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[!-~]+\Z")
_BEGINNINGS = (b"-----BEGIN CERTIFICATE-----", b"-----BEGIN X509 CERTIFICATE-----")
_ALL_DIGITS = re.compile(r"[0-9.]+\Z")
"""An address, or what a resolver may take for one."""


def compile_tls(place: Place, spec: BackendTlsSpec) -> TlsSettings:
    """Load what a `tls` block names. What is missing or invalid makes the settings unusable."""
    found = len(place.findings)
    certificate = roots = None
    for index, own in enumerate(spec.mtls_certificate_ref):
        certificate = _client_certificate(place.at("mtlsCertificateRef", index), own)
    for index, reference in enumerate(spec.ca_certificate_refs):
        roots = _roots(place.at("caCertificateRefs", index), reference)
    for index, name in enumerate(spec.verify_subject_alt_names):
        if not _URI.match(name) and (not _DNS_NAME.match(name.lower()) or _ALL_DIGITS.match(name)):
            message = f"{name!r} is neither a DNS name nor a URI"
            place.at("verifySubjectAltNames", index).error("invalid-value", message, "write one name, without wildcard")
    # What was refused by itself is reported there: no error here, and no certificate or root either.
    is_whole = (certificate or not spec.mtls_certificate_ref) and (roots or not spec.ca_certificate_refs)
    usable = is_whole and not _has_errors(place, found)
    if spec.insecure_skip_verify is not None:
        what = "name" if spec.insecure_skip_verify == "Hostname" else "certificate"
        message = f"the origin's {what} is not verified: others can answer in its place"
        place.at("insecureSkipVerify").warn("unverified-origin", message)
    return TlsSettings(
        spec.sni,
        tuple(name if "://" in name else name.lower() for name in spec.verify_subject_alt_names),
        roots,
        certificate,
        _VERIFICATION[spec.insecure_skip_verify],
        spec.alpn_protocols,
        unusable=not usable,
    )


def compile_tcp(place: Place, spec: BackendTcpSpec) -> TcpSettings:  # noqa: ARG001  nothing in it can be a fault
    """Return the settings of a `tcp` block."""
    keepalive = spec.keepalive
    return TcpSettings(
        spec.connect_timeout,
        None if keepalive is None else Keepalive(keepalive.retries, keepalive.time, keepalive.interval),
    )


def compile_http(place: Place, spec: BackendHttpSpec) -> HttpSettings:  # noqa: ARG001  nothing in it can be a fault
    """Return the settings of an `http` block."""
    return HttpSettings(spec.version == "HTTP2", spec.request_timeout)


def check_protocols(place: Place, tls: TlsSettings | None, http: HttpSettings) -> None:
    """Report what `tls` and `http` say together and cannot be done, once it is known which blocks meet.

    Args:
        place: the backend, or the block that was merged last.
        tls: what `upstream_of` is given.
        http: what `upstream_of` is given.

    """
    if http.http2 and tls is None:
        place.error("protocol-conflict", "http.version HTTP2 needs tls: HTTP/2 is agreed on by ALPN", "add tls: {}")
    elif tls is not None and tls.alpn is not None:
        spoken, version = (HTTP2_ALPN, "HTTP2") if http.http2 else (HTTP1_ALPN, "HTTP1")
        if spoken not in tls.alpn:
            message = f"alpnProtocols does not offer {spoken}, which http.version {version} speaks"
            place.error("protocol-conflict", message, f"set http.version to {'HTTP1' if http.http2 else 'HTTP2'}")
        elif len(tls.alpn) > 1:
            message = f"of alpnProtocols only {spoken} is offered: http.version {version} speaks nothing else"
            place.warn("ignored-protocol", message)


def compile_tunnel(place: Place, spec: TunnelSpec) -> Tunnel:
    """Return the proxy that a `tunnel` block names. One that cannot be used lets nothing through, or past it."""
    found = resolve_endpoint(place, spec, "a proxy")
    if found is None:
        return _UNUSABLE_TUNNEL
    at = place.at("url" if spec.backend_ref is None else "backendRef")
    if found.upstream.tls is not None:
        message = "TLS to a proxy is not available"
        at.error("not-available", message, "speak plain text with it: TLS to the origin is spoken inside the tunnel")
        return _UNUSABLE_TUNNEL
    if found.target != "/":
        at.error("invalid-value", "the URL of a proxy has no path")
        return _UNUSABLE_TUNNEL
    return Tunnel(found.upstream.host, found.upstream.port)


def _has_errors(place: Place, since: int) -> bool:
    return any(finding.severity == "error" for finding in place.findings[since:])


def _client_certificate(place: Place, reference: SecretReference) -> ClientCertificate | None:
    chain = place.secret(reference.name, "tls.crt", group=reference.group, kind=reference.kind)
    key = place.secret(reference.name, "tls.key", group=reference.group, kind=reference.kind) if chain else None
    if chain is None or key is None:
        return None
    secret = f"the Secret {place.namespace}/{reference.name}"
    certificates = _certificates(place, chain.reveal(), f"tls.crt of {secret}")
    try:
        private = load_pem_private_key(key.reveal(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # their messages may quote what they read
        place.error("invalid-certificate", f"tls.key of {secret} is no private key in PEM, or is encrypted")
        return None
    if not certificates:
        return None
    try:
        belongs = certificates[0].public_key() == private.public_key()
    except (ValueError, UnsupportedAlgorithm):
        belongs = False
    if not belongs:
        message = f"tls.key of {secret} does not belong to its tls.crt"
        place.error("invalid-certificate", message, "the first certificate of tls.crt is the one that is shown")
        return None
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return ClientCertificate(_as_pem(certificates), SecretValue(pem))


def _roots(place: Place, reference: CaCertificateReference) -> str | None:
    full_name = f"{place.namespace}/{reference.name}"
    if reference.group:
        place.error("invalid-reference", f"a {reference.kind} has no group, not {reference.group!r}", "remove group")
        return None
    if reference.kind == "Secret":
        secret = place.secret(reference.name, "ca.crt")
        pem = secret.reveal() if secret is not None else None
    else:
        config_map = place.resources.config_maps.get(full_name)
        if config_map is None:
            place.dangling("ConfigMap", full_name, place.resources.config_maps)
            return None
        text = config_map.model.data.get("ca.crt")
        if text is None:
            hint = nearest("ca.crt", config_map.model.data)
            place.error("dangling-reference", f"the ConfigMap {full_name} has no key 'ca.crt'", hint)
            return None
        pem = text.encode()
    if pem is None:
        return None
    return _as_pem(_certificates(place, pem, f"ca.crt of the {reference.kind} {full_name}")) or None


def _certificates(place: Place, pem: bytes, what: str) -> Sequence[x509.Certificate]:
    """Return the certificates of a bundle; none, and a fault, where it holds none or one that cannot be read."""
    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except (ValueError, UnsupportedAlgorithm):
        certificates = []
    # A block that is cut off is passed over by the parser: what follows, or was meant to, would be missing unseen.
    if len(certificates) != sum(map(pem.count, _BEGINNINGS)):
        certificates = []
    if not certificates:
        empty = b"-----BEGIN " not in pem
        message = f"{what} holds no certificate" if empty else f"{what} cannot be read as certificates in PEM"
        place.error("invalid-certificate", message)
        return certificates
    now = datetime.now(UTC)
    for certificate in certificates:
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            when = certificate.not_valid_after_utc
            state = f"expired on {when:%Y-%m-%d}" if when < now else "is not valid yet"
            place.warn("expired-certificate", f"a certificate in {what} {state}")
    return certificates


def _as_pem(certificates: Sequence[x509.Certificate]) -> str:
    """Write certificates as OpenSSL reads them: without the comments that a bundle may hold."""
    return "".join(certificate.public_bytes(Encoding.PEM).decode("ascii") for certificate in certificates)
