"""`egress-gateway ca`: a throw-away mesh CA and SPIFFE certificates, for trying things out and for the test suite."""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from app.cli.certificates import CLIENT_AUTH, CLOCK_SKEW, SERVER_AUTH, CertificateAuthority, Leaf, is_address
from config.policy.identity import InvalidSpiffeIdError, is_trust_domain, parse_spiffe_id

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CLIENT_AUTH", "SERVER_AUTH", "CertificateAuthority", "CertificateDirectory", "Leaf", "ca"]

GATEWAY_NAMES = ("api.github.com", "httpbingo.org", "localhost", "127.0.0.1")
"""Names a caller may reach the demo's gateway by: the workshop's hosts, and the machine itself."""

_FILE_STEM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,58}")
_DNS_NAME = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CertificateDirectory:
    """PEM files in one directory: `NAME.pem` and `NAME-key.pem`, made when missing, expired or for something else."""

    path: Path
    lifetime: timedelta
    force: bool = False
    """Make everything anew."""

    def authority(self, name: str, common_name: str) -> CertificateAuthority:
        """Return the authority kept here, or make it; UsageError where a file is in the way that is not ours."""
        certificate_path, key_path = self._paths(name)
        if not self.force and certificate_path.exists():
            try:
                authority = CertificateAuthority.load(certificate_path.read_bytes(), key_path.read_bytes())
            except (OSError, ValueError) as error:
                raise _in_the_way(certificate_path, f"is not an authority of this command ({error})") from error
            if not _expired(authority.certificate):
                click.echo(f"  kept  {certificate_path}")
                return authority
        why = ("--force" if self.force else "expired") if certificate_path.exists() else ""
        authority = CertificateAuthority.create(common_name, self.lifetime)
        self._write(name, *authority.pem(), why=why)
        return authority

    def leaf(self, authority: CertificateAuthority, leaf: Leaf) -> None:
        """Have an unexpired certificate of this authority that says what is wanted."""
        certificate_path, key_path = self._paths(leaf.name)
        why = ""
        if certificate_path.exists():
            certificate = self._read(certificate_path)
            why = self._why_replace(authority, leaf, certificate, key_path)
            if not why:
                click.echo(f"  kept  {certificate_path}")
                return
        self._write(leaf.name, *authority.issue(leaf, self.lifetime), why=why)

    def existing(self, name: str) -> Leaf:
        """Return what the certificate that is there says: nothing without one, or when all is made anew."""
        path, _ = self._paths(name)
        certificate = self._read(path) if path.exists() and not self.force else None
        stated = _names(certificate) if certificate else []
        uris = [general.value for general in stated if isinstance(general, x509.UniformResourceIdentifier)]
        names = [str(general.value) for general in stated if isinstance(general, (x509.DNSName, x509.IPAddress))]
        return Leaf(name, uris=tuple(uris), names=tuple(names))

    def _read(self, path: Path) -> x509.Certificate | None:
        try:
            return x509.load_pem_x509_certificate(path.read_bytes())
        except (OSError, ValueError) as error:
            if self.force:
                return None
            raise _in_the_way(path, "is not a PEM certificate") from error

    def _why_replace(
        self, authority: CertificateAuthority, leaf: Leaf, certificate: x509.Certificate | None, key_path: Path
    ) -> str:
        """Return why a certificate that is there will not do; empty if it will."""
        if self.force or certificate is None:
            return "--force"
        if _expired(certificate):
            return "expired"
        if not authority.signed(certificate):
            raise _in_the_way(self._paths(leaf.name)[0], "was signed by another authority")
        had, wanted = _names(certificate), leaf.alternative_names()
        if set(had) != set(wanted):
            return f"names differ: {_difference(had, wanted)}"
        return "" if _has_key(certificate, key_path) else "its key is missing or another's"

    def _paths(self, name: str) -> tuple[Path, Path]:
        return self.path / f"{name}.pem", self.path / f"{name}-key.pem"

    def _write(self, name: str, certificate_pem: bytes, key_pem: bytes, *, why: str = "") -> None:
        certificate_path, key_path = self._paths(name)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # Key first: a run that ends in between leaves a pair that does not match, which the next run replaces.
            _replace(key_path, key_pem, mode=0o600)
            _replace(certificate_path, certificate_pem, mode=0o644)
        except OSError as error:
            raise click.UsageError(f"cannot write to {self.path}: {error}") from error
        click.echo(f"  replaced  {certificate_path} ({why})" if why else f"  made  {certificate_path}")


def client_leaf(text: str, trust_domain: str) -> Leaf:
    """Read `NAME=SPIFFE_ID` or `NAME=NAMESPACE/SERVICE_ACCOUNT`; BadParameter says what is wrong with it."""
    name, _, identity = text.partition("=")
    if not _FILE_STEM.fullmatch(name) or name in {"ca", "gateway"} or name.endswith("-key"):
        raise click.BadParameter(f"{text!r}: {name!r} cannot be the name of the files", param_hint="--client")
    match identity.split("/"):
        case [namespace, service_account]:
            identity = workload_id(trust_domain, namespace, service_account)
    try:
        parse_spiffe_id(identity)
    except InvalidSpiffeIdError as error:
        why = f": {error}" if identity.startswith("spiffe://") else ""
        raise click.BadParameter(
            "write NAME=NAMESPACE/SERVICEACCOUNT"
            f" or NAME=spiffe://{trust_domain}/ns/NAMESPACE/sa/SERVICEACCOUNT, not {text!r}{why}",
            param_hint="--client",
        ) from error
    return Leaf(name, uris=(identity,))


