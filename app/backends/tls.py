"""TLS towards origins: named roots or the operating system's, names checked against SANs only, TLS 1.2 or newer."""

from __future__ import annotations

import os
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.backends.names import carries_one
from config.policy.upstream import HTTP1_ALPN, HTTP2_ALPN, UpstreamTls, Verification

if TYPE_CHECKING:
    from config.policy.upstream import ClientCertificate

_DEFAULT = UpstreamTls("")


class TrustRootsError(Exception):
    """`SSL_CERT_FILE` or `SSL_CERT_DIR` names nothing that certificates could be loaded from."""


class TlsSettingsError(Exception):
    """OpenSSL does not take a CA, certificate or key, though each is well-formed: a key that is too short, say."""


class PeerError(Exception):
    """The handshake succeeded, and still nothing may be sent. The message is for the log."""


def client_context(tls: UpstreamTls = _DEFAULT) -> ssl.SSLContext:
    """Return a context for origins; equal `context_key`s share one, as it costs 17 ms and 640 KiB with system roots.

    Raises:
        TrustRootsError: the trust roots named in the environment cannot be loaded.
        TlsSettingsError: roots, certificate or key of the settings cannot be used.

    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A certificate with no DNS SAN would otherwise be matched by its common name (RFC 9525 section 2).
    context.hostname_checks_common_name = False
    context.set_alpn_protocols(list(tls.alpn))
    # With names of its own the check is ours, `check_peer`: OpenSSL knows one name, and no URI.
    context.check_hostname = tls.verification is Verification.FULL and not tls.verify_names
    if tls.verification is Verification.NONE:
        context.verify_mode = ssl.CERT_NONE
    elif tls.roots is None:
        _load_system_roots(context)
    else:
        # What the operator names is trusted as it is, an intermediate authority or a lone leaf too.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        try:
            context.load_verify_locations(cadata=tls.roots)
        except ssl.SSLError as error:
            raise TlsSettingsError(f"the CA bundle cannot be used: {error.reason}") from error
    if tls.client_certificate is not None:
        _load_certificate(context, tls.client_certificate)
    return context


def check_peer(ssl_object: ssl.SSLObject, tls: UpstreamTls, *, http2: bool) -> None:
    """Judge the origin once the handshake is done, and before anything is sent.

    Raises:
        PeerError: its certificate carries none of the names that are wanted, or it wants to speak another protocol.

    """
    if tls.verification is Verification.FULL and tls.verify_names:
        certificate: Any = ssl_object.getpeercert() or {}
        if not carries_one(certificate.get("subjectAltName", ()), tls.verify_names):
            raise PeerError("the certificate carries none of the names in verifySubjectAltNames")
    chosen = ssl_object.selected_alpn_protocol()
    if http2 and chosen != HTTP2_ALPN:
        raise PeerError(f"HTTP/2 was asked for, and the origin chose {chosen or 'no protocol'} (ALPN)")
    if not http2 and chosen not in {None, HTTP1_ALPN}:
        raise PeerError(f"the origin chose {chosen} (ALPN) where HTTP/1.1 is spoken")


def _load_certificate(context: ssl.SSLContext, certificate: ClientCertificate) -> None:
    """Load chain and key, which OpenSSL takes from a file only.

    The file is memory that has no name in any directory (memfd_create(2)); where the machine has none, a temporary
    file that only this user may read and that is removed at once.
    """
    content = certificate.chain.encode() + b"\n" + certificate.key.reveal()
    try:
        descriptor = os.memfd_create("client-certificate")
    except (AttributeError, OSError):  # not Linux, or forbidden
        with tempfile.NamedTemporaryFile(prefix="egress-") as file:  # made with mode 0600
            file.write(content)
            file.flush()
            _load_chain(context, file.name)
        return
    with os.fdopen(descriptor, "wb") as memory:
        memory.write(content)
        memory.flush()
        _load_chain(context, f"/proc/self/fd/{descriptor}")


def _load_chain(context: ssl.SSLContext, path: str) -> None:
    try:
        context.load_cert_chain(path, password="")  # else OpenSSL asks the terminal for the one of an encrypted key
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        raise TlsSettingsError(f"the client certificate cannot be used: {reason}") from error


def _load_system_roots(context: ssl.SSLContext) -> None:
    file, directory = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    named = " and ".join(
        f"{name}={value}" for name, value in (("SSL_CERT_FILE", file), ("SSL_CERT_DIR", directory)) if value
    )
    if not named:  # an empty variable names nothing either, though OpenSSL would take it for a name
        file, directory = _system_roots()
    missing = [part for part in (directory or "").split(os.pathsep) if part and not Path(part).is_dir()]
    if missing:  # OpenSSL takes a missing directory for an empty one
        raise TrustRootsError(f"SSL_CERT_DIR={directory}: {missing[0]} is no directory")
    try:
        context.load_verify_locations(file or None, directory or None)
    except (OSError, ssl.SSLError) as error:
        raise TrustRootsError(f"no trust roots can be loaded from {named or file}: {error}") from error


def _system_roots() -> tuple[str | None, str | None]:
    """Return the file and directory that OpenSSL was built to look in, as far as they exist."""
    paths = ssl.get_default_verify_paths()
    file = paths.openssl_cafile if Path(paths.openssl_cafile).is_file() else None
    directory = paths.openssl_capath if Path(paths.openssl_capath).is_dir() else None
    if file is None and directory is None:
        raise TrustRootsError("this system has no trust roots where OpenSSL looks: set SSL_CERT_FILE")
    return file, directory


_UNKNOWN_ISSUER = frozenset({18, 19, 20, 21})
"""X509_V_ERR of a chain that leads to no trust root. Source: OpenSSL's x509_vfy.h."""
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"})
"""What OpenSSL, depending on its version, makes of an answer that is no TLS."""

_REST_BYTES = 64 * 1024


def tls_failure(error: OSError) -> str:
    """Return why a handshake with an origin failed, for the log."""
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = "; SSL_CERT_FILE can name its CA" if error.verify_code in _UNKNOWN_ISSUER else ""
        return f"{error.verify_message}{hint}"
    reason: str = getattr(error, "reason", None) or type(error).__name__  # an end of the stream has none
    hint = ": does the origin speak plain HTTP?" if reason in _NO_TLS else ""
    return f"TLS failed: {reason.lower().replace('_', ' ') if reason.isupper() else reason}{hint}"


def rest_of_stream(ssl_object: ssl.SSLObject) -> tuple[bytes, bool]:
    """Return what TLS still holds once the stream has ended, and whether the end was announced or is a cut.

    It is announced by close_notify (RFC 8446 section 6.1). Both event loops drop what did not fit into a protocol's
    buffer, or was not wanted yet, when the other side ends TCP.
    """
    parts: list[bytes] = []
    try:
        while part := ssl_object.read(_REST_BYTES):
            parts.append(part)
    except ssl.SSLZeroReturnError:
        pass
    except ssl.SSLError:
        return b"".join(parts), False
    return b"".join(parts), True
