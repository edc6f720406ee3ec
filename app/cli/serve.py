"""`egress-gateway serve`: uvicorn with the gateway's defaults, and start faults in one line instead of a traceback."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click
from dotenv import load_dotenv
from uvicorn.main import main as uvicorn_command

import app
from config.errors import ConfigErrors
from config.loading import load
from config.settings import settings_from_environ

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULTS = {
    "ssl_cert_reqs": int(ssl.CERT_REQUIRED),
    # uvicorn would look in the current directory first, where another project's `config` may lie.
    "app_dir": str(Path(app.__file__).parents[1]),
}
"""Where serve differs from uvicorn; the command line and `UVICORN_*` win over it."""


class StartError(click.ClickException):
    """The gateway cannot start. The message is in the form of the findings: `error: what is wrong; what to do`."""

    exit_code = 3

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message as it is: each of its lines names its severity."""
        click.echo(self.format_message(), file=file, err=True)


@click.command(
    context_settings={"auto_envvar_prefix": "UVICORN", "default_map": DEFAULTS},
    params=[option for option in uvicorn_command.params if option.name not in {"app", "factory", "version"}],
)
@click.pass_context
def serve(context: click.Context, /, **options: Any) -> None:
    """Run the gateway: uvicorn app.main:app --ssl-cert-reqs 2, with any option of uvicorn.

    Each option may be given as UVICORN_<OPTION> too; EGRESS_* and OTEL_* configure the gateway.
    """
    if options["env_file"]:
        load_dotenv(options["env_file"])
    check_tls_files(options)
    if (options["workers"] or int(os.environ.get("WEB_CONCURRENCY", "1"))) > 1:
        # The supervisor of uvicorn 0.54 exits 0 when no worker can start.
        check_configuration(options)
    context.invoke(uvicorn_command, app="app.main:app", factory=False, **options)


def check_configuration(options: Mapping[str, Any]) -> None:
    """Raise StartError, naming every fault, where a worker could not start."""
    required = options["ssl_certfile"] and options["ssl_ca_certs"] and options["ssl_cert_reqs"] == ssl.CERT_REQUIRED
    if not required:
        raise StartError(
            "error: callers are known by their certificates; give --ssl-certfile, --ssl-keyfile and --ssl-ca-certs"
            " (the mesh CA), and leave --ssl-cert-reqs at 2"
        )
    try:
        load(settings_from_environ())
    except ConfigErrors as errors:
        raise StartError(str(errors)) from errors


def check_tls_files(options: Mapping[str, Any]) -> None:
    """Raise StartError, naming option, file and remedy, where uvicorn could not load its PEM files."""
    certificate, key, authorities = (options[name] for name in ("ssl_certfile", "ssl_keyfile", "ssl_ca_certs"))
    for name in ("ssl_certfile", "ssl_keyfile", "ssl_ca_certs"):
        if options[name]:
            _check_readable(name, options[name])
    if key and not certificate:
        raise _fault("ssl_keyfile", key, "has no certificate: give --ssl-certfile too")
    if certificate:
        _check_certificates("ssl_certfile", certificate)
        _check_key(certificate, key, options["ssl_keyfile_password"])
    if authorities:
        _check_certificates("ssl_ca_certs", authorities)


def _check_readable(option: str, path: str) -> None:
    try:
        with Path(path).open("rb"):
            pass
    except OSError as error:
        remedy = "give the path of a PEM file (`egress-gateway ca DIRECTORY` makes some to try things out)"
        raise _fault(option, path, f"cannot be read: {error.strerror}; {remedy}") from error


def _check_certificates(option: str, path: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(path)
    except ssl.SSLError as error:
        raise _fault(option, path, "holds no PEM certificate: give a file with BEGIN CERTIFICATE lines") from error


def _check_key(certificate: str, key: str | None, password: str | None) -> None:
    try:
        # Without a password function OpenSSL would ask the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, lambda: password or "")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            why = f"is not the private key of {certificate}: give the key that belongs to it"
        else:
            why = "holds no private key that opens: give a PEM private key, or its --ssl-keyfile-password"
        raise _fault("ssl_keyfile", key or certificate, why) from error


def _fault(option: str, path: str, why: str) -> StartError:
    return StartError(f"error: --{option.replace('_', '-')} (UVICORN_{option.upper()}): {path} {why}")
