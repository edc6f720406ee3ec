"""A proxy that runs: started, checked to do the work, ended."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from tests.benchmarks import processes
from tests.benchmarks.peers import envoy, gateway, haproxy, mitmproxy, nginx
from tests.benchmarks.peers.base import PeerUnavailableError
from tests.benchmarks.pki import HOST

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.benchmarks.peers.base import Launch, Work
    from tests.benchmarks.pki import Pair

GATEWAY = "egress-gateway"
LAUNCHERS = {
    "envoy": envoy.launch,
    "mitmproxy": mitmproxy.launch,
    "nginx": nginx.launch,
    "haproxy": haproxy.launch,
}
START_SECONDS = 60.0
POLL_SECONDS = 0.002
LOG_SECONDS = 5.0
"""How long the last access lines may take to be written."""


@dataclass(slots=True)
class Running:
    """A proxy's process."""

    name: str
    work: Work
    launch: Launch
    process: subprocess.Popen[bytes]
    start_seconds: float = 0.0
    """From the start of the process to the first answer."""
    requests: int = 0
    """Sent so far: what the access log must hold at least."""

    @classmethod
    def start(cls, name: str, work: Work, cores: frozenset[int] | None) -> Self:
        """Start a proxy and wait for its first answer.

        Raises:
            PeerUnavailableError: it is not there, or does not start.

        """
        launch = LAUNCHERS.get(name, gateway.launch)(work)
        began = time.perf_counter()
        process = processes.start(
            launch.command,
            work.directory,
            environment=launch.environment,
            working_directory=launch.working_directory,
            cores=cores,
        )
        running = cls(name, work, launch, process)
        try:
            running._wait()
        except BaseException:
            processes.stop(process)
            raise
        running.start_seconds = time.perf_counter() - began
        return running

    def pids(self) -> list[int]:
        return processes.tree(self.process.pid)

    def check(self) -> None:
        """Check that it refuses what the policy refuses, so that it is known to do the work.

        Raises:
            PeerUnavailableError: it does not.

        """
        team_a = self.work.pki.team_a
        for what, wanted, found in (
            ("a listed path", 200, self._ask(team_a)),
            ("a path that is not listed", 403, self._ask(team_a, "/users/torvalds")),
            ("a caller that no rule allows", 403, self._ask(self.work.pki.team_b)),
        ):
            if found != wanted:
                raise PeerUnavailableError(f"does other work: {what} is answered {found}, not {wanted}")
        with suppress(OSError, http.client.HTTPException):
            if (status := self._ask(None)) < 400:
                raise PeerUnavailableError(f"does other work: a caller without certificate is answered {status}")

    def stop(self) -> str | None:
        """End it, and tell what is wrong with its access log, if anything is."""
        log = self.log_file()
        deadline = time.monotonic() + LOG_SECONDS
        while (lines := count_lines(log)) < self.requests and time.monotonic() < deadline and self.name != "mitmproxy":
            time.sleep(0.1)
        processes.stop(self.process)
        lines = count_lines(log)
        return None if lines >= self.requests else f"{self.requests} requests, {lines} access lines"

    def kill(self) -> None:
        """End it at once."""
        processes.stop(self.process)

    def log_file(self) -> Path:
        return self.work.directory / "stdout" if self.name == "haproxy" else self.work.log

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            if (code := self.process.poll()) is not None:
                raise PeerUnavailableError(f"ended with {code}: {self._last_words()}")
            try:
                status = self._ask(self.work.pki.team_a)
            except (OSError, http.client.HTTPException) as error:
                if time.monotonic() > deadline:
                    raise PeerUnavailableError(f"does not answer: {error}; {self._last_words()}") from error
                time.sleep(POLL_SECONDS)
            else:
                if status == http.client.OK:
                    return
                raise PeerUnavailableError(f"its first answer is {status}; {self._last_words()}")

    def _ask(self, pair: Pair | None, path: str = "/repos/bytes/2") -> int:
        """Send one request on a connection of its own and return the answer's status."""
        context = ssl.create_default_context(cafile=str(self.work.pki.mesh_ca))
        if pair is not None:
            context.load_cert_chain(pair.certificate, pair.key)
        with (
            socket.create_connection(("127.0.0.1", self.work.port), timeout=START_SECONDS) as raw,
            context.wrap_socket(raw, server_hostname=HOST) as tls,
        ):
            fields = "X-Caller-Identity: evil\r\nX-Internal-Debug: 1\r\nConnection: close"
            tls.sendall(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n\r\n".encode())
            response = http.client.HTTPResponse(tls)
            response.begin()
            response.read()
            self.requests += response.status == http.client.OK
            return response.status

    def _last_words(self) -> str:
        text = "".join(
            (self.work.directory / f"std{end}").read_text(errors="replace")[-2000:] for end in ("out", "err")
        )
        return " | ".join(text.strip().splitlines()[-3:]) or "it wrote nothing"


def count_lines(file: Path) -> int:
    """Return how many JSON lines a file holds."""
    with suppress(FileNotFoundError), file.open("rb") as lines:
        return sum(line.startswith(b"{") for line in lines)
    return 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
