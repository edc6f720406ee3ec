"""One request of the workshop: how it is sent, how curl would send it, and whether its answer is the documented one."""

from __future__ import annotations

import http.client
import json
import shlex
import socket
import ssl
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT_SECONDS = 10.0
"""For connecting, and for each read of an answer."""
REFUSED = "refused in the TLS handshake"


@dataclass(frozen=True, slots=True)
class Request:
    """A GET that a workload sends to the gateway."""

    host: str
    path: str
    caller: str | None = "team-a"
    """File name of the client certificate, or none to call without one."""
    headers: tuple[tuple[str, str], ...] = ()
    """Beside `Host`, `User-Agent` and `Accept`; names are sent as they are written."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int | None
    """None: the gateway refused the handshake, or there is an error."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Lower-cased names."""
    body: str = ""
    error: str = ""
    """Why there is no answer."""

    def title(self) -> str:
        """Return status and reason phrase."""
        if self.status is None:
            return self.error or REFUSED
        return f"{self.status} {http.client.responses.get(self.status, '')}".rstrip()


@dataclass(frozen=True, slots=True)
class Expected:
    """The documented answer."""

    status: int | None
    """None: the handshake is refused."""
    body: str | None = None
    """The whole body of an answer that the gateway itself gives, which is text/plain and carries a decision id."""
    document: Mapping[str, object] = field(default_factory=dict)
    """Values in the JSON body; a key is a dotted path, matched without regard to case; None: not there."""

    def __str__(self) -> str:
        wanted = [REFUSED if self.status is None else str(self.status)]
        wanted += [self.body] if self.body is not None else []
        wanted += [
            f"{path} {'absent' if value is None else json.dumps(value)}" for path, value in self.document.items()
        ]
        return " ".join(wanted[:2]) if self.body is not None else ", ".join(wanted)

    def differences(self, answer: Answer) -> list[str]:
        """Return each way in which an answer is not the documented one, as `what it is` for `what was expected`."""
        if answer.status != self.status or answer.error:
            return [f"expected {self}, got {answer.title()} {_first_line(answer.body)}".rstrip()]
        found: list[str] = []
        if self.body is not None:
            found += _gateway_answer_differences(self.body, answer)
        if self.document:
            try:
                document = json.loads(answer.body)
            except ValueError:
                return [*found, f"expected JSON, got {_first_line(answer.body)}"]
            for path, wanted in self.document.items():
                if (got := look_up(document, path)) != wanted:
                    found.append(f"expected {path} {_shown(wanted)}, got {_shown(got)}")
        return found


def look_up(document: Any, path: str) -> Any:
    """Return the value at a dotted path, or None where there is none. Keys are compared without regard to case."""
    for key in path.split("."):
        if not isinstance(document, Mapping):
            return None
        document = next((value for name, value in document.items() if name.lower() == key.lower()), None)
    return document


def curl(request: Request, directory: Path, port: int) -> str:
    """Return the shell command that sends the same request."""
    words = ["curl", "--cacert", str(directory / "ca.pem")]
    if request.caller:
        words += ["--cert", str(directory / f"{request.caller}.pem")]
        words += ["--key", str(directory / f"{request.caller}-key.pem")]
    words += ["--connect-to", f"{request.host}:443:127.0.0.1:{port}"]
    for name, value in request.headers:
        words += ["--header", f"{name}: {value}"]
    if "/.." in request.path:
        words.append("--path-as-is")
    return shlex.join([*words, f"https://{request.host}{request.path}"])


def send(request: Request, directory: Path, port: int) -> Answer:
    """Send a request to the gateway on 127.0.0.1 and read the whole answer; what goes wrong is an answer too."""
    context = ssl.create_default_context(cafile=str(directory / "ca.pem"))
    if request.caller:
        context.load_cert_chain(directory / f"{request.caller}.pem", directory / f"{request.caller}-key.pem")
    try:
        plain = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS)
        with plain, closing(http.client.HTTPConnection(request.host)) as connection:
            return _exchange(request, connection, plain, context)
    except (OSError, http.client.HTTPException) as error:
        return Answer(status=None, error=f"{type(error).__name__}: {error}")


def _exchange(
    request: Request, connection: http.client.HTTPConnection, plain: socket.socket, context: ssl.SSLContext
) -> Answer:
    try:
        connection.sock = context.wrap_socket(plain, server_hostname=request.host)
        connection.putrequest("GET", request.path, skip_accept_encoding=True)
        for name, value in (("User-Agent", "egress-gateway-workshop"), ("Accept", "*/*"), *request.headers):
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
    except (ssl.SSLError, ConnectionError) as error:
        # Under TLS 1.3 a client learns that its certificate is missing only when it reads or writes, and then the
        # server's reset may overtake its alert.
        if request.caller or isinstance(error, ssl.SSLCertVerificationError):
            raise
        return Answer(status=None)
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, response.read().decode("utf-8", "replace"))


def _gateway_answer_differences(body: str, answer: Answer) -> list[str]:
    found = []
    if answer.body != body:
        found.append(f"expected the body {body!r}, got {answer.body!r}")
    if not (media_type := answer.headers.get("content-type", "none")).startswith("text/plain"):
        found.append(f"expected text/plain, got {media_type}")
    if "x-egress-decision-id" not in answer.headers:
        found.append("expected an x-egress-decision-id, got none")
    return found


def _first_line(body: str) -> str:
    return body.partition("\n")[0][:80]


def _shown(value: object) -> str:
    return "absent" if value is None else json.dumps(value)
