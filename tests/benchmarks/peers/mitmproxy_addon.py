"""The policy as a mitmproxy addon. Runs inside mitmproxy's environment and imports nothing of this project."""

import json
import os
import time
from pathlib import Path
from typing import Any

from cryptography import x509

FLUSH_LINES = 256


class Policy:
    """One caller allowed, some paths, two headers set, one removed, a JSON line for every request."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._authority = x509.load_pem_x509_certificate(Path(settings["authority"]).read_bytes())
        self._hosts = frozenset(settings["hosts"])
        self._path_host = settings["path_host"]
        self._principals = list(settings["principals"])
        self._paths_exact = frozenset(settings["paths_exact"])
        self._paths_below = tuple(settings["paths_below"])
        self._forwarded_by = settings["forwarded_by"]
        self._log = Path(settings["log"]).open("w")  # noqa: SIM115  open until `done`
        self._lines: list[str] = []
        self._callers: dict[str, str] = {}

    def tls_established_client(self, data: Any) -> None:
        """Verify the client's certificate once a connection."""
        for certificate in data.conn.certificate_list[:1]:
            leaf = x509.load_pem_x509_certificate(certificate.to_pem())
            leaf.verify_directly_issued_by(self._authority)
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            self._callers[data.conn.id] = names.get_values_for_type(x509.UniformResourceIdentifier)[0]

    def client_disconnected(self, client: Any) -> None:
        self._callers.pop(client.id, None)

    def server_connect(self, data: Any) -> None:
        """Verify the origin under the host's name."""
        data.server.sni = data.client.sni

    def requestheaders(self, flow: Any) -> None:
        request, caller = flow.request, self._callers.get(flow.client_conn.id, "")
        if not self._allowed(request.host_header, caller, request.path.partition("?")[0]):
            from mitmproxy import http  # type: ignore[import-not-found]  # noqa: PLC0415  not of this environment

            flow.response = http.Response.make(403, b"authorization failed", {"content-type": "text/plain"})
            return
        parts = caller.split("/")
        request.headers["x-caller-identity"] = f"{parts[4]}/{parts[6]}"
        request.headers["x-forwarded-by"] = self._forwarded_by
        request.headers.pop("x-internal-debug", None)

    def _allowed(self, host: str, caller: str, path: str) -> bool:
        if host not in self._hosts or not any(caller == principal for principal in self._principals):
            return False
        return host != self._path_host or path in self._paths_exact or path.startswith(self._paths_below)

    def response(self, flow: Any) -> None:
        request, response = flow.request, flow.response
        line = {
            "timestamp": time.time(),
            "request_id": flow.id,
            "client.address": flow.client_conn.peername,
            "source.identity": self._callers.get(flow.client_conn.id),
            "http.method": request.method,
            "http.host": request.host_header,
            "http.path": request.path,
            "http.version": request.http_version,
            "http.status": response.status_code,
            "duration_ms": (time.time() - request.timestamp_start) * 1000,
            "endpoint": flow.server_conn.peername,
        }
        self._lines.append(json.dumps(line))
        if len(self._lines) >= FLUSH_LINES:
            self._flush()

    def done(self) -> None:
        self._flush()
        self._log.close()

    def _flush(self) -> None:
        self._log.write("".join(f"{line}\n" for line in self._lines))
        self._log.flush()
        self._lines.clear()


if "BENCH_SETTINGS" in os.environ:
    addons = [Policy(json.loads(Path(os.environ["BENCH_SETTINGS"]).read_text()))]
