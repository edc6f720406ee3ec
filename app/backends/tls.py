"""TLS towards origins: the operating system's roots, names checked against SANs only, TLS 1.2 or newer."""

from __future__ import annotations

import os
import ssl
from pathlib import Path


class TrustRootsError(Exception):
    """`SSL_CERT_FILE` or `SSL_CERT_DIR` names nothing that certificates could be loaded from."""


def client_context() -> ssl.SSLContext:
    """Return a context for origins. One is shared by all, as it costs 17 ms and 640 KiB with the system's roots.

    Raises:
        TrustRootsError: the trust roots named in the environment cannot be loaded.

    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A certificate with no DNS SAN would otherwise be matched by its common name (RFC 9525 section 2).
    context.hostname_checks_common_name = False
    context.set_alpn_protocols(["http/1.1"])
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
    return context


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
