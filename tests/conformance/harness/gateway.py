"""The gateway as a process of its own, started as its users start it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance.harness.certificates import ORIGIN_HOSTS
from tests.conformance.harness.client import Answer, Caller, client_context
from tests.conformance.harness.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.conformance.harness.certificates import KeyPair, Pki

ROOT = Path(__file__).parents[3]
WORKSHOP = ROOT / "deploy" / "workshop"
FOREIGN = ("EGRESS_", "UVICORN_", "OTEL_", "SSL_CERT_", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS")
"""Settings of whoever runs the tests, which are none of theirs."""
CANNOT_START = 3
PLAIN = ("--ssl-cert-reqs", "2")
BOTH_PARSERS = ("--http httptools", "--http h11")


def each_way(ways: Sequence[str]) -> pytest.MarkDecorator:
    """Return the mark of a module whose tests all run with each of these command lines."""
    names = [way.replace(" ", "=") or "plain" for way in ways]
    return pytest.mark.parametrize("gateway", ways, indirect=True, scope="module", ids=names)


@dataclass(slots=True)
class Gateway:
    """A running gateway, what it wrote, and how to call it."""

    pki: Pki
    port: int
    status_port: int
    process: subprocess.Popen[bytes]
    directory: Path

    def connect(self, identity: KeyPair | None, *, receive_buffer_bytes: int | None = None) -> Caller:
        """Open an mTLS connection."""
        context = client_context(self.pki.mesh_ca, identity)
        return Caller(self.port, context, receive_buffer_bytes=receive_buffer_bytes)

    def ask(
        self, identity: KeyPair, target: str, *fields: str, host: str = "api.github.com", method: str = "GET"
    ) -> Answer:
        """Send one request on a connection of its own."""
        with self.connect(identity) as caller:
            return caller.ask(target, *fields, host=host, method=method)

    def send(self, identity: KeyPair, raw: bytes) -> Answer:
        """Send bytes on a connection of its own and read one answer."""
        with self.connect(identity) as caller:
            caller.send(raw)
            return caller.read()

    def status(self, path: str) -> tuple[int, bytes]:
        """Ask the status listener."""
        connection = http.client.HTTPConnection("127.0.0.1", self.status_port, timeout=10.0)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    @property
    def stderr(self) -> str:
        return (self.directory / "stderr").read_text()

    def access_lines(self) -> list[dict[str, Any]]:
        """Return the access log so far, without a line that is not whole yet."""
        lines = (self.directory / "stdout").read_bytes().split(b"\n")[:-1]
        return [json.loads(line) for line in lines]

    def access_line(self, key: str, value: str) -> dict[str, Any]:
        """Return the one line with this value, once it is written."""
        found = eventually(
            f"an access line with {key} {value}",
            lambda: [line for line in self.access_lines() if line.get(key) == value],
        )
        assert len(found) == 1
        return found[0]

    def line_of(self, answer: Answer) -> dict[str, Any]:
        """Return the access line of a local answer."""
        return self.access_line("decision_id", answer.value("x-egress-decision-id"))

    def output(self) -> str:
        """Return everything it wrote."""
        return f"{(self.directory / 'stdout').read_text(errors='replace')}\n{self.stderr}"

    def terminate(self, seconds: float = 20.0) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def environment(pki: Pki, origins: Mapping[str, int], manifests: Sequence[Path]) -> dict[str, str]:
    """Return the environment of a gateway on free ports."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return inherited | {
        "EGRESS_CONFIG": ":".join(map(str, manifests)),
        "EGRESS_DIAL_ALLOW": "127.0.0.0/8",
        "EGRESS_RESOLVE": ",".join(f"{host}:443:127.0.0.1:{port}" for host, port in origins.items()),
        "EGRESS_STATUS_LISTEN": f"127.0.0.1:{free_port()}",
        "SSL_CERT_FILE": str(pki.origins_ca),
        "UVICORN_HOST": "127.0.0.1",
        "UVICORN_PORT": str(free_port()),
        "UVICORN_SSL_CERTFILE": str(pki.gateway.certificate),
        "UVICORN_SSL_KEYFILE": str(pki.gateway.key),
        "UVICORN_SSL_CA_CERTS": str(pki.mesh_ca),
    }


def start(directory: Path, variables: Mapping[str, str], arguments: Sequence[str] = PLAIN) -> subprocess.Popen[bytes]:
    """Start `uvicorn app.main:app` with its output in two files."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "stdout").open("wb") as stdout, (directory / "stderr").open("wb") as stderr:
        return subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "app.main:app", *arguments],
            cwd=ROOT,
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )


@contextmanager
def running_gateway(  # noqa: PLR0913  each is a way in which tests differ
    pki: Pki,
    directory: Path,
    origins: Mapping[str, int],
    *,
    manifests: Sequence[Path] = (WORKSHOP,),
    arguments: Sequence[str] = (),
    settings: Mapping[str, str] | None = None,
) -> Iterator[Gateway]:
    """Run a gateway that is ready to serve."""
    variables = environment(pki, origins, manifests) | dict(settings or {})
    process = start(directory, variables, (*PLAIN, *arguments))
    status_port = int(variables["EGRESS_STATUS_LISTEN"].rpartition(":")[2])
    gateway = Gateway(pki, int(variables["UVICORN_PORT"]), status_port, process, directory)
    try:
        eventually("the gateway to listen", lambda: _is_listening(gateway))
        yield gateway
    finally:
        stop(process)


def failed_start(
    directory: Path,
    pki: Pki,
    settings: Mapping[str, str | None] | None = None,
    arguments: Sequence[str] = PLAIN,
    manifests: Sequence[Path] = (WORKSHOP,),
) -> str:
    """Start a gateway that cannot, check its exit code, and return its stderr.

    A setting of none is taken out of the environment.
    """
    variables = environment(pki, dict.fromkeys(ORIGIN_HOSTS, 9), manifests)
    for name, value in (settings or {}).items():
        variables.pop(name, None)
        if value is not None:
            variables[name] = value
    process = start(directory / "run", variables, arguments)
    try:
        code = process.wait(30.0)
    except subprocess.TimeoutExpired:
        pytest.fail("it started")
    finally:
        stop(process)
    written = (directory / "run" / "stderr").read_text()
    assert code == CANNOT_START, written
    assert "Traceback" not in written
    assert (directory / "run" / "stdout").read_text() == ""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(variables["UVICORN_PORT"])), timeout=5.0)
    return written


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process, whatever state it is in."""
    process.terminate()
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(10.0)
    finally:
        process.kill()
        process.wait()


def _is_listening(gateway: Gateway) -> bool:
    code = gateway.process.poll()
    assert code is None, f"the gateway ended with {code}:\n{gateway.output()}"
    with suppress(OSError, http.client.HTTPException):
        if gateway.status("/readyz")[0] == http.client.OK:
            # Only then does uvicorn open the service's port.
            socket.create_connection(("127.0.0.1", gateway.port), timeout=1.0).close()
            return True
    return False
