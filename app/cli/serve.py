"""`egress-gateway serve`: uvicorn with the gateway's defaults, and start faults in one line instead of a traceback."""

from __future__ import annotations

import copy
import os
import socket
import ssl
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click
from dotenv import load_dotenv
from uvicorn.main import main as uvicorn_command

import app
from app.backends.tls import TrustRootsError, client_context
from app.telemetry.sinks import AccessLogError, open_sink
from config.errors import ConfigErrors
from config.loading import load
from config.settings import settings_from_environ

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEFAULTS = {
    "ssl_cert_reqs": int(ssl.CERT_REQUIRED),
    # uvicorn would look in the current directory first, where another project's `config` may lie.
    "app_dir": str(Path(app.__file__).parents[1]),
}
"""Where serve differs from uvicorn; the command line and `UVICORN_*` win over it."""

_NO_WEBSOCKETS = "the gateway passes no websockets on"
UNUSABLE: Mapping[str, tuple[frozenset[object], str]] = {
    "http": (frozenset({"auto", "h11", "httptools"}), "the gateway runs on httptools and h11"),
    "http2": (frozenset({False}), "the gateway speaks HTTP/1.1 to its callers"),
    "interface": (frozenset({"auto", "asgi3"}), "the gateway is an ASGI 3 application"),
    "lifespan": (frozenset({"auto", "on"}), "the gateway starts and ends in uvicorn's lifespan"),
    "ws": (frozenset({"auto"}), _NO_WEBSOCKETS),
    "ws_max_size": (frozenset({16777216}), _NO_WEBSOCKETS),
    "ws_max_queue": (frozenset({32}), _NO_WEBSOCKETS),
    "ws_ping_interval": (frozenset({20.0}), _NO_WEBSOCKETS),
    "ws_ping_timeout": (frozenset({20.0}), _NO_WEBSOCKETS),
    "ws_per_message_deflate": (frozenset({True}), _NO_WEBSOCKETS),
}
"""Options of uvicorn that have values which cannot work: the values that can, uvicorn's defaults, and why no other."""
_HIDDEN = UNUSABLE.keys() - {"http"}


def _parameters() -> Iterator[click.Parameter]:
    """Yield uvicorn's options, less those that make no sense here."""
    for parameter in uvicorn_command.params:
        if parameter.name in {"app", "factory", "version"}:
            continue
        if isinstance(parameter, click.Option) and parameter.name in _HIDDEN:
            parameter = copy.copy(parameter)  # noqa: PLW2901  uvicorn's own help still shows it
            parameter.hidden = True
        yield parameter


class StartError(click.ClickException):
    """The gateway cannot start. The message is in the form of the findings: `error: what is wrong; what to do`."""

    exit_code = 3

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message as it is: each of its lines names its severity."""
        click.echo(self.format_message(), file=file, err=True)


@click.command(
    context_settings={"auto_envvar_prefix": "UVICORN", "default_map": DEFAULTS},
    params=list(_parameters()),
)
@click.pass_context
def serve(context: click.Context, /, **options: Any) -> None:
    """Run the gateway: uvicorn app.main:app --ssl-cert-reqs 2, with the options of uvicorn.

    Each option may be given as UVICORN_<OPTION> too; EGRESS_* configures the gateway. Without certificates
    to try it with: egress-gateway ca DIRECTORY.
    """
    check_usable(options)
    if options["env_file"]:
        load_dotenv(options["env_file"])
    check_tls_options(options)
    check_tls_files(options)
    if (options["workers"] or int(os.environ.get("WEB_CONCURRENCY", "1"))) > 1:
        # The supervisor of uvicorn 0.54 exits 0 when no worker can start.
        check_configuration()
    context.invoke(uvicorn_command, app="app.main:app", factory=False, **options)


def check_usable(options: Mapping[str, Any]) -> None:
    """Raise UsageError for an option of uvicorn that cannot work."""
    for name, (usable, why) in UNUSABLE.items():
        if options[name] not in usable:
            raise click.UsageError(f"{_named(name)} cannot be {options[name]!r} here: {why}")


def check_tls_options(options: Mapping[str, Any]) -> None:
    """Raise StartError, naming what is missing, where callers could not be known by their certificates."""
    needed = ["ssl_certfile", "ssl_ca_certs"]
    if not options["ssl_certfile"]:  # a certificate's file may hold its key
        needed.insert(1, "ssl_keyfile")
    if missing := [_named(name) for name in needed if not options[name]]:
        remedy = "`egress-gateway ca DIRECTORY` makes files to try things out"
        raise StartError(f"error: callers are known by their certificates; give {', '.join(missing)}; {remedy}")
    if options["ssl_cert_reqs"] != ssl.CERT_REQUIRED:
        name = _named("ssl_cert_reqs")
        raise StartError(
            f"error: callers are known by their certificates; leave {name} at 2, it is {options['ssl_cert_reqs']}"
        )


def check_configuration() -> None:
    """Raise StartError, naming every fault, where a worker could not start."""
    try:
        settings = settings_from_environ()
        load(settings)
        client_context()
        open_sink(settings.access_log).close()
    except ConfigErrors as errors:
        raise StartError(str(errors)) from errors
    except (AccessLogError, TrustRootsError) as error:
        raise StartError(f"error: {error}") from error
    if settings.status_listen is not None:
        _check_free(*settings.status_listen)


def _check_free(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except (OSError, UnicodeError) as error:
        number = error.errno if isinstance(error, OSError) else None
        why = os.strerror(number) if number and number > 0 else str(error)  # a name that does not resolve: below 0
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        raise StartError(
            f"error: EGRESS_STATUS_LISTEN={address} cannot be listened on: {why}; give another host:port, or off"
        ) from error


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
    return StartError(f"error: {_named(option)}: {path} {why}")


def _named(option: str) -> str:
    return f"--{option.replace('_', '-')} (UVICORN_{option.upper()})"
