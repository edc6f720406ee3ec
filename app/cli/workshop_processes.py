"""The processes of the workshop: the real gateway and the stand-ins for its origins, all of them ended with the run."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

import app

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ORIGINS = {"api.github.com": "github", "httpbingo.org": "httpbingo"}
"""Host to its application in `app.cli.workshop_origins`."""
READY_SECONDS = 15.0
STOP_SECONDS = 5.0
"""After SIGTERM; then the process is killed."""


@dataclass(frozen=True, slots=True)
class Playground:
    """Where a gateway of the workshop runs."""

    directory: Path
    """Certificates and logs."""
    port: int
    status_port: int
    origins: Mapping[str, int] = field(default_factory=dict)
    """Host to the port of its stand-in on 127.0.0.1; none: the real hosts are called."""
    access_log: str = "stdout"
    """As `EGRESS_ACCESS_LOG`."""

    def environment(self, inherited: Mapping[str, str], manifests: Sequence[Path]) -> dict[str, str]:
        """Return the environment of a gateway that serves these manifests."""
        variables = child_environment(inherited) | {
            "EGRESS_CONFIG": ":".join(map(str, manifests)),
            "EGRESS_STATUS_LISTEN": f"127.0.0.1:{self.status_port}",
            "EGRESS_ACCESS_LOG": self.access_log,
            "UVICORN_HOST": "127.0.0.1",
            "UVICORN_PORT": str(self.port),
            "UVICORN_SSL_CERTFILE": str(self.directory / "gateway.pem"),
            "UVICORN_SSL_KEYFILE": str(self.directory / "gateway-key.pem"),
            "UVICORN_SSL_CA_CERTS": str(self.directory / "ca.pem"),
        }
        if self.origins:
            overrides = (f"{host}:443:127.0.0.1:{port}" for host, port in self.origins.items())
            variables["SSL_CERT_FILE"] = str(self.directory / "origins-ca.pem")
            variables["EGRESS_RESOLVE"] = ",".join(overrides)
            variables["EGRESS_DIAL_ALLOW"] = "127.0.0.0/8"
        return variables


def child_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the settings of another gateway or another uvicorn; `OTEL_*` turns on traces."""
    foreign = ("EGRESS_", "UVICORN_", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS")
    kept = {name: value for name, value in inherited.items() if not name.startswith(foreign)}
    # uvicorn would look in the current directory first, where another project's `app` may lie.
    return kept | {"UVICORN_APP_DIR": str(Path(app.__file__).parents[1])}


@contextmanager
def gateway(playground: Playground, manifests: Sequence[Path], log: Path | None) -> Iterator[subprocess.Popen[bytes]]:
    """Run the gateway, ready to serve; its output goes to the end of a file, or to this terminal.

    Raises:
        ClickException: it did not become ready; the message holds what it wrote.

    """
    command = [sys.executable, "-m", "uvicorn", "app.main:app", "--ssl-cert-reqs", "2"]
    with ExitStack() as stack:
        output = stack.enter_context(log.open("ab")) if log else None
        before = output.tell() if output else 0
        process = stack.enter_context(running(command, playground.environment(os.environ, manifests), output))
        if not _is_ready(process, playground):
            code = process.poll()
            state = f"is not ready after {READY_SECONDS:.0f} s" if code is None else f"ended with exit code {code}"
            written = log.read_bytes()[before:].decode("utf-8", "replace") if log else ""
            raise click.ClickException(f"the gateway {state}\n{written}".rstrip())
        yield process


@contextmanager
def origins(directory: Path) -> Iterator[dict[str, int]]:
    """Run the stand-ins over TLS and yield their ports on 127.0.0.1; their output goes to `origins.log`."""
    with ExitStack() as stack:
        log = stack.enter_context((directory / "origins.log").open("wb"))
        ports = {}
        for host, application in ORIGINS.items():
            # Handing on a listening socket means that no port can be taken in between, and that early calls wait.
            with socket.create_server(("127.0.0.1", 0)) as listener:
                # asyncio does not know an inherited socket for TCP; unset, every answer would wait 40 ms for an ACK.
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                ports[host] = listener.getsockname()[1]
                command = [sys.executable, "-m", "uvicorn", f"app.cli.workshop_origins:{application}"]
                command += ["--fd", str(listener.fileno()), "--lifespan", "off", "--log-level", "warning"]
                command += ["--ssl-certfile", str(directory / f"{host}.pem")]
                command += ["--ssl-keyfile", str(directory / f"{host}-key.pem")]
                environment = child_environment(os.environ)
                stack.enter_context(running(command, environment, log, pass_fds=(listener.fileno(),)))
        yield ports


@contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str], output: IO[bytes] | None, *, pass_fds: Sequence[int] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process and end it, whatever happens: SIGTERM, and SIGKILL if it takes too long or we are in a hurry."""
    process = subprocess.Popen(  # noqa: S603 - our own interpreter with arguments from this module
        command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=pass_fds
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
        finally:
            process.kill()
            process.wait()


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    """Tell whether a port of 127.0.0.1 can be listened on."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def _is_ready(process: subprocess.Popen[bytes], playground: Playground) -> bool:
    deadline = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError, http.client.HTTPException):
            if _status_of_readyz(playground.status_port) == http.client.OK:
                # uvicorn listens only after the application said that it is ready.
                socket.create_connection(("127.0.0.1", playground.port), timeout=1.0).close()
                return True
        time.sleep(0.05)
    return False


def _status_of_readyz(port: int) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=1.0)) as connection:
        connection.request("GET", "/readyz")
        return connection.getresponse().status