def gateway_leaf(names: Sequence[str], trust_domain: str) -> Leaf:
    """Return the gateway's server certificate, which is its SVID too; BadParameter where a name is malformed."""
    for name in names:
        if not _DNS_NAME.fullmatch(name) and not is_address(name):
            raise click.BadParameter(f"{name!r} is neither a DNS name nor an IP address", param_hint="--gateway-name")
    uris = (workload_id(trust_domain, "egress-direct", "egress"),)
    return Leaf("gateway", uris=uris, names=tuple(names), usages=(SERVER_AUTH,))


def workload_id(trust_domain: str, namespace: str, service_account: str) -> str:
    """Return the SPIFFE ID that Istio gives a Kubernetes service account."""
    return f"spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}"


def _expired(certificate: x509.Certificate) -> bool:
    """Tell whether a certificate ends now or so soon that a run might not outlast it."""
    return certificate.not_valid_after_utc - CLOCK_SKEW <= datetime.now(UTC)


def _names(certificate: x509.Certificate) -> list[x509.GeneralName]:
    try:
        return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def _difference(had: Sequence[x509.GeneralName], wanted: Sequence[x509.GeneralName]) -> str:
    more = [f"now with {name.value}" for name in wanted if name not in had]
    less = [f"without {name.value}" for name in had if name not in wanted]
    return ", ".join(more + less)


def _has_key(certificate: x509.Certificate, key_path: Path) -> bool:
    try:
        key = load_pem_private_key(key_path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError):
        return False
    return key.public_key() == certificate.public_key()


def _replace(path: Path, content: bytes, *, mode: int) -> None:
    """Write a file that others see whole or not at all; a key is never readable by others, not even for a moment."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        os.fchmod(descriptor, mode)
    Path(temporary).replace(path)


def _in_the_way(path: Path, why: str) -> click.UsageError:
    return click.UsageError(f"{path} {why}; give another directory, or remove the files in {path.parent}")


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--trust-domain", default="cluster.local", show_default=True, help="SPIFFE trust domain.")
@click.option(
    "--client",
    "clients",
    multiple=True,
    metavar="NAME=ID",
    default=("team-a=team-a/team-a", "team-b=team-b/team-b"),
    show_default=True,
    help="A client certificate; ID is a SPIFFE ID or NAMESPACE/SERVICE_ACCOUNT. May be repeated.",
)
@click.option(
    "--gateway-name",
    "gateway_names",
    multiple=True,
    metavar="NAME",
    default=GATEWAY_NAMES,
    show_default=True,
    help="DNS name or IP address in the gateway's certificate. May be repeated.",
)
@click.option("--days", type=click.IntRange(1, 3650), default=30, show_default=True, help="Validity.")
@click.option("--force", is_flag=True, help="Make everything anew, the CA included.")
@click.pass_context
def ca(  # noqa: PLR0913 - one parameter an option
    context: click.Context,
    /,
    *,
    directory: Path,
    trust_domain: str,
    clients: tuple[str, ...],
    gateway_names: tuple[str, ...],
    days: int,
    force: bool,
) -> None:
    """Make a throw-away mesh CA and SPIFFE certificates in DIRECTORY.

    Files: ca.pem, gateway.pem and one NAME.pem a client, each with its NAME-key.pem. What is there and
    still valid is kept, unless --gateway-name, --client or --trust-domain asks for other names. Not for
    production: the CA's private key lies beside what it signs.
    """
    if not is_trust_domain(trust_domain):
        raise click.BadParameter(f"{trust_domain!r} may have a-z, 0-9, '.', '_', '-'", param_hint="--trust-domain")
    gateway, *leaves = [
        gateway_leaf(gateway_names, trust_domain),
        *(client_leaf(text, trust_domain) for text in clients),
    ]
    if len({leaf.name for leaf in leaves}) < len(leaves):
        raise click.BadParameter("two clients have the same name", param_hint="--client")
    files = CertificateDirectory(directory, timedelta(days=days), force)
    # A default is no wish: what an earlier run was asked for stays.
    asked = {name for name in context.params if context.get_parameter_source(name) is not ParameterSource.DEFAULT}
    there = files.existing(gateway.name)
    if "gateway_names" not in asked:
        gateway = replace(gateway, names=there.names or gateway.names)
    if "trust_domain" not in asked:
        gateway = replace(gateway, uris=there.uris or gateway.uris)
    if not asked & {"clients", "trust_domain"}:
        leaves = [replace(leaf, uris=files.existing(leaf.name).uris or leaf.uris) for leaf in leaves]
    authority = files.authority("ca", "egress-gateway throw-away mesh CA")
    for leaf in (gateway, *leaves):
        files.leaf(authority, leaf)
